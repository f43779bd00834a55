"""What differs from patient to patient: small random choices around a template, and densities of tissues.

Densities are in Hounsfield units, by contrast phase, with each patient's own variation.
"""

from dataclasses import dataclass, replace

from numpy.random import Generator

from .scene import Waves
from .shapes import Point

AIR, GAS, LUNG, FAT, SKIN, BILE, FLUID = -1000.0, -970.0, -830.0, -100.0, 20.0, 8.0, 15.0
CORTICAL_BONE, MARROW, DISC = 560.0, 190.0, 85.0


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


@dataclass(frozen=True)
class Tissues:
    """Mean densities in HU of what takes up contrast medium, and of what varies from patient to patient."""

    liver: float
    spleen: float
    renal_cortex: float
    renal_medulla: float
    pancreas: float
    aorta: float
    cava: float
    portal_vein: float
    hepatic_vein: float
    muscle: float
    bowel_wall: float
    marrow: float = MARROW
    fat: float = FAT
    bile: float = BILE


# Typical values from textbooks of abdominal CT at 120 kV; individuals scatter by some 10 %.
PHASES = {
    "native": Tissues(58, 48, 34, 31, 40, 42, 40, 41, 40, 54, 38),
    "arterial": Tissues(70, 122, 190, 85, 108, 320, 95, 95, 62, 60, 75),
    "portal venous": Tissues(108, 124, 195, 165, 102, 160, 150, 178, 172, 64, 85),
    "delayed": Tissues(88, 95, 150, 172, 78, 112, 110, 114, 112, 62, 68),
}
PHASE_SHARES = (0.2, 0.25, 0.4, 0.15)  # venous scans are the commonest


def draw_tissues(rng: Generator) -> tuple[str, Tissues]:
    """A contrast phase and one patient's densities in it."""
    phase = str(rng.choice(list(PHASES), p=PHASE_SHARES))
    mean = PHASES[phase]
    vessels = float(rng.uniform(0.85, 1.2)) if phase != "native" else 1.0
    steatosis = float(rng.uniform(15, 45)) if rng.random() < 0.15 else 0.0
    return phase, replace(
        mean,
        liver=mean.liver * rng.uniform(0.92, 1.08) - steatosis,
        spleen=mean.spleen * rng.uniform(0.93, 1.07),
        renal_cortex=mean.renal_cortex * rng.uniform(0.9, 1.1),
        pancreas=mean.pancreas * rng.uniform(0.88, 1.08),
        aorta=mean.aorta * vessels,
        cava=mean.cava * vessels,
        portal_vein=mean.portal_vein * vessels,
        marrow=rng.uniform(130, 230),
        fat=rng.uniform(-112, -92),
        bile=rng.uniform(0, 18),
    )
