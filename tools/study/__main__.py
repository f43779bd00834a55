"""Command line of `python -m tools.study`: experiments whose tables stand in the READMEs."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from common.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one study; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.study", description="Experiments whose tables stand in the READMEs."
    )
    names = parser.add_subparsers(dest="name", metavar="NAME", required=True)
    openkbp = names.add_parser(
        "openkbp",
        help="Med-VLM compact beside an image-only UNet on real head-and-neck CT",
        description="Train Med-VLM compact and MONAI's image-only UNet for the same time on the same slices "
        "of OpenKBP, segment the test patients through the NIfTI path that users take, and print volume "
        "Dice by organ.",
    )
    openkbp.add_argument(
        "--source", type=Path, required=True, metavar="DIR", help="OpenKBP as the challenge gives it"
    )
    openkbp.add_argument(
        "--work", type=Path, required=True, metavar="DIR", help="prepared data, weights and results"
    )
    openkbp.add_argument("--minutes", type=float, default=30.0, help="training time of each (default 30)")
    openkbp.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    openkbp.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    from .openkbp import run  # torch and MONAI: too slow to load for --help

    try:
        run(options.source, options.work, minutes=options.minutes, device=options.device, seed=options.seed)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
