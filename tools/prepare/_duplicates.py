"""Near-duplicate images, found by a hash of what they show.

A difference hash: the middle of the image in grey, made small, and for each pixel whether its right and its
lower neighbour are brighter. The threshold was chosen by looking at 900 images of Kvasir-SEG: the ten pairs
that differ in at most 62 of the 288 bits show one scene, some with another frame around it; of the next seven
(70 to 72 bits) none does. Images of one polyp between which the endoscope moved are not found.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

SIDE = 12
MIDDLE = 0.75  # of height and width: frames and text around it are alike in different images
SAME_BITS = 65  # of the 2 x SIDE x SIDE bits, two images of one scene differ in at most so many


def image_hash(path: Path) -> np.ndarray:
    """(288,) bool."""
    with Image.open(path) as image:
        grey = image.convert("L")
    margin = (1 - MIDDLE) / 2
    width, height = grey.size
    box = (width * margin, height * margin, width * (1 - margin), height * (1 - margin))
    sizes = ((SIDE + 1, SIDE), (SIDE, SIDE + 1))
    wide, high = (np.asarray(grey.resize(size, Image.Resampling.LANCZOS, box=box)) for size in sizes)
    return np.concatenate([(wide[:, 1:] > wide[:, :-1]).ravel(), (high[1:] > high[:-1]).ravel()])


def same_scene(hashes: Sequence[np.ndarray]) -> list[int]:
    """A number for each image, equal for near-duplicates and for what chains of them join."""
    bits = np.array(hashes, dtype=np.float32)
    both = bits @ bits.T
    ones = bits.sum(axis=1)
    differ = ones[:, None] + ones[None, :] - 2 * both
    _, numbers = connected_components(csr_array(differ <= SAME_BITS), directed=False)
    return [int(number) for number in numbers]
