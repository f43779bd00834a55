"""What a whole trunk has below the abdomen: bones and muscles of the hips, and the pelvic organs."""

from .bowel import loop
from .draw import CORTICAL_BONE, Draw, Tissues
from .scene import Patient, Structure
from .shapes import Difference, Ellipsoid, Everywhere, Point, Rounded, Shape, Tube, Union

HIP_JOINT: Point = (88, 2, -288)


def _bone(name: str, shape: Shape, tissues: Tissues, gap_mm: float = 0.5) -> Structure:
    marrow = Structure("marrow", Everywhere(), 0.7 * tissues.marrow, texture_hu=25, inset_mm=2.2)
    return Structure(name, shape, CORTICAL_BONE, gap_mm=gap_mm, parts=(marrow,))


def hips(draw: Draw, tissues: Tissues) -> tuple[Structure, ...]:
    """Femurs, hip bones and sacrum, and the fat around vessels and between muscles; parts of the trunk."""
    bones = [_bone("sacrum", _sacrum(draw), tissues)]
    fat = []
    for side in (-1, 1):
        x, y, z = draw.point(HIP_JOINT, 2)
        head = Ellipsoid((side * x, y, z), (24, 24, 24))
        shaft = Tube(((side * 92, 0, -290), (side * 112, -6, -314), (side * 108, 0, -420)), (15, 19, 14))
        joint = Ellipsoid((side * x, y, z), (26, 26, 26))
        bones += [
            _bone("thigh bone", Union((head, shaft), 8), tissues),
            _bone("hip bone", _hip_bone(draw, side, joint), tissues),
        ]
        groin = Tube(((side * 48, 44, -280), (side * 54, 58, -360)), (13, 15))
        buttock = Ellipsoid((side * 66, -56, -255), (60, 26, 85), (0, 0, side * 20))
        anus = Ellipsoid((side * 26, -50, -312), (15, 22, 28))
        fat += [
            Structure("groin", groin, tissues.fat, texture_hu=9, parts=_femoral_vessels(tissues, side)),
            Structure("ischiorectal fat", anus, tissues.fat, texture_hu=9),
            Structure(
                "fat between muscles",
                Difference(Rounded(buttock, draw.between(1.5, 4)), buttock),
                tissues.fat,
                inset_mm=1,
                bumps=draw.bumps(2, 40),
            ),
        ]
    return (*bones, *fat)


def _sacrum(draw: Draw) -> Shape:
    depth = draw.near(0, 3)
    middle = Tube.smooth(
        (
            (0, -42, -156),
            (0, depth - 57, -188),
            (0, depth - 69, -222),
            (0, depth - 63, -255),
            (0, -50, -276),
        ),
        (17, 15, 12, 8, 5),
    )
    sides = (
        Tube.smooth(
            ((side * 27, -48, -160), (side * 24, depth - 60, -190), (side * 11, depth - 68, -225)),
            (15, 13, 8),
        )
        for side in (-1, 1)
    )
    return Union((middle, *sides), 8)


def _hip_bone(draw: Draw, side: int, joint: Shape) -> Shape:
    """Iliac wing, socket of the hip joint, ischium and pubis."""
    tilt = (0.0, side * draw.near(16, 2), side * draw.near(-24, 3))
    outer = Ellipsoid((side * 76, -12, -194), (36, 68, 90), tilt)
    inner = Ellipsoid((side * 58, -2, -188), (36, 72, 98), tilt)
    socket = Ellipsoid((side * 74, 0, -282), (30, 32, 33))
    ischium = Tube.smooth(
        ((side * 72, -20, -285), (side * 64, -36, -312), (side * 52, -34, -332)), (14, 15, 12)
    )
    pubis = Tube.smooth(((side * 66, 20, -280), (side * 38, 46, -288), (side * 9, 55, -302)), (11, 8, 9))
    ramus = Tube(((side * 9, 52, -308), (side * 46, -22, -336)), (6.5, 6.5))
    whole = Union((Difference(outer, inner, 6), socket, ischium, pubis, ramus), 8)
    return Difference(whole, joint)


def _femoral_vessels(tissues: Tissues, side: int) -> tuple[Structure, ...]:
    return tuple(
        Structure(
            name, Tube(((side * x, 48, -270), (side * (x + 6), 60, -370)), (5, 4.5)), density, gap_mm=0.5
        )
        for name, x, density in (("artery", 53, tissues.aorta), ("vein", 42, tissues.cava))
    )


def iliac_vessels(draw: Draw, tissues: Tissues) -> tuple[Structure, ...]:
    """Arteries and veins from where aorta and vena cava end to the groins; parts of the cavity."""
    vessels = []
    for side in (-1, 1):
        path = [(side * 26.0, -8.0, -150.0), (side * 46.0, 10.0, -215.0), (side * 48.0, 42.0, -280.0)]
        path = [draw.point(point, 2) for point in path]
        behind = tuple((x - side * 4, y - 11, z) for x, y, z in path)
        for name, start, rest, radii, density in (
            ("iliac artery", (-5.0, -5.0, -106.0), tuple(path), (6.5, 5.5, 5, 4.5), tissues.aorta),
            ("iliac vein", (16.0, -8.0, -116.0), behind, (8, 7, 6.5, 6), tissues.cava),
        ):
            vessels.append(
                Structure(name, Tube.smooth((start, *rest), radii), density, texture_hu=3, gap_mm=0.5)
            )
    return tuple(vessels)


def pelvic_organs(
    draw: Draw, tissues: Tissues, patient: Patient, *, bladder: int, male: bool
) -> tuple[Structure, ...]:
    """Bladder (small or full), prostate or uterus, rectum, bowel and psoas muscles; parts of the abdomen.

    Args:
        draw: this patient's random choices.
        tissues: this patient's densities.
        patient: where the patient lies.
        bladder: the urinary bladder's number in the label map.
        male: with a prostate, otherwise with a uterus.
    """
    size = draw.between(0.55, 1.15)
    x, y, z = draw.point((0, 34, -262 + 14 * size), 3)
    urine = Structure(
        "urine",
        Everywhere(),
        draw.between(0, 14),
        texture_hu=2,
        inset_mm=draw.between(2, 4),
    )
    sac = Structure(
        "urinary bladder",
        Ellipsoid((x, y, z), draw.radii((42 * size, 29 * size, 32 * size))),
        tissues.muscle - 10,
        bladder,
        bumps=draw.bumps(2, 50),
        parts=(urine,),
    )
    if male:
        gland = Ellipsoid(draw.point((0, 24, -298), 2), draw.radii((23, 17, 18), 0.12))
        own = Structure("prostate", gland, tissues.muscle - 8, texture_hu=8)
    else:
        womb = Ellipsoid(
            draw.point((0, 2, -232), 4), draw.radii((28, 21, 34), 0.12), draw.angles((-25, 0, 0))
        )
        own = Structure("uterus", womb, tissues.muscle + 15, texture_hu=10, bumps=draw.bumps(2, 30))
    return (sac, own, *_bowel(draw, tissues, patient), *_psoas(draw, tissues))


def _bowel(draw: Draw, tissues: Tissues, patient: Patient) -> tuple[Structure, ...]:
    """Caecum, sigmoid colon, rectum and small bowel, as far as an abdominal phantom does not show them."""
    colon: tuple[tuple[tuple[Point, ...], float], ...] = (
        (((6, -22, -196), (-4, -40, -228), (0, -36, -266), (0, -28, -305)), draw.between(13, 19)),
        (((86, 8, -148), (82, 16, -168), (72, 22, -182)), 19),
        (((-88, 0, -148), (-80, 8, -176), (-50, 30, -200), (-14, 18, -212), (10, -8, -204)), 14),
    )
    loops = [loop("colon", draw, tissues, patient, points, radius, stool=True) for points, radius in colon]
    for row, z in enumerate((-162.0, -188.0, -212.0)):
        for x in (-52.0, -18.0, 16.0, 50.0):
            points = tuple(
                draw.point((x + step, height, z - drop), 6)
                for step, height, drop in ((-14, 38, 0), (0, 56 if row % 2 else 22, 7), (16, 40, 4))
            )
            loops.append(loop("small bowel", draw, tissues, patient, points, draw.near(12.5, 1.5)))
    return tuple(loops)


def _psoas(draw: Draw, tissues: Tissues) -> tuple[Structure, ...]:
    thick = draw.near(19, 1)
    return tuple(
        Structure(
            "psoas",
            Tube.smooth(
                ((side * 42, -26, -148), (side * 58, -8, -205), (side * 70, 22, -265), (side * 82, 24, -310)),
                (thick, thick, 0.85 * thick, 0.8 * thick),
            ),
            tissues.muscle,
            texture_hu=9,
        )
        for side in (-1, 1)
    )
