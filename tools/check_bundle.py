"""Look a bundle through before it is run: its files against its manifest, and what its configs execute."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.errors import InputError
from tools.command_line import Parser, says_input_errors
from tools.get_bundle.archive import CACHES, MANIFEST, differences
from tools.get_bundle.manifest import LIMIT_BYTES, Manifest

EPILOG = """exit codes: 0 all files are those of the manifest; 1 some are not; 2 no manifest or no bundle.
Nothing of the bundle is run or imported."""
EVALUATED, CALLED, ELSEWHERE = "evaluated as Python", "imported and called", "read from another file"
MANY = 5  # places of an expression that are named


@says_input_errors(exit_code=2)
def main(arguments: list[str] | None = None) -> int:
    """Check and list; returns the exit code."""
    parser = Parser(prog="python -m tools.check_bundle", description=__doc__, epilog=EPILOG)
    parser.add_argument("bundle", type=Path, help="folder of the bundle")
    parser.add_argument("--manifest", type=Path, help="of its authors (default: manifest.json in the bundle)")
    options = parser.parse_args(arguments)
    manifest = _manifest(options.manifest or options.bundle / MANIFEST)
    faults = differences(options.bundle, manifest)
    executed = what_runs(options.bundle)
    print(f"{manifest.name} {manifest.version}, {len(manifest.files)} files in the manifest")
    for kind, places in executed.items():
        print(f"\n{kind}{'' if places else ': nothing'}")
        for text, where in sorted(places.items()):
            more = f" and {len(where) - MANY} more" if len(where) > MANY else ""
            print(f"  {text}\n      {', '.join(where[:MANY])}{more}")
    compiled = sum(1 for name in CACHES for _ in (options.bundle / "scripts").rglob(f"{name}/*"))
    if compiled:
        print(f"\nnote: {compiled} compiled files in __pycache__ are not checked; delete them to be sure.")
    verdict = f"{len(faults)} files are not as published" if faults else "all files as published"
    print("", *faults, verdict, sep="\n")
    return 1 if faults else 0


def what_runs(bundle: Path) -> dict[str, dict[str, list[str]]]:
    """Return {kind: {expression or callable: places}} of what MONAI executes when it runs a bundle's configs.

    Strings that begin with `$` are Python that is evaluated; `_target_` names anything importable, which is
    called; `%file::id` stands for what another file has there. Read as JSON, never through MONAI's parser.

    Raises:
        InputError: no configs, or one that is not JSON.
    """
    found: dict[str, dict[str, list[str]]] = {kind: {} for kind in (EVALUATED, CALLED, ELSEWHERE)}
    files = sorted((bundle / "configs").glob("*"))
    if not files:
        raise InputError(f"{bundle}: found no configs in it, expected the folder of a bundle; name one.")
    for file in files:
        if file.suffix != ".json":
            continue
        try:
            content = json.loads(file.read_text("utf-8"))
            for place, value in _values(content):
                kind = _kind(place, value)
                if kind is not None:
                    found[kind].setdefault(value, []).append(f"{file.name} {place}")
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{file}: cannot be read as JSON ({error}); do not run it.") from error
    other = {file.name: ["configs"] for file in files if file.suffix != ".json"}
    return found | {"not JSON, read it yourself": other} if other else found


def _kind(place: str, value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    if value.lstrip().startswith("$"):
        return EVALUATED
    if value.lstrip().startswith("%") and "::" in value:
        return ELSEWHERE
    return CALLED if place.rpartition("#")[2] == "_target_" else None


def _values(content: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """All (id, value) pairs, ids as MONAI writes them."""
    if isinstance(content, dict | list):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        for name, value in items:
            yield from _values(value, f"{place}#{name}" if place else str(name))
    else:
        yield place, content


def _manifest(path: Path) -> Manifest:
    try:
        with open(path, "rb") as file:
            content = file.read(LIMIT_BYTES)
    except OSError as error:
        raise InputError(
            f"{path}: no manifest can be read there ({error.strerror}); give --manifest with the one that "
            "the authors publish beside the zip."
        ) from error
    return Manifest.read(content, str(path))


if __name__ == "__main__":
    sys.exit(main())
