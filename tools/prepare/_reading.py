"""From what was found on the disk to checked cases."""

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from common.data.datalist import Case
from common.data.items import suffix
from common.data.label_maps import read_label_map
from common.data.readers import read_any
from common.data.volumes import Volume
from common.errors import InputError

from ._checking import Checked, check, check_names, check_spacing
from ._layouts import Found, Layout
from ._masks import OrganMaps, is_plain, write_plain
from ._options import Options

WRITTEN = "label_maps"  # folder of those that are made here


class Reading:
    """Makes checked cases of what was found."""

    def __init__(self, layout: Layout, out: Path, options: Options) -> None:
        self.out = out
        self.options = options
        self.ignore = options.ignore | layout.ignore
        self.organs = {name for case in layout.cases for name in case.organs}
        self._maps = OrganMaps()
        self._wanted = {name for names in options.names.values() for name in names}
        of_maps = {} if layout.has_sentences else options.names or layout.names
        self._names: Mapping[int, Sequence[str]] = {} if self.organs else of_maps
        check_names(sorted(self.organs) or [name for names in self._names.values() for name in names])
        if not self._names and not self.organs and not layout.has_sentences:
            raise InputError("--name: found none, expected the name of each label; add --name 1=NAME.")
        if self.organs and (unknown := sorted(self._wanted - self.organs)):
            raise InputError(
                f"--name: found '{unknown[0]}', expected some of the files' names "
                f"({', '.join(sorted(self.organs))}); choose from these."
            )

    @property
    def names(self) -> Mapping[int, Sequence[str]]:
        """{label number: its names}, of label maps of organs those that were written so far."""
        return self._maps.names if self.organs else self._names

    def __call__(self, found: Found, name: str) -> Checked:
        """Read and check a case, to be called `name`.

        Raises:
            InputError: unreadable files, image and labels on different grids, no finite voxel, label numbers
                without a name, or voxel sizes that cannot be.
        """
        image = read_any(found.image)
        check_spacing(image)
        wanted = self._wanted or self.organs
        organs = {organ: file for organ, file in found.organs.items() if organ in wanted}
        named = dict.fromkeys(organ for of_number in self._names.values() for organ in of_number)
        label = self._label(found, organs, image, name)
        labels = read_label_map(label, like=image).slices
        nothing = bool(found.prompts) and found.lesions is None and not labels.any()
        case = Case(
            name,
            found.image,
            label,
            found.patient or _patient(found.key, self.options.patient),
            tuple(organs or named),
            prompts=found.prompts,
            lesions=() if nothing else found.lesions,
            slice_index=found.slice_index,
        )
        return check(case, image, labels, self.names, self.ignore)

    def _label(self, found: Found, organs: Mapping[str, Path], image: Volume, name: str) -> Path:
        """The case's label map, which is written where there is none."""
        path = self.out / WRITTEN / f"{name}{'.nii.gz' if image.in_mm else '.png'}"
        if self.organs:
            self._maps.write(organs, image, path)
            return path
        assert found.label is not None
        if is_plain(found.label):
            return found.label
        write_plain(found.label, path)
        return path


def read_all(reading: Reading, layout: Layout) -> tuple[list[tuple[Found, Checked]], list[str]]:
    """The sound cases, and what is wrong with the others; notes are printed."""
    sound, faults = [], []
    for name, found in tqdm(_with_ids(layout), desc="checking", unit="case"):
        try:
            checked = reading(found, name)
        except InputError as error:
            faults.append(str(error))
            continue
        sound.append((found, checked))
        for note in checked.notes:
            tqdm.write(f"note: {checked.case.case}: {note}")
    return sound, faults


def _with_ids(layout: Layout) -> list[tuple[str, Found]]:
    """Cases by their ids, which name files; only items with sentences about one image get numbers.

    Raises:
        InputError: two ids that are the same where capitals do not count, as on many disks.
    """
    given: dict[str, tuple[str, Found]] = {}
    for found in sorted(layout.cases, key=lambda case: (case.key, case.slice_index or 0, case.lesions or ())):
        plain = name = _identifier(found.key) + suffix(found.slice_index, found.lesions)
        numbers = itertools.count(2)
        while name.casefold() in given:
            other = given[name.casefold()][1]
            if not found.prompts or other.image != found.image:
                raise InputError(
                    f"{found.image}: its case is called '{name}', and that of {other.image} too (ignoring "
                    "case), expected different names, since files are named after them; rename one."
                )
            name = f"{plain}-{next(numbers)}"
        given[name.casefold()] = name, found
    return list(given.values())


def _patient(key: str, pattern: str | None) -> str:
    if pattern is None:
        return _identifier(key)
    match = re.search(pattern, key)
    if match is None or not match.groups() or not match[1]:
        raise InputError(
            f"--patient: '{pattern}' has no group that matches in the case '{key}'; give one such as "
            f"'^([^_]+)_'."
        )
    return _identifier(match[1])


def _identifier(key: str) -> str:
    return key.replace("/", "_")
