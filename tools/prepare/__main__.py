"""Command line of `python -m tools.prepare`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from common.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare one data set; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.prepare",
        description="Turn a public data set into NIfTI volumes, label maps and a datalist split by patient.",
    )
    names = parser.add_subparsers(dest="name", metavar="NAME", required=True)
    openkbp = names.add_parser(
        "openkbp",
        help="CT of the head and neck, 7 organs at risk (github.com/ababier/open-kbp)",
        description="CT of the head and neck with 7 organs at risk. Cases that are done are skipped.",
    )
    openkbp.add_argument(
        "--source",
        type=Path,
        required=True,
        metavar="DIR",
        help="the repository's provided-data, or a part of it",
    )
    openkbp.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="images, labels and datalist.json"
    )
    options = parser.parse_args(arguments)

    from .openkbp import prepare  # numpy and nibabel: too slow to load for --help

    try:
        prepare(options.source, options.out)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
