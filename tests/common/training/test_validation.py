"""Mean volume Dice of an evaluation, against numpy."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from monai.engines import SupervisedEvaluator
from monai.handlers import ValidationHandler

from common.data.volumes import Grid, Volume
from common.inference.segmentation import Segmentation, summarise
from common.text.prompts import Prompt
from common.training import ValidateLastEpoch, VolumeDice

PROMPTS = [
    Prompt("liver", "liver", 1),
    Prompt("spleen", "spleen", 2),
    Prompt("left kidney", "left kidney", 6),
]


def reference(labels: np.ndarray, case: int = 0) -> Volume:
    depth, height, width = labels.shape
    path, affine = Path(f"case{case}.nii.gz"), np.diag([-1.0, -1.0, 1.0, 1.0])
    grid = Grid(path, (width, height, depth), affine, nib.Nifti1Header())
    return Volume(labels.astype(np.int32), (1.0, 1.0, 1.0), grid)


def found(labels: np.ndarray, prompts: list[Prompt]) -> Segmentation:
    count = len(prompts)
    results = summarise(
        labels,
        prompts,
        spacing_mm=(1.0, 1.0, 1.0),
        scores=np.ones(count),
        present=np.ones(count, bool),
        lost=np.zeros(count, int),
    )
    return Segmentation(labels, results, {})


def score(cases: list[tuple[np.ndarray, np.ndarray, list[Prompt]]]) -> float:
    """Dice that an engine reports over (predicted labels, reference labels, prompts)."""
    return metrics(cases)["dice"]


def metrics(cases: list[tuple[np.ndarray, np.ndarray, list[Prompt]]]) -> dict[str, float]:
    """All that the engine reports."""
    outputs = [
        {"pred": found(pred, prompts), "label": reference(ref, index)}
        for index, (pred, ref, prompts) in enumerate(cases)
    ]
    engine = Engine(lambda _engine, batch: batch)
    VolumeDice().attach(engine, "dice")
    return engine.run(outputs).metrics


def dice(pred: np.ndarray, ref: np.ndarray) -> float:
    return 2 * np.logical_and(pred, ref).sum() / (pred.sum() + ref.sum())


def test_mean_over_cases_and_organs_equals_numpy() -> None:
    rng = np.random.default_rng(0)
    shapes = [(3, 8, 9), (5, 6, 7), (2, 10, 4)]
    cases = [
        (*(rng.choice([0, 1, 2, 6], shape).astype(np.uint8) for _ in range(2)), PROMPTS) for shape in shapes
    ]
    expected = [dice(pred == p.label, ref == p.label) for pred, ref, prompts in cases for p in prompts]
    assert score(cases) == pytest.approx(np.mean(expected), rel=1e-12)
    for prompt in PROMPTS:
        own = np.mean([dice(pred == prompt.label, ref == prompt.label) for pred, ref, _ in cases])
        assert metrics(cases)[f"dice/{prompt.name}"] == pytest.approx(own, rel=1e-12)


def test_misses_and_false_finds_count_as_zero_and_absence_not_at_all() -> None:
    empty, some = np.zeros((2, 4, 4), np.uint8), np.zeros((2, 4, 4), np.uint8)
    some[0, :2, :2] = 1
    liver = PROMPTS[:1]
    assert score([(some, some, liver)]) == 1.0
    assert score([(empty, some, liver)]) == 0.0
    assert score([(some, empty, liver)]) == 0.0
    assert score([(some, some, PROMPTS)]) == 1.0  # spleen and kidney are in neither
    assert score([(some, some, liver), (empty, some, liver), (empty, empty, liver)]) == 0.5


def test_only_organs_that_were_asked_for_count() -> None:
    """The reference has a spleen too, which the case has no annotation of and no prompt for."""
    ref = np.zeros((2, 4, 4), np.uint8)
    ref[0, :2], ref[1, 2:] = 1, 2
    assert score([(np.where(ref == 1, 1, 0).astype(np.uint8), ref, PROMPTS[:1])]) == 1.0


def test_score_starts_anew_with_every_run() -> None:
    some, empty = np.ones((1, 2, 2), np.uint8), np.zeros((1, 2, 2), np.uint8)
    metric, engine = VolumeDice(), Engine(lambda _engine, batch: batch)
    metric.attach(engine, "dice")
    liver = PROMPTS[:1]
    first = engine.run([{"pred": found(empty, liver), "label": reference(some)}]).metrics["dice"]
    second = engine.run([{"pred": found(some, liver), "label": reference(some)}]).metrics["dice"]
    assert (first, second) == (0.0, 1.0)


def test_nothing_to_score_is_said() -> None:
    empty = np.zeros((1, 2, 2), np.uint8)
    with pytest.raises(
        NotComputableError, match="no case had any of the organs, neither predicted nor labelled"
    ):
        score([(empty, empty, PROMPTS)])


def test_a_case_that_comes_twice_counts_once() -> None:
    """Samplers of several processes repeat cases so that all get as many."""
    some, empty = np.ones((1, 2, 2), np.uint8), np.zeros((1, 2, 2), np.uint8)
    liver = PROMPTS[:1]
    missed = {"pred": found(empty, liver), "label": reference(some, 0)}
    right = {"pred": found(some, liver), "label": reference(some, 1)}
    engine = Engine(lambda _engine, batch: batch)
    VolumeDice().attach(engine, "dice")
    assert engine.run([missed, right, right]).metrics["dice"] == 0.5


@pytest.mark.parametrize(
    ("epochs", "interval", "expected"), [(5, 2, [2, 4, 5]), (4, 2, [2, 4]), (3, 10, [3]), (2, 1, [1, 2])]
)
def test_the_last_epoch_is_validated_once(epochs: int, interval: int, expected: list[int]) -> None:
    """Beside MONAI's handler, as in the bundles' configs."""
    seen: list[int] = []
    validator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=[0],
        network=torch.nn.Identity(),
        iteration_update=lambda engine, _batch: seen.append(engine.state.epoch),
        decollate=False,
    )
    trainer = Engine(lambda _engine, _batch: None)
    ValidationHandler(interval=interval, validator=validator).attach(trainer)
    ValidateLastEpoch(validator=validator, interval=interval).attach(trainer)
    trainer.run([0], max_epochs=epochs)
    assert seen == expected
