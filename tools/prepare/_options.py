"""What a user says of a folder of images."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from common.errors import InputError
from common.text.prompts import MAX_LABEL

_NUMBERS = frozenset(map(str, range(1, MAX_LABEL + 1)))


@dataclass(frozen=True)
class Options:
    """What `folder.prepare` is told.

    Attributes:
        names: {label number: its names}; several where one structure lies in another, such as a tumour. Empty
            where the layout says them. Of a file for each organ, those to use.
        images, labels: patterns below the source with one "*" each; what it stands for is the case's name.
            None: the layout is looked for.
        sentences: CSV with sentences, see `_sentences`; None: the only CSV in the source.
        channel: of nnU-Net, or suffix of BIDS, where there are several.
        ignore: label numbers that become background.
        patient: regular expression whose first group, in a case's name, is the patient; None: the case.
        validation, test: shares of the patients.
        seed: of the split.
        regions: of the body that every image shows; what no such image shows becomes absent. Empty: nothing
            is said of absent organs.
    """

    names: Mapping[int, Sequence[str]] = field(default_factory=dict)
    images: str | None = None
    labels: str | None = None
    sentences: Path | None = None
    channel: str | None = None
    ignore: frozenset[int] = frozenset()
    patient: str | None = None
    validation: Fraction = Fraction(15, 100)
    test: Fraction = Fraction(15, 100)
    seed: int = 0
    regions: tuple[str, ...] = ()


def check_options(options: Options) -> None:
    if options.validation + options.test >= 1:
        raise InputError(
            f"--validation, --test: found {float(options.validation):g} and {float(options.test):g} of the "
            "patients, expected a share that is left for training; make them smaller."
        )
    try:
        re.compile(options.patient or "")
    except re.error as error:
        raise InputError(
            f"--patient: found '{options.patient}', expected a regular expression ({error}); give one such "
            "as '^([^_]+)_'."
        ) from error


def parse_names(entries: Sequence[str]) -> dict[int, list[str]]:
    """["1=liver", "2=liver", "2=liver tumour"] -> {1: ["liver"], 2: ["liver", "liver tumour"]}.

    Raises:
        InputError: another form, an entry twice, or a number out of 1 to 255.
    """
    names: dict[int, list[str]] = {}
    for entry in entries:
        number, _, name = entry.partition("=")
        sound = number in _NUMBERS and name.strip()
        if not sound or name.strip() in names.get(int(number), []):
            raise InputError(
                f"--name: found '{entry}', expected NUMBER=NAME, a number from 1 to {MAX_LABEL}, and each "
                "entry once."
            )
        names.setdefault(int(number), []).append(name.strip())
    return names
