"""Do words cost accuracy? Med-VLM compact beside image-only networks on real CT, at equal time."""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from torch import nn

from common.data.datalist import Case, load_datalist, load_label_values
from common.data.evaluation_cases import EvaluationCases
from common.data.framing import Framing
from common.data.organ_slices import OrganSlices
from common.errors import InputError
from common.files import atomic_path
from common.losses import PromptCompetition, WeightedSum
from common.networks.base import TextSegmenter
from common.networks.medvlm.network import FRAMING, PRESETS, MedVLM
from tools.prepare.openkbp import prepare

from .arms import Arm, train_arms
from .cells import data_sha256
from .objectives import PromptObjective, SoftmaxObjective, dice_and_bce
from .opponents import SETTINGS, dynunet_recipe, planned_dynunet, tuned_unet, unet_recipe
from .organ_scores import compare, print_tables
from .training import Recipe, Samples, machine
from .tuning import VALIDATION, Opponent, Setting, converge, convergence_facts, print_search, search

IMAGE_SIZE = 128  # the data's own: a spinal cord is three pixels wide
BATCH = 4  # of the networks that take words, whose prompts make seven masks a slice
UNET = "UNet, tuned (image only)"
DYNUNET = "DynUNet, nnU-Net's plan (image only)"
NONE, NAMES, DESCRIPTIONS = (f"Med-VLM compact, {words}" for words in ("no words", "names", "descriptions"))
# Arms by what the command line calls them, and the level of the texts of those that take any.
ARMS = {"names": NAMES, "descriptions": DESCRIPTIONS, "none": NONE, "unet": UNET, "dynunet": DYNUNET}
LEVELS = {NAMES: "simple", DESCRIPTIONS: "complex", NONE: "none"}
# First minus second: what is said of words.
DIFFERENCES = (
    *((words, image_only) for image_only in (UNET, DYNUNET) for words in (NAMES, DESCRIPTIONS)),
    (NAMES, NONE),
    (DESCRIPTIONS, NAMES),
    (DYNUNET, UNET),
)


class Comparison:
    """The arms on a datalist.

    All see the same slices and their neighbours, in the same order and augmented alike.

    Args:
        datalist: with the sections training, validation and test.
        store: folder for the slices, which all arms share.
        device: cpu or cuda.
    """

    def __init__(self, datalist: Path, store: Path, *, device: str) -> None:
        self.labels = load_label_values(datalist)
        self.organs = list(self.labels)
        self.training, self.validation, self.test = (
            load_datalist(datalist, section) for section in ("training", "validation", "test")
        )
        self.data = data_sha256(self.training, self.validation, self.test)
        self.store = store
        self.device = device

    def arm(self, name: str, *, setting: Setting | None = None) -> Arm:
        """An arm of the comparison; `setting` of the tuned UNet."""
        if name == UNET:
            assert setting is not None
            return self.unet(setting, "test")
        if name == DYNUNET:
            framing = compact_framing()
            return self._image_only(
                lambda: planned_dynunet(self.organs, image_size=IMAGE_SIZE, framing=framing),
                dynunet_recipe(self.device),
                batch_dice=True,
                asked="test",
            )
        level = LEVELS[name]
        loss = with_competition(len(self.organs))
        return Arm(
            network=lambda: MedVLM.from_preset("compact", image_size=IMAGE_SIZE),
            samples=lambda network, seed: self._slices(network, level, BATCH, seed),
            objective=PromptObjective("prompt", loss),
            recipe=Recipe(BATCH),
            asked=lambda _: {"test": self._cases(self.test, level)},
            settings={"network": {"image_size": IMAGE_SIZE, "framing": str(compact_framing())}},
            boundaries=("surfel",),
        )

    def unet(self, setting: Setting, asked: str) -> Arm:
        """The UNet with a setting of the search, asked about the test or VALIDATION patients."""
        framing = compact_framing()
        return self._image_only(
            lambda: tuned_unet(self.organs, setting, image_size=IMAGE_SIZE, framing=framing),
            unet_recipe(setting),
            batch_dice=setting.batch_dice,
            asked=asked,
            width=setting.width,
        )

    def opponent(self) -> Opponent:
        """The UNet, whose settings are searched."""
        return Opponent(
            UNET,
            SETTINGS,
            searching=lambda setting: self.unet(setting, VALIDATION),
            converging=lambda setting: self.unet(setting, "test"),
            validation=self._cases(self.validation, "simple"),
        )

    def _image_only(
        self, network: Any, recipe: Recipe, *, batch_dice: bool, asked: str, width: int | None = None
    ) -> Arm:
        cases = self._cases(self.test if asked == "test" else self.validation, "simple")
        return Arm(
            network=network,
            samples=lambda built, seed: self._slices(built, "simple", recipe.batch_size, seed),
            objective=SoftmaxObjective(self.organs, batch_dice=batch_dice),
            recipe=recipe,
            asked=lambda _: {asked: cases},
            settings={
                "network": {"image_size": IMAGE_SIZE, "framing": str(compact_framing()), "width": width},
                "batch_dice": batch_dice,
                "asked": asked,
            },
            by_name=True,
            boundaries=("surfel",) if asked == "test" else (),
        )

    def _slices(self, network: TextSegmenter, level: str, batch: int, seed: int) -> Samples:
        """Each slice is asked for all organs that are annotated in its case."""
        return OrganSlices(
            self.training,
            labels=self.labels,
            network=network,
            length=10**6,
            prompts_per_slice=len(self.labels),
            text_level=level,
            level_block=batch,
            seed=seed,
            progress=False,
            store=self.store,
        )

    def _cases(self, items: Sequence[Case], level: str) -> EvaluationCases:
        return EvaluationCases(items, labels=self.labels, text_level=level)


def run(
    source: Path,
    work: Path,
    *,
    minutes: float,
    cap_minutes: float,
    seeds: Sequence[int],
    device: str,
    arms: Sequence[str] = tuple(ARMS),
) -> dict[str, Any]:
    """Train all networks for each seed, segment the test patients, print tables and write `results.json`.

    What `work` has the results of is not trained again.

    Args:
        source: OpenKBP, as the challenge gives it or prepared.
        work: folder of cells, weights and results.
        minutes: of each arm and seed.
        cap_minutes: of the run to convergence; 0 leaves it out.
        seeds: of weights and draws.
        device: cpu or cuda.
        arms: keys of ARMS.

    Returns:
        What `results.json` holds.

    Raises:
        InputError: an arm that there is not.
    """
    if unknown := [arm for arm in arms if arm not in ARMS]:
        raise InputError(f"arms: found '{unknown[0]}', expected some of {', '.join(ARMS)}; choose of these.")
    datalist = source / "datalist.json"
    if not datalist.is_file():  # as the challenge gives it
        prepare(source, work / "data")
        datalist = work / "data" / "datalist.json"
    comparison = Comparison(datalist, work / "slices", device=device)
    report: dict[str, Any] = {
        "date": date.today().isoformat(),
        "machine": machine(device),
        "minutes": minutes,
        "patients": {
            section: len(getattr(comparison, section)) for section in ("training", "validation", "test")
        },
    }
    cells, found = work / "cells", dict[str, list[dict[str, Any]]]()
    setting = None
    if "unet" in arms:
        setting = _tune(comparison, report, found, cells, minutes=minutes, cap_minutes=cap_minutes)
    built = {ARMS[key]: comparison.arm(ARMS[key], setting=setting) for key in arms}
    for seed in seeds:
        results = train_arms(
            built, cells, data=comparison.data, minutes=minutes, seed=seed, device=device, weights=work
        )
        for name, result in results.items():
            found.setdefault(name, []).append(result)
        report |= _summary(found)
        with atomic_path(work / "results.json") as path:
            path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print_tables(report)
    if "search" in report:
        print_search(report["search"], report.get("convergence"))
    return report


def _tune(
    comparison: Comparison,
    report: dict[str, Any],
    found: dict[str, list[dict[str, Any]]],
    cells: Path,
    *,
    minutes: float,
    cap_minutes: float,
) -> Setting:
    """The search's winner; `report` and `found` take what the search and the run to convergence gave."""
    opponent, given = comparison.opponent(), {"data": comparison.data, "device": comparison.device}
    winner = search(opponent, cells, minutes=minutes, **given)
    report["search"] = winner.report
    if cap_minutes:
        long = converge(opponent, winner.setting, cells, minutes=minutes, cap_minutes=cap_minutes, **given)
        report["convergence"] = convergence_facts(long, cap_minutes=cap_minutes)
        found[opponent.converged] = [long]
    return winner.setting


def _summary(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    rows = {name: [result["rows"]["test"] for result in results] for name, results in found.items()}
    training = {
        name: {str(result["settings"]["seed"]): result["training"] for result in results}
        for name, results in found.items()
    }
    return {"training": training, **compare(rows, DIFFERENCES)}


def compact_framing() -> Framing:
    """What the compact preset sees, which the image-only networks see too."""
    return FRAMING.changed(PRESETS["compact"].get("framing"))


def with_competition(prompts: int) -> nn.Module:
    """Med-VLM's loss; the others, which have no prompts that could compete, have a softmax."""
    return WeightedSum({"masks": dice_and_bce(), "competition": PromptCompetition(prompts)})
