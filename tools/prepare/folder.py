"""Your own images and label maps: found, checked one by one, then listed and split by patient."""

import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from common.data.datalist import SECTIONS, Case, check_patients, split_by_patient
from common.errors import InputError

from ._bids import by_bids, is_bids
from ._checking import Checked, warnings_of
from ._layout import write_datalist
from ._layouts import Found, Layout, by_folders, by_patterns, visible
from ._nnunet import by_nnunet, is_nnunet
from ._options import Options, check_options
from ._reading import Reading, read_all
from ._sentences import by_sentences, sentence_columns
from .absent import with_absent


def prepare(source: Path, out: Path, options: Options) -> list[str]:
    """Check all cases below `source` and write `out`/datalist.json with those that are sound.

    Images are not copied. Label maps are written, to `out`/label_maps, where a case has a file for each
    organ, or a mask as JPEG or in several channels.

    Returns:
        What is wrong with the other cases, a sentence each.

    Raises:
        InputError: no case, unusable options, no sound case, or nothing in any label map.
    """
    check_options(options)
    layout = find(source, options)
    print(f"found {layout.name}: {len(layout.cases)} cases")
    reading = Reading(layout, out, options)
    for number, names in reading.names.items():
        if len(names) > 1:
            print(f"note: voxels of label {number} belong to all of {', '.join(names)}")
    sound, faults = read_all(reading, layout)
    if not sound:
        raise InputError(
            f"{source}: none of the {len(layout.cases)} pairs can be used; the first one: {faults[0]}"
        )
    if all(checked.empty for _, checked in sound):
        raise InputError(
            f"{source}: all {len(sound)} label maps are empty, expected voxels of what is named; give the "
            "right --labels."
        )
    sections = _split(source, sound, options)
    for warning in warnings_of(sections, [checked for _, checked in sound]):
        print(f"warning: {warning}", file=sys.stderr)
    if options.regions:
        sections = {name: with_absent(cases, options.regions) for name, cases in sections.items()}
    write_datalist(out, {"name": source.resolve().name}, reading.names, sections)
    return faults


def find(source: Path, options: Options) -> Layout:
    """What lies below the source, as the options say it or by what is there."""
    if options.images is not None or options.labels is not None:
        return by_patterns(source, options.images or "images/*.nii.gz", options.labels or "labels/*.nii.gz")
    if options.sentences is not None:
        return by_sentences(source, options.sentences)
    if is_nnunet(source):
        return by_nnunet(source, options.channel)
    if is_bids(source):
        return by_bids(source, options.channel)
    tables = {table: sentence_columns(table) for table in visible(source, "*.csv")}
    whole = [table for table, columns in tables.items() if columns == {"image", "prompt"}]
    if len(whole) > 1:
        raise InputError(
            f"{source}: found the tables {', '.join(path.name for path in whole)}, expected one; say with "
            "--sentences which has the sentences."
        )
    if whole:
        return by_sentences(source, whole[0])
    for table in (table for table, columns in tables.items() if columns):
        print(
            f"note: {table}: left out, expected the columns image and prompt for sentences; name them so if "
            "it has some.",
            file=sys.stderr,
        )
    return by_folders(source)


def _split(source: Path, sound: Sequence[tuple[Found, Checked]], options: Options) -> dict[str, list[Case]]:
    """Cases by section: where the layout says it, else by patient.

    Raises:
        InputError: a section that should have cases has none, or a patient is in two.
    """
    sections: dict[str, list[Case]] = {name: [] for name in SECTIONS}
    for found, checked in sound:
        if found.section is not None:
            sections[found.section].append(checked.case)
    free = [checked.case for found, checked in sound if found.section is None]
    wanted = {"validation": options.validation, "test": options.test}
    shares = {name: share for name, share in wanted.items() if not sections[name]}
    shares["training"] = 1 - sum(shares.values(), Fraction(0))
    if free:
        for name, cases in split_by_patient(free, shares, options.seed).items():
            sections[name] += cases
    empty = [name for name, share in shares.items() if share > 0 and not sections[name]]
    if empty and free:
        patients = len({case.patient for case in free})
        raise InputError(
            f"{source}: {patients} patients are too few for a share in {', '.join(empty)}; add patients or "
            f"change --validation and --test."
        )
    check_patients(sections, source)
    return sections
