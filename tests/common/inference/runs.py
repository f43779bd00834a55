"""What the tests of runs share."""

from pathlib import Path

TEXTS = ["9 at 99.5", "3 at 19.5"]  # logits are equal at 139.5 HU


def written(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
