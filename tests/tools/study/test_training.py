"""Whole cases are scored as users segment them, each prompt by its own mask."""

import math
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import Tensor

from common.data.datalist import Case
from common.data.evaluation_cases import EvaluationCases
from common.data.framing import Framing
from common.networks.base import TextSegmenter
from common.networks.guidance import Guidance
from tools.study.training import score

ORGANS = {"liver": (1,), "spleen": (2,), "stomach": (3,)}
LEVELS = {"liver": 0.3, "spleen": 0.6, "stomach": 2.0}  # above which each is bright


class Bright(TextSegmenter):
    """Finds what is brighter than the level of what it is asked for, or than 0.5 whatever that is."""

    def __init__(self, *, listens: bool) -> None:
        super().__init__(image_size=16, default_prompt="liver", framing=Framing(crop="whole"))
        self.listens, self.asked = listens, list[str]()

    def encode_image(self, image: Tensor) -> Tensor:
        return image

    def encode_text(self, prompts: Sequence[str]) -> Guidance:
        self.asked += prompts
        levels = torch.tensor([LEVELS[prompt] if self.listens else 0.5 for prompt in prompts])
        return Guidance(levels[:, None, None], torch.ones(len(prompts), 1, dtype=torch.bool))

    def decode(self, image_features: Tensor, guidance: Guidance) -> Tensor:
        assert guidance.tokens is not None
        rows = guidance.count // len(image_features)
        return image_features.repeat_interleave(rows, dim=0) - guidance.tokens[..., None]


@pytest.fixture
def cases(tmp_path: Path) -> EvaluationCases:
    """Liver of 96 voxels at 0.5 of the window and a spleen of 32 at its top; no stomach.

    They touch, so that both together are one part, of which anatomy removes nothing.
    """
    labels = np.zeros((16, 16, 4), np.uint8)
    labels[1:7, 2:10, 1:3], labels[7:11, 4:8, 1:3] = 1, 2
    grey = np.choose(labels, (-100, 60, 240)).astype(np.int16)
    for name, voxels in (("label", labels), ("image", grey)):
        image = nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 3.0, 1.0]))
        image.set_qform(image.affine, code=1)
        nib.save(image, tmp_path / f"{name}.nii.gz")
    item = Case("a", tmp_path / "image.nii.gz", tmp_path / "label.nii.gz", "a", tuple(ORGANS))
    return EvaluationCases([item], labels=ORGANS, text_level="complex")


def test_a_network_that_answers_every_prompt_alike_scores_each_organ_by_itself(
    cases: EvaluationCases,
) -> None:
    """Both organs are found: 128 voxels, Dice 2 * 96 / 224 of the liver and 2 * 32 / 160 of the spleen."""
    rows = {row["label"]: row for row in score(Bright(listens=False), cases)}
    assert rows["liver"]["dsc"] == pytest.approx(2 * 96 / 224)
    assert rows["spleen"]["dsc"] == pytest.approx(2 * 32 / 160)
    assert rows["stomach"]["dsc"] == 0  # found where there is none
    # The label map, which has each voxel once, took 256 voxels from two of the three masks.
    assert sum(row["label_map_lost_voxels"] for row in rows.values()) == 256


def test_own_masks_overlap(cases: EvaluationCases) -> None:
    """By name: above 0.3 lie liver and spleen, above 0.6 the spleen alone, above 2 nothing."""
    network = Bright(listens=True)
    rows = {row["label"]: row for row in score(network, cases, by_name=True)}
    assert network.asked == list(
        ORGANS
    )  # and not by the descriptions, which an image-only network cannot read
    assert rows["liver"]["dsc"] == pytest.approx(2 * 96 / 224)
    assert rows["spleen"]["dsc"] == 1
    assert rows["spleen"]["surfel_hd95_mm"] == 0
    assert math.isnan(rows["stomach"]["dsc"])  # neither found nor there


def test_only_distances_that_are_asked_for_are_measured(cases: EvaluationCases) -> None:
    rows = score(Bright(listens=False), cases, boundaries=())
    assert not any(name.startswith("surfel") for row in rows for name in row)
