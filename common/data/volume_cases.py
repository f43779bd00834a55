"""Whole volumes with their reference label maps, for validation and evaluation."""

from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset

from ..errors import InputError
from ..text.prompts import Prompt
from ..text.vocabulary import Vocabulary
from .datalist import Case
from .volumes import check_same_grid, read_labels, read_volume


class VolumeCases(Dataset[dict[str, Any]]):
    """One item a case: its volume, its reference and a prompt for every organ annotated in it.

    Args:
        data: cases with label files.
        label_names: {label number: organ name}, of the organs to ask for.
        text_level: "simple" asks by the organ's name, "complex" by its first description.

    Items hold `image` (Volume, HU), `label` (Volume, integers), `prompts` (list of Prompt, labelled as in
    the reference) and `case` (id).

    Raises:
        InputError: no case, or (on reading one) a missing, unreadable or mismatched file.
    """

    def __init__(
        self, data: Sequence[Case], *, label_names: dict[int, str], text_level: str = "simple"
    ) -> None:
        if not data:
            raise InputError(
                "validate#dataset: found no case; list at least one in this section of the datalist."
            )
        self.data = list(data)
        vocabulary = Vocabulary.load()
        self.prompts = {
            name: Prompt(text=vocabulary.organ(name).texts(text_level)[0], name=name, label=number)
            for number, name in label_names.items()
        }

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        case = self.data[index]
        if case.label is None:
            raise InputError(f"{case.image}: this case has no label file to be evaluated with; add 'label'.")
        image, label = read_volume(case.image), read_labels(case.label)
        check_same_grid(label, image)
        prompts = [self.prompts[name] for name in case.targets if name in self.prompts]
        return {"image": image, "label": label, "prompts": prompts, "case": case.case}


def only_item(batch: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Collate function for batches of one volume: the item itself."""
    (item,) = batch
    return item
