"""The search, the run to convergence and their cells, with real trainings of a second on made volumes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

from tests.tools.study.volumes import write_patients
from tools.study import arms, openkbp, opponents, training, tuning
from tools.study.arms import train_arms
from tools.study.openkbp import UNET, Comparison
from tools.study.tuning import VALIDATION, Opponent, Plateau, Setting, converge, mean_dice, search

LEARNS, DOES_NOT = Setting(1e-2, batch_dice=True, width=8), Setting(0.0, batch_dice=True, width=8)
MINUTES = 6 / 60  # of an arm; a setting has a third


@pytest.fixture
def comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Comparison:
    monkeypatch.setattr(openkbp, "IMAGE_SIZE", 32)
    monkeypatch.setattr(opponents, "BATCH", 4)
    monkeypatch.setattr(training, "TURNS", 2)
    return Comparison(write_patients(tmp_path), tmp_path / "slices", device="cpu")


@pytest.fixture
def opponent(comparison: Comparison) -> Opponent:
    return comparison.opponent()._replace(settings=(DOES_NOT, LEARNS))


def refuse(*_args: Any, **_options: Any) -> None:
    raise AssertionError("trained again")


def test_the_setting_that_does_best_on_validation_patients_wins(
    tmp_path: Path, opponent: Opponent, comparison: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells, given = tmp_path / "cells", {"data": comparison.data, "minutes": MINUTES, "device": "cpu"}
    winner = search(opponent, cells, **given)
    assert winner.setting == LEARNS
    assert winner.report["winner"] == LEARNS.name
    assert winner.report["setting"] == {"learning_rate": 1e-2, "batch_dice": True, "width": 8}
    assert winner.report["dice"][LEARNS.name] > 0.3 > winner.report["dice"][DOES_NOT.name]
    written = [json.loads(path.read_text()) for path in sorted(cells.glob("*.json"))]
    assert len(written) == 2
    for cell in written:  # a third of the time each, and no patient of the test was looked at
        assert cell["settings"]["minutes"] == pytest.approx(MINUTES / 3)
        assert cell["training"]["minutes"] >= MINUTES / 3
        assert {row["case"] for row in cell["rows"][VALIDATION]} == {"validation0", "validation1"}

    # What stands in the cells is used: nothing is trained, and other scores make another winner.
    monkeypatch.setattr(arms, "Training", refuse)
    assert search(opponent, cells, **given) == winner
    (path,) = (path for path in cells.glob("*.json") if "rate-0-" in path.name)
    content = json.loads(path.read_text())
    for row in content["rows"][VALIDATION]:
        row["dsc"] = 1.0
    path.write_text(json.dumps(content))
    assert search(opponent, cells, **given).setting == DOES_NOT
    for other in ({"minutes": 2 * MINUTES}, {"data": "other"}):
        with pytest.raises(AssertionError, match="trained again"):
            search(opponent, cells, **(given | other))


def test_an_interrupted_command_goes_on(
    tmp_path: Path, comparison: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of two arms is killed in its second turn: the first turn of both stays."""
    built = {name: comparison.unet(LEARNS, VALIDATION) for name in ("first", "second")}
    given: dict[str, Any] = {"data": "data", "minutes": 2 / 60, "seed": 3, "device": "cpu"}
    cells = tmp_path / "cells"
    take_turn, taken = training.Training.take_turn, list[training.Training]()

    def killed(self: training.Training, bar: tqdm) -> None:
        if len(taken) == 3:
            raise KeyboardInterrupt
        taken.append(self)
        take_turn(self, bar)

    monkeypatch.setattr(training.Training, "take_turn", killed)
    with pytest.raises(KeyboardInterrupt):
        train_arms(built, cells, **given)
    assert not list(cells.glob("*.json"))
    first, second = taken[0], taken[1]
    assert taken[2] is first

    resumed: list[training.Training] = []

    def noted(self: training.Training, bar: tqdm) -> None:
        resumed.append(self)
        take_turn(self, bar)

    monkeypatch.setattr(training.Training, "take_turn", noted)
    losses = [list(first.losses), list(second.losses)]
    found = train_arms(built, cells, **given)
    assert found["first"]["training"]["steps"] == len(losses[0])  # had both of its turns
    assert {id(done) for done in resumed} == {id(resumed[0])}
    assert resumed[0].losses[: len(losses[1])] == losses[1]
    assert found["second"]["training"]["steps"] > len(losses[1])
    assert found["second"]["training"]["minutes"] == pytest.approx(2 / 60, rel=0.5)
    assert sorted(path.suffix for path in cells.iterdir()) == [".json", ".json"]

    # One of two cells is lost: it alone is trained again.
    (gone,) = cells.glob("first-*.json")
    kept = next(cells.glob("second-*.json")).stat().st_mtime_ns
    gone.unlink()
    resumed.clear()
    train_arms(built, cells, **given)
    assert len({id(done) for done in resumed}) == 1
    assert next(cells.glob("second-*.json")).stat().st_mtime_ns == kept


def test_a_resumed_training_takes_the_draws_that_follow(comparison: Comparison, tmp_path: Path) -> None:
    arm = comparison.unet(LEARNS, VALIDATION)
    snapshot = tmp_path / "snapshot.pt"
    options: dict[str, Any] = {"minutes": 1 / 60, "seed": 0, "device": "cpu", "snapshot": snapshot}
    begun = arm.training(**options)
    with tqdm(disable=True) as bar:
        begun.take_turn(bar)
    resumed, whole = arm.training(**options), arm.training(**options | {"snapshot": None})
    drawn = [next(whole._batches)["slice_index"] for _ in range(len(begun.losses) + 1)]
    assert next(resumed._batches)["slice_index"] == drawn[-1]
    weights = begun.network.state_dict()
    assert all((weights[name] == value).all() for name, value in resumed.network.state_dict().items())
    assert resumed.elapsed_s == begun.elapsed_s


@pytest.mark.parametrize(
    ("scores", "best", "falls"),
    [
        ([], 0, 0),
        ([0.5], 0, 0),
        ([0.1, 0.2, 0.3, 0.4, 0.5], 4, 0),
        ([0.5, 0.502, 0.502], 0, 0),  # under the gain that counts
        ([0.5, 0.5, 0.5, 0.5], 0, 1),
        ([0.5, 0.5, 0.5, 0.504, 0.5, 0.5, 0.5], 3, 1),
        ([0.5, 0.5, 0.5, 0.5, 0.6, 0.6, 0.6, 0.6], 4, 2),  # a fall, a gain, and nothing more
        ([0.5] * 7, 0, 2),
    ],
)
def test_the_rule_of_the_plateau(scores: list[float], best: int, falls: int) -> None:
    assert Plateau.of(scores) == Plateau(best, falls)


def test_a_run_ends_where_it_no_longer_gains_and_keeps_its_best_weights(
    tmp_path: Path, opponent: Opponent, comparison: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = iter([0.2, 0.5, 0.5, 0.5, 0.5, 0.4, 0.4, 0.4])
    rates: list[float] = []
    best: list[Any] = []

    def judged(rows: Any) -> float:
        value = next(said)
        if value == 0.5 and not best:
            best.append(seen[-1].state_dict()["unet.model.0.conv.unit0.conv.weight"].clone())
        return value

    seen: list[Any] = []
    original = tuning.score

    def scored(network: Any, *args: Any, **options: Any) -> Any:
        seen.append(network)
        return original(network, *args, **options)

    monkeypatch.setattr(tuning, "score", scored)
    monkeypatch.setattr(tuning, "mean_dice", judged)
    step = training.Training._step

    def noted(self: training.Training) -> None:
        step(self)
        rates.append(self._optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(training.Training, "_step", noted)
    given: dict[str, Any] = {"data": "d", "minutes": 1 / 60, "cap_minutes": 1, "device": "cpu"}
    result = converge(opponent, LEARNS, tmp_path / "cells", **given)
    assert result["converged"]
    assert result["scores"] == [0.2, 0.5, 0.5, 0.5, 0.5, 0.4, 0.4, 0.4]
    assert result["training"]["minutes"] < 0.2
    assert {row["case"] for row in result["rows"]["test"]} == {"test0", "test1"}
    assert sorted(set(rates), reverse=True) == pytest.approx([1e-2, 2e-3])
    weights = seen[-1].state_dict()["unet.model.0.conv.unit0.conv.weight"]
    assert (weights == best[0]).all()
    assert converge(opponent, LEARNS, tmp_path / "cells", **given) == result  # no score is left to say


def test_a_run_ends_at_its_cap(tmp_path: Path, opponent: Opponent, monkeypatch: pytest.MonkeyPatch) -> None:
    rising = iter(range(100))
    monkeypatch.setattr(tuning, "mean_dice", lambda rows: float(next(rising)))
    result = converge(
        opponent, LEARNS, tmp_path, data="d", minutes=2 / 60, cap_minutes=1.5 / 60, device="cpu"
    )
    assert not result["converged"]
    assert 2 <= len(result["scores"]) <= 3  # checks after half a second
    assert 1.5 / 60 <= result["training"]["minutes"] < 3 / 60


def test_a_killed_run_goes_on_from_its_last_check(
    tmp_path: Path, opponent: Opponent, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[float] = [0.3, 0.2]

    def judged(rows: Any) -> float:
        if not said:
            raise KeyboardInterrupt
        return said.pop(0)

    monkeypatch.setattr(tuning, "mean_dice", judged)
    given: dict[str, Any] = {"data": "d", "minutes": 1 / 60, "cap_minutes": 1, "device": "cpu"}
    with pytest.raises(KeyboardInterrupt):
        converge(opponent, LEARNS, tmp_path, **given)
    said += [0.2] * 5
    result = converge(opponent, LEARNS, tmp_path, **given)
    assert result["scores"] == [0.3, *[0.2] * 6]
    assert [path.suffix for path in tmp_path.iterdir() if "until" in path.name] == [".json"]


def test_scores_are_means_over_cases() -> None:
    """Case a: 0.5 and a miss; case b: 1 and one that is rightly empty; case c has nothing to find."""
    nan = float("nan")
    rows: list[Any] = [
        {"case": case, "dsc": dice}
        for case, dice in (("a", 0.5), ("a", 0.0), ("b", 1.0), ("b", nan), ("c", nan))
    ]
    assert mean_dice(rows) == pytest.approx((0.25 + 1) / 2)


def test_weights_do_not_depend_on_which_arms_are_trained(comparison: Comparison) -> None:
    arm = comparison.unet(LEARNS, VALIDATION)
    one, other = (arm.training(minutes=1, seed=seed, device="cpu").network.state_dict() for seed in (1, 1))
    assert all((one[name] == value).all() for name, value in other.items())
    key = {"data": "d", "minutes": 1.0, "seed": 1, "device": "cpu"}
    assert arm.cell(Path(), UNET, **key).path == arm.cell(Path(), UNET, **key).path
    slower = replace(arm, recipe=replace(arm.recipe, learning_rate=1e-4))
    assert slower.cell(Path(), UNET, **key).path != arm.cell(Path(), UNET, **key).path
