"""Abdominal organs of one random patient, in order of precedence (earlier ones press into later ones)."""

from collections.abc import Collection

from .bowel import bowel
from .draw import FLUID, GAS, Draw, Tissues
from .scene import LABELS, OVER_MM, Patient, Structure
from .shapes import Difference, Ellipsoid, Everywhere, HalfSpace, Point, Tube, Union


def abdominal_organs(
    draw: Draw,
    tissues: Tissues,
    patient: Patient,
    absent: Collection[str],
    spine_front: tuple[float, float],
) -> tuple[Structure, ...]:
    """Everything below the diaphragm but the great vessels.

    Args:
        draw: this patient's random choices.
        tissues: this patient's densities.
        patient: where the patient lies (fluid levels are flat in the world, not in the bent body).
        absent: organs that this patient lacks.
        spine_front: x and y of the front of the spine in template mm.
    """
    organs = (
        *_kidneys(draw, tissues),
        _gallbladder(draw, tissues),
        _spleen(draw, tissues),
        _pancreas(draw, tissues),
        _stomach(draw, tissues, patient),
        *_splanchnic_veins(tissues),
        _liver(draw, tissues),
    )
    # Everything is drawn for every patient, so that taking an organ out leaves the others as they are.
    kept = tuple(organ for organ in organs if organ.name not in absent)
    return (*_psoas_and_crura(draw, tissues, spine_front), *kept, *bowel(draw, tissues, patient))


def _psoas_and_crura(draw: Draw, tissues: Tissues, spine_front: tuple[float, float]) -> tuple[Structure, ...]:
    x, y = spine_front
    parts = []
    for side in (-1, 1):
        radius = draw.near(15, 1)
        psoas = Tube.smooth(
            ((x + side * 25, y - 14, 25), (x + side * 33, y - 14, -40), (x + side * 42, y - 10, -150)),
            (4.0, radius, radius + 5),
        )
        crus = Tube.smooth(
            ((x + side * 10, y + 3, -15), (x + side * 14, y + 8, 25), (x + side * 16, y + 18, 75)),
            (3.0, 4.5, 4.0),
        )
        parts += [
            Structure("psoas", psoas, tissues.muscle, texture_hu=9, gap_mm=1.0),
            Structure("crus", crus, tissues.muscle, texture_hu=5, gap_mm=0.5),
        ]
    return tuple(parts)


def _kidneys(draw: Draw, tissues: Tissues) -> tuple[Structure, ...]:
    """Right kidney 10 to 20 mm lower than the left one; upper poles nearer to the spine than lower ones."""
    left_height = draw.near(2, 6)
    heights = {"left": left_height, "right": left_height - draw.between(10, 20)}
    kidneys = []
    for name, side in (("left", -1), ("right", 1)):
        x, y, z = draw.near(side * 60, 2.0), draw.near(-27, 2), heights[name]
        radii = draw.radii((26, 25, 52), 0.05)
        tilt = draw.angles((10, side * 12, side * 18), 3)
        hilum = Ellipsoid((x - side * 24, y + 12, z), (19, 13, 19))
        shape = Difference(Ellipsoid((x, y, z), radii, tilt), hilum, 8)
        medulla = Structure(
            "medulla", Everywhere(), tissues.renal_medulla, inset_mm=7.5, bumps=draw.bumps(4.5, 14), gap_mm=0
        )
        vein = Tube.smooth(
            ((x - side * 12, y + 9, z), (x - side * 30, y + 16, z + 4), (10, 3, z + 10)), (3.0, 4.5, 4.5)
        )
        kidneys += [
            Structure(
                f"{name} kidney",
                shape,
                tissues.renal_cortex,
                LABELS[f"{name} kidney"],
                5,
                gap_mm=2.0,
                bumps=draw.bumps(1.5, 35),
                parts=(medulla,),
            ),
            Structure("renal vein", vein, tissues.cava, gap_mm=0.5),
        ]
    return tuple(kidneys)


def _gallbladder(draw: Draw, tissues: Tissues) -> Structure:
    """Pear in the bed under the liver, its fundus down and to the front."""
    x, y, z = draw.point((48, 40, -2), 3)
    size = draw.between(0.8, 1.25)
    pear = Tube.smooth(
        ((x - 12, y - 14, z + 14), (x, y, z), (x + 8, y + 14, z - 18)), (4.0 * size, 9.5 * size, 13.5 * size)
    )
    bile = Structure("bile", Everywhere(), tissues.bile, texture_hu=2, inset_mm=1.5)
    return Structure(
        "gallbladder", pear, tissues.bowel_wall, LABELS["gallbladder"], bumps=draw.bumps(1, 40), parts=(bile,)
    )


def _spleen(draw: Draw, tissues: Tissues) -> Structure:
    """A crescent against the ribs, hollowed from the front and middle by stomach and kidney."""
    x, y, z = draw.point((-88, -18, 38), 3)
    outer = Ellipsoid((x, y, z), draw.radii((36, 48, 52)), draw.angles((14, 8, 14)))
    hollow = Ellipsoid((x + 38, y + 18, z), (33, 40, 64), draw.angles((0, 8, 14)))
    texture = 22.0 if tissues.aorta > 1.7 * tissues.spleen else 3.0  # arterial blood reaches it in bands
    return Structure(
        "spleen",
        Difference(outer, hollow, 10),
        tissues.spleen,
        LABELS["spleen"],
        texture,
        gap_mm=2.0,
        bumps=draw.bumps(2.5, 45),
    )


def _pancreas(draw: Draw, tissues: Tissues) -> Structure:
    """Head in front of the vena cava, body over the aorta, tail towards the spleen's hilum."""
    shift, lift = draw.near(8, 2), draw.near(0, 4)
    points: tuple[Point, ...] = (
        (34, shift + 8, lift - 34),
        (31, shift + 10, lift - 16),
        (12, shift + 19, lift - 4),
        (-16, shift + 17, lift + 5),
        (-46, shift - 1, lift + 17),
        (-70, shift - 16, lift + 25),
    )
    points = tuple(draw.point(point, 2) for point in points)
    thick = draw.between(0.88, 1.12)
    radii = tuple(thick * radius for radius in (10.0, 14.0, 9.0, 10.0, 10.5, 8.0))
    return Structure(
        "pancreas",
        Tube.smooth(points, radii),
        tissues.pancreas,
        LABELS["pancreas"],
        texture_hu=11,  # lobules with fat between them
        bumps=draw.bumps(2, 18),
    )


def _stomach(draw: Draw, tissues: Tissues, patient: Patient) -> Structure:
    """J from the fundus under the left dome to the pylorus; gas in front, as the patient lies on the back."""
    size = draw.between(0.85, 1.12)
    points: tuple[Point, ...] = (
        (-52, 6, 66),
        (-58, 24, 44),
        (-55, 42, 18),
        (-36, 56, -4),
        (-6, 54, -12),
        (20, 44, -6),
    )
    points = tuple(draw.point(point, 3) for point in points)
    radii = tuple(size * radius for radius in (24.0, 29.0, 27.0, 21.0, 16.0, 11.0))
    level = patient.origin[1] + patient.scale[1] * draw.between(38, 62)
    gas = Structure(
        "gas", HalfSpace((0, level, 0), (0, -1, 0)), GAS, inset_mm=4.5, rigid=True, gap_mm=OVER_MM
    )
    oral_contrast = draw.chance(0.25)
    content = Structure(
        "content",
        Everywhere(),
        draw.between(150, 260) if oral_contrast else FLUID + draw.between(0, 25),
        texture_hu=12,
        inset_mm=4.5,
    )
    return Structure(
        "stomach",
        Tube.smooth(points, radii),
        tissues.bowel_wall,
        LABELS["stomach"],
        4,
        bumps=draw.bumps(3.5, 35),
        parts=(content, gas),
    )


def _splanchnic_veins(tissues: Tissues) -> tuple[Structure, ...]:
    """Superior mesenteric vein and artery, splenic vein behind the pancreas, portal vein."""
    runs: tuple[tuple[str, tuple[Point, ...], float, float], ...] = (
        ("mesenteric vein", ((16, 22, -110), (14, 20, -40), (12, 8, -8)), 5.0, tissues.portal_vein),
        ("mesenteric artery", ((0, 18, -110), (-4, 16, -40), (-7, 6, 6)), 3.4, tissues.aorta),
        ("splenic vein", ((12, 9, -6), (-20, 8, 8), (-52, -6, 20), (-72, -20, 28)), 4.0, tissues.portal_vein),
        ("portal vein", ((12, 8, -8), (22, 12, 12), (36, 16, 28)), 6.5, tissues.portal_vein),
    )
    return tuple(
        Structure(name, Tube.smooth(points, (radius,) * len(points)), density, gap_mm=0.5)
        for name, points, radius, density in runs
    )


def _liver(draw: Draw, tissues: Tissues) -> Structure:
    """Right lobe in the right upper abdomen, thinner towards its tip; left lobe across the midline."""
    right = Ellipsoid(draw.point((66, 10, 44), 2), draw.radii((62, 70, 72), 0.04), draw.angles((0, 0, 0)))
    tip = Ellipsoid(draw.point((92, 4, -8), 3), draw.radii((30, 46, 40)), draw.angles((0, -8, 0)))
    left = Ellipsoid(draw.point((4, 46, 56), 3), draw.radii((56, 34, 38)), draw.angles((0, -14, 0)))
    porta = Ellipsoid((30, 14, 10), (22, 22, 16))
    shape = Difference(Union((right, tip, left), 22), porta, 12)
    return Structure(
        "liver",
        shape,
        tissues.liver,
        LABELS["liver"],
        texture_hu=4,
        gap_mm=1.2,
        bumps=draw.bumps(3.5, 55),
        parts=_liver_vessels(draw, tissues),
    )


def _liver_vessels(draw: Draw, tissues: Tissues) -> tuple[Structure, ...]:
    """Portal branches from the porta hepatis, and three hepatic veins that meet the vena cava on top."""
    porta, cava = (36.0, 16.0, 28.0), (28.0, 4.0, 76.0)
    portal = (
        ((58, 14, 36), (84, 20, 52), (100, 28, 62)),
        ((56, 10, 32), (80, -8, 30), (100, -16, 22)),
        ((70, 16, 22), (92, 22, 0), (100, 18, -18)),
        ((24, 34, 42), (6, 48, 54), (-18, 52, 60)),
    )
    hepatic = (
        ((50, -4, 66), (78, -10, 50), (102, -8, 28)),
        ((40, 22, 66), (56, 42, 46), (66, 58, 26)),
        ((22, 26, 68), (6, 44, 62), (-20, 56, 52)),
    )
    vessels = []
    for name, root, density, branches, radii in (
        ("portal branch", porta, tissues.portal_vein, portal, (5.5, 4.5, 3.0, 1.5)),
        ("hepatic vein", cava, tissues.hepatic_vein, hepatic, (5.0, 4.0, 2.8, 1.3)),
    ):
        for branch in branches:
            points = (root, *(draw.point(point, 4) for point in branch))
            vessels.append(
                Structure(name, Tube.smooth(points, radii, steps=2), density, inset_mm=2, gap_mm=0)
            )
    return tuple(vessels)
