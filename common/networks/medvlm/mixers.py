"""The feature mixer of Med-VLM: words read the image, then the image reads the words, which has positions."""

import torch
from torch import Tensor, nn

from ...layers.blocks import Attention, mlp


class FeatureMixer(nn.Module):
    """One query-based mixer (Med-VLM eqs 4-7, residuals in their sound reading).

    With text T (N_t rows) and image I (N_i rows):

        T1 = T + SelfAttention(T)                    eq 4
        T2 = T1 + CrossAttention(Q = T1, K = V = I)  eq 5
        T' = T2 + MLP(T2)                            eq 6
        I' = I + CrossAttention(Q = I, K = V = T')   eq 7

    The printed eq 5 adds to F_im and eq 7 queries with text; both would add N_t rows to N_i rows, so
    the residual goes to what asked, as in SAM's two-way block. As there, a LayerNorm follows each step
    and positions are added to queries and keys.
    """

    def __init__(self, width: int, *, heads: int, mlp_width: int, downsample: int = 2) -> None:
        super().__init__()
        self.self_attention = Attention(width, heads)
        self.text_to_image = Attention(width, heads, downsample=downsample)
        self.mlp = mlp((width, mlp_width, width))
        self.image_to_text = Attention(width, heads, downsample=downsample, few_keys=True)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))

    def forward(
        self, text: Tensor, image: Tensor, *, text_start: Tensor, positions: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mix once.

        Args:
            text: (B, N_t, C).
            image: (B, N_i, C).
            text_start: (B, N_t, C), the text before the first mixer; it serves as the words' positions.
            positions: (N_i, C), positions of the image tokens.
            mask: (B, N_t) bool, True where a word piece is real.

        Returns:
            New text and image of the same shapes.
        """
        placed = image + positions  # 13 MiB for 13 prompts at 512 pixels: added once for both directions
        query = text + text_start
        text = self.norms[0](text + self.self_attention(query, query, text, mask))
        text = self.norms[1](text + self.text_to_image(text + text_start, placed, image))
        text = self.norms[2](text + self.mlp(text))
        image = self.norms[3](image + self.image_to_text(placed, text + text_start, text, mask))
        return text, image


class FourierPositions(nn.Module):
    """Where a pixel lies, as a vector: fixed random Fourier features of the coordinates of a feature map.

    Tancik et al. 2020, as in SAM.
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
