"""Which fields an item of a datalist may have. Training, evaluation and inference all ask here.

`datalist` describes each field.
"""

import difflib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InputError

FIELDS = (
    *("image", "label", "patient", "case", "targets", "absent"),
    *("prompts", "lesion", "slice", "orientation_free", "attributes", "dataset", "levels"),
)
FORMER = {"rotatable": "orientation_free"}  # names that older datalists have
LIKE = 0.8  # how alike a slip and the right name are: "lession", "prompt", "patient_id" (difflib)


def with_present_names(where: object, item: Mapping[str, Any]) -> dict[str, Any]:
    """The item with fields of former names under their present ones; a warning says so.

    Args:
        where: file of the item, for the warning.
        item: of a datalist.
    """
    if former := [name for name in item if name in FORMER]:
        names = ", ".join(f"{name} is now {FORMER[name]}" for name in former)
        warnings.warn(f"{where}: {names}; the former name is read too.", FutureWarning, stacklevel=2)
    return {FORMER.get(name, name): value for name, value in item.items()}


def check_slips(where: str, item: Mapping[str, Any], *, known: Sequence[str] = FIELDS) -> None:
    """Refuse fields that look like another one: "lession" would mean all lesions, "pateint" somebody else.

    Other fields are ignored.

    Args:
        where: file and item, for the message.
        item: of a datalist, with present names.
        known: fields that it may have.

    Raises:
        InputError: a field is near one that the item does not have.
    """
    absent = [name for name in known if name not in item]
    for found in (name for name in item if name not in known):
        if near := difflib.get_close_matches(found.lower(), absent, n=1, cutoff=LIKE):
            raise InputError(
                f'{where} has the field "{found}" and no "{near[0]}", expected one of '
                f"{', '.join(known)}; rename it to {near[0]}, or give it a less similar name if it is a "
                "field of your own."
            )
