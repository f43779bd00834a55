"""Focal liver lesions: what they look like, the structures that a scene takes them as, and where they lie.

Couinaud's segments are told apart as in CT. Seen from the vena cava the right, the middle and the left
hepatic vein fan out. Each parts two sectors, and the plane of the portal branches parts each sector in an
upper and a lower segment.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from .draw import Draw
from .scene import Structure
from .shapes import Ellipsoid, Everywhere, Point, Rounded, Shape, Union

FLUID_HU = (0.0, 12.0)
LEAST_CONTRAST_HU = 25.0  # about twice the noise; less is a guess in one slice
BLUR_MM = 9.0  # width of a blurred border
SHELLS = 6  # steps of density that make it up: 1.5 mm each, less than a pixel
RIM_MM, RIM_HU = 3.5, 45.0  # an enhancing rim, and how much denser than the liver it is
SMALLEST_MM = {"round": 10.0, "oval": 13.0, "lobulated": 22.0}  # below, pixels of 2 mm hide the shape
SMALLEST_RIM_MM, SMALLEST_BLURRED_MM = 22.0, 18.0
LARGEST_MM = 46.0
CAVA_MM = (28.0, 4.0)  # where the hepatic veins meet, x and y
PORTA_MM = 30.0  # z of the portal branches
# Sectors from the back over the right to the front: up to this azimuth about the cava (0 is the patient's
# right, 90 the front), with the upper and the lower segment.
SECTORS = (
    (-70.0, "", ""),  # behind: next to the spine, none of them
    (-9.0, "VII", "VI"),  # up to the right hepatic vein
    (54.0, "VIII", "V"),  # up to the middle one
    (108.0, "IV", "IV"),  # up to the left one and the falciform ligament
    (180.0, "II", "III"),
)
CLEAR_MM = 5.0  # what lies closer to a border belongs to both sides


@dataclass(frozen=True)
class Appearance:
    """What a lesion looks like, apart from its place.

    Attributes:
        diameter_mm: longest diameter.
        hu: mean density of the inside.
        shape, border, density, enhancement, kind: as in `common.text.expressions`; `enhancement` is None in a
            native scan, and `kind` follows from the others, so that a reader of the image can tell it.
    """

    diameter_mm: float
    hu: float
    shape: str
    border: str
    density: str
    enhancement: str | None
    kind: str | None


def draw_appearance(draw: Draw, *, liver_hu: float, native: bool) -> Appearance:
    """A random lesion of a liver of `liver_hu`; `native` is a scan without contrast medium."""
    diameter = SMALLEST_MM["round"] * (LARGEST_MM / SMALLEST_MM["round"]) ** draw.between(0, 1)
    shape = _choose(draw, [name for name, least in SMALLEST_MM.items() if diameter >= least])
    tissues = ["hyperdense"]
    if liver_hu - FLUID_HU[1] >= LEAST_CONTRAST_HU:
        tissues.append("fluid")
    if liver_hu - FLUID_HU[1] >= 2 * LEAST_CONTRAST_HU:  # told from the liver and from fluid
        tissues += ["hypodense", "hypodense"]
    tissue = _choose(draw, tissues)
    blurred = tissue != "fluid" and diameter >= SMALLEST_BLURRED_MM and draw.chance(0.5)
    rim = tissue != "hyperdense" and not native and diameter >= SMALLEST_RIM_MM and draw.chance(0.35)
    border = "blurred" if blurred and not rim else "sharp"
    low, high = {
        "fluid": FLUID_HU,
        "hypodense": (FLUID_HU[1] + LEAST_CONTRAST_HU, liver_hu - LEAST_CONTRAST_HU),
        "hyperdense": (liver_hu + 35, liver_hu + 70),
    }[tissue]
    return Appearance(
        diameter_mm=diameter,
        hu=draw.between(low, high),
        shape=shape,
        border=border,
        density="hyperdense" if tissue == "hyperdense" else "hypodense",
        enhancement=None if native else "rim" if rim else _ENHANCEMENT[tissue],
        kind=_kind(tissue, border, rim),
    )


_ENHANCEMENT = {"fluid": "none", "hypodense": "none", "hyperdense": "homogeneous"}


def _kind(tissue: str, border: str, rim: bool) -> str | None:
    """What it would be taken for; None where nothing is typical."""
    if tissue == "fluid":
        return "abscess" if rim else "cyst"
    if tissue == "hyperdense":
        return "haemangioma" if border == "sharp" else "hepatocellular carcinoma"
    return "metastasis" if rim or border == "blurred" else None


def lesion_structure(
    draw: Draw, look: Appearance, center: Point, *, liver_hu: float, label: int
) -> Structure:
    """The lesion at `center` (world mm), ready for `Scene.adding(..., to="liver")`.

    A blurred border runs from the liver's density to the lesion's in shells around the surface that the
    label follows; a rim lies within it.
    """
    shape = lesion_shape(draw, look, center)
    texture = 3.0
    if look.border == "blurred":
        steps = [*((step + 0.5) / SHELLS for step in range(SHELLS)), 1.0]  # the core has the full density
        shells = [
            Structure(
                "blur",
                Rounded(shape, BLUR_MM * (0.5 - share)),
                liver_hu + share * (look.hu - liver_hu),
                texture_hu=texture,
                rigid=True,
            )
            for share in steps
        ]
        marked = replace(shells[SHELLS // 2], name="lesion", shape=shape, label=label)
        return _nested([*shells[: SHELLS // 2], marked, *shells[SHELLS // 2 + 1 :]])
    lesion = Structure("lesion", shape, look.hu, label, texture, inset_mm=2.0, rigid=True)
    if look.enhancement != "rim":
        return lesion
    core = Structure("core", Everywhere(), look.hu, texture_hu=texture, inset_mm=RIM_MM)
    return replace(lesion, hu=liver_hu + RIM_HU, parts=(core,))


def lesion_shape(draw: Draw, look: Appearance, center: Point) -> Shape:
    """Its surface in world mm, its longest diameter in the axial plane through `center`."""
    radius = look.diameter_mm / 2
    turn = draw.between(0, 180)
    if look.shape == "round":
        return Ellipsoid(center, (radius, radius * draw.between(0.92, 1.0), radius), (0, 0, turn))
    if look.shape == "oval":
        return Ellipsoid(center, (radius, radius * draw.between(0.5, 0.6), 0.7 * radius), (0, 0, turn))
    lobes = int(draw.between(3, 5))
    size = 0.46 * radius  # of a lobe; the lobes' centres lie on a circle, and each touches the outline
    angles = np.deg2rad(turn + 360 / lobes * np.arange(lobes))
    places = [
        (center[0] + (radius - size) * np.cos(angle), center[1] + (radius - size) * np.sin(angle), center[2])
        for angle in angles.tolist()
    ]
    core = Ellipsoid(center, (0.55 * radius, 0.55 * radius, 0.55 * radius))
    balls = [Ellipsoid((float(x), float(y), z), (size, size, size)) for x, y, z in places]
    return Union((core, *balls), blend_mm=1.5)


def reach_mm(look: Appearance) -> float:
    """How far from its centre a lesion changes the image."""
    return look.diameter_mm / 2 + (BLUR_MM / 2 if look.border == "blurred" else 0.0)


def _nested(structures: list[Structure]) -> Structure:
    """Each structure as the only part of the one before."""
    inner = structures[-1]
    for outer in reversed(structures[:-1]):
        inner = replace(outer, parts=(inner,))
    return inner


def _choose(draw: Draw, choices: list[str]) -> str:
    return choices[int(draw.between(0, len(choices)))]


def segment_of(point: Point) -> str | None:
    """Segment at a point of the liver in template mm; None near a border, and where there is none."""
    x, y, z = point
    near = [(x + dx, y + dy, z + dz) for dx, dy, dz in _NEAR]
    names = {_segment(*place) for place in near}
    return names.pop() or None if len(names) == 1 else None


_NEAR = [
    (CLEAR_MM * dx, CLEAR_MM * dy, CLEAR_MM * dz)
    for dx, dy, dz in ((0, 0, 0), (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))
]


def _segment(x: float, y: float, z: float) -> str:
    azimuth = math.degrees(math.atan2(y - CAVA_MM[1], x - CAVA_MM[0]))
    for end, upper, lower in SECTORS:
        if azimuth <= end:
            return upper if z > PORTA_MM else lower
    return ""
