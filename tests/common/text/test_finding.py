"""Organs, groups and suggestions by their names."""

import pytest

from common.errors import InputError
from common.text.vocabulary import Vocabulary, sides

VOCABULARY = Vocabulary.load()
SIDED = [organ for organ in VOCABULARY.organs if organ.laterality]
OPPOSITE = {"left": "right", "right": "left"}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("liver", "liver"),
        ("  LIVER ", "liver"),
        ("Hepar", "liver"),
        ("oesophagus", "esophagus"),
        ("gall bladder", "gallbladder"),
        ("Gall-Bladder", "gallbladder"),
        ("gall\u2010bladder", "gallbladder"),
        ("SpinalCord", "spinal cord"),
        ("left_kidney", "left kidney"),
        ("LeftParotid", "left parotid gland"),
        ("Medulla  spinalis", "spinal cord"),
        ("wind-pipe", "trachea"),
        ("lower jaw", "mandible"),
        ("ivc", "inferior vena cava"),
    ],
)
def test_find_forgives_case_spaces_and_hyphens(text: str, name: str) -> None:
    found = VOCABULARY.find(text)
    assert found is not None
    assert found.name == name
    assert VOCABULARY.organ(text) is found


@pytest.mark.parametrize(
    ("latin", "name"),
    [  # as Terminologia Anatomica has them
        *(("hepar", "liver"), ("ren dexter", "right kidney"), ("ren sinister", "left kidney")),
        *(("splen", "spleen"), ("lien", "spleen"), ("pancreas", "pancreas"), ("arteria aorta", "aorta")),
        *(("vena cava inferior", "inferior vena cava"), ("oesophagus", "esophagus"), ("gaster", "stomach")),
        ("glandula suprarenalis dextra", "right adrenal gland"),
        ("glandula suprarenalis sinistra", "left adrenal gland"),
        *(("vesica biliaris", "gallbladder"), ("duodenum", "duodenum"), ("cor", "heart")),
        *(("trachea", "trachea"), ("atrium sinistrum", "left atrium"), ("prostata", "prostate")),
        *(("hippocampus", "hippocampus"), ("truncus encephali", "brainstem"), ("larynx", "larynx")),
        *(("medulla spinalis", "spinal cord"), ("mandibula", "mandible"), ("pulmones", "lungs")),
        ("glandula parotidea dextra", "right parotid gland"),
        ("glandula parotidea sinistra", "left parotid gland"),
        ("columna vertebralis", "vertebrae"),
    ],
)
def test_latin_names_are_known(latin: str, name: str) -> None:
    assert VOCABULARY.organ(latin).name == name


@pytest.mark.parametrize(
    ("structure", "name"),
    [  # as radiotherapy plans have them (AAPM TG-263), and what short forms reports use
        *(("Kidney_L", "left kidney"), ("Kidney_R", "right kidney"), ("SpinalCord", "spinal cord")),
        *(("Parotid_L", "left parotid gland"), ("Parotid_R", "right parotid gland"), ("Lungs", "lungs")),
        *(("GallBladder", "gallbladder"), ("GB", "gallbladder"), ("IVC", "inferior vena cava")),
        *(("Adrenal_L", "left adrenal gland"), ("Adrenal_R", "right adrenal gland")),
    ],
)
def test_short_names_of_plans_and_reports_are_known(structure: str, name: str) -> None:
    assert VOCABULARY.organ(structure).name == name


@pytest.mark.parametrize("text", ["", "the liver", "kidney", "livr", "liver,spleen"])
def test_find_takes_nothing_but_a_whole_name(text: str) -> None:
    assert VOCABULARY.find(text) is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("livr", "liver"),
        ("oesophagous", "esophagus"),
        ("right kidny", "right kidney"),
        ("L kidny", "left kidney"),
        ("rihgt parotid gland", "right parotid gland"),
        ("carburettor", None),
        ("galbladder", "gallbladder"),
        ("bladder", "urinary bladder"),  # no slip of gallbladder
        ("", None),
    ],
)
def test_suggest(text: str, name: str | None) -> None:
    assert VOCABULARY.suggest(text) == name


def test_suggestions_name_both_sides_where_the_text_names_none() -> None:
    assert sorted(VOCABULARY.suggestions("kidney")) == ["left kidney", "right kidney"]
    assert VOCABULARY.suggestions("L kidny") == ["left kidney"]
    assert VOCABULARY.suggestions("livr") == ["liver"]
    assert VOCABULARY.suggestions("carburettor") == []


def test_suggestions_never_change_the_side() -> None:
    for organ in SIDED:
        for spelling in organ.spellings:
            for place in range(len(spelling)):
                typo = spelling[:place] + spelling[place + 1 :]
                if sides(typo) == {organ.laterality}:
                    suggested = VOCABULARY.suggest(typo)
                    assert suggested is None or not suggested.startswith(OPPOSITE[str(organ.laterality)])


def test_unknown_organ_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"^organ: found 'livr', .*did you mean 'liver'\?$"):
        VOCABULARY.organ("livr")
    with pytest.raises(InputError, match=r"did you mean '(left|right) kidney' or '(left|right) kidney'\?$"):
        VOCABULARY.organ("kidney")
    with pytest.raises(
        InputError, match=r"found 'carburettor', .*; python -m tools\.prompts lists all of them\.$"
    ):
        VOCABULARY.organ("carburettor")


def test_group_names_are_forgiving_and_unknown_ones_are_refused() -> None:
    assert VOCABULARY.group("Head-and-Neck") == VOCABULARY.group("head and neck")
    with pytest.raises(
        InputError, match=r"^group: found 'legs', expected one of flare22, .*; choose one of them"
    ):
        VOCABULARY.group("legs")
