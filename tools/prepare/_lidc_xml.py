"""Contours of lung nodules as the readers of LIDC-IDRI drew them, from the XML beside each CT series.

S. G. Armato et al., Med. Phys. 38, 915-931 (2011). The file holds a reading session for each radiologist (in
the second, unblinded phase), in it nodules, in these a region for each slice: `imageSOP_UID`,
`imageZposition`, `inclusion` and an edge map of pixels. The edge lies just outside of the nodule: where a
region is part of it (inclusion TRUE), the edge is not; where it is a hole (FALSE), the edge is of the hole.
Nodules under 3 mm have a single pixel and are left out, and so are non-nodules.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from skimage.draw import polygon, polygon_perimeter

from common.errors import InputError

SAME_Z_MM = 0.01


@dataclass(frozen=True)
class Outline:
    """One region of a nodule on one slice.

    Attributes:
        sop_uid: of the slice.
        z_mm: its position.
        included: whether it is part of the nodule, or a hole in it.
        edge: (N, 2) columns and rows, from 0, of the pixels around it.
    """

    sop_uid: str
    z_mm: float
    included: bool
    edge: np.ndarray


def series_of(path: Path) -> str:
    """SeriesInstanceUID of the CT series that a file with readings is about, "" for other XML files."""
    root = _root(path)
    return _text(root, "ResponseHeader/SeriesInstanceUid") if _tag(root) == "LidcReadMessage" else ""


def read_outlines(path: Path) -> list[list[list[Outline]]]:
    """Of each reader, of each of the reader's nodules of 3 mm or more: its outlines.

    Raises:
        InputError: no such file, or of another format.
    """
    root = _root(path)
    try:
        return [
            [
                outlines
                for nodule in session
                if _tag(nodule) == "unblindedReadNodule" and (outlines := _outlines(nodule))
            ]
            for session in root
            if _tag(session) == "readingSession"
        ]
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path}: cannot be read as LIDC-IDRI's readings ({error}), expected regions with imageSOP_UID, "
            "imageZposition, inclusion and edgeMap; fetch it again."
        ) from error


def mask_of(
    outlines: Sequence[Outline], sop_uids: Sequence[str], z_mm: Sequence[float], shape: tuple[int, int]
) -> np.ndarray:
    """Voxels inside: (D, H, W) bool for slices in the order of `sop_uids`.

    Args:
        outlines: of one nodule and reader.
        sop_uids, z_mm: of the D slices.
        shape: (H, W).

    Raises:
        InputError: an outline is on a slice that is not among these, or leaves the image.
    """
    inside, holes = np.zeros((2, len(sop_uids), *shape), bool)
    for outline in outlines:
        index = _slice_of(outline, sop_uids, z_mm)
        columns, rows = outline.edge.T
        if rows.min() < 0 or columns.min() < 0 or rows.max() >= shape[0] or columns.max() >= shape[1]:
            raise InputError(
                f"edgeMap: found the pixel ({columns.max()}, {rows.max()}) on an image of {shape[1]} x "
                f"{shape[0]}, expected one inside; fetch the XML file of this series."
            )
        edge = np.zeros(shape, bool)
        edge[polygon_perimeter(rows, columns, shape=shape)] = True
        filled = np.zeros(shape, bool)
        filled[polygon(rows, columns, shape=shape)] = True
        if outline.included:
            inside[index] |= filled & ~edge
        else:
            holes[index] |= filled | edge
    return inside & ~holes


def _slice_of(outline: Outline, sop_uids: Sequence[str], z_mm: Sequence[float]) -> int:
    if outline.sop_uid in sop_uids:
        return sop_uids.index(outline.sop_uid)
    near = [index for index, z in enumerate(z_mm) if abs(z - outline.z_mm) <= SAME_Z_MM]
    if len(near) != 1:
        raise InputError(
            f"imageSOP_UID: found {outline.sop_uid} at {outline.z_mm:g} mm, which no image of the series "
            "has, expected one of its slices; fetch all files of the series."
        )
    return near[0]


def _outlines(nodule: ElementTree.Element) -> list[Outline]:
    """Outlines of a nodule; none of one that is marked by single pixels."""
    found = []
    for region in (part for part in nodule if _tag(part) == "roi"):
        points = [
            (int(_text(point, "xCoord")), int(_text(point, "yCoord")))
            for point in region
            if _tag(point) == "edgeMap"
        ]
        if len(points) > 1:
            found.append(
                Outline(
                    _text(region, "imageSOP_UID"),
                    float(_text(region, "imageZposition")),
                    _text(region, "inclusion").upper() == "TRUE",
                    np.array(points),
                )
            )
    return found


def _root(path: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise InputError(f"{path}: cannot be read as XML ({error}); fetch it again.") from error


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _text(element: ElementTree.Element, place: str) -> str:
    """Text of a part, found by its name without namespace; "" where there is none."""
    return (element.findtext("/".join(f"{{*}}{part}" for part in place.split("/"))) or "").strip()
