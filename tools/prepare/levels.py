"""A datalist of images with what its masks show in words, and with prompts of all levels."""

from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from common.data.datalist import Case
from common.data.labelled import LabelledReader, Region, plane_of

from ._carry import carried, read_listed
from ._images import prompts_of, say_left_out, words_for
from ._layout import write_items


def add_levels(
    datalist: Path, out: Path, *, family: str, target: str, rule: str = "clean", dataset: str | None = None
) -> Path:
    """Write `out`/datalist.json, in which each item has "attributes", "dataset" and "levels".

    What stands in an item's attributes already, such as a view, is kept where the mask does not say it, and
    so are its prompts. An item without any gets those of its levels P1 to P6; they mean the label that the
    datalist names `target`, or all labels where it names none so. All other fields stay; no file is copied.

    Args:
        datalist: images, or slices of volumes, with label maps.
        out: folder to write to.
        family: of the levels' templates, see `common.text.levels`.
        target: the structure's name in the texts.
        rule: of the attributes, "clean" or "published".
        dataset: its name in the items; default: that of the datalist's folder.

    Raises:
        InputError: an unreadable datalist, image or label map, or another family or rule.
    """
    listed = read_listed(datalist, out)
    read = LabelledReader()
    name = dataset or datalist.resolve().parent.name
    named = tuple(number for number, names in listed.labels.items() if target in names)
    sections: dict[str, list[dict[str, Any]]] = {}
    for section, cases in listed.cases.items():
        items = carried(listed.items[section], cases, out)
        for item, case in zip(tqdm(items, desc=section, unit="item"), cases, strict=True):
            _add(item, case, read, named=named, family=family, target=target, rule=rule)
            item["dataset"] = name
        sections[section] = items
    path = write_items(out, listed.head, listed.labels, sections)
    say_left_out(family, [item["levels"] for items in sections.values() for item in items])
    return path


def _add(
    item: dict[str, Any],
    case: Case,
    read: LabelledReader,
    *,
    named: tuple[int, ...],
    family: str,
    target: str,
    rule: str,
) -> None:
    """Add attributes, levels, and to an item of organs sentences, which mean the structure `named`."""
    labelled = read(case)
    plane = plane_of(case, len(labelled.labels))
    values = case.lesions if case.prompts or not named else named
    mask = np.where(Region(labelled.labels, values, plane).mask()[plane], 255, 0).astype(np.uint8)
    before = item.get("attributes")
    known = (
        {key: value for key, value in before.items() if _is_words(value)} if isinstance(before, dict) else {}
    )
    item["attributes"], item["levels"] = words_for(
        mask, labelled.image.shown(plane), family, {**known, "class": target}, rule
    )
    if not case.prompts:
        item["prompts"] = list(prompts_of(item["levels"]))
        if not mask.any():
            item["lesion"] = []
        elif values is not None:
            item["lesion"] = list(values)


def _is_words(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list) and all(isinstance(word, str) for word in value)
    )
