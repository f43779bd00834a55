"""A reader of sentences about lesions: which ones do they mean? Judged by words written down here alone."""

import re
from collections.abc import Sequence

from hypothesis import strategies as st

from common.text.expressions import CHOICES, Lesion, facts_of, rules_out

ROMAN = {"1": "I", "2": "II", "3": "III", "4": "IV", "5": "V", "6": "VI", "7": "VII", "8": "VIII"}

# Words in which a reader recognises an attribute, written down apart from those that sentences are made of.
SIGNS = {
    "kind": {
        "cyst": r"cyst",
        "abscess": r"abscess|infected collection",
        "metastasis": r"metasta|secondary tumor",
        "haemangioma": r"ha?emangioma|vascular tumor",
        "focal nodular hyperplasia": r"nodular hyperplasia|\bfnh",
        "hepatocellular carcinoma": r"hepatocellular|hcc|primary liver carcinoma|hepatoma",
    },
    "density": {
        "hypodense": r"hypo-?(dense|attenuating)|low([- ]density|[- ]attenuation)|\bdark|less dense than",
        "hyperdense": (
            r"hyper-?(dense|attenuating)|high([- ]density|[- ]attenuation)"
            r"|\bbright(?!\s+rim\b(?!-enh))|\bdenser than"
        ),
    },
    "enhancement": {
        "none": (
            r"(non-|not )enhancing|unenhancing|(no|without|absent) enhancement"
            r"|(no|not taking up) contrast|no uptake of contrast"
        ),
        "homogeneous": (
            r"\b(homogeneously|evenly|uniformly|diffusely|solidly) enhancing"
            r"|\b(homogeneous|even) enhancement|enhancement throughout|\bhomogeneous contrast"
        ),
        "inhomogeneous": (
            r"(inhomogeneous|heterogeneous|uneven|patchy) (enhancement|contrast)"
            r"|(inhomogeneously|heterogeneously|unevenly|patchily) enhancing"
        ),
        "rim": (
            r"(rim|ring)-enhancing|peripheral|rim enhancement"
            r"|enhancing (rim|wall)|bright rim|along (its|the) edge"
        ),
    },
    "border": {
        "sharp": (
            r"well-defined|clearly defined|\bsharp|crisp"
            r"|circumscribed|\bdistinct|clear-cut|clear (outline|boundary)"
        ),
        "blurred": r"ill-defined|(poorly|vaguely) (defined|marginated)|blurred|indistinct|fuzzy|hazy|unsharp",
    },
    "shape": {
        "round": r"\bround(?!ed bulges)|spherical|circular|ball-shaped|globular",
        "oval": r"\bov(al|oid)|elongated|elliptical|egg-shaped|oblong",
        "lobulated": r"\blob(ul|ed)|bumpy|knobbly|several lobes|bulges",
        "irregular": r"irregular|uneven shape",
    },
}
ANATOMY = r"( \w+)? lobe"
SUPERLATIVES = {
    "largest": r"largest|biggest|greatest|larger than|bigger than|bulkiest|most extensive",
    "smallest": r"smallest|tiniest|littlest|smaller than|tinier than|least extensive|most minute",
    "leftmost": rf"leftmost|left-hand|\bleft of|to the left|the left(?!{ANATOMY})(?! side)",
    "rightmost": rf"rightmost|right-hand|\bright of|to the right|the right(?!{ANATOMY})(?! side)",
    "uppermost": (
        r"uppermost|\btop|anterior|above|(in|the) front"
        r"|\bupper\b|frontmost|\bhighest|\bhigher than|furthest up"
    ),
    "lowest": (
        r"\blowest|bottom|posterior|below|behind"
        r"|\blower\b(?! attenuation)|rearmost|underneath|the back|furthest down"
    ),
}
# Phrases that speak of the whole image and compare with nothing: true in one half of it alone.
FIELD_MM = 240.0  # side of the images here
OF_THE_IMAGE = r"( side| half| part)? (of|in) the (picture|image|slice|scan)"
HALVES = {
    "left": rf"left(-hand)?{OF_THE_IMAGE}|on the left(?!{ANATOMY})|\bfar left",
    "right": rf"right(-hand)?{OF_THE_IMAGE}|on the right(?!{ANATOMY})|\bfar right",
    "upper": rf"\bat the top|\b(top|upper|anterior){OF_THE_IMAGE}",
    "lower": rf"\bat the bottom|\b(bottom|lower|posterior){OF_THE_IMAGE}",
}
# "All the rest" and "any other" are what a single lesion is compared with.
EACH_OF_ALL = r"\b(every|each)\b(?! of the)"
ALL = r"\ball\b(?! the rest)"
MANY = (
    r"\b(lesions|masses|nodules|findings|spots|areas|abnormalities|foci|cysts|abscesses|collections"
    r"|metastases|tumors|ha?emangiomas|hyperplasias|fnhs|carcinomas|hccs|hepatomas|cancers|deposits)\b"
)


def fitting(text: str, lesions: Sequence[Lesion]) -> list[int]:
    """The evaluator: which of the lesions of an image a sentence fits, read from its words alone.

    Whether it asks for one of them or for all, says `asks_for_all`.
    """
    text = text.lower()
    found = set(range(len(lesions)))
    for attribute, signs in SIGNS.items():
        for value, sign in signs.items():
            if re.search(sign, text):
                found &= {i for i, lesion in enumerate(lesions) if getattr(lesion, attribute) == value}
    for number in re.findall(r"segment (\w+)", text):
        if number.upper() in ROMAN.values() or number in ROMAN:
            value = ROMAN.get(number, number.upper())
            found &= {i for i, lesion in enumerate(lesions) if lesion.segment == value}
    for side in re.findall(r"(left|right) (?:liver |hepatic )?lobe", text):
        found &= {i for i, lesion in enumerate(lesions) if lesion.lobe == side}
    for size, unit in re.findall(r"([\d.]+) (mm|cm|millimeter)", text):
        stated = float(size) * (10 if unit == "cm" else 1)
        found &= {i for i, lesion in enumerate(lesions) if abs(lesion.diameter_mm - stated) <= 0.5 + 1e-6}
    return sorted(found & fitting_by_place_and_size(text, lesions))


def fitting_by_place_and_size(text: str, lesions: Sequence[Lesion]) -> set[int]:
    found = set(range(len(lesions)))
    for half, sign in HALVES.items():
        if re.search(sign, text):
            found &= {i for i, lesion in enumerate(lesions) if half in halves(lesion)}
            text = re.sub(sign, "", text)  # its "left" compares nothing
    for name, sign in SUPERLATIVES.items():
        if re.search(sign, text):
            best = {
                "largest": lambda lesion: -lesion.diameter_mm,
                "smallest": lambda lesion: lesion.diameter_mm,
                "leftmost": lambda lesion: lesion.x_mm,
                "rightmost": lambda lesion: -lesion.x_mm,
                "uppermost": lambda lesion: lesion.y_mm,
                "lowest": lambda lesion: -lesion.y_mm,
            }[name]
            found &= {min(range(len(lesions)), key=lambda i: best(lesions[i]))}
    return found


def asks_for_all(text: str) -> bool:
    """Whether a sentence asks for all lesions that it fits, and not for the only one."""
    return bool(re.search(f"{ALL}|{EACH_OF_ALL}|{MANY}", text.lower()))


def halves(lesion: Lesion) -> tuple[str, str]:
    return (
        "left" if lesion.x_mm < FIELD_MM / 2 else "right",
        "upper" if lesion.y_mm < FIELD_MM / 2 else "lower",
    )


LESION = st.builds(
    Lesion,
    x_mm=st.floats(0, FIELD_MM).map(lambda x: round(x, 1)),
    y_mm=st.floats(0, FIELD_MM).map(lambda y: round(y, 1)),
    diameter_mm=st.floats(6, 60).map(lambda d: round(d, 1)),
    **{name: st.sampled_from([None, *values]) for name, values in CHOICES.items()},
)
IMAGES = st.lists(LESION, min_size=2, max_size=4)
SEEDS = st.integers(0, 2**32 - 1)


def others(lesions: list[Lesion], index: int) -> list[Lesion]:
    return lesions[:index] + lesions[index + 1 :]


def told_apart(lesions: list[Lesion], index: int) -> bool:
    facts = facts_of(lesions[index], others(lesions, index))
    return all(any(rules_out(fact, other) for fact in facts) for other in others(lesions, index))
