"""What every opponent of a study is given: a search of its settings, and one run until it no longer gains.

Both are judged on validation patients, never on those of the test.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from common.data.evaluation_cases import EvaluationCases
from common.metrics.segmentation import Row

from .arms import Arm, train_arms
from .training import save_state, score

SEED = 0  # of search and plateau, whatever seeds are compared then
SHARE = 1 / 3  # of an arm's time, for each setting
VALIDATION = "validation"  # name of the question of a search

# A check gains if it is this much better than the best before. After so many in a row that do not gain the
# learning rate falls to a fifth, and the second time the training ends.
MIN_GAIN = 0.003
PATIENCE = 3
FALLS = 2
SLOWER = 0.2
CHECKS = 4  # in the time of an arm


@dataclass(frozen=True)
class Setting:
    """One of the settings that a search tries.

    Attributes:
        learning_rate: at its highest.
        batch_dice: whether Dice is one of the whole batch, or each mask's own.
        width: channels of the finest maps.
    """

    learning_rate: float
    batch_dice: bool
    width: int

    @property
    def name(self) -> str:
        """As it stands in the results."""
        dice = "Dice of the batch" if self.batch_dice else "Dice of each mask"
        return f"rate {self.learning_rate:g}, {dice}, width {self.width}"


class Opponent(NamedTuple):
    """An arm whose settings are searched.

    Attributes:
        name: of the arm.
        settings: to try.
        searching: the arm of a setting that learns without the validation patients and is asked the question
            VALIDATION about them.
        converging: as `searching`, asked about the test.
        validation: the cases that the plateau is judged on.
    """

    name: str
    settings: Sequence[Setting]
    searching: Callable[[Setting], Arm]
    converging: Callable[[Setting], Arm]
    validation: EvaluationCases

    @property
    def converged(self) -> str:
        """What the row of the run to convergence is called."""
        return f"{self.name}, until it no longer gains"


class Winner(NamedTuple):
    """What a search found: the best setting, and the report of all."""

    setting: Setting
    report: dict[str, Any]


def search(opponent: Opponent, folder: Path, *, data: str, minutes: float, device: str) -> Winner:
    """Train each setting for SHARE of an arm's `minutes`; the best mean Dice on the validation patients wins.

    Args:
        opponent: whose settings are tried; of equal ones the first wins.
        folder: of the cells.
        data: see `Arm.cell`.
        minutes: of an arm of the comparison.
        device: cpu or cuda.
    """
    by_name = {setting.name: setting for setting in opponent.settings}
    arms = {f"{opponent.name}, {name}": opponent.searching(setting) for name, setting in by_name.items()}
    found = train_arms(arms, folder, data=data, minutes=minutes * SHARE, seed=SEED, device=device)
    results = dict(zip(by_name, found.values(), strict=True))
    scores = {name: mean_dice(result["rows"][VALIDATION]) for name, result in results.items()}
    winner = max(scores, key=scores.__getitem__)
    report = {
        "opponent": opponent.name,
        "minutes": minutes * SHARE,
        "dice": scores,
        "steps": {name: result["training"]["steps"] for name, result in results.items()},
        "winner": winner,
        "setting": asdict(by_name[winner]),
    }
    return Winner(by_name[winner], report)


def mean_dice(rows: Sequence[Row]) -> float:
    """Mean over cases of the mean over what was asked; a miss is 0, what is rightly empty does not count."""
    of_cases: dict[str, list[float]] = {}
    for row in rows:
        of_cases.setdefault(str(row["case"]), []).append(float(row["dsc"]))
    means = [np.nanmean(values) for values in of_cases.values() if not np.isnan(values).all()]
    return float(np.mean(means))


class Plateau(NamedTuple):
    """Where a training stands, from its scores on the validation patients."""

    best: int  # which check was the last that gained
    falls: int  # of the learning rate

    @classmethod
    def of(cls, scores: Sequence[float]) -> "Plateau":
        """See MIN_GAIN and what follows it."""
        best, waited, falls = 0, 0, 0
        for check, value in enumerate(scores[1:], start=1):
            if value > scores[best] + MIN_GAIN:
                best, waited = check, 0
                continue
            waited += 1
            if waited == PATIENCE:
                falls, waited = falls + 1, 0
        return cls(best, falls)


def converge(
    opponent: Opponent,
    setting: Setting,
    folder: Path,
    *,
    data: str,
    minutes: float,
    cap_minutes: float,
    device: str,
) -> dict[str, Any]:
    """One run until the validation patients show no gain, see MIN_GAIN, or `cap_minutes` are over.

    The learning rate stays as it is between its falls. The weights of the best check are asked about the
    test. A killed run goes on from its last check.

    Args:
        opponent: whose winner it is.
        setting: the winner.
        folder: of the cells.
        data: see `Arm.cell`.
        minutes: of an arm of the comparison, of which CHECKS checks are made.
        cap_minutes: the longest training.
        device: cpu or cuda.

    Returns:
        What its cell holds: as `train_arms`, and `scores` of the checks and whether it `converged`.
    """
    arm = opponent.converging(setting)
    arm = replace(arm, recipe=replace(arm.recipe, decay="none"))
    cell = arm.cell(
        folder,
        f"{opponent.converged}, at most {cap_minutes:g} min, checks after {minutes / CHECKS:g}",
        data=data,
        minutes=cap_minutes,
        seed=SEED,
        device=device,
    )
    result = cell.read()
    if result is not None:
        return result
    training = arm.training(minutes=cap_minutes, seed=SEED, device=device)
    scores: list[float] = []
    best: Mapping[str, torch.Tensor] = {}
    if cell.snapshot.is_file():
        state = torch.load(cell.snapshot, map_location=device, weights_only=True)
        scores, best = state["scores"], state["best"]
        training.restore(state["training"])
    with tqdm(total=training.budget_s, initial=min(training.elapsed_s, training.budget_s), unit="s") as bar:
        while training.elapsed_s < training.budget_s and Plateau.of(scores).falls < FALLS:
            training.slowed = SLOWER ** Plateau.of(scores).falls
            training.train_for(minutes * 60 / CHECKS, bar)
            scores.append(mean_dice(score(training.network, opponent.validation, by_name=arm.by_name)))
            if Plateau.of(scores).best == len(scores) - 1:
                best = {key: value.clone() for key, value in training.network.state_dict().items()}
            save_state({"scores": scores, "best": best, "training": training.state()}, cell.snapshot)
    training.network.load_state_dict(best)
    converged = Plateau.of(scores).falls == FALLS
    return cell.write({**arm.result(training, SEED), "scores": scores, "converged": converged})


def convergence_facts(result: Mapping[str, Any], *, cap_minutes: float) -> dict[str, Any]:
    """What `results.json` says of the run to convergence, from its cell."""
    return {
        "cap_minutes": cap_minutes,
        "minutes": result["training"]["minutes"],
        "converged": result["converged"],
        "dice_of_checks": result["scores"],
    }


def print_search(report: Mapping[str, Any], convergence: Mapping[str, Any] | None) -> None:
    """The settings' scores as a Markdown table, the winner in bold, and how the long run ended."""
    title = f"settings of {report['opponent']}, {report['minutes']:.1f} min each"
    print(f"\n| {title} | Dice in validation | steps |")
    print("|---|---|---|")
    for name, dice in report["dice"].items():
        mark = "**" if name == report["winner"] else ""
        print(f"| {mark}{name}{mark} | {mark}{dice:.3f}{mark} | {report['steps'][name]} |")
    if convergence is not None:
        end = "no longer gained" if convergence["converged"] else "was stopped at its cap"
        scores = ", ".join(f"{value:.3f}" for value in convergence["dice_of_checks"])
        print(f"\nThe winner's long run {end} after {convergence['minutes']:.1f} min: Dice {scores}.")
