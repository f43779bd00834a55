"""Label maps with other numbers, as joining datalists needs them."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from common.data.datalist import Case
from common.data.label_maps import read_label_map
from common.files import atomic_path


class Renumbering:
    """Gives the cases of a datalist label maps, and lesions, with the numbers of the whole.

    A number that the datalist names gets its number in the whole. One that it does not name becomes
    background in a label map of organs, since another datalist may name it. In a label map that sentences
    speak of, it may be a lesion: it stays, or moves to a free number where the whole names it. A label map in
    which no number changes its meaning is used as it is, and so is one of sentences in which nothing that has
    a name is annotated.

    Args:
        changes: {number in the datalist: number in the whole} of all that the datalist names.
        labels: numbers that the whole names.
        cases: all of the datalist.
        folder: to write to.
    """

    def __init__(
        self, changes: Mapping[int, int], labels: Collection[int], cases: Iterable[Case], folder: Path
    ) -> None:
        self.changes = changes
        self.labels = set(labels)
        self.folder = folder
        self._of_sentences = {case.label for case in cases if case.prompts}
        self._same = self.labels == changes.keys() and all(old == new for old, new in changes.items())
        self._done: dict[Path, tuple[Path, dict[int, int]]] = {}

    def __call__(self, case: Case) -> Case:
        """The case in the whole.

        Raises:
            InputError: the label map cannot be read, or `folder` cannot be written to.
        """
        if self._same or case.label is None or (case.prompts and not case.targets):
            return case
        if case.label not in self._done:
            self._done[case.label] = self._renumbered(case.label, case.case)
        path, numbers = self._done[case.label]
        lesions = None if case.lesions is None else tuple(sorted(numbers.get(n, n) for n in case.lesions))
        return replace(case, label=path, lesions=lesions)

    def _renumbered(self, label: Path, name: str) -> tuple[Path, dict[int, int]]:
        """The label map's file in the whole, and {its number: that in the whole}."""
        volume = read_label_map(label)
        slices = volume.slices
        found = [int(number) for number in np.unique(slices) if number > 0]
        numbers = self._numbers(found, keep=label in self._of_sentences)
        unnamed = self.labels.intersection(found) - self.changes.keys()
        if not unnamed and all(self.changes.get(number, number) == number for number in found):
            return label, {}
        changed = np.zeros(slices.shape, np.int32)
        for old, new in numbers.items():
            changed[slices == old] = new
        path = self._free_path(name, ".nii.gz" if volume.in_mm else ".png")
        with atomic_path(path) as temporary:
            small = changed.max() <= 255
            if volume.in_mm:
                stored = volume.to_stored(changed).astype(np.uint8 if small else np.int32)
                nib.save(nib.Nifti1Image(stored, volume.grid.affine), temporary)
            else:
                Image.fromarray(changed[0].astype(np.uint8 if small else np.uint16)).save(temporary)
        return path, numbers

    def _numbers(self, found: Collection[int], *, keep: bool) -> dict[int, int]:
        """{number: that in the whole}; with `keep`, also of those without a name."""
        numbers = {number: self.changes[number] for number in found if number in self.changes}
        free = (number for number in count(1) if number not in self.labels and number not in found)
        for number in found if keep else ():
            if number not in self.changes:
                numbers[number] = next(free) if number in self.labels else number
        return numbers

    def _free_path(self, name: str, ending: str) -> Path:
        """Ids are unique in a section alone."""
        written = {path for path, _ in self._done.values()}
        names = (name if number == 1 else f"{name}-{number}" for number in count(1))
        return next(path for one in names if (path := self.folder / f"{one}{ending}") not in written)
