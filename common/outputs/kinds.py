"""The kinds of files that a case may leave."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.dicom_volume import DicomVolume
from ..data.images import Image2D, write_labels_png
from ..data.itk_writer import write_labels_itk
from ..data.volumes import Volume, write_labels
from ..errors import InputError
from ..inference.cases import InputCase
from ..inference.segmentation import Segmentation
from ..text.prompts import Prompt
from .dicom_source import check_source
from .preview import write_preview

FROM_DICOM = ("dicom_seg", "rtstruct")  # kinds that need a DICOM series as input
FORMATS = ("nii.gz", "nii", "nrrd", "mha")
NAME_CHARACTERS = 40  # of a prompt's name in a file name


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


def write_outputs(kind: str, finished: Finished, folder: Path) -> list[str]:
    """Write the files of a kind into `folder`; returns their names."""
    return _WRITERS[kind](finished, folder)


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
    return f"{prompt.label}_{words[:NAME_CHARACTERS]}"
