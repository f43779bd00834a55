"""Small random choices around a template's values."""

from dataclasses import dataclass

from numpy.random import Generator

from .scene import Waves
from .shapes import Point


@dataclass(frozen=True)
class Draw:
    """Random numbers for one patient; normal ones are cut at two deviations, so that relations can hold."""

    rng: Generator

    def near(self, value: float, deviation: float) -> float:
        """A number near `value`."""
        return value + deviation * min(max(float(self.rng.standard_normal()), -2.0), 2.0)

    def point(self, point: Point, deviation_mm: float) -> Point:
        """A point near `point`."""
        x, y, z = (self.near(value, deviation_mm) for value in point)
        return x, y, z

    def radii(self, radii_mm: Point, share: float = 0.06) -> Point:
        """Half axes near `radii_mm`, each with a deviation of `share` of it."""
        x, y, z = (self.near(value, share * value) for value in radii_mm)
        return x, y, z

    def angles(self, angles_deg: Point, deviation_deg: float = 4.0) -> Point:
        """Rotation angles near `angles_deg`."""
        return self.point(angles_deg, deviation_deg)

    def between(self, low: float, high: float) -> float:
        """A number between `low` and `high`, all equally likely."""
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        """True with `probability`."""
        return bool(self.rng.random() < probability)

    def bumps(self, amplitude_mm: float, wavelength_mm: float) -> Waves:
        """A smooth unevenness of a surface."""
        return Waves.random(self.rng, amplitude_mm, wavelength_mm)
