"""Densities in Hounsfield units by contrast phase, with each patient's own variation."""

from dataclasses import dataclass, replace

from numpy.random import Generator

AIR, GAS, LUNG, FAT, SKIN, BILE, FLUID = -1000.0, -970.0, -830.0, -100.0, 20.0, 8.0, 15.0
CORTICAL_BONE, MARROW, DISC = 560.0, 190.0, 85.0


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
