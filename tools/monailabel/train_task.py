"""A bundle's training as one of MONAI Label's tasks: from saved labels to weights that are served next."""

import json
import logging
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.exception import MONAILabelError, MONAILabelException
from monailabel.interfaces.tasks.train import TrainTask

from common.errors import InputError
from tools.engine import run_in_bundle

from .bundles import Bundle, newest_checkpoint, publish
from .client_request import whole_number
from .labels import SavedLabel, names_of, write_dataset
from .settings import Settings

TRAINING = "tools.monailabel.train_job"
VALIDATION_SHARE = 0.2

_log = logging.getLogger(__name__)


class TextTrainTask(TrainTask):
    """Fine-tunes a bundle on all labels that are saved as final, and publishes weights that are better.

    It runs in one of MONAI Label's background processes; the bundle trains in a process below that.
    """

    def __init__(self, bundle: Bundle, settings: Settings) -> None:
        super().__init__(f"Fine-tune {bundle.name} on the labels that were submitted")
        self.bundle = bundle
        self.settings = settings

    def config(self) -> dict[str, Any]:
        """What a viewer offers to change."""
        return {"max_epochs": 10, "draws_per_epoch": 400}

    def stats(self) -> dict[str, Any]:
        """What the training of the served weights reported."""
        checkpoint = newest_checkpoint(self.settings.models(self.bundle.name))
        if checkpoint is None:
            return {}
        content: dict[str, Any] = json.loads(checkpoint.with_name("training.json").read_text("utf-8"))
        return content

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train; returns the validation's values before and after, and whether new weights are served.

        Raises:
            InputError: too few labels.
            MONAILabelException: the training failed; the weights served are those of before.
        """
        options = {**self.config(), **request}
        epochs = whole_number(options["max_epochs"], "max_epochs", 1, 10_000)
        draws = whole_number(options["draws_per_epoch"], "draws_per_epoch", 1, 1_000_000)
        folder = Path(self.settings.work) / "training" / self.bundle.name
        write_dataset(saved_labels(datastore), folder / "data", validation_share=VALIDATION_SHARE)
        shutil.rmtree(folder / "models", ignore_errors=True)
        overrides = {
            "bundle_root": str(self.bundle.root),
            "dataset_dir": str(folder / "data"),
            "ckpt_dir": str(folder / "models"),
            "output_dir": str(folder / "logs"),
            "epochs": epochs,
            "draws_per_epoch": draws,
            "val_interval": 1,
            **({"device": self.settings.device} if self.settings.device else {}),
        }
        result = self._train(overrides, folder)
        better = result["after"] > result["before"]
        if better:
            models = self.settings.models(self.bundle.name)
            (folder / "models" / "training.json").write_text(json.dumps(result), "utf-8")
            result["weights"] = f"trained here, number {publish(folder / 'models', models).parent.name}"
        else:
            _log.warning("%s: no epoch was better than the weights in use, which are kept.", self.bundle.name)
        return {**result, "published": better}

    def _train(self, overrides: dict[str, Any], folder: Path) -> dict[str, Any]:
        checkpoint = newest_checkpoint(self.settings.models(self.bundle.name))
        result = folder / "result.json"
        result.unlink(missing_ok=True)
        job = {
            "root": str(self.bundle.root),
            "overrides": overrides,
            "start_from": checkpoint and str(checkpoint),
            "result": str(result),
        }
        code = run_in_bundle(self.bundle.root, TRAINING, job)
        if code != 0:
            raise MONAILabelException(
                MONAILabelError.APP_TRAIN_FAILED,
                f"{self.bundle.name}: the training ended with code {code}; its log is above.",
            )
        report: dict[str, Any] = json.loads(result.read_text("utf-8"))
        return report


def saved_labels(datastore: Datastore) -> list[SavedLabel]:
    """All labels saved as final; one without usable names is left out, with a warning."""
    tag = DefaultLabelTag.FINAL
    pairs = {re.sub(r"\.nii(\.gz)?$", "", Path(pair["image"]).name): pair for pair in datastore.datalist()}
    saved = []
    for study in sorted(datastore.get_labeled_images()):
        if study not in pairs:
            _log.warning("%s is left out: training reads NIfTI images.", study)
            continue
        patient = datastore.get_image_info(study).get("PatientID") or study
        try:
            names = names_of(datastore.get_label_info(study, tag))
        except InputError as error:
            _log.warning("%s is left out: %s", study, error)
            continue
        image, label = Path(pairs[study]["image"]), Path(pairs[study]["label"])
        saved.append(SavedLabel(study, image, label, str(patient), names))
    return saved
