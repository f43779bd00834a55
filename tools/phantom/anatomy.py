"""A random patient: the trunk with its bones and chest, into which `abdomen` puts the organs.

The template is in millimetres, RAS, its origin in the middle of the trunk at the height of the first
lumbar vertebra; sizes are those of a slim adult.
"""

from collections.abc import Collection

from numpy.random import Generator

from .abdomen import abdominal_organs
from .draw import CORTICAL_BONE, DISC, LUNG, SKIN, Draw, Tissues, draw_tissues
from .scene import LABELS, ORGANS, OVER_MM, Patient, Scene, Structure, Waves
from .shapes import Column, Difference, Ellipsoid, Everywhere, Point, Rounded, Shape, Tube, Union
from .skeleton import Diaphragm, Ribs, Spine

REMOVABLE = ("gallbladder", "spleen", "left kidney", "right kidney")  # what surgeons take out whole
TRUNK_MM = (134.0, 92.0)  # half width and half depth of the muscles' outside
CAVITY_MM = (121.0, 71.0)  # of what lies within the muscles
CAVITY_CENTER = (0.0, 13.0)


def draw_scene(rng: Generator, *, absent: Collection[str] = ()) -> Scene:
    """A random patient without the organs `absent` (a choice of `REMOVABLE`)."""
    return draw_patient(rng, absent=absent)[0]


def draw_patient(rng: Generator, *, absent: Collection[str] = ()) -> tuple[Scene, Tissues]:
    """As `draw_scene`, with the patient's densities, for those who add more to the scene."""
    draw = Draw(rng)
    phase, tissues = draw_tissues(rng)
    patient = _patient(draw)
    fat_mm = draw.between(5, 17)
    body = _body(draw, tissues, fat_mm, _trunk_parts(draw, tissues, patient, absent))
    half_width = (TRUNK_MM[0] + fat_mm) * patient.scale[0] + draw.between(9, 15)
    scene = Scene(
        patient=patient,
        structures=(body, _couch(fat_mm)),
        noise_hu=draw.between(9, 19),
        half_width_mm=half_width,
        organs=tuple(organ for organ in ORGANS if organ not in absent),
        phase=phase,
    )
    return scene, tissues


def _patient(draw: Draw) -> Patient:
    """Where the patient lies in the scanner, how tall and wide, and bent by up to 4 mm an axis."""
    size = draw.near(1.0, 0.025)
    scale = (size * draw.near(1, 0.012), size * draw.near(1, 0.02), size * draw.near(1, 0.025))
    bend = tuple(Waves.random(draw.rng, 4.0, 110.0) for _ in range(3))
    origin: Point = (draw.near(0, 8), draw.near(-20, 12), draw.between(-600, -200))
    return Patient(origin, scale, (bend[0], bend[1], bend[2]))


def _body(draw: Draw, tissues: Tissues, fat_mm: float, trunk_parts: tuple[Structure, ...]) -> Structure:
    """Skin, fat beneath it, and the trunk; fat is thicker in front than behind."""
    width, depth = TRUNK_MM
    skin = Column((0, 0.15 * fat_mm), (width + fat_mm, depth + 0.95 * fat_mm), draw.near(2.3, 0.05))
    trunk = Structure(
        "trunk", Column((0, 0), TRUNK_MM, 2.25), tissues.muscle, texture_hu=9, inset_mm=2, parts=trunk_parts
    )
    fat = Structure("subcutaneous fat", Everywhere(), tissues.fat, texture_hu=7, inset_mm=1.6, parts=(trunk,))
    return Structure("body", skin, SKIN, bumps=draw.bumps(2.5, 90), parts=(fat,))


def _couch(fat_mm: float) -> Structure:
    """The table: a foam core in a thin shell, curved to the patient's back."""
    radius, back = 420.0, -(TRUNK_MM[1] + 0.8 * fat_mm + 1)
    outside = Column((0, back + radius), (radius + 16, radius + 16))
    core = Structure("couch core", Everywhere(), -940.0, inset_mm=2.0)
    shell = Difference(outside, Column((0, back + radius), (radius, radius)))
    return Structure("couch", shell, -60.0, gap_mm=1.0, parts=(core,))


def _trunk_parts(
    draw: Draw, tissues: Tissues, patient: Patient, absent: Collection[str]
) -> tuple[Structure, ...]:
    """Bones, and the cavity of chest and abdomen."""
    spine = Spine(
        (draw.near(0, 1.5), draw.near(-33, 1.5)), (draw.near(22, 1), draw.near(16.5, 0.8)), draw.near(0, 8)
    )
    marrow = Structure("marrow", Everywhere(), tissues.marrow, texture_hu=28, inset_mm=1.8)
    vertebrae = Structure(
        "vertebrae", spine, CORTICAL_BONE, LABELS["vertebrae"], gap_mm=OVER_MM, parts=(marrow,)
    )
    canal = Structure("spinal canal", Rounded(spine.canal, 3), 28.0)
    discs = Structure("discs", spine.disc_column, DISC, texture_hu=6, gap_mm=OVER_MM)
    wall = Column((0, 4), ((TRUNK_MM[0] + CAVITY_MM[0]) / 2 - 0.5, 81.5), 2.25)
    rib_marrow = Structure("rib marrow", Everywhere(), 0.8 * tissues.marrow, inset_mm=1.5)
    ribs = Ribs(wall, draw.near(85, 6), draw.between(0, 30), draw.near(-28, 8))
    return (
        canal,
        discs,
        vertebrae,
        Structure("ribs", ribs, CORTICAL_BONE, parts=(rib_marrow,)),
        *_fat_between_muscles(draw, tissues),
        _cavity(draw, tissues, patient, spine, absent),
    )


def _fat_between_muscles(draw: Draw, tissues: Tissues) -> tuple[Structure, ...]:
    """Thin sheets of fat that part the muscles of the back and of the wall."""
    width = draw.between(0.8, 1.6)
    sheets: list[Shape] = []
    for side in (-1, 1):
        erector = Column((side * 30, -74), (26, 11.5), 2.4)
        sheets.append(Difference(Rounded(erector, width), erector))
    layers = Column((0, 2), (TRUNK_MM[0] - 6, TRUNK_MM[1] - 6), 2.3)
    sheets.append(Difference(layers, Rounded(layers, -width)))
    return tuple(
        Structure("fat between muscles", sheet, tissues.fat, inset_mm=1, gap_mm=1, bumps=draw.bumps(1.2, 30))
        for sheet in sheets
    )


def _cavity(
    draw: Draw, tissues: Tissues, patient: Patient, spine: Spine, absent: Collection[str]
) -> Structure:
    """Fat-filled cavity with the great vessels, the chest above and the abdomen below the diaphragm."""
    diaphragm = Diaphragm(draw.near(98, 4), draw.near(88, 4), CAVITY_MM[0], CAVITY_MM[1], CAVITY_CENTER[1])
    x, front = spine.center[0], spine.center[1] + spine.radii_mm[1]
    abdomen = Structure(
        "abdomen",
        diaphragm,
        tissues.fat,
        texture_hu=9,
        gap_mm=0,
        parts=abdominal_organs(draw, tissues, patient, absent, (x, front)),
    )
    chest = Structure(
        "chest", Difference(Everywhere(), diaphragm), tissues.muscle, parts=_chest(draw, tissues)
    )
    return Structure(
        "cavity",
        Column(CAVITY_CENTER, CAVITY_MM, 2.35),
        tissues.fat,
        texture_hu=9,
        gap_mm=1.0,
        parts=(*_great_vessels(draw, tissues, (x, front)), abdomen, chest),
    )


def _great_vessels(draw: Draw, tissues: Tissues, spine_front: tuple[float, float]) -> tuple[Structure, ...]:
    """Aorta in front of the spine and slightly left, vena cava to the right."""
    x, y = spine_front
    radius = draw.near(9.5, 0.9)
    aorta = Tube.smooth(
        (
            (x - 15, y + 3, 150),
            (x - 10, y + radius + 2, 60),
            (x - 8, y + radius + 2, 0),
            (x - 5, y + radius + 1, -150),
        ),
        (radius + 2, radius + 1, radius, radius - 1.5),
    )
    cava = Tube.smooth(
        ((x + 30, y + 45, 130), (x + 27, y + 26, 80), (x + 20, y + 13, 20), (x + 17, y + 9, -150)),
        (12.0, 11.5, 10.5, 9.5),
    )
    plaque = Structure(
        "calcified plaque",
        Tube(((x - 8 - radius, y + radius - 4, -60), (x - 5 - radius, y + radius - 2, -40)), (2.2, 1.6)),
        650.0,
    )
    return (
        Structure(
            "aorta", aorta, tissues.aorta, LABELS["aorta"], 3, parts=(plaque,) if draw.chance(0.4) else ()
        ),
        Structure("vena cava", cava, tissues.cava, texture_hu=5, gap_mm=1.0),
    )


def _chest(draw: Draw, tissues: Tissues) -> tuple[Structure, ...]:
    """Heart and mediastinum between the lungs."""
    blood = 0.5 * (tissues.aorta + tissues.cava)
    heart = Ellipsoid(draw.point((-18, 48, 118), 3), (56, 40, 42), (0, 0, 25))
    chambers = tuple(
        Structure("chamber", Ellipsoid(center, radii), density)
        for center, radii, density in (
            ((-38, 55, 118), (22, 18, 26), 0.5 * (blood + tissues.aorta)),
            ((8, 56, 120), (24, 17, 28), blood),
        )
    )
    mediastinum = Union((Column((0, -12), (21, 26)), Column((-5, 50), (16, 50))), 10)
    lungs = Structure(
        "lungs",
        Everywhere(),
        LUNG + draw.near(0, 15),
        LABELS["lungs"],
        texture_hu=28,
        parts=_lung_vessels(draw, tissues),
    )
    return (
        Structure("heart", heart, tissues.muscle + 20, bumps=draw.bumps(2, 60), parts=chambers),
        Structure("mediastinum", mediastinum, tissues.fat, texture_hu=15, bumps=draw.bumps(3, 60)),
        lungs,
    )


def _lung_vessels(draw: Draw, tissues: Tissues) -> tuple[Structure, ...]:
    """Vessels that fan out from the hila to the bases."""
    vessels = []
    for side in (-1, 1):
        for _ in range(8):
            end = (side * draw.between(40, 110), draw.between(-45, 45), draw.between(25, 80))
            hilum = (side * 34.0, -5.0, 135.0)
            middle = tuple(0.5 * (a + b) + draw.near(0, 6) for a, b in zip(hilum, end, strict=True))
            tube = Tube.smooth((hilum, (middle[0], middle[1], middle[2]), end), (4.5, 2.6, 1.2), steps=2)
            vessels.append(Structure("lung vessel", tube, 0.5 * tissues.cava, gap_mm=0))
    return tuple(vessels)
