"""Where a pixel lies, as a vector: random Fourier features (Tancik et al. 2020; SAM's image positions)."""

import torch
from torch import Tensor, nn


class FourierPositions(nn.Module):
    """Fixed random Fourier features of the coordinates of a feature map.

    The random matrix is drawn from its own seeded generator, so it is the same in every model and
    belongs to no checkpoint.
    """

    frequencies: Tensor

    def __init__(self, width: int, *, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        frequencies = torch.randn(2, width // 2, generator=generator, device="cpu")
        self.register_buffer("frequencies", 2 * torch.pi * frequencies, persistent=False)

    def forward(self, height: int, width: int) -> Tensor:
        """(height * width, C) features, rows first, of pixel centres scaled to [-1, 1]."""
        y, x = (
            (torch.arange(n, device=self.frequencies.device) + 0.5) * (2 / n) - 1 for n in (height, width)
        )
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).reshape(-1, 2)
        phase = grid @ self.frequencies
        return torch.cat([phase.sin(), phase.cos()], dim=-1)
