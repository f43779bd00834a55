"""What a whole trunk has above the shoulders: the head and the front of the neck."""

from .draw import CORTICAL_BONE, FLUID, GAS, Draw, Tissues
from .scene import OVER_MM, Structure
from .shapes import Difference, Ellipsoid, Everywhere, HalfSpace, Shape, Tube, Union

HEAD = Ellipsoid((0, 12, 440), (76, 95, 105))
FACE = Union((Ellipsoid((0, 56, 396), (50, 40, 24)), Ellipsoid((0, 60, 426), (15, 38, 18))), 8)
SKULL_BASE_MM = 374.0
ENAMEL = 1700.0


def with_neck_and_head(trunk: Shape, under_mm: float, shoulders_mm: float) -> Shape:
    """A trunk that ends at the shoulders, with neck and head; both `under_mm` below the skin."""
    x, y, z = (radius - under_mm for radius in HEAD.radii_mm)
    chin = Ellipsoid((0, 54, 372), (47 - under_mm, 46 - under_mm, 40 - under_mm))
    neck = Tube(((0, -8, 270), (0, -2, 400)), (66.0 - under_mm, 58.0 - under_mm))
    ended = Difference(trunk, HalfSpace((0, 0, shoulders_mm - under_mm), (0, 0, -1)), 60.0)
    return Union((ended, neck, Ellipsoid(HEAD.center, (x, y, z)), chin), 26.0)


def head(draw: Draw, tissues: Tissues) -> tuple[Structure, ...]:
    """Face, skull with the brain, jaw and teeth; parts of the trunk."""
    return (*_eyes(tissues), *_jaws(tissues), _pharynx(), _face(draw), _skull(draw), *_glands(draw, tissues))


def _eyes(tissues: Tissues) -> tuple[Structure, ...]:
    eyes = []
    for side in (-1, 1):
        globe = Structure("eye", Ellipsoid((side * 32, 82, 426), (12, 12, 12)), FLUID)
        nerve = Structure("optic nerve", Tube(((side * 30, 70, 425), (side * 14, 44, 422)), (2.5, 2.5)), 35.0)
        eyes.append(Structure("orbit", _orbit(side), tissues.fat, texture_hu=8, parts=(globe, nerve)))
    return tuple(eyes)


def _orbit(side: int) -> Ellipsoid:
    return Ellipsoid((side * 30, 74, 426), (18, 25, 17), (0, 0, side * 18))


def _jaws(tissues: Tissues) -> tuple[Structure, ...]:
    """Mandible, and a row of teeth above and below."""
    marrow = Structure("marrow", Everywhere(), tissues.marrow, texture_hu=30, inset_mm=2.5)
    arch = Tube.smooth(
        ((-48, 26, 366), (-38, 54, 356), (0, 84, 352), (38, 54, 356), (48, 26, 366)), (7, 8, 9, 8, 7)
    )
    rami = (Tube(((side * 48, 24, 364), (side * 51, 14, 398)), (6.5, 4.5)) for side in (-1, 1))
    teeth = tuple(
        Structure(
            "teeth",
            Tube.smooth(((-27, 48, z), (-20, 68, z), (0, 80, z), (20, 68, z), (27, 48, z)), (4.5,) * 5),
            ENAMEL,
        )
        for z in (366.0, 376.0)
    )
    return (*teeth, Structure("mandible", Union((arch, *rami), 5), CORTICAL_BONE, parts=(marrow,)))


def _pharynx() -> Structure:
    airway = Tube.smooth(
        ((0, 20, 326), (0, 22, 342), (0, 24, 366), (0, 34, 388), (0, 48, 398)), (7, 8, 8.5, 9, 8)
    )
    return Structure("pharynx", airway, GAS, gap_mm=0.5)


def _face(draw: Draw) -> Structure:
    """Bones around the nose with their air-filled sinuses."""
    septum = Ellipsoid((0, 70, 402), (2, 40, 24))
    air: list[Shape] = [Difference(Ellipsoid((0, 74, 402), (13, 34, 20)), septum)]
    air += [Ellipsoid(draw.point((side * 29, 64, 396), 1.5), draw.radii((13, 15, 15))) for side in (-1, 1)]
    air += [Ellipsoid((0, 42, 412), (13, 10, 9)), Ellipsoid((0, 66, 430), (9, 22, 10))]
    sinuses = tuple(Structure("sinus", shape, GAS, inset_mm=1.0, gap_mm=1.2) for shape in air)
    return Structure("face", FACE, 260.0, texture_hu=130, gap_mm=1.0, parts=sinuses)


def _skull(draw: Draw) -> Structure:
    ventricles = tuple(
        Structure("ventricle", Ellipsoid((side * 13, 6, 468), (6, 30, 11), (0, 0, side * -8)), 8.0)
        for side in (-1, 1)
    )
    brain = Structure(
        "brain",
        Everywhere(),
        draw.near(35, 2),
        texture_hu=5,
        inset_mm=draw.near(7, 0.7),
        parts=ventricles,
    )
    # Cut out rather than kept clear of: the brain keeps the thickness of the bone from orbits and face too.
    case = Union(
        (Ellipsoid((0, 10, 452), draw.radii((67, 84, 82), 0.02)), Ellipsoid((0, -12, 404), (46, 46, 26))), 12
    )
    shape = Difference(case, Union((_orbit(-1), _orbit(1), FACE)))
    return Structure("skull", shape, 1.4 * CORTICAL_BONE, texture_hu=60, gap_mm=OVER_MM, parts=(brain,))


def _glands(draw: Draw, tissues: Tissues) -> tuple[Structure, ...]:
    """Parotid glands with fat in them, and fat of the cheeks."""
    glands = []
    for side in (-1, 1):
        parotid = Ellipsoid(draw.point((side * 57, 6, 374), 2), (11, 18, 24))
        cheek = Ellipsoid((side * 42, 58, 378), (10, 18, 16))
        glands += [
            Structure("parotid", parotid, draw.between(-30, 40), texture_hu=15, bumps=draw.bumps(2, 20)),
            Structure("cheek", cheek, tissues.fat, texture_hu=12, bumps=draw.bumps(2, 25)),
        ]
    return tuple(glands)


def throat(draw: Draw, tissues: Tissues) -> tuple[Structure, ...]:
    """Larynx, hyoid bone, thyroid gland, and fat between the muscles of the neck; parts of the trunk."""
    parts = []
    shell = Tube(((0, 22, 322), (0, 26, 345)), (15, 17))
    glottis = Structure("air", Tube(((0, 19, 315), (0, 21, 350)), (6.5, 8)), GAS)
    inside = Structure("larynx", Everywhere(), tissues.muscle, inset_mm=2.5, parts=(glottis,))
    parts.append(
        Structure("cartilage", shell, draw.between(110, 240), texture_hu=60, gap_mm=0.5, parts=(inside,))
    )
    hyoid = Tube.smooth(((-20, 16, 354), (0, 42, 350), (20, 16, 354)), (2.5, 3, 2.5))
    parts.append(Structure("hyoid", hyoid, 0.8 * CORTICAL_BONE))
    for side in (-1, 1):
        lobe = Ellipsoid(draw.point((side * 18, 16, 298), 2), draw.radii((9, 11, 22), 0.1))
        parts.append(Structure("thyroid gland", lobe, tissues.pancreas + 50, texture_hu=10, gap_mm=0.5))
        for y, width, start in ((-44, 16, 285), (6, 40, 305)):
            muscle = Tube(
                ((side * 0.6 * width, y, start), (side * 0.6 * width, y + 4, 385)), (0.7 * width,) * 2
            )
            around = Tube(muscle.points, tuple(radius + 1.4 for radius in muscle.radii_mm))
            sheet = Difference(around, muscle)
            parts.append(
                Structure(
                    "fat between muscles", sheet, tissues.fat, gap_mm=1, inset_mm=1, bumps=draw.bumps(1.5, 30)
                )
            )
    return tuple(parts)
