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
        description="Turn a public data set into images, label maps and a datalist split by patient.",
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
    openkbp.set_defaults(prepare=_openkbp)
    qata = names.add_parser(
        "qata",
        help="chest X-rays with COVID-19 infections and a sentence each (QaTa-COV19, LViT's captions)",
        description="Chest X-rays with infections and a sentence each. Pictures stay where they are.",
    )
    qata.add_argument(
        "--source", type=Path, required=True, metavar="DIR", help="annotation.json, train/, valid/"
    )
    qata.add_argument("--out", type=Path, required=True, metavar="DIR", help="where datalist.json is written")
    qata.set_defaults(prepare=_qata)
    options = parser.parse_args(arguments)
    try:
        options.prepare(options.source, options.out)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _openkbp(source: Path, out: Path) -> None:
    from .openkbp import prepare  # numpy and nibabel: too slow to load for --help

    prepare(source, out)


def _qata(source: Path, out: Path) -> None:
    from .qata import prepare

    prepare(source, out)


if __name__ == "__main__":
    sys.exit(main())
