"""What referring tests share: lesions of known places, and items of a datalist about them."""

import json
from pathlib import Path
from typing import Any

from common.data.datalist import Case, load_referring

LEFT_LESION, RIGHT_LESION = 1, 2  # of the patient
SLICE = 1  # the slice of the volume that has lesions
SHAPES_AND_SIZES = [((64, 96), 32), ((64, 96), 128), ((100, 70), 48), ((50, 90), 64), ((128, 128), 50)]


def items(folder: Path, *entries: dict[str, Any]) -> list[Case]:
    path = folder / "datalist.json"
    path.write_text(json.dumps({"training": list(entries)}))
    return load_referring(path, "training")
