"""Settings that LSMS cannot be built with are refused, each in a sentence."""

from collections.abc import Sequence

from ...errors import InputError
from .full_scale_decoder import DESIGNS

STAGES = 4


def check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    """An option that is one of a few words."""
    if value not in allowed:
        raise InputError(f"{name}: found '{value}', expected one of {', '.join(allowed)}; choose one.")


def check_switches(**values: object) -> None:
    """True or False; a text such as "none" would count as true."""
    for name, value in values.items():
        if not isinstance(value, bool):
            raise InputError(f"{name}: found {value!r}, expected True or False.")


def check_stages(**settings: Sequence[int]) -> None:
    """One positive number a stage."""
    for name, values in settings.items():
        if len(values) != STAGES or min(values) < 1:
            raise InputError(
                f"{name}: found {list(values)}, expected {STAGES} numbers above 0, one for each stage."
            )


def check_kernels(kernels: Sequence[int]) -> None:
    """Different odd lengths."""
    if len(set(kernels)) != len(kernels) or any(d < 1 or d % 2 == 0 for d in kernels):
        raise InputError(f"kernels: found {list(kernels)}, expected different odd lengths such as 7, 11, 21.")


def check_decoder(
    design: str, stages: Sequence[int], align_stage: int, widths: Sequence[int], rank: int
) -> None:
    """A known design, stages that there are and are all needed, channels that its norms can group, a rank."""
    check_choice("decoder", design, DESIGNS)
    known = set(range(1, STAGES + 1))
    if not stages or len(set(stages)) != len(stages) or not set(stages) <= known:
        raise InputError(
            f"decoder_stages: found {list(stages)}, expected different numbers from 1 to {STAGES}."
        )
    if align_stage not in known or align_stage > max(stages):
        raise InputError(
            f"align_stage: found {align_stage}, expected a stage from 1 to {max(stages)}, the last of "
            f"decoder_stages {list(stages)}; change one of them."
        )
    if any(width < 1 or width % 32 for width in widths):
        raise InputError(
            f"ham_channels, align_channels: found {widths[0]} and {widths[1]}, expected multiples of 32 (the "
            "groups of their norms)."
        )
    if rank < 1:
        raise InputError(f"rank: found {rank}, expected 1 or more columns of the Hamburger's bases.")


def check_image_size(side: int, least: int) -> None:
    """The field is so large that the last stage keeps more than a pixel."""
    if side < least:
        raise InputError(f"image_size: found {side}, expected {least} pixels or more; enlarge it.")
