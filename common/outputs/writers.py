"""What a case leaves behind: files of the kinds that were asked for, and the report that lists them."""

import json
import logging
import os
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.dicom_volume import DicomVolume
from ..data.images import Image2D, write_labels_png
from ..data.itk_files import write_labels_itk
from ..data.volumes import Volume, write_labels
from ..errors import InputError
from ..files import NOT_UTF8, cut_to_bytes
from ..fingerprint import source_sha256
from ..inference.cases import InputCase
from ..inference.clock import Clock
from ..inference.earlier import names_in
from ..inference.segmentation import Segmentation
from ..text.prompts import Prompt
from .dicom_source import check_source
from .preview import write_preview

logger = logging.getLogger(__name__)

FROM_DICOM = ("dicom_seg", "rtstruct")  # kinds that need a DICOM series as input
FORMATS = ("nii.gz", "nii", "nrrd", "mha")
NAME_BYTES = 40  # of a prompt's name in a file name


@dataclass(frozen=True)
class Finished:
    """A segmented case.

    Attributes:
        probabilities: (prompts, D, H, W) uint8, where they are wanted.
        window: of intensities, for the preview.
        file_format: of masks, one of `FORMATS`; those of a 2D image are PNG.
    """

    case: InputCase
    volume: Volume
    segmentation: Segmentation
    probabilities: np.ndarray | None
    window: tuple[float, float]
    file_format: str


def check_outputs(kinds: Sequence[str], file_format: str) -> None:
    """Refuse unknown kinds and formats.

    Raises:
        InputError: names the known ones; or a library is missing that a kind needs.
    """
    if isinstance(kinds, str):
        raise InputError(f"outputs: found the text {kinds!r}, expected a list of texts; write [{kinds!r}].")
    for kind in kinds:
        if kind not in _WRITERS:
            raise InputError(f"outputs: found {kind!r}, expected any of {', '.join(_WRITERS)}.")
    if not kinds:
        raise InputError(f"outputs: found none, expected any of {', '.join(_WRITERS)}; name at least one.")
    if file_format not in FORMATS:
        raise InputError(f"file_format: found {file_format!r}, expected {', '.join(FORMATS)}; choose one.")
    if "dicom_seg" in kinds:
        _dicom_seg_writer()


def check_possible(kinds: Sequence[str], volume: Volume) -> None:
    """Refuse DICOM objects for a volume that came from no DICOM series: they refer to its images.

    Raises:
        InputError: names the input; or the series lacks what they refer to.
    """
    wanted = [kind for kind in kinds if kind in FROM_DICOM]
    if wanted and not isinstance(volume, DicomVolume):
        raise InputError(
            f"{volume.grid.path}: found no DICOM series, expected it for {' and '.join(wanted)}, as these "
            "refer to its images; leave these outputs out or give the series."
        )
    if wanted and isinstance(volume, DicomVolume):
        check_source(volume, wanted)


def write_case(
    finished: Finished, report: dict[str, Any], *, kinds: Sequence[str], folder: Path
) -> dict[str, Any]:
    """Write all files of a case by way of `folder`, the report `<case>_seg.json` last.

    Args:
        finished: the segmented case.
        report: what `case_report` gave.
        kinds: of outputs, checked by `check_outputs`.
        folder: a hidden one beside the outputs, see `staging`.

    Returns:
        The report with the files' names by kind, their sizes and hashes, the seconds that writing took, and
        `failed_outputs`: of every kind that could not be written, why. The others are there.

    Raises:
        InputError: none of the kinds could be written.
        OSError: no space or permission.
    """
    clock = Clock()
    names: dict[str, list[str]] = {}
    failed: dict[str, str] = {}
    for kind in kinds:
        try:
            with clock(f"write {kind}"):
                names[kind] = _WRITERS[kind](finished, folder)
        except OSError:  # of the disk, which all of them share
            raise
        except Exception as error:  # a kind that cannot be must not take the others along, whatever is wrong
            failed[kind] = _sentence(kind, finished, error)
    if not names:
        raise InputError("; ".join(failed.values()))
    seconds = {**report["seconds"], **{part: round(value, 4) for part, value in clock.seconds.items()}}
    files = [name for of_kind in names.values() for name in of_kind]
    full = {
        **report,
        "outputs": names,
        "output_bytes": {name: (folder / name).stat().st_size for name in files},
        "output_sha256": {name: source_sha256(folder / name) for name in files},
        "failed_outputs": failed,
        "seconds": seconds,
    }
    summary = finished.case.output(".json").name
    _say_what_stays(finished.case.output(".json"), files)
    (folder / summary).write_text(json.dumps(full, indent=4, ensure_ascii=False) + "\n", "utf-8", NOT_UTF8)
    _publish(folder, [*files, summary], to=finished.case.stem.parent)
    return full


def _sentence(kind: str, finished: Finished, error: Exception) -> str:
    """Why a kind could not be written. What other libraries say of DICOM may show a patient's values."""
    if isinstance(error, InputError):
        return str(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    reason = f"{type(error).__name__} in {Path(where.filename).name}, line {where.lineno}"
    if kind not in FROM_DICOM:
        logger.error("%s: %s failed.", finished.case.source, kind, exc_info=error)
        reason = f"{type(error).__name__}: {error}"
    return f"{finished.case.source}: {kind} could not be written ({reason}); leave it out of outputs."


def _labels(finished: Finished, folder: Path) -> list[str]:
    return [_write(finished, folder, "seg", finished.segmentation.labels)]


def _masks(finished: Finished, folder: Path) -> list[str]:
    """One mask a prompt; where prompts overlap, so do their masks."""
    return [
        _write(finished, folder, f"mask_{_slug(result.prompt)}", mask)
        for result, mask in zip(finished.segmentation.results, finished.segmentation.masks(), strict=True)
    ]


def _probabilities(finished: Finished, folder: Path) -> list[str]:
    assert finished.probabilities is not None
    return [
        _write(finished, folder, f"prob_{_slug(result.prompt)}", np.asarray(probability))
        for result, probability in zip(finished.segmentation.results, finished.probabilities, strict=True)
    ]


def _preview(finished: Finished, folder: Path) -> list[str]:
    ending = "_preview.png" if isinstance(finished.volume, Image2D) else ".png"  # its label map is a PNG too
    path = folder / finished.case.output(ending).name
    write_preview(path, finished.volume, finished.segmentation, window=finished.window)
    return [path.name]


def _dicom_seg(finished: Finished, folder: Path) -> list[str]:
    assert isinstance(finished.volume, DicomVolume)
    path = folder / finished.case.output(".dcm").name
    _dicom_seg_writer()(path, finished.volume, finished.segmentation)
    return [path.name]


def _dicom_seg_writer() -> Callable[[Path, DicomVolume, Segmentation], None]:
    """The writer, whose library takes a second to load and may be missing."""
    try:
        from .dicom_seg import write_dicom_seg
    except ImportError as error:
        raise InputError(
            f"dicom_seg: found no {error.name}, expected it for DICOM segmentations; "
            "install it: pip install highdicom==0.28.2."
        ) from error
    return write_dicom_seg


def _rtstruct(finished: Finished, folder: Path) -> list[str]:
    from .rtstruct import write_rtstruct

    assert isinstance(finished.volume, DicomVolume)
    path = folder / finished.case.output("_rtstruct.dcm").name
    write_rtstruct(path, finished.volume, finished.segmentation)
    return [path.name]


_WRITERS: Mapping[str, Callable[[Finished, Path], list[str]]] = {
    "labels": _labels,
    "masks": _masks,
    "probabilities": _probabilities,
    "preview": _preview,
    "dicom_seg": _dicom_seg,
    "rtstruct": _rtstruct,
}


def _write(finished: Finished, folder: Path, suffix: str, slices: np.ndarray) -> str:
    stem, volume, slices = f"{finished.case.stem.name}_{suffix}", finished.volume, slices.astype(np.uint8)
    if isinstance(volume, Image2D):
        write_labels_png(folder / f"{stem}.png", slices, like=volume)
        return f"{stem}.png"
    name = f"{stem}.{finished.file_format}"
    write = write_labels if finished.file_format.startswith("nii") else write_labels_itk
    write(folder / name, slices, like=volume)
    return name


def _slug(prompt: Prompt) -> str:
    """Label number, which is unique, and what a file name can hold of the prompt's name."""
    words = re.sub(r"\W+", "_", prompt.name).strip("_")
    return f"{prompt.label}_{cut_to_bytes(words, NAME_BYTES)}"


def _say_what_stays(report: Path, files: Sequence[str]) -> None:
    """Files of an earlier run with other outputs or prompts may be wanted: they are named, not removed."""
    stays = [name for name in names_in(report) if name not in files and (report.parent / name).is_file()]
    if stays:
        logger.warning(
            "%s: files of an earlier run stay beside the new ones (%s); remove them if they are not wanted.",
            report.parent,
            ", ".join(stays),
        )


def _publish(folder: Path, names: Sequence[str], *, to: Path) -> None:
    """Move files from `folder`; the last one says that the others are whole, so its older self goes first."""
    (to / names[-1]).unlink(missing_ok=True)
    for name in names:
        os.replace(folder / name, to / name)
