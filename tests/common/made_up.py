"""Results that a test draws by hand."""

from collections.abc import Sequence

import numpy as np

from common.inference import Segmentation
from common.inference.segmentation import OwnMasks, summarise
from common.text.prompts import Prompt


def segmentation(
    asked: Sequence[Prompt],
    own: Sequence[np.ndarray],
    *,
    labels: np.ndarray | None = None,
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    slice_index: int | None = None,
) -> Segmentation:
    """Of own masks (D, H, W) bool; the first ones win in the label map, unless it is given."""
    if labels is None:
        labels = np.zeros(own[0].shape, np.uint8)
        for prompt, mask in reversed(list(zip(asked, own, strict=True))):
            labels[mask] = prompt.label
    masks, ones = OwnMasks(labels.shape), np.ones(len(asked))
    for row, mask in enumerate(own):
        for index, section in enumerate(mask):
            masks.put(row, index, section, top=0, left=0)
    lost = [np.count_nonzero(m & (labels != prompt.label)) for prompt, m in zip(asked, own, strict=True)]
    results = summarise(
        labels,
        asked,
        spacing_mm=spacing_mm,
        scores=ones,
        present=ones > 0,
        lost=np.array(lost),
        masks=np.array([mask.sum(axis=(1, 2)) for mask in own]),
        removed=np.zeros(len(asked), int),
    )
    return Segmentation(labels, results, {}, slice_index, masks, lambda mask: mask)
