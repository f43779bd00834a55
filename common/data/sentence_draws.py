"""Training samples of sentences: an image or a slice, and the masks of the lesions that they mean."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from ..errors import InputError
from .draws import steps_per_epoch
from .evaluation_cases import LESION, lesions_of
from .faults import Faults
from .framing import Framing
from .item_levels import any_text
from .items import Case
from .labelled import LabelledImage, LabelledReader
from .readers import check_images
from .slices import SliceFrame

if TYPE_CHECKING:
    from ..networks.base import TextSegmenter


class ReferringImages(Dataset[dict[str, Any]]):
    """Endless draws of (image, sentences); draw i is a function of (seed, i) alone.

    As many draws in a row as there are items take each item once, in a new order. With `prompts_per_image`
    above 1, other lesions of the same image are asked for beside the drawn ones, so that only the words
    tell the masks apart; where there are no others, it is asked again, in other words if there are any.
    Items that are `orientation_free` are asked for together, so that the image may be turned.

    Args:
        data: items, each asked by one of its prompts, see `any_text`. All are read once and kept in memory
            at the network's size (48 KiB for a grey image of 128 pixels and one lesion, 675 KiB at 480).
        network: whose field the images are brought to. A lesion's mask keeps its area there, at least one
            pixel; what an item without `lesion` means counts as one lesion.
        length: draws that make an epoch; None takes each item once.
        prompts_per_image: sentences asked of each image.
        transform: dictionary transform over `image` (C, S, S) and `label` (K, S, S), e.g. MONAI's; a
            randomised one is seeded anew for each draw. Where it loses a lesion that is asked for, the sample
            stays as it was: the sentence still means something.
        seed: of all draws.
        progress: show a bar while reading.
        prompts_per_picture: former name of `prompts_per_image`, which it replaces with a warning.

    Raises:
        InputError: no item, one that the network does not take, no prompt an image, or see `LabelledReader`.
    """

    def __init__(
        self,
        data: Sequence[Case],
        *,
        network: "TextSegmenter",
        length: int | None = None,
        prompts_per_image: int = 1,
        transform: Any = None,
        seed: int = 0,
        progress: bool = True,
        prompts_per_picture: int | None = None,
    ) -> None:
        if prompts_per_picture is not None:
            warnings.warn("prompts_per_picture is now called prompts_per_image.", FutureWarning, stacklevel=2)
            prompts_per_image = prompts_per_picture
        if not data:
            raise InputError("train#dataset: found no training item; list at least one under 'training'.")
        if prompts_per_image < 1:
            raise InputError(f"prompts_per_image: found {prompts_per_image}, expected 1 or more.")
        check_images([item.image for item in data], images_2d=network.framing.images)
        self.data = list(data)
        self.length = len(self.data) if length is None else length
        self.prompts_per_image = prompts_per_image
        self.transform = transform
        self.seed = seed
        self._size = network.image_size
        self._together: dict[tuple[Any, ...], list[int]] = {}  # items of each image, orientation_free or not
        self._images: dict[tuple[Any, ...], Tensor] = {}  # (C, S, S) float16
        self._masks: dict[tuple[Any, ...], Tensor] = {}  # (1, S, S) bool, of each lesion
        self._spacings: list[tuple[float, float]] = []
        self._square: list[bool] = []
        read, framing = LabelledReader(), network.framing
        faults = Faults("training items")
        for index, item in enumerate(tqdm(self.data, "reading images", unit="item", disable=not progress)):
            with faults.collected():
                self._take(index, item, read, framing)
        faults.check()

    def _take(self, index: int, item: Case, read: LabelledReader, framing: Framing) -> None:
        """Read an item and keep what it shows and means."""
        labelled = read(item)
        plane = item.slice_index or 0
        labelled.meant(item)  # refuses what cannot be meant
        frame = framing.frame(labelled.image, self._size)
        if _image_key(item) not in self._images:
            framing.warn_if_contradicted(labelled.image)
            self._images[_image_key(item)] = framing.field(labelled.image, [plane], frame)[0].half()
        for key, alone in lesions_of(item):
            if key not in self._masks:
                mask = labelled.meant(alone).mask()[plane]
                self._masks[key] = _mask_in_field(torch.from_numpy(mask), frame)
        self._together.setdefault(_together_key(item), []).append(index)
        self._spacings.append(labelled.image.spacing_mm[1:])
        stretched = framing.crop == "whole" or not labelled.image.in_mm
        self._square.append(not stretched or _is_square(labelled))

    def __len__(self) -> int:
        return self.length

    def steps(self, batch_size: int) -> int:
        """Steps that an epoch takes, see `steps_per_epoch`."""
        return steps_per_epoch(self.length, batch_size)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Draw `index` >= 0: `image` (C, S, S), `label` (K, S, S), `prompt` and `target` lists of K.

        And whether it is `orientation_free`, and its image `square`; and where it comes from: `case` of the
        drawn item, `slice_index` (0 for a 2D image) and `spacing_mm` of rows and columns (1 for a 2D image,
        whose lengths are in pixels).
        """
        rng = np.random.default_rng((self.seed, index))
        anchor = self._anchor(index)
        apart = self._apart(anchor, rng)
        again = rng.integers(len(apart), size=self.prompts_per_image - len(apart))
        chosen = [*apart, *(apart[number] for number in again)]
        item = self.data[anchor]
        sample = {
            "image": self._images[_image_key(item)].float(),
            "label": torch.cat([self._mask(self.data[number]) for number in chosen]),
            "prompt": [any_text(self.data[number], rng) for number in chosen],
            "target": [LESION] * len(chosen),
            "draw": index,
            "orientation_free": item.orientation_free,
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
        masks = [self._masks[key] for key, _ in lesions_of(item)]
        if not masks:  # it means nothing here
            return torch.zeros(1, self._size, self._size)
        return torch.stack(masks).any(dim=0).float()

    def _apart(self, anchor: int, rng: np.random.Generator) -> list[int]:
        """The drawn item and others of its image, of which no two mean the same lesion."""
        chosen = [anchor]
        for other in rng.permutation(self._together[_together_key(self.data[anchor])]).tolist():
            if len(chosen) == self.prompts_per_image:
                break
            shared = (self.data[other].shares_a_lesion(self.data[number]) for number in chosen)
            if other not in chosen and not any(shared):
                chosen.append(other)
        return chosen

    def _anchor(self, index: int) -> int:
        """The item of a draw: one after the other of a permutation for each round through all items."""
        round_, place = divmod(index, len(self.data))
        return int(np.random.default_rng((self.seed, round_, 1)).permutation(len(self.data))[place])


def _mask_in_field(mask: Tensor, frame: SliceFrame) -> Tensor:
    """A lesion (H, W) bool -> (1, S, S) bool: the pixels it covers most, of its area, one at least.

    With the nearest pixel, 3 in 4 lesions of 2 x 2 pixels vanish from 512 to 128. If more than half of a
    pixel had to be covered, small ones would vanish and larger ones shrink, discs of 8 pixels to 0.77.
    """
    covered = frame.to_field(mask[None, None].float())[0]
    boxed = frame.crop(mask)
    share = frame.inner_height * frame.inner_width / boxed.numel()
    count = max(1, round(int(boxed.sum()) * share)) if boxed.any() else 0
    field = torch.zeros(covered.numel(), dtype=torch.bool)
    field[covered.flatten().topk(count).indices] = True
    return field.view_as(covered)


def _image_key(item: Case) -> tuple[Any, ...]:
    return item.image, item.slice_index


def _is_square(labelled: LabelledImage) -> bool:
    """Whether a square field shows it without stretching: its height is its width, to 1 %."""
    height, width = (
        pixels * length
        for pixels, length in zip(labelled.labels.shape[1:], labelled.image.spacing_mm[1:], strict=True)
    )
    return abs(height - width) <= 0.01 * width


def _together_key(item: Case) -> tuple[Any, ...]:
    return *_image_key(item), item.orientation_free


def _origin(item: Case, spacing_mm: tuple[float, float]) -> dict[str, Any]:
    return {"case": item.case, "slice_index": item.slice_index or 0, "spacing_mm": spacing_mm}
