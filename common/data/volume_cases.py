"""Whole volumes with their reference label maps, for validation and evaluation."""

import logging
from collections.abc import Sequence
from typing import Any

import ignite.distributed as idist
from torch.utils.data import Dataset, DistributedSampler

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


class CaseSampler(DistributedSampler[int]):
    """All cases in order, shared by the processes; some come twice so that every process gets as many."""

    def __init__(self, dataset: VolumeCases) -> None:
        super().__init__(dataset, num_replicas=idist.get_world_size(), rank=idist.get_rank(), shuffle=False)


def only_item(batch: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Collate function for batches of one volume: the item itself."""
    (item,) = batch
    return item
