"""Left and right, in the vocabulary and in any text."""

import re
from pathlib import Path

import pytest

from common.text.vocabulary import Organ, Vocabulary, mentions_side, sides

ROOT = Path(__file__).parents[3]
VOCABULARY = Vocabulary.load()
PAIRS = [("right kidney", "left kidney"), ("right adrenal gland", "left adrenal gland")]
PAIRS.append(("right parotid gland", "left parotid gland"))
SIDED = [organ for organ in VOCABULARY.organs if organ.laterality]
OPPOSITE = {"left": "right", "right": "left"}


def mirrored(text: str) -> str:
    swaps = {"left": "right", "L": "R", "lt": "rt", "sinister": "dexter", "sinistra": "dextra"}
    swaps |= {there: here for here, there in swaps.items()}
    return re.sub(r"\w+", lambda word: swaps.get(word.group(), word.group()), text)


def test_sided_organs_are_the_known_pairs() -> None:
    assert {organ.name for organ in SIDED} == {name for pair in PAIRS for name in pair}


@pytest.mark.parametrize("organ", SIDED, ids=lambda organ: organ.name)
def test_sided_organs_never_speak_of_the_other_side(organ: Organ) -> None:
    other = OPPOSITE[str(organ.laterality)]
    assert not [text for text in organ.descriptions if re.search(rf"\b{other}", text, re.IGNORECASE)]
    assert all(organ.name in text for text in organ.descriptions)
    assert all(sides(spelling) == {organ.laterality} for spelling in organ.spellings)
    assert not [name for name in organ.neighbours if name.startswith(other)]


def test_unsided_organs_have_no_sided_name_but_the_left_atrium() -> None:
    sided = {
        organ.name for organ in VOCABULARY.organs if not organ.laterality for s in organ.spellings if sides(s)
    }
    assert sided == {"left atrium"}


@pytest.mark.parametrize("pair", PAIRS)
def test_pairs_mirror_each_other(pair: tuple[str, str]) -> None:
    right, left = map(VOCABULARY.organ, pair)
    assert (right.laterality, left.laterality) == ("right", "left")
    assert set(map(mirrored, right.spellings)) == set(left.spellings)
    assert set(right.groups) == set(left.groups)
    paired = {name for each in PAIRS for name in each}
    assert {mirrored(name) for name in right.neighbours if name in paired} == set(left.neighbours) & paired


def test_symmetric_pair_has_mirrored_descriptions() -> None:
    right, left = VOCABULARY.organ("right parotid gland"), VOCABULARY.organ("left parotid gland")
    assert tuple(map(mirrored, right.descriptions)) == left.descriptions


@pytest.mark.parametrize(
    ("name", "side"),
    [("liver", "right"), ("gallbladder", "right"), ("spleen", "left"), ("stomach", "left")],
)
def test_unpaired_organs_lie_in_their_own_quadrant(name: str, side: str) -> None:
    texts = " ".join(VOCABULARY.organ(name).descriptions)
    assert set(re.findall(r"(left|right) upper abdomen", texts)) == {side}


def test_great_vessels_lie_on_their_sides_of_each_other() -> None:
    aorta = " ".join(VOCABULARY.organ("aorta").descriptions)
    vena_cava = " ".join(VOCABULARY.organ("IVC").descriptions)
    assert "to the left of the inferior vena cava" in aorta
    assert "to the right of the aorta" in vena_cava
    assert "to the left" not in vena_cava
    assert "to the right" not in aorta


def test_sides_are_the_patients_not_the_images() -> None:
    texts = [text for organ in VOCABULARY.organs for text in organ.descriptions]
    assert not [
        text
        for text in texts
        if re.search(r"(left|right) (side |edge |half )?of the (image|slice|picture)", text)
    ]


def test_sides_agree_with_a_labelled_ct() -> None:
    path = ROOT.parent / "shared/data/ct_totalsegmentator_ref/example_seg_fast_force_split.nii.gz"
    if not path.exists():
        pytest.skip(f"{path} is absent: the sides were not compared with a real CT")
    import numpy as np

    from common.data.label_maps import read_label_map

    # Class numbers of TotalSegmentator's task "total".
    numbers = {"spleen": 1, "right kidney": 2, "left kidney": 3, "gallbladder": 4, "liver": 5, "stomach": 6}
    numbers |= {"right adrenal gland": 8, "left adrenal gland": 9, "duodenum": 19}
    labels = read_label_map(path).slices  # (D, H, W), W from the patient's right to the left
    middle = np.argwhere((labels >= 26) & (labels <= 50))[:, 2].mean()  # the vertebrae
    for name, number in numbers.items():
        side = "left" if np.argwhere(labels == number)[:, 2].mean() > middle else "right"
        organ = VOCABULARY.organ(name)
        said = re.findall(
            r"(left|right) upper abdomen|to the (left|right) of the midline", organ.descriptions[0]
        )
        words = (
            {organ.laterality} if organ.laterality else {word for pair in said[:1] for word in pair if word}
        )
        assert words == {side}, name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("left kidney", {"left"}),
        ("Kidney, RIGHT", {"right"}),
        ("ren sinister", {"left"}),
        ("glandula parotidea dextra", {"right"}),
        ("L kidney", {"left"}),
        ("kidney (r.)", {"right"}),
        ("rt. lung", {"right"}),
        ("kidney_left", {"left"}),
        ("LeftParotid", {"left"}),
        ("parotidR", {"right"}),
        ("left-sided effusion", {"left"}),
        ("from right to left", {"left", "right"}),
        ("a bright cleft in the liver", set()),
        ("upright patient at L1 to L3", set()),
        ("liver", set()),
        ("", set()),
    ],
)
def test_sides(text: str, expected: set[str]) -> None:
    assert sides(text) == expected
    assert mentions_side(text) is bool(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *[
            (f"the lesion in segment {number}", True)
            for number in ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", *range(1, 9))
        ],
        ("Segments 5 and 6", True),
        ("located in Couinaud segment: IVa", True),
        ("seg. 4b", True),
        ("cyst_segment_4", True),
        ("segment_4_lesion", True),
        ("seg4_lesion", True),
        ("lesion_s8_mask", True),
        ("lesions8", False),
        ("liver, segment four", True),
        ("Segmentum VIII", True),
        ("cyst in S8", True),
        ("Segment a cyst.", False),
        ("Please segment the lesion of 12 mm.", False),
        ("Segment 12 lesions", False),
        ("Segment in both lobes", False),
        ("segmentation of the liver", False),
        ("vertebra T8", False),
    ],
)
def test_segments_of_the_liver_have_a_side(text: str, expected: bool) -> None:
    assert sides(text) == frozenset()
    assert mentions_side(text) is expected
