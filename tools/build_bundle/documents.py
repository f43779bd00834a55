"""A bundle's documents where it is published: their links lead to where the pages stand there.

In the zip, the pages that all bundles share lie beside its README. On Hugging Face the README is above them.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from common.errors import InputError

SHARED = ("INFERENCE.md", "TRAINING.md", "HARD_INPUT.md")  # of the repository's folder bundles/

_LINK = re.compile(rb"(\]\()\.\./\.\./(" + "|".join(map(re.escape, SHARED)).encode() + rb")(?=[#)])")


def with_shared_pages(
    files: Mapping[str, bytes], pages: Mapping[str, bytes], folder: Path
) -> dict[str, bytes]:
    """Return the files with the shared pages in docs/, and with documents whose links lead to them there.

    Args:
        files: {path in the bundle: content}.
        pages: {name: content} of the pages that were found in `folder`.
        folder: where they are looked for, for messages.

    Raises:
        InputError: one of `SHARED` is missing.
    """
    if missing := [name for name in SHARED if name not in pages]:
        raise InputError(
            f"{folder}: {', '.join(missing)} missing or ignored by git, expected the pages that the bundles' "
            "documents link to; add what is missing."
        )
    documents = [path for path in files if path.startswith("docs/") and path.endswith(".md")]
    linked = {path: _LINK.sub(rb"\1\2", files[path]) for path in documents}
    return {**files, **linked, **{f"docs/{name}": pages[name] for name in SHARED}}


def from_root(text: str) -> str:
    """Return a README of docs/ with its links as they are from the folder above."""
    return re.sub(r"(\]\()(?![a-z]+:|#|/)([^)]+\))", r"\1docs/\2", text)
