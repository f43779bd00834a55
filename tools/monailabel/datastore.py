"""MONAI Label's datastores, so that nothing that was saved gets lost.

MONAI Label 0.8.5 writes a label and its index file in place, and its background tasks are processes that
write the same index: a kill at the wrong moment leaves half a file, and the last of two writers undoes the
other's change. Here files are replaced in one step, and an index is read again, changed and written under
one lock. Names that lead out of the folder are refused.
"""

import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastore, LocalDatastoreModel
from monailabel.datastore.utils.convert import binary_to_image
from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException
from watchdog.events import FileSystemEvent

from common.data.dicom_series import find_series
from common.errors import InputError
from common.files import atomic_path

from .client_request import check_plain_name
from .dicom_names import segments_for

_log = logging.getLogger(__name__)


class KeptDatastore(LocalDatastore):
    """A folder of images with an index of images, labels and what was said about them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._mutex = threading.RLock()
        self._config_ts: int
        self._index_lock: FileLock | None = None
        super().__init__(*args, **kwargs)
        if hasattr(self, "_handler"):  # another process replaces the index: for a watcher this is a move
            self._handler.on_moved = self._on_moved

    @contextmanager
    def _changing(self) -> Iterator[LocalDatastoreModel]:
        """The index as it is on disk, held against other threads and processes, written at the end."""
        with self._held():
            self._init_from_datastore_file()
            yield self._datastore
            self._update_datastore_file()

    @contextmanager
    def _held(self) -> Iterator[None]:
        with self._mutex:
            if self._index_lock is None:  # the path is known once the parent class is being initialised
                self._index_lock = FileLock(self._lock_file, thread_local=False)
            with self._index_lock:
                yield

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Copy an image into the folder; returns its name."""
        own_name, ending = self._to_id(os.path.basename(image_filename))
        image_id = check_plain_name(image_id or own_name, "image")
        name = self._filename(image_id, ending)
        with self._changing() as index:
            _copy(image_filename, Path(index.image_path()) / name)
            info = {**(image_info or {}), "ts": int(time.time()), "name": name}
            known = index.objects.get(image_id)
            labels = known.labels if known else {}
            index.objects[image_id] = ImageLabelModel(image=DataModel(info=info, ext=ending), labels=labels)
        return image_id

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        """Keep a label map and what was said about it; both are there when this returns."""
        tag = check_plain_name(getattr(label_tag, "value", label_tag), "tag")
        with self._changing() as index:
            known = index.objects.get(image_id)
            if known is None:
                raise ImageNotFoundException(f"Image {image_id} not found")
            _, ending = self._to_id(os.path.basename(label_filename))
            name = self._filename(image_id, ending)
            older = known.labels.get(tag)
            _copy(label_filename, Path(index.label_path(tag)) / name)
            if older is not None and older.ext != ending:
                (Path(index.label_path(tag)) / self._filename(image_id, older.ext)).unlink(missing_ok=True)
            info = {**(label_info or {}), "ts": int(time.time()), "name": name}
            known.labels[tag] = DataModel(info=info, ext=ending)
        return image_id

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Add to what is known about an image."""
        with self._changing() as index:
            if image_id not in index.objects:
                raise ImageNotFoundException(f"Image {image_id} not found")
            index.objects[image_id].image.info.update(info)

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Add to what is known about a label."""
        with self._changing() as index:
            label = index.label(label_id, label_tag)
            if label is None:
                raise LabelNotFoundException(f"Label: {label_id} Tag: {label_tag} not found")
            label.info.update(info)

    def _reconcile_datastore(self) -> None:
        with self._held():
            super()._reconcile_datastore()

    def _init_from_datastore_file(self, throw_exception: bool = False) -> None:
        with self._held():
            path = Path(self._datastore_config_path)
            version = path.stat().st_mtime_ns if path.exists() else 0
            if version in (0, self._config_ts):
                return
            try:
                self._datastore = LocalDatastoreModel.model_validate_json(path.read_text("utf-8"))
            except ValueError as error:
                raise InputError(
                    f"{path}: cannot be read as the index of this folder ({str(error).splitlines()[0]}); "
                    "move it away, and the server makes a new one from the files, without the labels' names."
                ) from error
            self._datastore.base_path = self._datastore_path
            self._config_ts = version

    def _update_datastore_file(self, lock: bool = True) -> None:
        with self._held():
            content = self._datastore.model_dump(exclude={"base_path"})
            with atomic_path(self._datastore_config_path) as temporary:
                temporary.write_text(json.dumps(content, indent=2, default=str), "utf-8")
            self._config_ts = Path(self._datastore_config_path).stat().st_mtime_ns

    def _on_moved(self, event: FileSystemEvent) -> None:
        if event.dest_path == self._datastore_config_path:
            self._init_from_datastore_file()


class KeptDicomWeb(DICOMWebDatastore, KeptDatastore):
    """Series of a DICOMweb server; labels marked final are stored there as DICOM SEG."""

    def get_image_uri(self, image_id: str) -> str:
        """Fetch a series where it is not here yet; returns it as NIfTI.

        Raises:
            InputError: no such series, or one whose slices make no even stack.
            requests.RequestException: the DICOMweb server does not answer.
        """
        check_plain_name(image_id, "image")
        kept = Path(os.path.realpath(self._datastore.image_path())) / f"{image_id}.nii.gz"
        with self._held():  # two clients must not fetch the same series into one folder
            if kept.exists():
                return str(kept)
            if not self._client.search_for_series(search_filters={"SeriesInstanceUID": image_id}):
                raise ImageNotFoundException(f"Image {image_id} not found")
            folder = kept.with_name(image_id)
            try:
                made = Path(super().get_image_uri(image_id))
                find_series(folder)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                kept.unlink(missing_ok=True)
                raise
            if made != kept:  # it is a temporary file; a copy is kept
                made.unlink()
        return str(kept)

    def save_label(
        self,
        image_id: str,
        label_filename: str,
        label_tag: str,
        label_info: dict[str, Any],
        label_id: str = "",
    ) -> str:
        """Keep a label map; a final one goes to the DICOMweb server as DICOM SEG first."""
        if not label_filename.endswith(".bin"):
            return self._save(image_id, label_filename, label_tag, label_info)
        converted = binary_to_image(self.get_image_uri(image_id), label_filename)  # OHIF sends bare voxels
        try:
            return self._save(image_id, converted, label_tag, label_info)
        finally:
            os.unlink(converted)

    def _save(self, image_id: str, label_map: str, label_tag: str, label_info: dict[str, Any]) -> str:
        entries = label_info.get("label_info") or []
        if label_tag == DefaultLabelTag.FINAL:
            segments = segments_for(Path(label_map), entries, algorithm_type="SEMIAUTOMATIC")
            label_info = {**label_info, "label_info": segments}
        name: str = super().save_label(image_id, label_map, label_tag, label_info)
        self.update_label_info(name, label_tag, {"label_info": entries})
        return name


def _copy(source: str, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copy(source, temporary)
