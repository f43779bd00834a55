"""Whole volumes for validation: which organs are asked for, by which words."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from common.data.volume_cases import CaseSampler, VolumeCases, only_item

from common.data.datalist import Case
from common.errors import InputError
from common.text.prompts import Prompt
from common.text.vocabulary import Vocabulary

NAMES = {1: "liver", 2: "spleen", 6: "left kidney"}


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(0).choice([0, 1, 2, 6], size=(3, 5, 7))


def test_item_is_the_volume_its_reference_and_the_annotated_organs(
    make_case: Callable[..., Case], labels: np.ndarray
) -> None:
    case = make_case("p1", labels, ["left kidney", "liver", "bladder"], spacing_mm=(3.0, 0.8, 0.9))
    cases = VolumeCases([case], label_names=NAMES)
    assert len(cases) == 1
    item = cases[0]
    assert item["case"] == "p1"
    assert item["image"].slices.shape == labels.shape
    np.testing.assert_allclose(item["image"].spacing_mm, (3.0, 0.8, 0.9), rtol=1e-6)
    np.testing.assert_array_equal(item["label"].slices, labels)
    # The bladder is annotated but not asked for; the spleen is asked for but was not annotated here.
    assert item["prompts"] == [Prompt("left kidney", "left kidney", 6), Prompt("liver", "liver", 1)]


def test_complex_asks_by_the_first_description(make_case: Callable[..., Case], labels: np.ndarray) -> None:
    cases = VolumeCases([make_case("p1", labels, ["spleen"])], label_names=NAMES, text_level="complex")
    description = Vocabulary.load().organ("spleen").descriptions[0]
    assert cases[0]["prompts"] == [Prompt(description, "spleen", 2)]


@pytest.mark.parametrize(
    ("level", "text"), [("none", ""), ("simple", "spleen"), ("sentence", "spleen"), ("mixed", "spleen")]
)
def test_levels_of_training_ask_with_no_words_or_by_name(
    make_case: Callable[..., Case], labels: np.ndarray, level: str, text: str
) -> None:
    cases = VolumeCases([make_case("p1", labels, ["spleen"])], label_names=NAMES, text_level=level)
    assert [prompt.text for prompt in cases[0]["prompts"]] == [text]


def test_errors_say_what_to_do(make_case: Callable[..., Case], labels: np.ndarray, tmp_path: Path) -> None:
    case = make_case("p1", labels, ["liver"])
    for cases in ([], [Case("p1", case.image, None, "p1", ())], [make_case("p3", labels, ["spleen"])]):
        with pytest.raises(InputError, match=rf"found no case \(of {len(cases)}\) in which an organ"):
            VolumeCases(cases, label_names={1: "liver"})
    smaller = make_case("p2", labels[:2], ["liver"])
    with pytest.raises(InputError, match=r"2 x 5 x 7 voxels .* has 3 x 5 x 7, expected the same grid"):
        VolumeCases([Case("p1", case.image, smaller.label, "p1", ("liver",))], label_names=NAMES)[0]
    missing = Case("p1", tmp_path / "gone.nii.gz", case.label, "p1", ("liver",))
    with pytest.raises(InputError, match=r"gone\.nii\.gz: no such file"):
        VolumeCases([missing], label_names=NAMES)[0]


def test_batch_of_one_is_its_item() -> None:
    item = {"case": "a"}
    assert only_item([item]) is item
    with pytest.raises(ValueError, match="too many values"):
        only_item([item, item])


def test_a_case_without_the_asked_organs_is_left_out_aloud(
    make_case: Callable[..., Case], labels: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    cases = [make_case("p1", labels, ["liver"]), make_case("p2", labels, ["spleen"])]
    kept = VolumeCases(cases, label_names={1: "liver"})
    assert [kept[index]["case"] for index in range(len(kept))] == ["p1"]
    assert "left out: 1 cases" in caplog.text


@pytest.mark.parametrize(("count", "world_size"), [(5, 2), (4, 4), (1, 1), (7, 3)])
def test_processes_share_the_cases_and_none_comes_twice(count: int, world_size: int) -> None:
    shares = [list(CaseSampler(range(count), rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert sorted(index for share in shares for index in share) == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_every_process_has_all_cases_where_there_are_too_few_to_share() -> None:
    """An engine refuses an empty loader; repeated equally, they leave a mean as it is."""
    for rank in range(3):
        sampler = CaseSampler(range(2), rank=rank, world_size=3)
        assert (len(sampler), list(sampler)) == (2, [0, 1])
