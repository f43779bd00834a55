"""The app that MONAI Label runs: every bundle as a model, with training, scoring and a strategy."""

from pathlib import Path

from monailabel.config import settings as label_settings
from monailabel.datastore.dicom import DICOMwebClientX
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.tasks.activelearning.first import First
from monailabel.tasks.activelearning.random import Random
from requests import Session

from common import __version__

from .batch import TextBatchInferTask
from .bundle_process import BundleProcess
from .bundles import find_bundles
from .datastore import KeptDatastore, KeptDicomWeb
from .infer_task import NOTICE, TextInferTask
from .scoring import DiceScoring, MostUncertain, UncertaintyScoring
from .settings import Settings
from .train_task import TextTrainTask


class TextApp(MONAILabelApp):  # MONAI Label finds the class by its direct base
    """Serves what `settings.json` in the app's folder says."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        self.settings = Settings.read(Path(app_dir))
        places = [Path(place) for place in self.settings.bundles]
        self.bundles = find_bundles(places, Path(self.settings.work) / "bundles")
        for folder in (self.settings.uploads, self.settings.sessions):
            folder.mkdir(parents=True, exist_ok=True)
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name="Segmentation from text",
            description=f"Type what to segment as the option `prompt`. {NOTICE}",
            version=__version__,
        )

    def init_infers(self) -> dict[str, InferTask]:
        """One model for each bundle."""
        tasks: dict[str, InferTask] = {}
        for name, bundle in self.bundles.items():
            device, limit = self.settings.device, self.settings.time_limit_s
            process = BundleProcess(bundle, device=device, time_limit_s=limit)
            tasks[name] = TextInferTask(process, self.settings)
        return tasks

    def init_trainers(self) -> dict[str, TrainTask]:
        """One training for each bundle that learns from label maps."""
        return {
            name: TextTrainTask(bundle, self.settings)
            for name, bundle in self.bundles.items()
            if bundle.trains
        }

    def init_strategies(self) -> dict[str, Strategy]:
        """Which study comes next."""
        return {"most_uncertain": MostUncertain(), "first": First(), "random": Random()}

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """`dice_<bundle>` and `uncertainty_<bundle>`."""
        scoring: dict[str, ScoringMethod] = {}
        for name, task in self._infers.items():
            scoring[f"dice_{name}"] = DiceScoring(task)
            scoring[f"uncertainty_{name}"] = UncertaintyScoring(task)
        return scoring

    def init_batch_infer(self) -> TextBatchInferTask:
        """Many studies in the background."""
        return TextBatchInferTask()

    def init_datastore(self) -> Datastore:
        """A folder, or a DICOMweb server."""
        if self.studies.startswith(("http://", "https://")):
            return self._dicomweb()
        return KeptDatastore(
            self.studies,
            extensions=label_settings.MONAI_LABEL_DATASTORE_FILE_EXT,
            auto_reload=label_settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
        )

    def _dicomweb(self) -> Datastore:
        session = Session()
        if label_settings.MONAI_LABEL_DICOMWEB_USERNAME:
            user, password = (
                label_settings.MONAI_LABEL_DICOMWEB_USERNAME,
                label_settings.MONAI_LABEL_DICOMWEB_PASSWORD,
            )
            session.auth = (user, password)
        client = DICOMwebClientX(
            url=self.studies.rstrip("/"),
            session=session,
            qido_url_prefix=label_settings.MONAI_LABEL_QIDO_PREFIX,
            wado_url_prefix=label_settings.MONAI_LABEL_WADO_PREFIX,
            stow_url_prefix=label_settings.MONAI_LABEL_STOW_PREFIX,
        )
        return KeptDicomWeb(
            client=client,
            search_filter=label_settings.MONAI_LABEL_DICOMWEB_SEARCH_FILTER,
            cache_path=str(self.settings.dicom_cache),
        )

    def close(self) -> None:
        """End the bundles' processes."""
        for task in self._infers.values():
            task.process.close()
