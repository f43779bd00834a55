"""Training samples: an axial slice, a few organs' descriptions and their masks."""

from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.utils import convert_to_tensor
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from tqdm import tqdm

from ..errors import InputError
from ..text.vocabulary import Organ, Vocabulary
from .datalist import Case
from .slices import ABDOMEN_WINDOW_HU, SliceFrame, window
from .volumes import check_same_grid, read_labels, read_volume


@dataclass(frozen=True)
class FramedCase:
    """All slices of a case at the network's size, in compact types.

    Attributes:
        images: (D, S, S) float16 in [0, 1].
        labels: (D, S, S) uint8 label numbers, 0 for all that is not trained on.
        present: {label number: slices (n,) that hold at least one of its pixels}.
        annotated: label numbers that were annotated in this case, so that their absence means something.
        case: id.
        spacing_mm: of the volume, along (D, H, W).
    """

    images: Tensor
    labels: Tensor
    present: dict[int, np.ndarray]
    annotated: tuple[int, ...]
    case: str
    spacing_mm: tuple[float, float, float]


def frame_case(
    case: Case, *, size: int, label_names: dict[int, str], window_hu: tuple[float, float] = ABDOMEN_WINDOW_HU
) -> FramedCase:
    """Read a case, window it and bring it to `size` x `size` pixels.

    Raises:
        InputError: no label file, unreadable files, or image and labels on different grids.
    """
    if case.label is None:
        raise InputError(f"{case.image}: this case has no label file, but training needs one; add 'label'.")
    image, labels = read_volume(case.image), read_labels(case.label)
    check_same_grid(labels, image)
    frame = SliceFrame.fit(image.slices, image.spacing_mm[1:], size)
    windowed = window(torch.from_numpy(np.ascontiguousarray(image.slices)), window_hu)
    framed = frame.to_field(windowed[:, None])[:, 0].half()
    asked = np.where(np.isin(labels.slices, list(label_names)), labels.slices, 0)  # others may exceed uint8
    label_slices = torch.from_numpy(asked.astype(np.float32))
    framed_labels = frame.to_field(label_slices[:, None], mode="nearest-exact")[:, 0].byte()
    numbers = {name: number for number, name in label_names.items()}
    annotated = tuple(numbers[name] for name in case.targets if name in numbers)
    present = {
        number: np.flatnonzero((framed_labels == number).flatten(1).any(1).numpy()) for number in annotated
    }
    return FramedCase(framed, framed_labels, present, annotated, case.case, image.spacing_mm)


class OrganSlices(Dataset[dict[str, Any]]):
    """Endless draws of (slice, organs, descriptions); draw i is a function of (seed, i) alone.

    A draw picks an organ (all equally likely), then a slice: with `negative_rate` one where the organ is
    annotated but absent, otherwise one that holds it. The other `prompts_per_slice - 1` organs are drawn
    from those annotated in that case, present or not, so that prompts of one slice share its image pass.
    Each organ is asked for by its name, a synonym or a description.

    Args:
        data: cases; all are read once and kept in memory at the network's size (a slice of 128 pixels
            takes 48 KiB).
        label_names: {label number: organ name} of the organs to train on.
        size: side in pixels of the network's field.
        length: draws that make an epoch.
        prompts_per_slice: organs asked for on each slice, at most as many as there are labels.
        negative_rate: share of draws whose first organ is absent from the slice.
        level_block: draws in a row that share a level when it is "mixed"; give the batch size, so that names
            of five word pieces are not padded to descriptions of sixty.
        text_level: "simple" (name, synonyms), "complex" (descriptions) or "mixed" (both equally likely).
        window_hu: (low, high).
        transform: dictionary transform over `image` (1, S, S) and `label` (K, S, S), e.g. MONAI's; a
            randomised one is seeded anew for each draw.
        seed: of all draws.
        progress: show a bar while reading.

    Raises:
        InputError: no case, an organ without a single labelled slice, or a name not in the vocabulary.
    """

    def __init__(
        self,
        data: Sequence[Case],
        *,
        label_names: dict[int, str],
        size: int,
        length: int,
        prompts_per_slice: int = 4,
        negative_rate: float = 0.25,
        text_level: str = "mixed",
        level_block: int = 1,
        window_hu: tuple[float, float] = ABDOMEN_WINDOW_HU,
        transform: Any = None,
        seed: int = 0,
        progress: bool = True,
    ) -> None:
        if not data:
            raise InputError("train#dataset: found no training case; list at least one under 'training'.")
        self.length = length
        self.negative_rate = negative_rate
        self.text_level = text_level
        self.level_block = level_block
        self.transform = transform
        self.seed = seed
        vocabulary = Vocabulary.load()
        self.organs = {number: vocabulary.organ_or_own(name) for number, name in label_names.items()}
        self.prompts_per_slice = min(prompts_per_slice, len(self.organs))
        self.cases = [
            frame_case(case, size=size, label_names=label_names, window_hu=window_hu)
            for case in tqdm(data, desc="reading cases", unit="case", disable=not progress)
        ]
        self._with, self._without = self._index()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Draw `index` >= 0: `image` (1, S, S), `label` (K, S, S), `prompt` and `target` lists of K.

        And where it comes from: `case`, `slice_index` and the volume's `spacing_mm` along (D, H, W).
        """
        rng = np.random.default_rng((self.seed, index))
        numbers = list(self.organs)
        anchor = numbers[rng.integers(len(numbers))]
        pairs = self._with[anchor]
        if len(self._without[anchor]) and rng.random() < self.negative_rate:
            pairs = self._without[anchor]
        case_index, slice_index = pairs[rng.integers(len(pairs))]
        case = self.cases[case_index]
        others = [number for number in case.annotated if number != anchor]
        chosen = [anchor, *rng.permutation(others)[: self.prompts_per_slice - 1].tolist()]
        while len(chosen) < self.prompts_per_slice:  # few organs annotated here: ask again in other words
            chosen.append(case.annotated[rng.integers(len(case.annotated))])
        sample = {
            "image": case.images[slice_index][None].float(),
            "label": torch.stack([(case.labels[slice_index] == number).float() for number in chosen]),
            "prompt": [self._words(self.organs[number], self._level(index), rng) for number in chosen],
            "target": [self.organs[number].name for number in chosen],
            "case": case.case,
            "slice_index": int(slice_index),
            "spacing_mm": case.spacing_mm,
        }
        if self.transform is None:
            return sample
        self.transform.set_random_state(seed=int(rng.integers(2**31)))
        return self.transform(sample)

    def _level(self, index: int) -> str:
        if self.text_level != "mixed":
            return self.text_level
        block = np.random.default_rng((self.seed, index // self.level_block, 1))
        return ("simple", "complex")[block.integers(2)]

    @staticmethod
    def _words(organ: Organ, level: str, rng: np.random.Generator) -> str:
        texts = organ.texts(level)
        return texts[rng.integers(len(texts))]

    def _index(self) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
        """(n, 2) arrays of (case, slice) that hold each label, and that are known not to."""
        having: dict[int, np.ndarray] = {}
        lacking: dict[int, np.ndarray] = {}
        for number, organ in self.organs.items():
            present, absent = [np.empty((0, 2), int)], [np.empty((0, 2), int)]
            for index, case in enumerate(self.cases):
                if number not in case.annotated:
                    continue
                rest = np.setdiff1d(np.arange(len(case.images)), case.present[number])
                for collected, slices in ((present, case.present[number]), (absent, rest)):
                    collected.append(np.stack([np.full(len(slices), index), slices], axis=1))
            having[number], lacking[number] = np.concatenate(present), np.concatenate(absent)
            if not len(having[number]):
                raise InputError(
                    f"labels: no training case has a voxel of '{organ.name}' (label {number}); "
                    "remove it from 'labels' or add a case that has it."
                )
        return having, lacking


def collate_slices(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """B samples of K prompts -> `image` (B, 1, S, S), `label` (B * K, 1, S, S), lists of B * K and of B.

    `spacing_mm` becomes one tensor (B, axes), since MONAI's engines would take lists apart the other way.

    The tensors are plain ones: MONAI's transforms give MetaTensors, whose bookkeeping made a training step
    of Med-VLM compact 8 % slower (0.447 s instead of 0.413 s, one CPU thread).
    """
    images, labels = (
        [convert_to_tensor(sample[key], track_meta=False) for sample in samples] for key in ("image", "label")
    )
    return {
        "image": torch.stack(images),
        "label": torch.cat(labels)[:, None],
        "prompt": [prompt for sample in samples for prompt in sample["prompt"]],
        "target": [target for sample in samples for target in sample["target"]],
        **{key: [sample[key] for sample in samples] for key in ("case", "slice_index")},
        "spacing_mm": torch.tensor([sample["spacing_mm"] for sample in samples], dtype=torch.float64),
    }


class EpochSampler(Sampler[int]):
    """Draw numbers, epoch after epoch: epoch e gives e * n to (e + 1) * n - 1, shared out over the ranks.

    With a dataset whose draw is a function of its number, what an epoch holds depends on nothing else.
    """

    def __init__(self, dataset: Sized, *, rank: int = 0, world_size: int = 1) -> None:
        self.length = len(dataset)
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    def __len__(self) -> int:
        return self.length // self.world_size

    def __iter__(self) -> Iterator[int]:
        start = self.epoch * self.length
        self.epoch += 1
        return iter(range(start + self.rank, start + len(self) * self.world_size, self.world_size))
