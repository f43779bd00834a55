"""How good a bundle is on the studies that are labelled, and how sure on those that are not."""

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.scoring import ScoringMethod

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
