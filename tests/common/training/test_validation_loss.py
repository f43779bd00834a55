"""The loss of validations, against its formula, torch and MONAI."""

import json
from dataclasses import replace
from math import log
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from monai.losses import DiceLoss

from common.inference import VolumeInferer
from common.training import Evaluator
from common.training.validation_loss import ValidationLoss, dice_and_cross_entropy
from tests.common.training.parts import CPU, Tiny, volume_cases, write_volumes

HALF = np.zeros((2, 2, 2), bool)
HALF[0] = True


def test_a_fifth_everywhere() -> None:
    """Half of the voxels are meant: Dice 2 * 0.2 * 4 / (4 + 0.2 * 8)."""
    found = dice_and_cross_entropy(np.full(HALF.shape, 51, np.uint8), HALF)
    assert found == pytest.approx(-(log(0.2) + log(0.8)) / 2 + 1 - 1.6 / 5.6, rel=1e-12)


def test_right_and_wrong_answers_of_full_certainty() -> None:
    sure = np.where(HALF, 255, 0).astype(np.uint8)
    assert dice_and_cross_entropy(sure, HALF) == pytest.approx(-log(1 - 1 / 510), rel=1e-9)
    assert dice_and_cross_entropy(255 - sure, HALF) == pytest.approx(log(510) + 1, rel=1e-9)


def test_an_empty_mask_has_no_dice() -> None:
    found = dice_and_cross_entropy(np.full(HALF.shape, 51, np.uint8), np.zeros_like(HALF))
    assert found == pytest.approx(-log(0.8), rel=1e-12)


def peer(probabilities: np.ndarray, mask: np.ndarray) -> float:
    sure = torch.from_numpy(probabilities).double()[None, None] / 255
    target = torch.from_numpy(mask).double()[None, None]
    entropy = torch.nn.functional.binary_cross_entropy(sure.clamp(0.5 / 255, 1 - 0.5 / 255), target)
    return float(entropy + DiceLoss(smooth_nr=0.0, smooth_dr=0.0)(sure, target))


def test_it_equals_torchs_and_monais() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.integers(0, 256, (3, 7, 8), dtype=np.uint8)
    mask = rng.random(probabilities.shape) < 0.3
    assert dice_and_cross_entropy(probabilities, mask) == pytest.approx(peer(probabilities, mask), rel=1e-9)


def metrics(datalist: Path, *, loss: bool) -> dict[str, float]:
    evaluator = Evaluator(device=CPU, dataset=volume_cases(datalist), network=Tiny(), inferer=VolumeInferer())
    nothing: Any = SimpleNamespace(attach=lambda engine: None)
    evaluator.watch(nothing, nothing, datalist.parent / "out", loss=loss)
    evaluator.run()
    return evaluator.state.metrics


def test_an_evaluator_scores_it_where_it_is_asked_to(tmp_path: Path) -> None:
    """The mean over two cases and two organs of each; the other scores stay what they are."""
    datalist = write_volumes(tmp_path)
    plain, found = metrics(datalist, loss=False), metrics(datalist, loss=True)
    expected: dict[str, list[float]] = {"liver": [], "spleen": []}
    for case in (volume_cases(datalist)[index] for index in (0, 1)):
        probabilities = np.zeros((2, *case.image.slices.shape), np.uint8)
        VolumeInferer()(case.image, Tiny(), case.prompts, probabilities=probabilities)
        for row, target in enumerate(case.targets):
            expected[target.name].append(peer(probabilities[row], target.region.mask()))
    assert found["val_loss"] == pytest.approx(np.mean([*expected.values()]), rel=1e-9)
    assert found["val_loss/liver"] == pytest.approx(np.mean(expected["liver"]), rel=1e-9)
    assert plain == {name: value for name, value in found.items() if not name.startswith("val_loss")}
    assert json.dumps(plain).count("val_mean_dice") == 3


def test_of_a_case_about_one_slice_that_slice_counts(tmp_path: Path) -> None:
    case = replace(volume_cases(write_volumes(tmp_path))[0], slice_index=2)
    loss = ValidationLoss()
    loss.wanted = True
    room = loss.room_for(case)
    assert (room.shape, room.dtype, room.any()) == ((2, 4, 16, 20), np.uint8, False)
    room[:, 2] = 51
    loss.update(case)
    masks = [target.region.mask()[2:3] for target in case.targets]
    expected = np.mean([peer(np.full(mask.shape, 51, np.uint8), mask) for mask in masks])
    assert loss.compute() == pytest.approx(expected, rel=1e-9)
