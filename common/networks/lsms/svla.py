"""Scale-aware Vision-Language Attention of LSMS (arXiv 2408.17347, eqs 4-10)."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

Scale = Literal["text", "channels"]
SCALES: tuple[Scale, ...] = get_args(Scale)


def depthwise(channels: int, size: tuple[int, int]) -> nn.Conv2d:
    """One odd-sized kernel a channel, (B, C, H, W) -> same shape."""
    padding = (size[0] // 2, size[1] // 2)
    return nn.Conv2d(channels, channels, size, padding=padding, groups=channels)


def _projection(channels: int) -> nn.Sequential:
    """1 x 1 convolution and instance norm, which would take a bias away again.

    (A group norm of one channel a group would keep the layout channels_last, but torch's kernel for it takes
    the variance as a difference of squares: wrong by 5 % where the mean is 100 standard deviations.)
    """
    return nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.InstanceNorm2d(channels))


class LanguageBranch(nn.Module):
    """Every pixel gathers the words that speak of it (eqs 6-9).

        V1 = omega_v1(V), V2 = omega_v2(V)      omega: 1 x 1 convolution and instance norm
        A  = softmax over words of V1^T L1 / s  L1, L2: linear maps of the word features
        Att_L = omega_f(A L2) * V2              the product is the PixelMap

    A bias on L1 adds the same to all words of a pixel, which the softmax cancels, and one on L2 the same
    to all pixels, which omega_f's norm cancels: both go without.

    Args:
        channels: C of the map.
        text_width: D of the word features.
        pixel_map: multiply with V2.
        scale: s is the square root of the text width ("text", as printed) or of C ("channels", as usual in
            attention: softer words at wide text and narrow maps become sharper).
    """

    def __init__(self, channels: int, text_width: int, *, pixel_map: bool = True, scale: Scale = "text"):
        super().__init__()
        self.query = _projection(channels)
        self.key = nn.Linear(text_width, channels, bias=False)
        self.value = nn.Linear(text_width, channels, bias=False)
        self.out = _projection(channels)
        self.pixel_map = _projection(channels) if pixel_map else None
        self.factor = (text_width if scale == "text" else channels) ** -0.5

    def forward(self, x: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Attend.

        Args:
            x: (B, C, H, W), more than one pixel (instance norm has no variance of one).
            tokens: (B, T, D).
            mask: (B, T) bool, True where a word piece is real.

        Returns:
            (B, C, H, W).
        """
        # Pixels before words, (B, H * W, T): no copy is needed where the map is channels_last, as on CPUs.
        scores = self.query(x).flatten(2).mT @ self.key(tokens).mT * self.factor
        scores = scores.masked_fill(~mask.unsqueeze(1), torch.finfo(scores.dtype).min)
        gathered = scores.softmax(dim=2) @ self.value(tokens)
        attended = self.out(gathered.mT.unflatten(2, x.shape[-2:]))
        return attended if self.pixel_map is None else attended * self.pixel_map(x)


class SVLA(nn.Module):
    """Strip convolutions of several lengths and the language branch weigh every pixel (eqs 4, 5 and 10).

        V_pre = Conv5x5(V)
        Att_V = sum over kernels d of Conv(d x 1)(Conv(1 x d)(V_pre))
        F     = Conv1x1(V_pre + Att_V + Att_L) * V

    All but the last are depthwise: full 5 x 5 kernels alone would cost 27 M weights at the published widths.

    Args:
        channels: C.
        text_width: D of the word features; None leaves the language branch out.
        kernels: lengths d of the ConvUnits, odd; () for none.
        pixel_map, scale: see `LanguageBranch`.
    """

    def __init__(
        self,
        channels: int,
        text_width: int | None,
        *,
        kernels: Sequence[int] = (7, 11, 21),
        pixel_map: bool = True,
        scale: Scale = "text",
    ) -> None:
        super().__init__()
        self.pre = depthwise(channels, (5, 5))
        self.units = nn.ModuleDict(
            {str(d): nn.Sequential(depthwise(channels, (1, d)), depthwise(channels, (d, 1))) for d in kernels}
        )
        self.language: LanguageBranch | None = None
        if text_width is not None:
            self.language = LanguageBranch(channels, text_width, pixel_map=pixel_map, scale=scale)
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, tokens: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Weigh a map: (B, C, H, W) -> same shape.

        Args:
            x: (B, C, H, W).
            tokens, mask: (B, T, D) and (B, T), see `LanguageBranch`; without them its term drops out.
        """
        before = self.pre(x)
        attention = before
        for unit in self.units.values():
            attention = attention + unit(before)
        if self.language is not None and tokens is not None and mask is not None:
            attention = attention + self.language(before, tokens, mask)
        return self.mix(attention) * x
