"""Training samples: an axial slice, a few organs' descriptions and their masks."""

import logging
import os
from collections.abc import Container, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import ignite.distributed as idist
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from ..errors import InputError
from ..text.phrases import Phrasing
from ..text.vocabulary import Organ, Vocabulary
from .draws import steps_per_epoch
from .faults import Faults
from .framed_cases import SliceSource, frame_case, open_store
from .items import Case
from .labelled import check_absent
from .readers import check_images

if TYPE_CHECKING:
    from ..networks.base import TextSegmenter

_log = logging.getLogger(__name__)

MIXED_LEVELS = ("simple", "sentence", "complex")
Pair = tuple[int, int]  # which case, and which of its slices
_NO_SLICES = np.empty(0, int)
_NO_NUMBERS = torch.empty(0, dtype=torch.uint8)  # in the label map, of what is not there


class OrganSlices(Dataset[dict[str, Any]]):
    """Endless draws of (slice, organs, descriptions); draw i is a function of (seed, i) alone.

    A draw picks an organ (all equally likely), then a slice: with `negative_rate` one where the organ is
    annotated but absent, otherwise one that holds it. The other `prompts_per_slice - 1` organs are drawn
    from those annotated in that case, present or not, so that prompts of one slice share its image pass.
    Each organ is asked for in words that `Phrasing` draws. Where a case names organs that it has not, one of
    them takes the last prompt's place in a share of `absent_rate` of its draws, with an empty mask; never
    that of the organ that was drawn first, so with one prompt a slice there are none.

    A case in which no organ is annotated, but which names some that it has not, is asked for those alone, in
    any slice. Such a case comes as often as any other, times `absent_rate`.

    With `length` None an epoch takes each slice with each organ that it holds once, in a new order: then the
    organ that is drawn first is never absent, and organs of many slices come often. Draws of cases that only
    name absent organs come between, in their share of all draws.

    Args:
        data: cases; each is read once and kept at the network's size. One about a slice has that slice alone.
        labels: {organ's name: its numbers in the label maps} of the organs to train on. A voxel may belong
            to several organs, as a tumour's to the liver too.
        network: into whose field the slices are brought.
        length: draws that make an epoch; None takes each (slice, organ that it holds) once.
        prompts_per_slice: organs asked for on each slice, at most as many as there are labels.
        negative_rate: share of draws whose first organ is absent from the slice; 0 where `length` is None.
        absent_rate: share of draws whose last organ is absent from the whole case, where it names such; 0
            leaves out cases in which no organ is annotated.
        level_block: draws in a row of each process that share a level when it is "mixed"; give the batch
            size, so that names of five word pieces are not padded to descriptions of sixty.
        text_level: a level of `Phrasing`, or "mixed": simple, sentence and complex, equally likely.
        noise: share of the prompts with misspelt words.
        transform: dictionary transform over `image` (C, S, S) and `label` (K, S, S), e.g. MONAI's; a
            randomised one is seeded anew for each draw.
        seed: of all draws.
        progress: show a bar while reading.
        store: folder to keep the slices in (see `open_store`), for more cases than the memory holds; None
            keeps them in memory (a slice of 128 pixels takes 48 KiB, one of 512 pixels 768 KiB).

    Raises:
        InputError: no case; one that the network does not take, with sentences or with voxels of what it says
            is absent; an organ without a single labelled slice; or a negative_rate beside a `length` of None.
    """

    def __init__(
        self,
        data: Sequence[Case],
        *,
        labels: Mapping[str, Sequence[int]],
        network: "TextSegmenter",
        length: int | None,
        prompts_per_slice: int = 4,
        negative_rate: float = 0.25,
        absent_rate: float = 0.5,
        text_level: str = "mixed",
        noise: float = 0.0,
        level_block: int = 1,
        transform: Any = None,
        seed: int = 0,
        progress: bool = True,
        store: str | os.PathLike[str] | None = None,
    ) -> None:
        if not data:
            raise InputError("train#dataset: found no training case; list at least one under 'training'.")
        if length is None and negative_rate:
            raise InputError(
                f"negative_rate: found {negative_rate} with draws_per_epoch null, expected 0, since each "
                "slice is then drawn once with each organ that it holds; set it to 0, or give "
                "draws_per_epoch."
            )
        for item in data:
            _refuse_sentences(item)
        check_images([item.image for item in data], images_2d=network.framing.images)
        self.negative_rate = negative_rate
        self.absent_rate = absent_rate
        levels = MIXED_LEVELS if text_level == "mixed" else (text_level,)
        self.phrasings = [Phrasing(level, noise) for level in levels]
        self.level_block = level_block * idist.get_world_size()
        self.transform = transform
        self.seed = seed
        self.vocabulary = vocabulary = Vocabulary.load()
        self.absent = [[vocabulary.organ_or_own(name) for name in case.absent] for case in data]
        self.organs = [vocabulary.organ_or_own(name) for name in labels]
        self.numbers = [torch.tensor(numbers, dtype=torch.uint8) for numbers in labels.values()]
        self.prompts_per_slice = min(prompts_per_slice, len(self.organs))
        places = {name: place for place, name in enumerate(labels)}
        self.annotated = [[places[name] for name in case.targets if name in places] for case in data]
        progress = progress and idist.get_rank() == 0
        self.cases: Sequence[SliceSource]
        if store is None:
            self.cases, faults = [], Faults("training cases")
            for item in tqdm(data, desc="reading cases", unit="case", disable=not progress):
                with faults.collected():
                    self.cases.append(frame_case(item, size=network.image_size, framing=network.framing))
            faults.check()
        else:
            start = idist.get_rank() * len(data) // idist.get_world_size()
            self.cases = open_store(
                store,
                data,
                size=network.image_size,
                framing=network.framing,
                progress=progress,
                start=start,
            )
        faults = Faults("training cases")
        for item, case in zip(data, self.cases, strict=True):
            with faults.collected():
                check_absent(item, labels, partial(_any_among, case.present), vocabulary)
        faults.check()
        self._size = network.image_size
        self._with, self._without = self._index()
        self._ends = np.cumsum([len(self._with[place]) for place in range(len(self.organs))])
        named = [index for index in range(len(data)) if self.absent[index] and not self.annotated[index]]
        self._bare = named if absent_rate else []
        self._bare_share = absent_rate * len(self._bare) / len(data)
        self._round = round(int(self._ends[-1]) / (1 - self._bare_share))  # below 1: some case has an organ
        self._once = length is None
        self.length = self._round if length is None else length

    def __len__(self) -> int:
        return self.length

    def texts(self) -> list[str]:
        """All texts that draws may ask with, sorted."""
        organs = [*self.organs, *(organ for absent in self.absent for organ in absent)]
        tables = (
            phrasing.texts(organ, self.vocabulary)
            for organ in {organ.name: organ for organ in organs}.values()
            for phrasing in self.phrasings
        )
        return sorted(set().union(*tables))

    def steps(self, batch_size: int) -> int:
        """Steps that an epoch takes, see `steps_per_epoch`."""
        return steps_per_epoch(self.length, batch_size)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Draw `index` >= 0: `image` (C, S, S), `label` (K, S, S), `prompt` and `target` lists of K.

        And where it comes from: `case`, `slice_index` and the volume's `spacing_mm` along (D, H, W).
        """
        rng = np.random.default_rng((self.seed, index))
        anchor, (case_index, slice_index) = self._next(index, rng) if self._once else self._any(rng)
        asked = self._absent(case_index, rng) if anchor is None else self._asked(case_index, anchor, rng)
        case, organs = self.cases[case_index], [organ for organ, _ in asked]
        image, labels = case.read(slice_index)
        phrasing = self._phrasing(index)
        names = [organ.name for organ in organs]
        sample = {
            "image": image.float(),
            "label": torch.stack([torch.isin(labels, numbers).float() for _, numbers in asked]),
            "prompt": [phrasing.draw(organ, self.vocabulary, rng, beside=names) for organ in organs],
            "target": names,
            "draw": index,
            "case": case.case,
            "slice_index": case.first + slice_index,
            "spacing_mm": case.spacing_mm,
        }
        if self.transform is None:
            return sample
        # A generator of its own: whatever words are drawn, the image is the same.
        own = np.random.default_rng((self.seed, index, 2))
        self.transform.set_random_state(seed=int(own.integers(2**31)))
        return self.transform(sample)

    def _asked(self, case: int, anchor: int, rng: np.random.Generator) -> list[tuple[Organ, Tensor]]:
        """The organ that was drawn first and others of its case, each with its label numbers."""
        annotated = self.annotated[case]
        others = [organ for organ in annotated if organ != anchor]
        chosen = [anchor, *rng.permutation(others)[: self.prompts_per_slice - 1].tolist()]
        while len(chosen) < self.prompts_per_slice:  # few organs annotated here: ask again in other words
            chosen.append(annotated[rng.integers(len(annotated))])
        asked = [(self.organs[place], self.numbers[place]) for place in chosen]
        absent = self.absent[case] if len(asked) > 1 else []
        if absent and rng.random() < self.absent_rate:
            asked[-1] = absent[rng.integers(len(absent))], _NO_NUMBERS
        return asked

    def _absent(self, case: int, rng: np.random.Generator) -> list[tuple[Organ, Tensor]]:
        """Organs that a case has not, again in other words where it names few."""
        absent = self.absent[case]
        chosen = rng.permutation(len(absent))[: self.prompts_per_slice].tolist()
        chosen += rng.integers(len(absent), size=self.prompts_per_slice - len(chosen)).tolist()
        return [(absent[place], _NO_NUMBERS) for place in chosen]

    def _any(self, rng: np.random.Generator) -> tuple[int | None, Pair]:
        """An organ, and (case, slice) that holds it, or lacks it; None beside a case that only lacks some."""
        if self._bare and rng.random() < self._bare_share:
            return None, self._of_bare(rng)
        anchor = int(rng.integers(len(self.organs)))
        pairs = self._with[anchor]
        if len(self._without[anchor]) and rng.random() < self.negative_rate:
            pairs = self._without[anchor]
        return anchor, _pair(pairs[rng.integers(len(pairs))])

    def _of_bare(self, rng: np.random.Generator) -> Pair:
        """A (case, slice) of those in which no organ is annotated."""
        case = self._bare[rng.integers(len(self._bare))]
        return case, int(rng.integers(len(self.cases[case])))

    def _next(self, index: int, rng: np.random.Generator) -> tuple[int | None, Pair]:
        """As `_any`: one pair after the other of a permutation for each round through all pairs."""
        round_, place = divmod(index, self._round)
        number = np.random.default_rng((self.seed, round_, 3)).permutation(self._round)[place]
        if number >= self._ends[-1]:
            return None, self._of_bare(rng)
        anchor = int(np.searchsorted(self._ends, number, side="right"))
        return anchor, _pair(self._with[anchor][number - self._ends[anchor]])

    def _phrasing(self, index: int) -> Phrasing:
        block = np.random.default_rng((self.seed, index // self.level_block, 1))
        return self.phrasings[block.integers(len(self.phrasings))]

    def _index(self) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
        """(n, 2) arrays of (case, slice) that hold each organ, and that are known not to."""
        having: dict[int, np.ndarray] = {}
        lacking: dict[int, np.ndarray] = {}
        for place, (organ, numbers) in enumerate(zip(self.organs, self.numbers, strict=True)):
            present, absent = [np.empty((0, 2), int)], [np.empty((0, 2), int)]
            lost, cases_lost = 0, 0
            for index, case in enumerate(self.cases):
                if place not in self.annotated[index]:
                    continue
                found, vanished = (_slices_of(numbers, by) for by in (case.present, case.vanished))
                gone = np.setdiff1d(vanished, found)
                lost, cases_lost = lost + len(gone), cases_lost + (len(gone) > 0)
                rest = np.setdiff1d(np.arange(len(case)), found)
                for collected, slices in ((present, found), (absent, rest)):
                    collected.append(np.stack([np.full(len(slices), index), slices], axis=1))
            having[place], lacking[place] = np.concatenate(present), np.concatenate(absent)
            self._check_left(organ.name, numbers, left=len(having[place]), lost=lost, cases=cases_lost)
        return having, lacking

    def _check_left(self, organ: str, numbers: Tensor, *, left: int, lost: int, cases: int) -> None:
        """Refuse an organ of which no slice is left in the field; say where most of them are lost.

        Args:
            left, lost: slices that hold it in the field, and in the label maps alone.
            cases: that lose some.
        """
        label = ", ".join(map(str, numbers.tolist()))
        if not left and not lost:
            raise InputError(
                f"labels: no training case has a voxel of '{organ}' (label {label}); remove it from 'labels' "
                "or add a case that has it."
            )
        found = (
            f"image_size: '{organ}' (label {label}) is smaller than a pixel in {lost} of the {lost + left} "
            f"slices that hold it ({cases} training cases), at {self._size} x {self._size} pixels"
        )
        advice = "raise network_def#image_size, or leave it out with organs"
        if not left:
            raise InputError(f"{found}, so no example of it is left to learn from; {advice}.")
        if lost > left:
            _log.warning("%s, so training uses only the other slices; %s.", found, advice)


def _slices_of(numbers: Tensor, by: Mapping[int, np.ndarray]) -> np.ndarray:
    """(n,) slices of any of the numbers."""
    return np.unique(np.concatenate([by.get(number, _NO_SLICES) for number in numbers.tolist()]))


def _pair(row: np.ndarray) -> Pair:
    return int(row[0]), int(row[1])


def _any_among(present: Container[int], numbers: Sequence[int]) -> bool:
    return any(number in present for number in numbers)


def _refuse_sentences(item: Case) -> None:
    """An item of sentences has a label map of lesions, whose numbers "labels" may name as organs."""
    fields = {"prompts": bool(item.prompts), "levels": bool(item.levels), "lesion": item.lesions is not None}
    if found := [f'"{name}"' for name, there in fields.items() if there]:
        raise InputError(
            f'{item.image}: the case "{item.case}" has {" and ".join(found)}, expected only organs in every '
            "item, as this training learns organs from label maps; leave the item out, or use it to train a "
            "bundle that follows sentences."
        )
