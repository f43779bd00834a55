"""Augmentation of whole batches on the training device: geometry, intensities and noise."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from ..text.vocabulary import mentions_side

TURNS = ("none", "free", "all")
_OWN = 2  # draws of words and slices have the other streams of (seed, draw)


class _Drawn(NamedTuple):
    """What is done to B samples.

    Attributes:
        geometry: (B, 2, 3) float32, from the result's coordinates in [-1, 1] to the image's.
        moved: (B,) bool, whether the geometry is another than the image's own.
        factor, gamma: (B,) float32, 1 where nothing is done.
        noise: (C, S, S) float32 of some samples, by their place in the batch.
    """

    geometry: Tensor
    moved: Tensor
    factor: Tensor
    gamma: Tensor
    noise: Mapping[int, Tensor]


class Augmentation:
    """Augments a batch of `collate_slices`; what happens to draw i is a function of (seed, i) alone.

    Parameters and noise are drawn on the CPU, so that a GPU gives the same images to 1e-4, and neither the
    batch nor the process a draw is in changes it. All geometry is one resampling: bilinear of the image,
    the nearest pixel of the label maps, 0 outside. The masks of a slice share it.

    Args:
        seed: of all draws.
        affine: share of the draws that are turned, shifted and zoomed.
        turn_rad: largest angle.
        shift: largest shift along each axis, as a share of the side.
        zoom: largest change of the size along each axis, as a share.
        intensity, intensity_range: share of the draws whose intensities are multiplied by 1 +- this.
        gamma, gamma_range: share of the draws whose gamma is changed, and its lowest and highest value.
        noise, noise_std: share of the draws with Gaussian noise, and its largest standard deviation.
        flip: share of the draws that are mirrored left to right; never where a prompt names a side.
        turns: which samples are turned by quarters and mirrored, all eight ways as likely: "none", "free"
            (those that are `orientation_free`) or "all". One of the free that is not `square` is only turned
            by halves: a quarter would stretch it.
        keep_masks: leave the geometry of a sample as it is where it would lose a mask that is asked for.

    Raises:
        InputError: other `turns`.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        affine: float = 0.5,
        turn_rad: float = 0.17,
        shift: float = 0.0625,
        zoom: float = 0.1,
        intensity: float = 0.3,
        intensity_range: float = 0.1,
        gamma: float = 0.2,
        gamma_range: Sequence[float] = (0.8, 1.25),
        noise: float = 0.2,
        noise_std: float = 0.03,
        flip: float = 0.0,
        turns: str = "none",
        keep_masks: bool = False,
    ) -> None:
        if turns not in TURNS:
            raise InputError(f"turns: found {turns!r}, expected one of {', '.join(TURNS)}; choose one.")
        self.seed = seed
        self.affine, self.turn_rad, self.shift, self.zoom = affine, turn_rad, shift, zoom
        self.intensity, self.intensity_range = intensity, intensity_range
        self.gamma, self.gamma_range = gamma, gamma_range
        self.noise, self.noise_std = noise, noise_std
        self.flip, self.turns, self.keep_masks = flip, turns, keep_masks

    def __call__(self, image: Tensor, label: Tensor, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Augment.

        Args:
            image: (B, C, S, S) float32 in [0, 1], on any device.
            label: (B * K, 1, S, S), K masks for each image.
            batch: what `collate_slices` gave: `draw` and `prompt`, and of images with sentences
                `orientation_free` and `square`.

        Returns:
            Image and label of the same shapes.
        """
        drawn = self._drawn(batch, image.shape)
        image, label = self._moved(image, label, drawn)
        factor, gamma = (value.to(image.device).view(-1, 1, 1, 1) for value in (drawn.factor, drawn.gamma))
        image = (image.clamp(min=0.0) ** gamma) * factor
        for place, noise in drawn.noise.items():
            image[place] += noise.to(image.device)
        return image, label

    def _drawn(self, batch: Mapping[str, Any], shape: Sequence[int]) -> _Drawn:
        draws, prompts = batch["draw"], batch["prompt"]
        low, high = self.gamma_range
        each = len(prompts) // len(draws)
        geometry, factors, gammas, noises = [], [], [], {}
        for place, draw in enumerate(draws):
            rng = np.random.default_rng((self.seed, int(draw), _OWN))
            texts = [*prompts[place * each : (place + 1) * each], *batch["target"][place * each :][:each]]
            sided = self.flip > 0 and any(mentions_side(text) for text in texts)
            free = self.turns == "all" or (self.turns == "free" and batch["orientation_free"][place])
            square = self.turns == "all" or (free and batch["square"][place])
            geometry.append(self._matrix(rng, sided=sided, free=free, square=square))
            factors.append(1 + self._one(rng, self.intensity, -self.intensity_range, self.intensity_range, 0))
            gammas.append(self._one(rng, self.gamma, low, high, 1))
            if rng.random() < self.noise:
                noises[place] = self._noise(rng, shape[1:])
        matrices = torch.tensor(np.stack(geometry), dtype=torch.float32)
        moved = (matrices != torch.eye(2, 3)).flatten(1).any(dim=1)
        return _Drawn(matrices, moved, torch.tensor(factors).float(), torch.tensor(gammas).float(), noises)

    def _noise(self, rng: np.random.Generator, shape: Sequence[int]) -> Tensor:
        std = rng.uniform(0, self.noise_std)
        return torch.from_numpy(rng.standard_normal(tuple(shape), dtype=np.float32)).mul_(std)

    @staticmethod
    def _one(rng: np.random.Generator, share: float, low: float, high: float, otherwise: float) -> float:
        """A number between `low` and `high` in a share of the draws; always two random numbers."""
        chosen, value = rng.random() < share, float(rng.uniform(low, high))
        return value if chosen else otherwise

    def _matrix(self, rng: np.random.Generator, *, sided: bool, free: bool, square: bool) -> np.ndarray:
        """(2, 3): quarter turns and mirroring first, then turn, zoom and shift."""
        matrix = np.eye(2)
        quarters, mirrored, flipped = int(rng.integers(4)), rng.random() < 0.5, rng.random() < self.flip
        if free:
            turns = quarters if square else quarters // 2 * 2
            matrix = np.linalg.matrix_power(np.array([[0.0, -1.0], [1.0, 0.0]]), turns)
        if (free and mirrored) or (flipped and not sided):
            matrix = matrix @ np.diag([-1.0, 1.0])
        shift = np.zeros(2)
        moved, angle = rng.random() < self.affine, rng.uniform(-self.turn_rad, self.turn_rad)
        zoom, far = rng.uniform(-self.zoom, self.zoom, 2), rng.uniform(-self.shift, self.shift, 2)
        if moved:
            cosine, sine = math.cos(angle), math.sin(angle)
            matrix = matrix @ np.array([[cosine, -sine], [sine, cosine]]) @ np.diag(1 / (1 + zoom))
            shift = 2 * far  # coordinates run from -1 to 1
        return np.concatenate([matrix, shift[:, None]], axis=1)

    def _moved(self, image: Tensor, label: Tensor, drawn: _Drawn) -> tuple[Tensor, Tensor]:
        """Image and label in the drawn geometry; the samples that it leaves alone are copied."""
        places = drawn.moved.nonzero().flatten().to(image.device)
        if not len(places):
            return image.clone(), label
        masks = label.view(len(image), -1, *label.shape[-2:])
        grid = F.affine_grid(
            drawn.geometry.to(image.device)[places], [len(places), 1, *image.shape[-2:]], align_corners=False
        )
        new_image = F.grid_sample(image[places], grid, mode="bilinear", align_corners=False)
        new_masks = F.grid_sample(masks[places], grid, mode="nearest", align_corners=False)
        if self.keep_masks:
            before, after = (found.flatten(2).any(dim=2) for found in (masks[places], new_masks))
            kept = (after | ~before).all(dim=1)
            places, new_image, new_masks = places[kept], new_image[kept], new_masks[kept]
        image = image.index_copy(0, places, new_image)
        return image, masks.index_copy(0, places, new_masks).view_as(label)
