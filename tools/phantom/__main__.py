"""Command line: `python -m tools.phantom --out DIR --cases 12 --seed 0`."""

import argparse
import sys
from pathlib import Path

from tools.command_line import Parser, says_input_errors


@says_input_errors(exit_code=2)
def main(arguments: list[str] | None = None) -> int:
    """Write a set of phantoms; returns the exit code."""
    parser = Parser(
        prog="python -m tools.phantom",
        description="Write seeded abdominal CT phantoms in Hounsfield units with label maps and a datalist.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write to; created if missing")
    parser.add_argument("--cases", type=int, default=12, help="number of patients (default 12)")
    parser.add_argument("--validation", type=int, help="of these for validation (default: a sixth)")
    parser.add_argument("--test", type=int, help="of these for test (default: a sixth)")
    parser.add_argument("--seed", type=int, default=0, help="0 or more; the same seed gives the same bytes")
    parser.add_argument(
        "--size",
        choices=("small", "full"),
        default="small",
        help="small: 128 pixels of about 2.5 mm; full: 256 to 512 of 0.7 to 1.4 mm (default small)",
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--trunk",
        action="store_true",
        help="instead of abdomens, random stretches of 250 mm and more between the hips and the head, with "
        "the urinary bladder labelled too",
    )
    kind.add_argument(
        "--lesions",
        action="store_true",
        help="instead of whole abdomens, slices with two to four liver lesions and sentences about them",
    )
    parser.add_argument(
        "--workers", type=int, default=1, help="processes; the bytes are the same with any number (default 1)"
    )
    options = parser.parse_args(arguments)
    path = _write(options)
    print(f"wrote {path}")
    return 0


def _write(options: argparse.Namespace) -> Path:
    from . import dataset, lesion_slices, trunk  # here, so that --help answers at once

    split = dataset.Split.of(options.cases, validation=options.validation, test=options.test)

    def show(done: int, total: int) -> None:
        print(f"\rphantom {done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)

    size = dataset.SIZES[options.size]
    kind = dataset.ABDOMENS
    if options.trunk or options.lesions:
        kind = trunk.TRUNKS if options.trunk else lesion_slices.LESION_IMAGES
    return dataset.write_set(
        options.out,
        split=split,
        seed=options.seed,
        size=size,
        kind=kind,
        workers=options.workers,
        progress=show,
    )


if __name__ == "__main__":
    sys.exit(main())
