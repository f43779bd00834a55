"""Makes `scripts.common` importable: from beside this file in a packaged bundle, else from the repository."""

from pathlib import Path

if not (Path(__file__).parent / "common").is_dir():
    __path__.append(str(Path(__file__).resolve().parents[3]))
