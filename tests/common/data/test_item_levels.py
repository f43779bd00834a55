"""Prompts of several levels: what an item may list, and which text training and evaluation ask by."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from common.data import EvaluationCases, ReferringImages
from common.data.datalist import Case, load_datalist, load_referring
from common.errors import InputError
from common.inference.lists import read_list
from common.text.prompts import check_prompt
from tests.common.data.fields import field

LEVELS_OF_ITEM = {
    "p2": ["round polyp"],
    "p0": [""],
    "p1": ["polyp"],
    "p7": ["bump", "lump", "growth", "knob"],
}


@pytest.fixture
def listed(tmp_path: Path, png: dict[str, Any]) -> Path:
    """A datalist of two items about the lesions 3 and 7 of one image, the second without levels above p1."""
    first = png | {
        "case": "a",
        "lesion": 3,
        "prompts": ["it"],
        "levels": LEVELS_OF_ITEM,
        "attributes": {"shape": "round", "x_mm": 3.5},
        "dataset": "kvasir",
    }
    second = png | {"case": "b", "lesion": 7, "levels": {"p0": [""], "p1": ["large polyp"]}}
    return write(tmp_path, first, second)


def write(folder: Path, *entries: dict[str, Any]) -> Path:
    path = folder / "datalist.json"
    path.write_text(json.dumps({"training": list(entries)}))
    return path


def draws(cases: list[Case], count: int, *, seed: int = 0) -> list[tuple[str, str]]:
    """(case, text) of the first draws."""
    dataset = ReferringImages(cases, network=field(32), seed=seed, progress=False)
    return [(sample["case"], sample["prompt"][0]) for sample in (dataset[index] for index in range(count))]


def test_an_item_says_its_data_set_attributes_and_levels(listed: Path) -> None:
    first, second = load_datalist(listed, "training")
    assert first.prompts == ("it",)
    assert (first.dataset, dict(first.attributes)) == ("kvasir", {"shape": "round", "x_mm": 3.5})
    assert list(first.levels.items()) == [  # lowest first
        ("p0", ("",)),
        ("p1", ("polyp",)),
        ("p2", ("round polyp",)),
        ("p7", ("bump", "lump", "growth", "knob")),
    ]
    assert (second.prompts, second.dataset, dict(second.attributes), second.level) == ((), None, {}, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"levels": ["polyp"]}, r'has \["polyp"\] as "levels", expected an object such as \{"p0"'),
        ({"levels": {"P1": ["polyp"]}}, r'has the level "P1" in "levels", expected p0 to p9'),
        ({"levels": {"random": ["polyp"]}}, r'has the level "random" in "levels", expected p0 to p9'),
        ({"levels": {"p1": "polyp"}}, r'has "polyp" as "p1" in "levels", expected a list of texts; add one'),
        ({"levels": {"p1": []}}, r'has \[\] as "p1" in "levels", expected a list of texts; add one'),
        (
            {"levels": {"p0": ["polyp"]}},
            r'has \["polyp"\] as "p0" in "levels", expected \[""\], as this level',
        ),
        ({"levels": {"p1": ["polyp", " "]}}, r"training\[0\], levels, p1: found no text, expected words"),
        ({"levels": {"p1": ["a\x07"]}}, r"levels, p1: found the control character U\+0007 at position 2"),
        ({"prompts": [""]}, r"training\[0\], prompts: found no text, expected words"),
        ({"level": {"p1": ["polyp"]}}, r'the field "level" and no "levels", .*rename it to levels,'),
        ({"attributes": "round"}, r'has "round" as "attributes", expected an object such as \{"shape"'),
        ({"dataset": ""}, r'has "" as "dataset", expected a name without'),
        ({"dataset": ["kvasir"]}, r'has \["kvasir"\] as "dataset", expected a name without'),
        (
            {"levels": {"p6": ["polyp, located in left of the image"]}, "orientation_free": True},
            r'is "orientation_free" and has the prompt "polyp, located in left of the image"',
        ),
        (
            {"image": "a.nii.gz", "levels": {"p1": ["polyp"]}},
            r'is a volume without "slice", expected "slice"',
        ),
    ],
)
def test_fields_that_cannot_be_used_are_refused(
    tmp_path: Path, png: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    said = {} if "levels" in changes else {"prompts": ["it"]}
    with pytest.raises(InputError, match=message):
        load_datalist(write(tmp_path, png | said | changes), "training")


def test_an_empty_text_is_legal_as_level_p0_of_a_datalist_alone(listed: Path) -> None:
    assert {case.prompts for case in load_referring(listed, "training", level="p0")} == {("",)}
    with pytest.raises(InputError, match="prompt: found no text, expected words"):
        check_prompt("")
    assert [entry.asked for entry in read_list(listed, "training")] == [  # inference asks by prompts alone
        [(f"{listed}, training, item 1, prompt 1", "it")],
        [],
    ]


def test_a_level_gives_its_texts_and_no_level_the_prompts(listed: Path, tmp_path: Path) -> None:
    assert [(case.prompts, case.level) for case in load_referring(listed, "training", level="p1")] == [
        (("polyp",), "p1"),
        (("large polyp",), "p1"),
    ]
    content = json.loads(listed.read_text())["training"]
    listed = write(tmp_path, content[0])
    assert [(case.prompts, case.level) for case in load_referring(listed, "training")] == [(("it",), None)]
    several = load_referring(listed, "training", level=["p0", "p7"])
    assert [(case.case, case.level, case.prompts[0]) for case in several] == [
        ("a", "p0", ""),
        ("a", "p7", "bump"),
    ]


@pytest.mark.parametrize("level", ["p2", ["p1", "p2"]])
def test_an_item_that_lacks_a_level_is_named_with_it(listed: Path, level: Any) -> None:
    with pytest.raises(InputError) as caught:
        load_referring(listed, "training", level=level)
    assert str(caught.value) == (
        f'{listed}: training: the case "b" lacks the level p2 (levels found: p0, p1), expected it in every '
        'item; add it to its "levels", ask for another level, or leave the item out.'
    )


def test_a_random_level_needs_one_with_words(tmp_path: Path, png: dict[str, Any]) -> None:
    listed = write(tmp_path, png | {"prompts": ["it"], "levels": {"p0": [""]}})
    message = r'the case "image" lacks a level from p1 up \(random\) \(levels found: p0\)'
    with pytest.raises(InputError, match=message):
        load_referring(listed, "training", level="random")


@pytest.mark.parametrize("level", ["p10", "", 1, "RANDOM"])
def test_other_levels_are_refused(listed: Path, level: Any) -> None:
    message = rf"^level: found {level!r}, expected p0 to p9 or random; choose one\.$"
    with pytest.raises(InputError, match=message):
        load_referring(listed, "training", level=level)


def test_items_with_levels_alone_say_that_a_level_has_to_be_asked_for(listed: Path) -> None:
    message = (
        r'training\[1\] has no "prompts", expected sentences in every item, .*; add one, ask for a level '
        r"that all have \(p0, p1 here\), or leave"
    )
    with pytest.raises(InputError, match=message):
        load_referring(listed, "training")


def test_training_draws_the_texts_of_its_level(listed: Path) -> None:
    assert set(draws(load_referring(listed, "training", level="p1"), 20)) == {
        ("a", "polyp"),
        ("b", "large polyp"),
    }
    assert set(draws(load_referring(listed, "training", level="p0"), 4)) == {("a", ""), ("b", "")}


def test_a_random_level_draws_every_level_with_words_alike(listed: Path) -> None:
    """Of 1500 draws a third for each of three levels, though one of them has four texts of six."""
    (first, _) = load_referring(listed, "training", level="random")
    counts = Counter(text for _, text in draws([first], 1500))
    assert set(counts) == {"polyp", "round polyp", *LEVELS_OF_ITEM["p7"]}
    shares = (counts["polyp"], counts["round polyp"], sum(counts[text] for text in LEVELS_OF_ITEM["p7"]))
    assert [share / 1500 for share in shares] == pytest.approx([1 / 3] * 3, abs=0.05)  # 4 deviations
    assert [counts[text] / 1500 for text in LEVELS_OF_ITEM["p7"]] == pytest.approx([1 / 12] * 4, abs=0.03)


def test_a_random_level_is_a_function_of_seed_and_draw(listed: Path) -> None:
    """So a resumed training, which begins at a later draw, hears what an uninterrupted one hears."""
    cases = load_referring(listed, "training", level="random")
    whole = draws(cases, 60, seed=5)
    resumed = ReferringImages(cases, network=field(32), seed=5, progress=False)
    assert [resumed[index]["prompt"][0] for index in range(40, 60)] == [text for _, text in whole[40:]]
    assert draws(cases, 60, seed=6) != whole


def test_an_evaluation_asks_by_the_first_text_of_each_level(listed: Path) -> None:
    (first, _) = load_datalist(listed, "training")
    content = json.loads(listed.read_text())["training"]
    listed = write(listed.parent, content[0])
    asked = EvaluationCases(load_referring(listed, "training", level=["p0", "p2", "p7"]))[0]
    assert [prompt.text for prompt in asked.prompts] == ["", "round polyp", "bump"]
    assert [prompt.name for prompt in asked.prompts] == ["lesion", "round polyp", "bump"]  # none is empty
    assert [(target.case, target.dataset, target.level) for target in asked.targets] == [
        (first.case, "kvasir", level) for level in ("p0", "p2", "p7")
    ]
    as_listed = EvaluationCases(load_referring(listed, "training"))[0]
    assert [(target.sentence, target.level) for target in as_listed.targets] == [("it", None)]


def test_an_evaluation_draws_no_level(listed: Path) -> None:
    message = "level: found random, expected p0 to p9, since all networks are evaluated with the same texts"
    with pytest.raises(InputError, match=message):
        EvaluationCases(load_referring(listed, "training", level="random"))


def test_a_case_with_levels_stays_hashable(listed: Path) -> None:
    assert len(set(load_datalist(listed, "training"))) == 2
