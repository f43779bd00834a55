"""How good a bundle is on labelled studies, how sure on the others, and so which study to label next."""

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy

from common.data.label_maps import read_label_map
from common.data.volumes import Volume
from common.errors import InputError
from common.metrics.segmentation import measure_mask

from .bundle_process import BundleError
from .client_request import Asked, read_asked
from .infer_task import TextInferTask
from .train_task import saved_labels

_log = logging.getLogger(__name__)


class _BundleScoring(ScoringMethod):
    """Scores all its studies; one that fails is reported and the others go on."""

    def __init__(self, task: TextInferTask, description: str) -> None:
        super().__init__(f"{task.process.bundle.name}: {description}")
        self.task = task

    def _score(self, one: str, work: Any) -> Any:
        try:
            return work()
        except (InputError, BundleError) as error:
            _log.error("%s was not scored: %s", one, error)
            return {"error": str(error)}


class DiceScoring(_BundleScoring):
    """Dice of each name's own mask with what a submitted label has of that name.

    Own masks, since names of one label are asked for together: what a label map gives to one of them says
    nothing of another.
    """

    def __init__(self, task: TextInferTask) -> None:
        super().__init__(task, "Dice with the labels that were submitted, a value for each name")

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """{study: {name: Dice}}; the studies' info gets it too, under `dice` and the bundle's name."""
        scores = {}
        for saved in saved_labels(datastore):
            scores[saved.study] = self._score(saved.study, lambda saved=saved: self._dice(saved))
            _keep(datastore, saved.study, "dice", self.task.process.bundle.name, scores[saved.study])
        return scores

    def _dice(self, saved: Any) -> dict[str, float | None]:
        asked = Asked(tuple(saved.names.values()), {}, "nii.gz")
        with tempfile.TemporaryDirectory(dir=self.task.settings.work) as folder:
            masks = [Path(folder) / f"mask{number}.nii.gz" for number in saved.names]
            self.task.segment(saved.image, asked, Path(folder) / "labels.nii.gz", masks=masks)
            reference = read_label_map(saved.label)
            return {
                name: _dice_of(read_label_map(mask, like=reference), reference, number)
                for mask, (number, name) in zip(masks, saved.names.items(), strict=True)
            }


class UncertaintyScoring(_BundleScoring):
    """How unsure the bundle is about the request's prompts in each study without a label."""

    def __init__(self, task: TextInferTask) -> None:
        super().__init__(task, "how unsure it is about the request's prompts, 0 to 1, without labels")

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """{study: uncertainty of its least sure prompt}; kept in the studies' info for the strategy."""
        params = {name: request[name] for name in ("prompt", "prompts") if name in request}
        asked = read_asked({"prompt": self.task.process.bundle.example_prompt, **params})
        scores = {}
        for study in sorted(datastore.get_unlabeled_images()):
            scores[study] = self._score(study, lambda study=study: self._unsure(datastore, study, asked))
            if isinstance(scores[study], float):
                _keep(datastore, study, "uncertainty", self.task.process.bundle.name, scores[study])
        return scores

    def _unsure(self, datastore: Datastore, study: str, asked: Asked) -> float:
        with tempfile.TemporaryDirectory(dir=self.task.settings.work) as folder:
            image = Path(datastore.get_image_uri(study))
            found = self.task.segment(image, asked, Path(folder) / "mask.nii.gz", uncertainty=True)
        return float(max(row["uncertainty"] for row in found["prompts"]))


def _dice_of(found: Volume, reference: Volume, number: int) -> float | None:
    """Dice of a mask with one number of a label map; None, as JSON has no NaN, where both are empty."""
    dice = measure_mask(found.slices > 0, reference.slices == number, spacing_mm=found.spacing_mm)["dsc"]
    return None if np.isnan(dice) else round(float(dice), 4)


def _keep(datastore: Datastore, study: str, what: str, bundle: str, value: Any) -> None:
    known = datastore.get_image_info(study).get(what) or {}
    datastore.update_image_info(study, {what: {**known, bundle: value}})


class MostUncertain(Strategy):
    """The study without a label that a bundle was least sure about when `uncertainty` was last scored.

    The request's `model` says whose scores count; by default the highest of any bundle's. Where nothing was
    scored yet, the first study by name.
    """

    def __init__(self) -> None:
        super().__init__("Least sure first (run the scoring method uncertainty before)")

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """{"id": study, "uncertainty": its score or None}, or None when all studies have labels."""
        studies = sorted(datastore.get_unlabeled_images())
        if not studies:
            return None
        scores = {study: self._score(datastore, study, request.get("model")) for study in studies}
        known = {study: score for study, score in scores.items() if score is not None}
        if not known:
            _log.warning("No study has an uncertainty yet: taking the first. Run the scoring method first.")
            return {"id": studies[0], "uncertainty": None}
        chosen = max(known, key=known.__getitem__)
        return {"id": chosen, "uncertainty": known[chosen]}

    def _score(self, datastore: Datastore, study: str, model: object) -> float | None:
        scores = datastore.get_image_info(study).get("uncertainty") or {}
        values = [value for bundle, value in scores.items() if model in (None, "", bundle)]
        return max(values, default=None)
