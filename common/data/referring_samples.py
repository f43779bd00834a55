"""Samples of referring data: a picture, sentences and the masks of the lesions that they mean."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from ..errors import InputError
from .items import Case
from .referring_pictures import PictureReader, ReferringPicture
from .slices import Framing, SliceFrame

TARGET = "lesion"  # the name of what any sentence means, for tables and networks without words
# Whole slices, stretched to the field as the paper does, and left in the text is left in the picture.
REFERRING_FRAMING = Framing(crop="whole", mirrored=True)

Sentences = Literal["first", "all"]


class ReferringPictures(Dataset[dict[str, Any]]):
    """Endless draws of (picture, sentences); draw i is a function of (seed, i) alone.

    As many draws in a row as there are items take each item once, in a new order. With `prompts_per_picture`
    above 1, other lesions of the same picture are asked for beside the drawn ones, so that only the words
    tell the masks apart; where there are no others, it is asked again, in other words if there are any.
    Items that are `rotatable` are asked for together, so that the picture may be turned.

    Args:
        data: items; all are read once and kept in memory at the network's size (48 KiB for a grey picture of
            128 pixels and one lesion, 675 KiB at 480).
        size: side in pixels of the network's field. A lesion's mask keeps its area there, at least one pixel;
            what an item without `lesion` means counts as one lesion.
        length: draws that make an epoch; None takes each item once.
        prompts_per_picture: sentences asked of each picture.
        framing: what the network sees of a picture, as at work: whole slices.
        transform: dictionary transform over `image` (C, S, S) and `label` (K, S, S), e.g. MONAI's; a
            randomised one is seeded anew for each draw. Where it loses a lesion that is asked for, the sample
            stays as it was: the sentence still means something.
        seed: of all draws.
        progress: show a bar while reading.

    Raises:
        InputError: no item, a framing that crops, no prompt a picture, or see `PictureReader`.
    """

    def __init__(
        self,
        data: Sequence[Case],
        *,
        size: int,
        length: int | None = None,
        prompts_per_picture: int = 1,
        framing: Framing = REFERRING_FRAMING,
        transform: Any = None,
        seed: int = 0,
        progress: bool = True,
    ) -> None:
        if not data:
            raise InputError("train#dataset: found no training item; list at least one under 'training'.")
        _check_whole(framing)
        if prompts_per_picture < 1:
            raise InputError(
                f"prompts_per_picture: found {prompts_per_picture}, expected 1 or more; correct it."
            )
        self.data = list(data)
        self.length = len(self.data) if length is None else length
        self.prompts_per_picture = prompts_per_picture
        self.transform = transform
        self.seed = seed
        self._together: dict[tuple[Any, ...], list[int]] = {}  # items of each picture, rotatable or not
        self._images: dict[tuple[Any, ...], Tensor] = {}  # (C, S, S) float16
        self._masks: dict[tuple[Any, ...], Tensor] = {}  # (1, S, S) bool, of each lesion
        self._spacings: list[tuple[float, float]] = []
        self._square: list[bool] = []
        read = PictureReader()
        for index, item in enumerate(tqdm(self.data, "reading pictures", unit="item", disable=not progress)):
            picture = read(item)
            frame = framing.frame(picture.image, size)
            if _picture_key(item) not in self._images:
                self._images[_picture_key(item)] = _field(picture, framing, frame).half()
            for key, alone in _lesions(item):
                if key not in self._masks:
                    self._masks[key] = _mask_in_field(torch.from_numpy(picture.mask(alone)), frame)
            self._together.setdefault(_together_key(item), []).append(index)
            self._spacings.append(picture.image.spacing_mm[1:])
            self._square.append(_is_square(picture))

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Draw `index` >= 0: `image` (C, S, S), `label` (K, S, S), `prompt` and `target` lists of K.

        And whether it is `rotatable`, and its picture `square`; and where it comes from: `case` of the drawn
        item, `slice_index` (0 for a picture) and `spacing_mm` of rows and columns (1 for a picture, whose
        lengths are in pixels).
        """
        rng = np.random.default_rng((self.seed, index))
        anchor = self._anchor(index)
        apart = self._apart(anchor, rng)
        again = rng.integers(len(apart), size=self.prompts_per_picture - len(apart))
        chosen = [*apart, *(apart[number] for number in again)]
        item = self.data[anchor]
        sample = {
            "image": self._images[_picture_key(item)].float(),
            "label": torch.cat([self._mask(self.data[number]) for number in chosen]),
            "prompt": [_any_of(self.data[number].prompts, rng) for number in chosen],
            "target": [TARGET] * len(chosen),
            "rotatable": item.rotatable,
            "square": self._square[anchor],
            **_origin(item, self._spacings[anchor]),
        }
        if self.transform is None:
            return sample
        self.transform.set_random_state(seed=int(rng.integers(2**31)))
        transformed = self.transform(sample)
        before, after = (masks["label"].flatten(1).any(dim=1) for masks in (sample, transformed))
        return transformed if bool((after | ~before).all()) else sample

    def _mask(self, item: Case) -> Tensor:
        """(1, S, S) float32, 1 where any of its lesions is."""
        masks = [self._masks[key] for key, _ in _lesions(item)]
        if not masks:  # it means nothing here
            return torch.zeros(1, *self._images[_picture_key(item)].shape[-2:])
        return torch.stack(masks).any(dim=0).float()

    def _apart(self, anchor: int, rng: np.random.Generator) -> list[int]:
        """The drawn item and others of its picture, of which no two mean the same lesion."""
        chosen = [anchor]
        for other in rng.permutation(self._together[_together_key(self.data[anchor])]).tolist():
            if len(chosen) == self.prompts_per_picture:
                break
            shared = (self.data[other].shares_a_lesion(self.data[number]) for number in chosen)
            if other not in chosen and not any(shared):
                chosen.append(other)
        return chosen

    def _anchor(self, index: int) -> int:
        """The item of a draw: one after the other of a permutation for each round through all items."""
        round_, place = divmod(index, len(self.data))
        return int(np.random.default_rng((self.seed, round_, 1)).permutation(len(self.data))[place])


class ReferringCases(Dataset[dict[str, Any]]):
    """Items for evaluation: the picture at the network's size, the mask in the file's own grid.

    One item is read at a time, so a batch holds one.

    Args:
        data: items.
        size: side in pixels of the network's field.
        framing: what the network sees of a picture, as at work: whole slices.
        sentences: "first" asks for each item once, by its first sentence; "all" by each of its sentences.

    Items hold `image` (C, S, S) float32 in [0, 1], `label` (1, H, W) float32 of 0 and 1, both as words speak
    of the picture, `prompt` (a list of one), `target`, `case`, `slice_index` and `spacing_mm`.

    Raises:
        InputError: no item, a framing that crops, other `sentences`, or see `PictureReader`; all are read.
    """

    def __init__(
        self,
        data: Sequence[Case],
        *,
        size: int,
        framing: Framing = REFERRING_FRAMING,
        sentences: Sentences = "first",
    ) -> None:
        if not data:
            raise InputError(
                "validate#dataset: found no item; list at least one in this section of the datalist."
            )
        _check_whole(framing)
        if sentences not in get_args(Sentences):
            raise InputError(
                f"sentences: found {sentences!r}, expected {' or '.join(get_args(Sentences))}; correct it."
            )
        self.data = list(data)
        count = 1 if sentences == "first" else None
        self._asked = [(item, text) for item in self.data for text in dict.fromkeys(item.prompts[:count])]
        self.size = size
        self.framing = framing
        self._read = PictureReader()
        for item in self.data:  # else a training would end at its first validation
            self._read(item).mask(item)

    def __len__(self) -> int:
        return len(self._asked)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item, text = self._asked[index]
        picture = self._read(item)
        frame = self.framing.frame(picture.image, self.size)
        return {
            "image": _field(picture, self.framing, frame),
            "label": self._mask(item)[None].float(),
            "prompt": [text],
            "target": [TARGET],
            **_origin(item, picture.image.spacing_mm[1:]),
        }

    def beside(self, item: Case) -> list[Tensor]:
        """(H, W) bool of each other lesion that the data names in the item's picture, as `label` is turned.

        None where the item means several, or nothing; and none that overlaps it, as in a label map of another
        item may.
        """
        if item.lesions is not None and len(item.lesions) != 1:
            return []
        same = (other for other in self.data if _picture_key(other) == _picture_key(item))
        named = {key: alone for other in same for key, alone in _lesions(other)}
        own = self._mask(item)
        masks = [self._mask(alone) for alone in named.values()]
        return [mask for mask in masks if not (mask & own).any()]

    def _mask(self, item: Case) -> Tensor:
        """(H, W) bool."""
        picture = self._read(item)
        mask = torch.from_numpy(picture.mask(item))
        return mask.flip(-1) if self.framing.frame(picture.image, self.size).mirrored else mask


class MaskInOwnGridd(Transform):
    """Bring a prediction for an item of `ReferringCases` into the file's own grid, as a mask.

    `pred`, logits (1, S, S), becomes (1, H, W) float32 of 0 and 1; `label` becomes a MetaTensor whose affine
    holds `spacing_mm`, where MONAI's metrics look for it.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        logits, label = sample["pred"], sample["label"]
        sample["pred"] = in_own_grid(logits[None], label.shape[-2:])[0].float()
        sample["label"] = MetaTensor(
            label, affine=torch.diag(torch.tensor([*sample["spacing_mm"], 1.0, 1.0]))
        )
        return sample


def in_own_grid(logits: Tensor, shape: Sequence[int]) -> Tensor:
    """Logits (B, C, S, S) of whole pictures -> masks (B, C, H, W) bool in the grid of their labels.

    Args:
        shape: (H, W).
    """
    return SliceFrame.stretched(shape[0], shape[1], logits.shape[-1]).from_field(logits.float()) > 0


def _check_whole(framing: Framing) -> None:
    """Single slices are read here, and the box around the body in one is not that of its volume at work."""
    if framing.crop != "whole":
        raise InputError(
            f'framing#crop: found "{framing.crop}", expected "whole": training and evaluation with sentences '
            'see whole slices; set "crop": "whole".'
        )


def _mask_in_field(mask: Tensor, frame: SliceFrame) -> Tensor:
    """A lesion (H, W) bool, not empty -> (1, S, S) bool, not empty: the pixels it covers most, of its area.

    With the nearest pixel, 3 in 4 lesions of 2 x 2 pixels vanish from 512 to 128. If more than half of a
    pixel had to be covered, small ones would vanish and larger ones shrink, discs of 8 pixels to 0.77.
    """
    covered = frame.to_field(mask[None, None].float())[0]
    count = max(1, round(int(mask.sum()) * covered.numel() / mask.numel()))
    field = torch.zeros(covered.numel(), dtype=torch.bool)
    field[covered.flatten().topk(count).indices] = True
    return field.view_as(covered)


def _field(picture: ReferringPicture, framing: Framing, frame: SliceFrame) -> Tensor:
    """(C, S, S) float32 in [0, 1]."""
    planes = torch.from_numpy(picture.image.planes([0], channels=framing.channels))
    return framing.field(planes, frame, picture.image.value_range)[0]


def _picture_key(item: Case) -> tuple[Any, ...]:
    return item.image, item.slice_index


def _lesions(item: Case) -> list[tuple[tuple[Any, ...], Case]]:
    """Each lesion of an item: a key, the same for all items that mean it, and an item that means it alone."""
    each = [None] if item.lesions is None else [(lesion,) for lesion in item.lesions]
    return [((item.label, item.slice_index, lesion), replace(item, lesions=lesion)) for lesion in each]


def _is_square(picture: ReferringPicture) -> bool:
    """Whether a square field shows it without stretching: its height is its width, to 1 %."""
    height, width = (
        pixels * length
        for pixels, length in zip(picture.labels.shape, picture.image.spacing_mm[1:], strict=True)
    )
    return abs(height - width) <= 0.01 * width


def _together_key(item: Case) -> tuple[Any, ...]:
    return *_picture_key(item), item.rotatable


def _any_of(prompts: Sequence[str], rng: np.random.Generator) -> str:
    return prompts[int(rng.integers(len(prompts)))]


def _origin(item: Case, spacing_mm: tuple[float, float]) -> dict[str, Any]:
    return {"case": item.case, "slice_index": item.slice_index or 0, "spacing_mm": spacing_mm}
