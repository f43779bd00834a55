"""Whole volumes with their reference label maps, for validation and evaluation."""

import logging
from collections.abc import Iterator, Sequence, Sized
from typing import Any

import ignite.distributed as idist
from torch.utils.data import Dataset, Sampler

from ..errors import InputError
from ..text.prompts import Prompt
from ..text.vocabulary import Vocabulary
from .datalist import Case
from .volumes import check_same_grid, read_labels, read_volume

_log = logging.getLogger(__name__)


class VolumeCases(Dataset[dict[str, Any]]):
    """One item a case: its volume, its reference and a prompt for every organ annotated in it.

    A case in which none of the organs is annotated is left out, and the log says so.

    Args:
        data: cases with label files.
        label_names: {label number: organ name}, of the organs to ask for.
        text_level: as in training: "none" asks with no words, "complex" by the organ's first description,
            any other by its name.

    Items hold `image` (Volume, HU), `label` (Volume, integers), `prompts` (list of Prompt, labelled as in
    the reference) and `case` (id).

    Raises:
        InputError: no case, or (on reading one) a missing, unreadable or mismatched file.
    """

    def __init__(
        self, data: Sequence[Case], *, label_names: dict[int, str], text_level: str = "simple"
    ) -> None:
        asked = set(label_names.values())
        self.data = [case for case in data if asked.intersection(case.targets)]
        if not self.data:
            raise InputError(
                f"validate#dataset: found no case (of {len(data)}) in which an organ that was asked for is "
                "annotated; list at least one in this section of the datalist."
            )
        if left_out := len(data) - len(self.data):
            _log.warning("left out: %d cases in which none of the organs asked for is annotated", left_out)
        vocabulary = Vocabulary.load()
        level = text_level if text_level in ("none", "complex") else "simple"
        self.prompts = {
            name: Prompt(text=vocabulary.organ_or_own(name).texts(level)[0], name=name, label=number)
            for number, name in label_names.items()
        }

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        case = self.data[index]
        assert case.label is not None  # a case without one has no targets, and was left out
        image, label = read_volume(case.image), read_labels(case.label)
        check_same_grid(label, image)
        prompts = [self.prompts[name] for name in case.targets if name in self.prompts]
        return {"image": image, "label": label, "prompts": prompts, "case": case.case}


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


def only_item(batch: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Collate function for batches of one volume: the item itself."""
    (item,) = batch
    return item
