"""The cases of validation and evaluation: a volume, an image or one slice, with prompts and their meaning.

There is one kind of case for organs and for sentences. It goes through the inferer that users run.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import ignite.distributed as idist
import numpy as np
from torch.utils.data import Dataset, Sampler

from ..errors import InputError
from ..text.levels import RANDOM
from ..text.prompts import MAX_LABEL, Prompt
from ..text.vocabulary import Vocabulary
from .faults import Faults
from .items import Case, is_image_2d
from .labelled import LabelledReader, Region, check_absent, plane_of
from .volumes import Volume

LESION = "lesion"  # the name of what any sentence means, for tables and networks without words
Sentences = Literal["first", "all"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """What a prompt means.

    Attributes:
        case: id of the datalist's item, and `patient` whom it shows.
        name: of the organ, or "lesion".
        region: where it is; empty where there is none.
        sentence: that was asked; None for an organ.
        others: other lesions of the same image and slice that the data names, none of which overlaps it.
        dataset: that the item is of, and `level` of the sentence; None where the item does not say.
    """

    case: str
    patient: str
    name: str
    region: Region
    sentence: str | None = None
    others: tuple[Region, ...] = ()
    dataset: str | None = None
    level: str | None = None


@dataclass(frozen=True)
class EvaluationCase:
    """An image, and what is asked of it at once.

    Attributes:
        case: id, for drawings of it.
        image: the volume or image.
        slice_index: the only slice to segment; None for all of them.
        prompts: with different label numbers; of organs those of the reference, where they are free.
        targets: what each prompt means.
    """

    case: str
    image: Volume
    slice_index: int | None
    prompts: tuple[Prompt, ...]
    targets: tuple[Target, ...]


class EvaluationCases(Dataset[EvaluationCase]):
    """All that a section of a datalist asks, a case an item: prompts of one image share its pass.

    An item with sentences asks for what they mean; sentences of one image and slice are asked together. Any
    other item asks for the organs that are annotated in it. An item that asks for nothing is left out, and
    the log says so.

    Args:
        data: items with label maps. Their sentences may be of a level, but not of one drawn at random.
        labels: {organ: its numbers in the label maps}, of the organs to ask for.
        text_level: how organs are asked for, as in training: "none" with no words, "complex" by the full
            description, any other by the name.
        absent: ask also for what an item says is surely absent, which means an empty mask.
        sentences: "first" asks for each item by its first sentence; "all" by each of its sentences.

    Raises:
        InputError: no case, other `sentences`, the level "random", or (on reading one) a missing, unreadable
            or mismatched file, no such slice, or voxels of what an item says is absent. Items with sentences
            are all read at once: else a training would end at its first validation.
    """

    def __init__(
        self,
        data: Sequence[Case],
        *,
        labels: Mapping[str, tuple[int, ...]] | None = None,
        text_level: str = "simple",
        absent: bool = False,
        sentences: Sentences = "first",
    ) -> None:
        if sentences not in get_args(Sentences):
            raise InputError(f"sentences: found {sentences!r}, expected {' or '.join(get_args(Sentences))}.")
        if any(item.level == RANDOM for item in data):
            raise InputError(
                f"level: found {RANDOM}, expected p0 to p9, since all networks are evaluated with the same "
                "texts; choose one."
            )
        self.labels = dict(labels or {})
        self.absent = absent
        self.sentences = sentences
        self._level = text_level if text_level in ("none", "complex") else "simple"
        self._vocabulary = Vocabulary.load()
        self._read = LabelledReader()
        self._groups = [group for group in _grouped(data) if group[0].prompts or self._asked(group[0])]
        if not self._groups:
            raise InputError(
                f"validate#dataset: found no case (of {len(data)}) that has a sentence or an annotation of a "
                "requested organ; list at least one in this section of the datalist."
            )
        if left_out := len(data) - sum(len(group) for group in self._groups):
            _log.warning("left out %d cases, in which none of the requested organs is annotated", left_out)
        faults = Faults("images with sentences")
        for group in (group for group in self._groups if group[0].prompts):
            with faults.collected():
                self._sentences_of(group)
        faults.check()

    def __len__(self) -> int:
        return len(self._groups)

    @property
    def images(self) -> list[Path]:
        """The file or folder of each case."""
        return [group[0].image for group in self._groups]

    def __getitem__(self, index: int) -> EvaluationCase:
        group = self._groups[index]
        prompts, targets = self._sentences_of(group) if group[0].prompts else self._organs_of(group[0])
        first = group[0]
        return EvaluationCase(
            case=first.case,
            image=self._read(first).image,
            slice_index=first.slice_index,
            prompts=tuple(prompts),
            targets=tuple(targets),
        )

    def _asked(self, item: Case) -> list[str]:
        """Names of the organs that an item is asked for."""
        there = [name for name in self.labels if name in item.targets]
        return list(dict.fromkeys([*there, *item.absent])) if self.absent else there

    def _organs_of(self, item: Case) -> tuple[list[Prompt], list[Target]]:
        labels, names = self._read(item).labels, self._asked(item)
        numbers = prompt_numbers({name: self.labels.get(name, ()) for name in names})
        prompts = [Prompt(text=self._text(name), name=name, label=numbers[name]) for name in names]
        plane = _plane(item, len(labels))
        shown = labels if plane is None else labels[plane]
        check_absent(item, self.labels, lambda own: bool(np.isin(shown, own).any()), self._vocabulary)
        targets = [
            Target(
                item.case,
                item.patient,
                name,
                Region(labels, () if name in item.absent else self.labels[name], plane),
                dataset=item.dataset,
            )
            for name in names
        ]
        return prompts, targets

    def _text(self, name: str) -> str:
        return self._vocabulary.organ_or_own(name).texts(self._level)[0]

    def _sentences_of(self, group: Sequence[Case]) -> tuple[list[Prompt], list[Target]]:
        count = 1 if self.sentences == "first" else None
        asked = [(item, text) for item in group for text in dict.fromkeys(item.prompts[:count])]
        if len(asked) > MAX_LABEL:  # of one image; more than any data set has
            raise InputError(
                f"{group[0].image}: found {len(asked)} sentences for one image, expected at most "
                f'{MAX_LABEL}; evaluate with sentences "first", or split the items.'
            )
        regions, lesions = self._regions_of(group)
        prompts = [Prompt(text, text or LESION, number) for number, (_, text) in enumerate(asked, start=1)]
        beside = {item.case: _beside(item, regions[item.case], lesions) for item in group}
        targets = [
            Target(
                *(item.case, item.patient, LESION, regions[item.case], text, beside[item.case]),
                dataset=item.dataset,
                level=item.level,
            )
            for item, text in asked
        ]
        return prompts, targets

    def _regions_of(self, group: Sequence[Case]) -> tuple[dict[str, Region], list[Region]]:
        """What each item means, by its id, and each lesion that one names; every item is read once."""
        meant: dict[str, Region] = {}
        lesions: dict[object, Region] = {}
        for item in group:
            read = self._read(item)
            meant[item.case] = read.meant(item)
            lesions |= {key: read.meant(part) for key, part in lesions_of(item)}
        return meant, list(lesions.values())


class CaseSampler(Sampler[int]):
    """All cases in order, shared by the processes, each once: some processes may get one case more.

    So a mean over what the processes gather is that of one process. Engines refuse an empty loader: where
    there are fewer cases than processes, every process gets all of them, which leaves a mean as it is.

    Args:
        dataset: whose items are shared out.
        rank, world_size: this process and how many there are; None asks the process group.
    """

    def __init__(self, dataset: Sized, *, rank: int | None = None, world_size: int | None = None) -> None:
        first = idist.get_rank() if rank is None else rank
        processes = idist.get_world_size() if world_size is None else world_size
        count = len(dataset)
        self.mine = range(first, count, processes) if count >= processes else range(count)

    def __len__(self) -> int:
        return len(self.mine)

    def __iter__(self) -> Iterator[int]:
        return iter(self.mine)


def prompt_numbers(values: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """A label number for each name: the first of its own that no name before it took, else a free one.

    Args:
        values: {name: its numbers in the reference, which names may share}.
    """
    taken: dict[str, int] = {}
    spoken_for = {number for numbers in values.values() for number in numbers}
    free = iter(number for number in range(1, MAX_LABEL + 1) if number not in spoken_for)
    for name, numbers in values.items():
        own = [number for number in numbers if number not in taken.values()]
        taken[name] = own[0] if own else next(free)
    return taken


def _grouped(data: Sequence[Case]) -> list[list[Case]]:
    """Items with sentences about one image and slice together, in the order of their first; others alone."""
    groups: dict[object, list[Case]] = {}
    for place, item in enumerate(data):
        groups.setdefault((item.image, item.slice_index) if item.prompts else place, []).append(item)
    return list(groups.values())


def _beside(item: Case, meant: Region, lesions: Sequence[Region]) -> tuple[Region, ...]:
    """Each of an image's lesions that is another than an item's; none where it means several, or none."""
    if item.lesions is not None and len(item.lesions) != 1:
        return ()
    own = meant.mask()
    return tuple(lesion for lesion in lesions if not (lesion.mask() & own).any())


def lesions_of(item: Case) -> list[tuple[tuple[Any, ...], Case]]:
    """Each lesion of an item: a key, the same for all items that mean it, and an item that means it alone.

    Two images may share a label map, as phases of a scan do: a lesion is each one's own.
    """
    place = item.image, item.label, item.slice_index
    if item.lesions is None:
        return [((*place, None), item)]
    return [((*place, lesion), replace(item, lesions=(lesion,))) for lesion in item.lesions]


def _plane(item: Case, depth: int) -> int | None:
    """The only slice that an item is about; None for all of them."""
    return plane_of(item, depth) if is_image_2d(item.image) or item.slice_index is not None else None
