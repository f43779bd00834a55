"""What the committed vocabulary says."""

import json
import re
from pathlib import Path

import jsonschema
import pytest

from common.errors import InputError
from common.text.vocabulary import Organ, Vocabulary
from tests.common.text.pieces import pieces_of

ROOT = Path(__file__).parents[3]
TEXT_FOLDER = ROOT / "common" / "text"
VOCABULARY = Vocabulary.load()
WHOLE_OF = {
    "left atrium": "heart",
    "hepatic vessels": "liver",
    **dict.fromkeys(("anterior hippocampus", "posterior hippocampus"), "hippocampus"),
    **dict.fromkeys(("peripheral zone of the prostate", "transition zone of the prostate"), "prostate"),
}


def by_name(organs: list[Organ] | tuple[Organ, ...]) -> list[str]:
    return [organ.name for organ in organs]


def mentioned(text: str) -> set[str]:
    """Names of the organs in `text`, found here without the code under test: longest spelling first."""
    spellings = {s.lower(): organ.name for organ in VOCABULARY.organs for s in organ.spellings}
    longest_first = sorted(spellings, key=len, reverse=True)
    pattern = rf"\b({'|'.join(map(re.escape, longest_first))})\b"
    return {spellings[found] for found in re.findall(pattern, text.lower())}


def test_data_follow_the_committed_schema() -> None:
    schema = json.loads((TEXT_FOLDER / "vocabulary.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads((TEXT_FOLDER / "vocabulary.json").read_text(encoding="utf-8")), schema)


@pytest.mark.parametrize(
    ("group", "names"),
    [  # label 1, 2, ... as the organisers number them
        (
            "flare22",
            "liver, right kidney, spleen, pancreas, aorta, inferior vena cava, right adrenal gland, "
            "left adrenal gland, gallbladder, esophagus, stomach, duodenum, left kidney",
        ),
        ("segthor", "esophagus, heart, trachea, aorta"),
        (
            "openkbp",
            "brainstem, spinal cord, right parotid gland, left parotid gland, esophagus, larynx, mandible",
        ),
    ],
)
def test_dataset_groups_keep_the_published_label_order(group: str, names: str) -> None:
    assert by_name(VOCABULARY.group(group)) == names.split(", ")


def test_msd_group_splits_into_ct_and_mr_tasks() -> None:
    # The decathlon's tasks 2, 4 and 5 are MR; 3, 7, 8 and 9 are CT; 1, 6 and 10 are tumours alone. Tasks 4
    # and 5 have two labels each, which together are the whole organ.
    ct, mr = set(by_name(VOCABULARY.group("msd ct"))), set(by_name(VOCABULARY.group("msd mr")))
    halves = {part for part, whole in WHOLE_OF.items() if whole in ("hippocampus", "prostate")}
    assert mr == {"left atrium", "hippocampus", "prostate"} | halves
    assert ct == {"liver", "pancreas", "hepatic vessels", "spleen"}
    assert ct | mr == set(by_name(VOCABULARY.group("msd")))


def test_every_organ_is_in_a_region() -> None:
    regions = ("abdomen", "thorax", "pelvis", "head and neck")
    assert {name for region in regions for name in by_name(VOCABULARY.group(region))} == {
        organ.name for organ in VOCABULARY.organs
    }


def test_no_spelling_belongs_to_two_organs() -> None:
    owners: dict[str, set[str]] = {}
    for organ in VOCABULARY.organs:
        for spelling in organ.spellings:
            owners.setdefault(re.sub(r"[\W_]", "", spelling.lower()), set()).add(organ.name)
    assert {spelling: names for spelling, names in owners.items() if len(names) > 1} == {}


def test_neighbours_are_mutual() -> None:
    one_sided = [
        (organ.name, neighbour)
        for organ in VOCABULARY.organs
        for neighbour in organ.neighbours
        if organ.name not in VOCABULARY.organ(neighbour).neighbours or neighbour == organ.name
    ]
    assert one_sided == []


def test_no_part_is_a_neighbour_of_its_whole() -> None:
    """Else training would ask for "the heart, not the left atrium", with the whole heart as the answer."""
    for part, whole in WHOLE_OF.items():
        assert whole not in VOCABULARY.organ(part).neighbours
        assert part not in VOCABULARY.organ(whole).neighbours


@pytest.mark.parametrize("organ", VOCABULARY.organs, ids=lambda organ: organ.name)
def test_the_description_names_the_organ_and_exactly_its_neighbours(organ: Organ) -> None:
    assert all(organ.name in mentioned(part) for part in organ.parts)
    found = mentioned(organ.descriptions[0]) - {organ.name, WHOLE_OF.get(organ.name)}
    assert found == set(organ.neighbours)


@pytest.mark.parametrize("organ", VOCABULARY.organs, ids=lambda organ: organ.name)
def test_a_description_says_position_neighbours_and_appearance(organ: Organ) -> None:
    assert len(organ.parts) == 3
    position, neighbours, appearance = organ.parts
    assert re.match(f"(The|Of the) {organ.name}", position)
    assert re.match(f"(The|Of the) {organ.name}", neighbours)
    assert re.match(f"On .*(CT|MR) the {organ.name} (is|are|has) ", appearance)
    assert set(organ.neighbours) <= mentioned(f"{position} {neighbours}")
    for part in organ.parts:
        assert 12 <= len(part.split()) <= 30
        assert len(re.findall(r"\.(?= [A-Z]|$)", part)) == 1
        assert part.isascii()


def test_descriptions_stay_whole_in_96_word_pieces() -> None:
    for organ in VOCABULARY.organs:
        assert max(pieces_of(organ.descriptions)) <= 96, organ.name


def test_every_organ_has_other_names_and_a_description_of_its_own() -> None:
    for organ in VOCABULARY.organs:
        assert len(organ.synonyms) >= 2, organ.name
    texts = [organ.descriptions[0] for organ in VOCABULARY.organs]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("organ", VOCABULARY.organs, ids=lambda organ: organ.name)
def test_sources_are_books_or_papers_with_a_section(organ: Organ) -> None:
    for source in organ.source.split("; "):
        assert re.fullmatch(
            r"OpenStax, Anatomy and Physiology 2e, \d+\.\d+ [A-Z].+"
            r"|Gray, Anatomy of the Human Body \(20th edition, 1918\), [A-Z]\w+, The [A-Z].+"
            r"|[A-Z]\w+( et al\.)?, .+\b(19|20)\d\d\b.*",
            source,
        ), source


def test_texts_of_each_level() -> None:
    organ = VOCABULARY.organ("esophagus")
    assert organ.texts("none") == [""]
    assert organ.texts("simple")[:2] == ["esophagus", "oesophagus"]
    position, neighbours, appearance = organ.parts
    assert organ.texts("complex") == [
        f"{position} {neighbours} {appearance}",
        f"{neighbours} {appearance} {position}",
        f"{appearance} {position} {neighbours}",
    ]
    assert VOCABULARY.organ_or_own("uvula").texts("complex") == ["uvula"]
    with pytest.raises(
        InputError, match=r"^text level: found 'long', expected one of none, simple, complex;"
    ):
        organ.texts("long")
