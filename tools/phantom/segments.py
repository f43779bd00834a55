"""Couinaud's liver segments in the phantom's template, told apart as in CT: by hepatic veins and porta.

Seen from the vena cava the right, the middle and the left hepatic vein fan out; each parts two sectors, and
the plane of the portal branches parts each sector in an upper and a lower segment.
"""

import math

from .shapes import Point

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
