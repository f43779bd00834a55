"""A label map as NIfTI at gzip levels: seconds and size."""

import gzip
import io
import time
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import InputError
from tools.command_line import Parser

if TYPE_CHECKING:
    import numpy as np

LEVELS = (1, 4, 6, 9)


def main(arguments: list[str]) -> int:
    """Measure and print a table."""
    parser = Parser(
        prog="python -m tools.benchmark writing",
        description="Compress a label map with gzip at levels 1, 4, 6 and 9: the processor's seconds and MB. "
        "Label maps are written at level 1, nibabel's default.",
    )
    parser.add_argument("--labels", type=Path, help="a NIfTI label map (default: 13 uneven balls)")
    parser.add_argument("--slices", type=int, default=200, help="of the default one (default 200)")
    parser.add_argument("--side", type=int, default=512, help="pixels of a slice's side (default 512)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each level (default 3)")
    options = parser.parse_args(arguments)
    if options.labels is None:
        labels = ball_labels(slices=options.slices, side=options.side)
    else:
        from common.data.label_maps import read_label_map

        labels = read_label_map(options.labels).slices
        if labels.max() > 255:
            raise InputError(
                f"--labels {options.labels}: holds the value {labels.max()}, expected 0 to 255, as in the "
                "label maps that are written here; give one of those."
            )
    print(table(labels, rounds=options.rounds))
    return 0


def ball_labels(*, slices: int, side: int) -> "np.ndarray":
    """(slices, side, side) uint8: 13 balls, some of which overlap, whose surface is uneven by some voxels."""
    import numpy as np

    rng = np.random.default_rng(0)
    centres, radii = rng.uniform(0.2, 0.8, (13, 3)), rng.uniform(0.05, 0.2, 13)
    z, y, x = np.ogrid[0 : 1 : slices * 1j, 0 : 1 : side * 1j, 0 : 1 : side * 1j]
    labels = np.zeros((slices, side, side), np.uint8)
    for number, (centre, radius) in enumerate(zip(centres, radii, strict=True), start=1):
        uneven = radius * (1 + 0.05 * np.sin(40 * x + 9 * number) * np.sin(50 * y) * np.sin(30 * z))
        distance = (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2
        labels[distance < uneven**2] = number
    return labels


def table(labels: "np.ndarray", *, rounds: int) -> str:
    """Median seconds of the processor and MB (10^6 bytes) at every level."""
    import numpy as np

    voxels = labels.astype(np.uint8).tobytes()
    shape = " x ".join(map(str, labels.shape))
    lines = [
        f"label map of {shape}, {len(voxels) / 1e6:.1f} MB\n",
        "| level | seconds | MB |",
        "|---|---|---|",
    ]
    for level in LEVELS:
        seconds = []
        for _ in range(rounds):
            packed = io.BytesIO()
            start = time.process_time()
            with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=level) as file:
                file.write(voxels)
            seconds.append(time.process_time() - start)
        size = packed.getbuffer().nbytes / 1e6
        lines.append(f"| {level} | {sorted(seconds)[len(seconds) // 2]:.2f} | {size:.2f} |")
    return "\n".join(lines)
