"""Command line: `python -m tools.build_bundle medvlm_organ` or `all`."""

import sys
from pathlib import Path

from tools.command_line import Parser, says_input_errors

REPOSITORY = Path(__file__).parents[2]


@says_input_errors(exit_code=2)
def main(arguments: list[str] | None = None) -> int:
    """Build the named bundle, or all of them; returns the exit code."""
    parser = Parser(
        prog="python -m tools.build_bundle",
        description="Write NAME_v<version>.zip, which runs without this repository and without a hub, and "
        "NAME_v<version>.manifest.json beside it; list it in model_info.json. The same commit gives the "
        "same bytes.",
    )
    parser.add_argument("name", help="folder in bundles/, or all (that have weights)")
    parser.add_argument("--out", type=Path, default=Path("dist"), help="folder to write to (default dist)")
    parser.add_argument("--url", help="folder that the zip will be published in, for model_info.json")
    parser.add_argument(
        "--huggingface",
        action="store_true",
        help="also write huggingface/NAME, the content of a repository there, with a model card",
    )
    parser.add_argument(
        "--allow-dirty",
        action="store_true",
        help="build with changes that are not committed, and record them",
    )
    options = parser.parse_args(arguments)
    from .build import build_bundle, bundle_names  # here, so that --help answers at once

    names = bundle_names(REPOSITORY) if options.name == "all" else [options.name]
    for name in names:
        built = build_bundle(
            name,
            REPOSITORY,
            options.out,
            allow_dirty=options.allow_dirty,
            url=options.url,
            huggingface=options.huggingface,
        )
        print(f"wrote {built} ({built.stat().st_size / 1e6:.1f} MB) and its manifest")
    return 0


if __name__ == "__main__":
    sys.exit(main())
