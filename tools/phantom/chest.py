"""What a whole trunk has above the heart: airways, great vessels and the bones of the shoulders."""

from .draw import CORTICAL_BONE, GAS, Draw, Tissues
from .scene import Structure
from .shapes import Ellipsoid, Everywhere, Point, Shape, Tube, Union

ARCH_TOP_MM = 212.0


def airways(tissues: Tissues) -> tuple[Structure, ...]:
    """Trachea with the main bronchi, and esophagus behind it; parts of the trunk, from the neck down."""
    tubes = (
        Tube.smooth(((0, 18, 330), (0, 14, 285), (2, 6, 235), (2, 2, 186)), (9.5, 9.0, 9.0, 9.0)),
        Tube(((2, 2, 188), (30, 2, 162)), (7.5, 6.0)),
        Tube(((2, 2, 188), (-34, 0, 160)), (7.0, 5.5)),
    )
    air = Structure("air", Everywhere(), GAS, inset_mm=1.6)
    gullet = Tube.smooth(
        ((-1, 0, 322), (-3, -2, 270), (-3, -9, 215), (2, -8, 170), (-6, 4, 115), (-20, 8, 84)),
        (6.0, 6.5, 7.0, 7.5, 7.0, 7.5),
    )
    return (
        Structure("trachea", Union(tubes, 4), tissues.muscle - 10, gap_mm=0.5, parts=(air,)),
        Structure("esophagus", gullet, tissues.muscle - 15, texture_hu=8, gap_mm=0.5),
    )


def with_arch(aorta: Tube) -> Shape:
    """The aorta of an abdominal phantom with the rest of its thoracic part, the arch and the root."""
    (x, y, z), radius = aorta.points[0], aorta.radii_mm[0]
    arch = Tube.smooth(
        (
            (x, y, z),
            (x - 2, y + 2, 185),
            (x - 1, 0, ARCH_TOP_MM - 14),
            (x + 6, 14, ARCH_TOP_MM - radius),
            (4, 30, ARCH_TOP_MM - 18),
            (10, 40, 180),
            (2, 42, 152),
        ),
        (radius, radius, radius + 1, radius + 1, radius + 2, radius + 3, radius + 4),
    )
    return Union((aorta, arch))


def chest_vessels(tissues: Tissues) -> tuple[Structure, ...]:
    """Superior vena cava and pulmonary arteries (parts of the chest, around the aorta)."""
    blood = 0.5 * (tissues.aorta + tissues.cava)
    cava = Tube.smooth(((24, 30, 250), (26, 28, 205), (26, 36, 150)), (8, 9.5, 11))
    trunk = Tube.smooth(((-16, 54, 148), (-18, 42, 172), (-14, 24, 176)), (14, 13.5, 12))
    branches = (
        Tube.smooth(((-14, 24, 174), (10, 20, 166), (42, 2, 156)), (11, 10, 7)),
        Tube.smooth(((-16, 24, 176), (-36, 10, 172), (-46, -2, 152)), (11, 9, 7)),
    )
    return (
        Structure("superior vena cava", cava, tissues.cava, texture_hu=5, gap_mm=1.0),
        Structure("pulmonary artery", Union((trunk, *branches), 6), blood, texture_hu=4, gap_mm=1.0),
    )


def neck_vessels(tissues: Tissues) -> tuple[Structure, ...]:
    """Arteries from the arch, and veins to the superior vena cava, up to the skull; parts of the trunk."""
    vessels = []
    for side in (-1, 1):
        root = (-4.0 if side < 0 else 4.0, 26.0, ARCH_TOP_MM)
        carotid: tuple[Point, ...] = (
            root,
            (side * 18, 22, 262),
            (side * 26, 14, 310),
            (side * 28, 8, 350),
            (side * 27, 2, 385),
        )
        jugular: tuple[Point, ...] = (
            (16, 34, 246),
            (side * 27, 28, 262),
            (side * 37, 16, 310),
            (side * 36, 4, 350),
            (side * 31, -2, 385),
        )
        shoulder = (root, (side * 45, 12, 268), (side * 92, 2, 258))
        sheath = Tube.smooth(tuple((x * 1.1, y, z) for x, y, z in carotid[2:]), (10, 10, 8))
        vessels += [
            Structure("carotid", Tube.smooth(carotid, (5, 4, 3.6, 3.2, 2.6)), tissues.aorta, gap_mm=0.5),
            Structure("jugular vein", Tube.smooth(jugular, (7, 7, 5.5, 5, 4)), tissues.cava, gap_mm=0.5),
            Structure("subclavian artery", Tube.smooth(shoulder, (5.5, 4.5, 4)), tissues.aorta, gap_mm=0.5),
            Structure("carotid sheath", sheath, tissues.fat, texture_hu=9, gap_mm=0.5),
        ]
    return tuple(vessels)


def shoulders(draw: Draw, tissues: Tissues) -> tuple[Structure, ...]:
    """Collar bones, breastbone, shoulder blades, heads of the upper arms, armpits; parts of the trunk."""
    marrow = Structure("marrow", Everywhere(), 0.8 * tissues.marrow, texture_hu=20, inset_mm=1.8)
    sternum = Union(
        tuple(
            Tube.smooth(((x, 89, 135), (x, 82, 190), (1.6 * x, 67, 250)), (5, 5, 6.5))
            for x in (-10, -3, 3, 10)
        ),
        4,
    )
    parts = [Structure("breastbone", sternum, CORTICAL_BONE, parts=(marrow,))]
    for side in (-1, 1):
        collar = Tube.smooth(
            (
                (side * 20, 66, 254),
                draw.point((side * 55, 56, 268), 2),
                draw.point((side * 86, 26, 280), 2),
                (side * 108, 4, 286),
            ),
            (7.5, 5.5, 5, 6),
        )
        blade = Ellipsoid(
            draw.point((side * 84, -58, 212), 3), (36, 4.5, 52), (0, side * 8, side * draw.near(38, 5))
        )
        spine_of_blade = Tube(((side * 62, -74, 240), (side * 106, -30, 272)), (4, 7))
        arm = Union(
            (Ellipsoid((side * 114, -4, 264), (20, 21, 22)), Ellipsoid((side * 92, -22, 262), (9, 12, 15)))
        )
        armpit = Ellipsoid((side * 100, 16, 218), (13, 24, 36), (0, 0, side * 20))
        parts += [
            Structure("collar bone", collar, CORTICAL_BONE, parts=(marrow,)),
            Structure("upper arm", arm, CORTICAL_BONE, parts=(marrow,)),
            Structure("shoulder blade", Union((blade, spine_of_blade), 6), CORTICAL_BONE, parts=(marrow,)),
            Structure("armpit", armpit, tissues.fat, texture_hu=12, bumps=draw.bumps(3, 30)),
        ]
    return tuple(parts)


def lung_vessels(draw: Draw, tissues: Tissues) -> tuple[Structure, ...]:
    """Vessels from the hila to the upper lungs; an abdominal phantom has those of the bases."""
    vessels = []
    for side in (-1, 1):
        for _ in range(16):
            height = draw.between(105, 262)
            wide = (height < 200) * 25
            end = (side * draw.between(45, 72 + wide), draw.between(-35, 55), height)
            hilum = (side * 38.0, 2.0, 158.0)
            middle = tuple(0.5 * (a + b) + draw.near(0, 6) for a, b in zip(hilum, end, strict=True))
            tube = Tube.smooth((hilum, (middle[0], middle[1], middle[2]), end), (4.5, 2.8, 1.2), steps=2)
            vessels.append(Structure("lung vessel", tube, 0.5 * tissues.cava, gap_mm=0))
    return tuple(vessels)
