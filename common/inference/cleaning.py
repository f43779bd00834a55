"""Ways to clean masks after the network: by what anatomy knows, and two that are off by default."""

from collections.abc import Callable

import numpy as np
from scipy.ndimage import binary_dilation, find_objects, generate_binary_structure, label

TOUCHING = generate_binary_structure(3, 3)  # voxels that share a corner belong together
_AROUND = np.ones((1, 3, 3), bool)
REST_SHARE = 0.1

Cleaning = Callable[[np.ndarray], np.ndarray]


def in_slice(index: int | None, clean: Cleaning) -> Cleaning:
    """`clean` for one slice of a volume (D, H, W), whose empty neighbours say nothing; None = for all."""
    if index is None:
        return clean

    def clean_slice(labels: np.ndarray) -> np.ndarray:
        cleaned = np.zeros_like(labels)
        cleaned[index : index + 1] = clean(labels[index : index + 1])
        return cleaned

    return clean_slice


def smooth_across_slices(labels: np.ndarray) -> np.ndarray:
    """Majority of every voxel and its neighbours in the slices above and below, (D, H, W), same dtype.

    A voxel takes its neighbours' label where they agree, and keeps its own otherwise. It closes gaps of
    one slice and removes what appears in one slice alone; the first and last slice stay.
    """
    smooth = labels.copy()
    before, own, after = labels[:-2], smooth[1:-1], labels[2:]
    np.copyto(own, before, where=before == after)
    return smooth


def keep_largest_components(labels: np.ndarray) -> np.ndarray:
    """Leave of every label (D, H, W) only the voxels of its largest connected part, same dtype.

    Voxels that share a face, an edge or a corner are connected. Of equal parts the first one stays.
    """
    kept = labels.copy()
    for number, place in enumerate(find_objects(labels.astype(np.uint8, copy=False)), start=1):
        if place is None:
            continue
        mask = labels[place] == number
        parts, count = label(mask, structure=TOUCHING)
        if count > 1:
            # slice by slice: bincount takes 8 bytes a voxel of what it counts
            sizes = sum(np.bincount(part.ravel(), minlength=count + 1) for part in parts)
            largest = 1 + int(np.argmax(np.asarray(sizes)[1:]))
            kept[place][mask & (parts != largest)] = 0
    return kept


def keep_pieces(mask: np.ndarray, pieces: int) -> np.ndarray:
    """Leave of a mask (D, H, W) bool its largest connected parts, as many as an organ has pieces.

    Voxels that share a corner are connected, also across one empty slice, since thick slices interrupt thin
    organs. A part at an end of the scan may be the rest of an organ that goes on outside, such as one side
    of the mandible: it stays too if it has at least `REST_SHARE` of the voxels of the largest part.
    """
    kept = np.zeros_like(mask)
    place = next(iter(find_objects(mask.astype(np.uint8))), None)
    if place is None:
        return kept
    inner = mask[place]
    bridged = inner.copy()
    bridged[1:-1] |= inner[:-2] & binary_dilation(inner[2:], _AROUND)
    parts, count = label(bridged, structure=TOUCHING)
    parts[~inner] = 0
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    largest = np.argsort(-sizes, kind="stable")[:pieces]
    ends = [
        parts[end] for end, at_end in ((0, place[0].start == 0), (-1, place[0].stop == len(mask))) if at_end
    ]
    rests = [part for end in ends for part in np.unique(end) if sizes[part] >= REST_SHARE * sizes.max()]
    kept[place] = np.isin(parts, [*largest, *rests]) & inner
    return kept
