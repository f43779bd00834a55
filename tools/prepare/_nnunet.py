"""nnU-Net's layout, versions 1 and 2.

    dataset.json   imagesTr/CASE_0000.nii.gz   labelsTr/CASE.nii.gz   imagesTs and, if known, labelsTs

F. Isensee et al., nnU-Net, documentation/dataset_format.md (https://github.com/MIC-DKFZ/nnUNet).
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.user_text import read_user_text

from ._layouts import IMAGES, MASKS, Found, Layout, by_stem, check_partners, words

_CHANNEL = re.compile(r"(.+)_(\d{4})")


def is_nnunet(source: Path) -> bool:
    return (source / "imagesTr").is_dir() and (source / "labelsTr").is_dir()


def by_nnunet(source: Path, channel: str | None) -> Layout:
    """Training cases, and as test section those of imagesTs whose labels are there.

    Args:
        channel: name or number of the one that is used; None where there is one alone.

    Raises:
        InputError: no such channel, several and none chosen, an unreadable dataset.json, or files without a
            partner.
    """
    content = _read(source / "dataset.json")
    names, ignore = _names(source / "dataset.json", content)
    number = _channel(content, channel)
    cases = _cases(source, "Tr", number, section=None)
    if (source / "imagesTs").is_dir() and (source / "labelsTs").is_dir():
        cases += _cases(source, "Ts", number, section="test")
    return Layout("nnU-Net's layout", cases, names, ignore)


def _cases(source: Path, part: str, channel: int, *, section: str | None) -> list[Found]:
    images: dict[str, Path] = {}
    for stem, path in by_stem(source / f"images{part}", IMAGES).items():
        match = _CHANNEL.fullmatch(stem)
        if match is None or int(match[2]) == channel:
            images[stem if match is None else match[1]] = path
    labels = by_stem(source / f"labels{part}", MASKS)
    wanted = f"images{part}/*_{channel:04d}.*"
    check_partners(source, images.keys(), labels.keys(), wanted, f"labels{part}/*")
    return [Found(key, images[key], labels[key], section=section) for key in images]


def _read(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(read_user_text(path, what="dataset.json"))
    except InputError:  # which is a ValueError too
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: not JSON ({error}), expected nnU-Net's dataset.json; copy it again."
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: found no JSON object in it, expected nnU-Net's dataset.json; copy it again."
        )
    return content


def _names(path: Path, content: Mapping[str, Any]) -> tuple[dict[int, list[str]], frozenset[int]]:
    """{number: names} and the numbers to ignore; of version 1 {"1": "liver"}, of 2 {"liver": 1 or [1, 2]}."""
    labels = content.get("labels", {})
    names: dict[int, list[str]] = {}
    ignore: set[int] = set()
    try:
        for key, value in labels.items():
            of_version_1 = isinstance(value, str)
            name = words(value if of_version_1 else key)
            for number in [int(key)] if of_version_1 else value if isinstance(value, list) else [value]:
                if name.casefold() == "ignore":
                    ignore.add(int(number))
                elif int(number) > 0:
                    names.setdefault(int(number), []).append(name)
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f'{path}: "labels" is {json.dumps(labels)[:200]}, expected {{"liver": 1}} or {{"1": "liver"}} of '
            "nnU-Net; correct it, or give --name."
        ) from error
    return names, frozenset(ignore)


def _channel(content: Mapping[str, Any], asked: str | None) -> int:
    named = content.get("channel_names", content.get("modality", {}))
    channels = {str(key): str(name) for key, name in named.items()} if isinstance(named, dict) else {}
    if asked is None and len(channels) <= 1:
        return 0
    for key, name in channels.items():
        if asked is not None and key.isdecimal() and asked.casefold() in (key, name.casefold()):
            return int(key)
    found = "none" if asked is None else f"'{asked}'"
    there = ", ".join(f"{key} ({name})" for key, name in channels.items()) or "0 alone"
    raise InputError(f"--channel: found {found}, expected one of {there}; name the one to use.")
