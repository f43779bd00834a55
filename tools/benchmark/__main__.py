"""Command line: `python -m tools.benchmark NAME [options of that benchmark]`."""

import sys
from importlib import import_module
from pathlib import Path

from tools.command_line import Parser, says_input_errors


def names() -> list[str]:
    """Benchmarks of this folder."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


@says_input_errors(exit_code=2)
def main(arguments: list[str] | None = None) -> int:
    """Run one; returns its exit code."""
    parser = Parser(
        prog="python -m tools.benchmark",
        description="Measure speed and memory. `NAME --help` says what a benchmark does.",
    )
    parser.add_argument("name", choices=names(), metavar="NAME", help=", ".join(names()))
    given = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(given[:1])
    return int(import_module(f"tools.benchmark.{options.name}").main(given[1:]))


if __name__ == "__main__":
    sys.exit(main())
