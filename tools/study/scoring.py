"""Scores of a network on whole cases, by the inferer that users run and each prompt's own mask."""

from collections.abc import Sequence
from dataclasses import replace

from tqdm import tqdm

from common.data.evaluation_cases import EvaluationCase, EvaluationCases
from common.inference import VolumeInferer
from common.metrics.distances import Boundary
from common.metrics.prompts import measure_prompts
from common.metrics.segmentation import Row
from common.networks.base import TextSegmenter


def score(
    network: TextSegmenter,
    cases: EvaluationCases,
    *,
    by_name: bool = False,
    boundaries: Sequence[Boundary] = ("surfel",),
) -> list[Row]:
    """A row of metrics for each case and prompt.

    Args:
        by_name: ask by the bare names of the targets, which an image-only network takes, instead of words.
        boundaries: see `measure_case`.
    """
    inferer, rows = VolumeInferer(slice_batch=16), []
    for index in tqdm(range(len(cases)), desc="scoring", unit="case", leave=False):
        asked = _named(cases[index]) if by_name else cases[index]
        found = inferer(asked.image, network, asked.prompts, slice_index=asked.slice_index)
        rows += measure_prompts(asked, found, boundaries=boundaries).volumes
    return rows


def _named(asked: EvaluationCase) -> EvaluationCase:
    pairs = zip(asked.prompts, asked.targets, strict=True)
    return replace(asked, prompts=tuple(replace(prompt, text=target.name) for prompt, target in pairs))
