"""Which files of `common` a bundle can reach: the graph of relative imports, read without running it."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping

from common.errors import InputError

Parts = tuple[str, ...]  # a dotted name below `common`; its end may be a class or function

_NAMED = re.compile(r"\bscripts\.common((?:\.[A-Za-z_]\w*)+)")
_RELATIVE = re.compile(r"(\.+)(\w+(?:\.\w+)*)")


def names_in(texts: Iterable[str]) -> set[str]:
    """Return every `scripts.common.<...>` in configs and documents, without `scripts.common.`."""
    return {match.group(1)[1:] for text in texts for match in _NAMED.finditer(text)}


def reached(sources: Mapping[str, bytes], names: Iterable[str]) -> set[str]:
    """Return the paths that the names need: modules, their packages' `__init__.py`, and data files.

    Imports count wherever they stand, inside functions and under TYPE_CHECKING too. In modules that call
    `import_module`, texts such as ".handlers" count as imports. Data files (anything but Python and Markdown)
    come along with every package that some module is taken from.

    Args:
        sources: {path below `common`: content}.
        names: dotted names below `common`, e.g. "networks.MedVLM".

    Raises:
        InputError: a name that is in no module.
    """
    waiting: list[Parts] = []
    for name in names:
        parts = tuple(name.split("."))
        if _files_of(sources, parts) <= {"__init__.py"}:
            raise InputError(f"scripts.common.{name}: there is no such module in common; correct the name.")
        waiting.append(parts)
    found: set[str] = set()
    while waiting:
        for path in _files_of(sources, waiting.pop()) - found:
            found.add(path)
            waiting += _imports(path, sources[path])
    folders = {_folder(path) for path in found}
    return found | {
        path for path in sources if not path.endswith((".py", ".md")) and _folder(path) in folders
    }


def _files_of(sources: Mapping[str, bytes], parts: Parts) -> set[str]:
    """Return the files that Python runs to import as much of a dotted name as is a module."""
    found = {"__init__.py"}
    for end in range(1, len(parts) + 1):
        stem = "/".join(parts[:end])
        found |= {path for path in (f"{stem}/__init__.py", f"{stem}.py") if path in sources}
    return found & sources.keys()


def _imports(path: str, content: bytes) -> Iterator[Parts]:
    """Yield what a module imports relatively, as names below `common`."""
    package = tuple(path.split("/")[:-1])
    nodes = list(ast.walk(ast.parse(content, path)))
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.level:
            start = (*_up(package, node.level), *(node.module.split(".") if node.module else ()))
            yield from ((*start, alias.name) for alias in node.names)
    if b"import_module" in content:
        texts = [node.value for node in nodes if isinstance(node, ast.Constant)]
        for match in (_RELATIVE.fullmatch(text) for text in texts if isinstance(text, str)):
            if match:
                yield (*_up(package, len(match.group(1))), *match.group(2).split("."))


def _up(package: Parts, level: int) -> Parts:
    """Return the package that `level` dots name, seen from a module in `package`."""
    return package[: len(package) - level + 1]


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
