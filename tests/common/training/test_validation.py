"""Mean Dice of prompts' own masks, against numpy."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from monai.engines import SupervisedEvaluator
from monai.handlers import ValidationHandler

from common.data.evaluation_cases import EvaluationCase, Target
from common.data.labelled import Region
from common.data.volumes import Grid, Volume
from common.inference.segmentation import Segmentation
from common.text.prompts import Prompt
from common.training.validation import PromptDice, ValidateLastEpoch
from tests.common.training.parts import answer

LIVER, SPLEEN, KIDNEY = (
    Prompt(name, name, label) for name, label in (("liver", 1), ("spleen", 2), ("left kidney", 6))
)
PROMPTS = (LIVER, SPLEEN, KIDNEY)
Output = dict[str, Segmentation | EvaluationCase]


def case(pred: np.ndarray, ref: np.ndarray, prompts: Sequence[Prompt], name: str = "a") -> Output:
    """Two label maps as an answer and what was asked; each prompt means its own label number."""
    depth, height, width = ref.shape
    grid = Grid(Path("shared.nii.gz"), (width, height, depth), np.eye(4), nib.Nifti1Header())
    targets = tuple(Target(name, name, prompt.name, Region(ref, (prompt.label,))) for prompt in prompts)
    volume = Volume(ref.astype(np.float32), (1.0, 1.0, 1.0), grid)
    asked = EvaluationCase(name, volume, None, tuple(prompts), targets)
    return {"pred": answer([pred == prompt.label for prompt in prompts], prompts), "label": asked}


def metrics(outputs: Sequence[Output]) -> dict[str, float]:
    engine = Engine(lambda _engine, batch: batch)
    PromptDice().attach(engine, "dice")
    return engine.run(outputs).metrics


def dice(pred: np.ndarray, ref: np.ndarray) -> float:
    return 2 * np.logical_and(pred, ref).sum() / (pred.sum() + ref.sum())


EMPTY, SOME = np.zeros((2, 4, 4), np.uint8), np.zeros((2, 4, 4), np.uint8)
SOME[0, :2, :2] = 1


def test_mean_over_cases_and_organs_equals_numpy() -> None:
    rng = np.random.default_rng(0)
    maps = [
        tuple(rng.choice([0, 1, 2, 6], shape).astype(np.uint8) for _ in range(2))
        for shape in [(3, 8, 9), (5, 6, 7), (2, 10, 4)]
    ]
    found = metrics([case(*pair, PROMPTS, f"case{index}") for index, pair in enumerate(maps)])
    expected = {p.name: [dice(pred == p.label, ref == p.label) for pred, ref in maps] for p in PROMPTS}
    assert found["dice"] == pytest.approx(np.mean(list(expected.values())), rel=1e-12)
    for name, values in expected.items():
        assert found[f"dice/{name}"] == pytest.approx(np.mean(values), rel=1e-12)


def test_misses_and_false_finds_count_as_zero_and_absence_not_at_all() -> None:
    def score(*pairs: tuple[np.ndarray, np.ndarray], prompts: Sequence[Prompt] = (LIVER,)) -> float:
        return metrics([case(*pair, prompts, f"case{index}") for index, pair in enumerate(pairs)])["dice"]

    assert score((SOME, SOME)) == 1.0
    assert score((EMPTY, SOME)) == 0.0
    assert score((SOME, EMPTY)) == 0.0
    assert score((SOME, SOME), prompts=PROMPTS) == 1.0  # spleen and kidney are in neither
    assert score((SOME, SOME), (EMPTY, SOME), (EMPTY, EMPTY)) == 0.5


def test_only_organs_that_were_asked_for_count() -> None:
    """The reference has a spleen too, which the case has no annotation of and no prompt for."""
    ref = SOME.copy()
    ref[1, 2:] = 2
    assert metrics([case(SOME, ref, [LIVER])])["dice"] == 1.0


def test_three_prompts_with_one_identical_mask_are_each_right() -> None:
    """A voxel of the label map belongs to one prompt; whoever is asked beside it costs a prompt nothing."""
    mask, prompts = SOME == 1, PROMPTS
    asked = case(SOME, SOME, [LIVER])["label"]
    assert isinstance(asked, EvaluationCase)
    targets = tuple(Target("a", "a", prompt.name, Region(SOME, (1,))) for prompt in prompts)
    output = {"pred": answer([mask] * 3, prompts), "label": replace(asked, prompts=prompts, targets=targets)}
    found = metrics([output])
    assert found == {"dice": 1.0, "dice/liver": 1.0, "dice/spleen": 1.0, "dice/left kidney": 1.0}


def test_two_cases_of_one_label_file_do_not_take_each_others_place() -> None:
    right, missed = case(SOME, SOME, [LIVER], "phase 1"), case(EMPTY, SOME, [LIVER], "phase 2")
    assert metrics([right, missed])["dice"] == metrics([missed, right])["dice"] == 0.5


def test_two_sentences_that_mean_one_lesion_count_each() -> None:
    first, second = Prompt("the left one", "the left one", 1), Prompt("the round one", "the round one", 2)
    asked = case(SOME, SOME, [first])["label"]
    assert isinstance(asked, EvaluationCase)
    targets = tuple(Target("p-1", "p", "lesion", Region(SOME, (1,)), p.text) for p in (first, second))
    output = {
        "pred": answer([SOME == 1, EMPTY == 1], [first, second]),
        "label": replace(asked, prompts=(first, second), targets=targets),
    }
    assert metrics([output]) == {"dice": 0.5, "dice/lesion": 0.5}


def test_score_starts_anew_with_every_run() -> None:
    metric, engine = PromptDice(), Engine(lambda _engine, batch: batch)
    metric.attach(engine, "dice")
    first = engine.run([case(EMPTY, SOME, [LIVER])]).metrics["dice"]
    second = engine.run([case(SOME, SOME, [LIVER], "b")]).metrics["dice"]
    assert (first, second) == (0.0, 1.0)


def test_nothing_to_score_is_said() -> None:
    with pytest.raises(
        NotComputableError, match="no case had any of the targets, neither predicted nor labelled"
    ):
        metrics([case(EMPTY, EMPTY, PROMPTS)])


def test_a_case_that_comes_twice_counts_once() -> None:
    """Where there are fewer cases than processes, every process gets all of them."""
    right = case(SOME, SOME, [LIVER], "b")
    assert metrics([case(EMPTY, SOME, [LIVER], "a"), right, right])["dice"] == 0.5


def test_processes_share_their_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes, of which the other one had the case "b", missed, and "a" as well."""
    others = PromptDice()
    others.reset()
    for output in (case(EMPTY, SOME, [LIVER], "b"), case(SOME, SOME, [LIVER], "a")):
        others.update((output["pred"], output["label"]))  # type: ignore[arg-type]
    parts = "common.training.validation.idist"
    monkeypatch.setattr(f"{parts}.get_world_size", lambda: 2)
    monkeypatch.setattr(f"{parts}.all_gather", lambda own: [own, others._values])
    assert metrics([case(SOME, SOME, [LIVER], "a"), case(SOME, SOME, [LIVER], "c")])["dice"] == 2 / 3


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
