"""Which organs a scan of a part of the body surely does not show."""

from collections.abc import Collection

from ..errors import InputError
from .vocabulary import Vocabulary

# From head to foot, each a group of the vocabulary, which says what lies there.
REGIONS = ("head and neck", "thorax", "abdomen", "pelvis")


def surely_absent(regions: Collection[str], vocabulary: Vocabulary) -> tuple[str, ...]:
    """Names of the organs that no scan of `regions` shows, in the vocabulary's order.

    A scan is seldom cut where an atlas cuts: one of the head and neck ends in the upper chest, with the
    apices of the lungs and the arch of the aorta. So the regions next to those that are shown may show too,
    and only organs that lie beyond them are surely absent.

    Args:
        regions: choices of `REGIONS`, at least one.
        vocabulary: says which organs lie in which region.

    Raises:
        InputError: no region, or an unknown one.
    """
    unknown = [region for region in regions if region not in REGIONS]
    if unknown or not regions:
        raise InputError(
            f"region: found {unknown[0] if unknown else 'none'!r}, expected one or more of "
            f"{', '.join(REGIONS)}; choose from them."
        )
    shown = {REGIONS.index(region) for region in regions}
    near = {place for place in range(len(REGIONS)) if shown & {place - 1, place, place + 1}}
    seen = {organ for place in near for organ in vocabulary.group(REGIONS[place])}
    located = {organ for region in REGIONS for organ in vocabulary.group(region)}
    return tuple(organ.name for organ in vocabulary.organs if organ in located - seen)
