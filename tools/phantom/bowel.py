"""Large and small bowel: no organ of the label map, but what an abdomen is full of."""

from .draw import FLUID, GAS, Draw, Tissues
from .scene import OVER_MM, Patient, Structure
from .shapes import Everywhere, HalfSpace, Point, Tube

COLON: tuple[tuple[Point, ...], ...] = (
    ((86, 8, -150), (92, 2, -95), (94, 6, -60), (84, 22, -42)),  # ascending
    ((78, 40, -44), (40, 66, -52), (0, 70, -56), (-40, 66, -44), (-72, 48, -22), (-92, 24, 4)),  # transverse
    ((-100, -4, 0), (-100, -10, -40), (-96, -6, -95), (-88, 0, -150)),  # descending
)


def bowel(draw: Draw, tissues: Tissues, patient: Patient) -> tuple[Structure, ...]:
    """Colon with stool and gas, a duodenum, and loops of small bowel in the fat between them."""
    colon = tuple(
        loop("colon", draw, tissues, patient, points, draw.near(19, 2), stool=True) for points in COLON
    )
    loops = []
    for row, z in enumerate((-42.0, -72.0, -102.0, -132.0)):
        for x in (-58.0, -20.0, 18.0, 54.0):
            start = draw.point((x - 14 + 5 * (row % 2), 36, z), 7)
            middle = draw.point((x, 54 if row % 2 else 26, z - 8), 7)
            end = draw.point((x + 16, 38, z - 4), 7)
            loops.append(
                loop("small bowel", draw, tissues, patient, (start, middle, end), draw.near(12.5, 1.5))
            )
    duodenum = loop("duodenum", draw, tissues, patient, ((34, 34, -2), (50, 16, -20), (44, 8, -52)), 10.0)
    return (duodenum, *colon, *loops, *_mesentery(draw, tissues))


def _mesentery(draw: Draw, tissues: Tissues) -> tuple[Structure, ...]:
    """Fine vessels that fan out from the root of the mesentery to the loops."""
    vessels = []
    for number in range(12):
        z = -20.0 - 9 * number
        end = (draw.between(-75, 75), draw.between(25, 55), z - draw.between(10, 35))
        middle = (0.4 * end[0], draw.between(20, 40), z)
        tube = Tube.smooth(((6, 18, z + 12), middle, end), (2.0, 1.7, 1.0), steps=2)
        vessels.append(Structure("mesenteric vessel", tube, tissues.portal_vein, gap_mm=0.5))
    return tuple(vessels)


def loop(
    name: str,
    draw: Draw,
    tissues: Tissues,
    patient: Patient,
    points: tuple[Point, ...],
    radius_mm: float,
    *,
    stool: bool = False,
) -> Structure:
    """One piece of bowel: wall, content, and gas above a level that is flat in the world."""
    bumps = draw.bumps(3.5 if stool else 1.5, 22)  # the haustra of the colon
    height = sum(point[1] for point in points) / len(points)
    level = patient.origin[1] + patient.scale[1] * (height + radius_mm * draw.between(0.0, 1.3))
    parts = [
        Structure(
            "content",
            Everywhere(),
            draw.between(-30, 30) if stool else FLUID + draw.between(0, 20),
            texture_hu=70 if stool else 8,
            inset_mm=2.5,
        )
    ]
    if draw.chance(0.7 if stool else 0.3):
        gas = Structure(
            "gas", HalfSpace((0, level, 0), (0, -1, 0)), GAS, inset_mm=2.5, rigid=True, gap_mm=OVER_MM
        )
        parts.append(gas)
    tube = Tube.smooth(points, (radius_mm,) * len(points), steps=3)
    return Structure(name, tube, tissues.bowel_wall, texture_hu=6, bumps=bumps, parts=tuple(parts))
