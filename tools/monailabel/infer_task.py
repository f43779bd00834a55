"""A bundle as one of MONAI Label's models: an image and words in, a label map out."""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monailabel.interfaces.exception import MONAILabelError, MONAILabelException
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from common.errors import InputError

from .bundle_process import BundleProcess
from .bundles import newest_checkpoint
from .client_request import Asked, read_asked
from .settings import Settings

NOTICE = "Research use only, not for diagnosis."
# OHIF takes segment names from here and not from a result: the n-th text gets the n-th of them. It has a
# colour for each of these; for other names that differ by a digit it makes up nearly the same one.
VIEWER_NAMES = {f"region {number}": number for number in range(1, 16)}


class TextInferTask(InferTask):
    """Segments what the request's prompts mean.

    What a viewer shows of `config` is what a user may change; prompts are read from the request alone.

    Args:
        process: the bundle.
        settings: where images may lie and trained weights are.
    """

    def __init__(self, process: BundleProcess, settings: Settings) -> None:
        bundle = process.bundle
        super().__init__(
            type=InferType.SEGMENTATION,
            labels=VIEWER_NAMES,
            dimension=3,
            description=bundle.description,
            config={"prompt": bundle.example_prompt, "keep_largest": False, "smooth": False},
        )
        self.process = process
        self.settings = settings

    def is_valid(self) -> bool:
        """Bundles are checked when the server starts."""
        return True

    def get_path(self, validate: bool = True) -> str | None:
        """The weights in use, for download; uploads, which ask without `validate`, find none."""
        if not validate:
            return None
        own = self.process.bundle.root / "models" / "model.pt"
        return str(newest_checkpoint(self.settings.models(self.process.bundle.name)) or own)

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Segment; returns the label map's path, which the caller deletes, and what was found.

        Raises:
            InputError: fields, image or prompts that cannot be used.
            BundleError: see `BundleProcess.ask`.
        """
        shown = self.config() if "prompts" not in request else {}  # OHIF sends only what was changed
        asked = read_asked({**shown, **request})
        wanted = request.get("wanted", lambda: True)
        folder = Path(tempfile.mkdtemp(prefix="mask-", dir=self.settings.work))
        path = folder / f"mask.{asked.file_format}"
        try:
            found = self.segment(self._image(request.get("image")), asked, path, wanted=wanted)
            result = Path(tempfile.mkstemp(suffix=f".{asked.file_format}", dir=self.settings.work)[1])
            os.replace(path, result)
        finally:
            shutil.rmtree(folder)
        return str(result), found

    def segment(
        self,
        image: Path,
        asked: Asked,
        output: Path,
        *,
        masks: Sequence[Path] = (),
        uncertainty: bool = False,
        wanted: Callable[[], bool] = lambda: True,
    ) -> dict[str, Any]:
        """Write the label map of an image to `output`; returns the fields of a result.

        Args:
            masks: where each prompt's own mask goes, which may overlap others; none are written without.
            uncertainty: whether to estimate it.
            wanted: see `BundleProcess.ask`.
        """
        bundle = self.process.bundle
        checkpoint = newest_checkpoint(self.settings.models(bundle.name))
        job = {
            "image": str(image),
            "prompts": [_prompt(text, number) for number, text in enumerate(asked.prompts, start=1)],
            "options": asked.options,
            "output": str(output),
            "masks": [str(mask) for mask in masks],
            "checkpoint": checkpoint and str(checkpoint),
            "uncertainty": uncertainty,
        }
        try:
            found = self.process.ask(job, wanted=wanted)
        except InputError as error:  # clients need not know where files lie
            raise InputError(str(error).replace(str(image), image.name)) from error
        trained = (
            "the bundle's own" if checkpoint is None else f"trained here, number {checkpoint.parent.name}"
        )
        return {
            "label_names": {text: number for number, text in enumerate(asked.prompts, start=1)},
            **found,
            "model": bundle.name,
            "version": bundle.metadata.get("version"),
            "weights": trained,
            "notice": NOTICE,
        }

    def _image(self, image: object) -> Path:
        """The path that a request means, which MONAI Label has made out of a study's name.

        Raises:
            InputError: it leads elsewhere than to the studies and what clients have sent.
            MONAILabelException: there is nothing.
        """
        if not isinstance(image, str) or not image or not os.path.exists(image):
            raise MONAILabelException(MONAILabelError.INVALID_INPUT, f"Image {image or ''} not found")
        path = Path(image).resolve()
        if not any(path.is_relative_to(folder) for folder in self.settings.image_folders):
            raise InputError(
                f"image: {path.name} lies outside the studies folder, expected a study of this server; copy "
                "it there (links that lead out of it are not followed)."
            )
        return path


def _prompt(text: str, number: int) -> dict[str, Any]:
    return {"text": text, "name": text, "label": number}


def label_info(names: Mapping[str, int]) -> Sequence[dict[str, Any]]:
    """`label_names` of a result in the form that viewers send with a label."""
    return [{"name": name, "idx": number} for name, number in names.items()]
