"""Samples of referring data: a picture, sentences and the masks of the lesions that they mean."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from ..errors import InputError
from .referring import ReferringItem
from .referring_pictures import PictureFrame, PictureReader
from .slices import ABDOMEN_WINDOW_HU

TARGET = "lesion"  # the name of what any sentence means, for tables and networks without words
PIXEL_MM = (1.0, 1.0)  # of a file that has no spacing: lengths are in pixels


class ReferringPictures(Dataset[dict[str, Any]]):
    """Endless draws of (picture, sentences); draw i is a function of (seed, i) alone.

    As many draws in a row as there are items take each item once, in a new order. With `prompts_per_picture`
    above 1, other lesions of the same picture are asked for beside the drawn one, so that only the words
    tell the masks apart; where it has no others, it is asked for again, in other words if there are any.

    Args:
        data: items; all are read once and kept in memory at the network's size (48 KiB for a picture of 128
            pixels and one lesion, 675 KiB at 480).
        size: side in pixels of the network's field.
        length: draws that make an epoch; None takes each item once.
        prompts_per_picture: sentences asked of each picture.
        window_hu: (low, high) of volumes.
        transform: dictionary transform over `image` (1, S, S) and `label` (K, S, S), e.g. MONAI's; a
            randomised one is seeded anew for each draw.
        seed: of all draws.
        progress: show a bar while reading.

    Raises:
        InputError: no item, or see `PictureReader`.
    """

    def __init__(
        self,
        data: Sequence[ReferringItem],
        *,
        size: int,
        length: int | None = None,
        prompts_per_picture: int = 1,
        window_hu: tuple[float, float] = ABDOMEN_WINDOW_HU,
        transform: Any = None,
        seed: int = 0,
        progress: bool = True,
    ) -> None:
        if not data:
            raise InputError("train#dataset: found no training item; list at least one under 'training'.")
        self.data = list(data)
        self.length = len(self.data) if length is None else length
        self.prompts_per_picture = prompts_per_picture
        self.transform = transform
        self.seed = seed
        self._same: dict[tuple[Any, ...], list[int]] = {}  # items of each picture
        self._images: dict[tuple[Any, ...], Tensor] = {}  # (S, S) float16
        self._masks: list[Tensor] = []  # (S, S) bool, one an item
        self._spacings: list[tuple[float, float]] = []
        reader = PictureReader(window_hu=window_hu)
        for index, item in enumerate(tqdm(self.data, "reading pictures", unit="item", disable=not progress)):
            picture = reader(item)
            frame = picture.frame(size)
            if _picture(item) not in self._images:
                image = frame.to_field(torch.from_numpy(picture.image)[None, None])
                self._images[_picture(item)] = image[0, 0].half()
            mask = torch.from_numpy(picture.mask(item).astype(np.float32))
            self._masks.append(frame.to_field(mask[None, None], mode="nearest-exact")[0, 0].bool())
            self._same.setdefault(_picture(item), []).append(index)
            self._spacings.append(picture.spacing_mm or PIXEL_MM)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Draw `index` >= 0: `image` (1, S, S), `label` (K, S, S), `prompt` and `target` lists of K.

        And where it comes from: `case` of the drawn item, `slice_index` (0 for a picture), `spacing_mm`.
        """
        rng = np.random.default_rng((self.seed, index))
        anchor = self._anchor(index)
        same = self._same[_picture(self.data[anchor])]
        others = [other for other in same if other != anchor]
        chosen = [anchor, *rng.permutation(others).astype(int)[: self.prompts_per_picture - 1].tolist()]
        while len(chosen) < self.prompts_per_picture:
            chosen.append(same[rng.integers(len(same))])
        item = self.data[anchor]
        sample = {
            "image": self._images[_picture(item)][None].float(),
            "label": torch.stack([self._masks[number].float() for number in chosen]),
            "prompt": [_any_of(self.data[number].prompts, rng) for number in chosen],
            "target": [TARGET] * len(chosen),
            **_origin(item, self._spacings[anchor]),
        }
        if self.transform is None:
            return sample
        self.transform.set_random_state(seed=int(rng.integers(2**31)))
        return self.transform(sample)

    def _anchor(self, index: int) -> int:
        """The item of a draw: one after the other of a permutation for each round through all items."""
        round_, place = divmod(index, len(self.data))
        return int(np.random.default_rng((self.seed, round_, 1)).permutation(len(self.data))[place])


class ReferringCases(Dataset[dict[str, Any]]):
    """Items for evaluation: the picture at the network's size, the mask in the file's own grid.

    Each item is asked for by its first sentence. One item is read at a time, so a batch holds one.

    Args:
        data: items.
        size: side in pixels of the network's field.
        window_hu: (low, high) of volumes.

    Items hold `image` (1, S, S) float32 in [0, 1], `label` (1, H, W) float32 of 0 and 1, both as words speak
    of the picture, `prompt` (a list of one), `target`, `case`, `slice_index` and `spacing_mm`.

    Raises:
        InputError: no item, or (on reading one) see `PictureReader`.
    """

    def __init__(
        self,
        data: Sequence[ReferringItem],
        *,
        size: int,
        window_hu: tuple[float, float] = ABDOMEN_WINDOW_HU,
    ) -> None:
        if not data:
            raise InputError(
                "validate#dataset: found no item; list at least one in this section of the datalist."
            )
        self.data = list(data)
        self.size = size
        self._reader = PictureReader(window_hu=window_hu)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = self.data[index]
        picture = self._reader(item)
        frame = picture.frame(self.size)
        mask = torch.from_numpy(picture.mask(item).astype(np.float32))[None]
        return {
            "image": frame.to_field(torch.from_numpy(picture.image)[None, None])[0],
            "label": mask.flip(-1) if frame.mirrored else mask,
            "prompt": [item.prompts[0]],
            "target": [TARGET],
            **_origin(item, picture.spacing_mm or PIXEL_MM),
        }


class MaskInOwnGridd(Transform):
    """Bring a prediction for an item of `ReferringCases` into the file's own grid, as a mask.

    `pred`, logits (1, S, S), becomes (1, H, W) float32 of 0 and 1; `label` becomes a MetaTensor whose affine
    holds `spacing_mm`, where MONAI's metrics look for it.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        logits, label = sample["pred"], sample["label"]
        frame = PictureFrame(label.shape[-2], label.shape[-1], logits.shape[-1])
        sample["pred"] = (frame.from_field(logits[None].float())[0] > 0).float()
        sample["label"] = MetaTensor(label, affine=torch.diag(torch.tensor([*sample["spacing_mm"], 1.0, 1.0])))
        return sample


def _picture(item: ReferringItem) -> tuple[Any, ...]:
    return item.image, item.slice_index


def _any_of(prompts: Sequence[str], rng: np.random.Generator) -> str:
    return prompts[rng.integers(len(prompts))]


def _origin(item: ReferringItem, spacing_mm: tuple[float, float]) -> dict[str, Any]:
    return {"case": item.case, "slice_index": item.slice_index or 0, "spacing_mm": spacing_mm}
