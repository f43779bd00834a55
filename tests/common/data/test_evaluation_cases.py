"""What is asked in an evaluation, and that each prompt's own mask is judged whatever else is asked."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from common.data.datalist import Case
from common.data.evaluation_cases import (
    LESION,
    CaseSampler,
    EvaluationCase,
    EvaluationCases,
    Target,
    prompt_numbers,
)
from common.data.label_maps import read_label_map
from common.data.volumes import Volume
from common.errors import InputError
from common.inference.inferer import VolumeInferer
from common.metrics.prompts import measure_prompts
from common.text.prompts import Prompt
from common.text.vocabulary import Vocabulary
from tests.common.data.conftest import write_nifti
from tests.common.data.fields import Told
from tests.common.data.referring_files import LEFT_LESION, RIGHT_LESION, SLICE, items

LABELS = {"liver": (1,), "spleen": (2,), "left kidney": (6,)}
ANY = (0.0, 1.0)  # all of a field


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(0).choice([0, 1, 2, 6], size=(3, 5, 7))


def masks(case: EvaluationCase) -> list[np.ndarray]:
    return [target.region.mask() for target in case.targets]


def all_of(cases: EvaluationCases) -> list[EvaluationCase]:
    return [cases[index] for index in range(len(cases))]


def dice(case: EvaluationCase, network: Told) -> list[float]:
    """Of each prompt's own mask, by the inferer that users run."""
    found = VolumeInferer(presence_top_fraction=0.001)(
        case.image, network, case.prompts, slice_index=case.slice_index
    )
    return [float(str(row["dsc"])) for row in measure_prompts(case, found).volumes]


def test_a_case_is_the_volume_and_the_organs_annotated_in_it(
    make_case: Callable[..., Case], labels: np.ndarray
) -> None:
    given = make_case("p1", labels, ["left kidney", "liver", "bladder"], spacing_mm=(3.0, 0.8, 0.9))
    cases = EvaluationCases([replace(given, patient="someone", absent=("prostate",))], labels=LABELS)
    (case,) = all_of(cases)
    assert (case.case, case.slice_index) == ("p1", None)
    assert case.image.slices.shape == labels.shape
    np.testing.assert_allclose(case.image.spacing_mm, (3.0, 0.8, 0.9), rtol=1e-6)
    # The bladder is annotated but not asked for; the spleen is asked for but was not annotated here.
    assert case.prompts == (Prompt("liver", "liver", 1), Prompt("left kidney", "left kidney", 6))
    facts = [(t.case, t.patient, t.name, t.sentence, t.others, t.region.plane) for t in case.targets]
    assert facts == [
        ("p1", "someone", "liver", None, (), None),
        ("p1", "someone", "left kidney", None, (), None),
    ]
    for mask, number in zip(masks(case), (1, 6), strict=True):
        np.testing.assert_array_equal(mask, labels == number)


def test_complex_asks_by_the_first_description(make_case: Callable[..., Case], labels: np.ndarray) -> None:
    cases = EvaluationCases([make_case("p1", labels, ["spleen"])], labels=LABELS, text_level="complex")
    description = Vocabulary.load().organ("spleen").descriptions[0]
    assert cases[0].prompts == (Prompt(description, "spleen", 2),)


@pytest.mark.parametrize(
    ("level", "text"), [("none", ""), ("simple", "spleen"), ("sentence", "spleen"), ("mixed", "spleen")]
)
def test_levels_of_training_ask_with_no_words_or_by_name(
    make_case: Callable[..., Case], labels: np.ndarray, level: str, text: str
) -> None:
    cases = EvaluationCases([make_case("p1", labels, ["spleen"])], labels=LABELS, text_level=level)
    assert [prompt.text for prompt in cases[0].prompts] == [text]


def test_what_is_surely_absent_is_asked_for_on_request(
    make_case: Callable[..., Case], labels: np.ndarray
) -> None:
    """It means an empty mask, and takes no number that the reference has."""
    absent = ("prostate", "spleen", "prostate")
    labels[labels == 2] = 0
    given = replace(make_case("p1", labels, ["liver"]), absent=absent)
    asked = EvaluationCases([given], labels=LABELS, absent=True)[0]
    assert asked.prompts == (
        Prompt("liver", "liver", 1),
        Prompt("prostate", "prostate", 3),
        Prompt("spleen", "spleen", 2),
    )
    assert [int(mask.sum()) for mask in masks(asked)] == [int((labels == 1).sum()), 0, 0]
    assert [prompt.name for prompt in EvaluationCases([given], labels=LABELS)[0].prompts] == ["liver"]
    bare = replace(given, label=None, targets=())  # of a scan that nobody annotated, too
    assert [prompt.name for prompt in EvaluationCases([bare], absent=True)[0].prompts] == [
        "prostate",
        "spleen",
    ]
    with pytest.raises(InputError, match=r"found no case \(of 1\) that has a sentence"):
        EvaluationCases([bare], labels=LABELS)


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("name", ["spleen", "Lien"])
def test_voxels_of_what_is_absent_are_refused(make_case: Callable[..., Case], name: str, asked: bool) -> None:
    labels = np.zeros((3, 5, 7), int)
    labels[0, :2], labels[2, 3:] = 1, 2
    given = replace(make_case("p1", labels, ["liver"]), absent=(name,))
    message = (
        rf'p1\.nii\.gz: the label map has voxels of "spleen" \(label 2\), but the case "p1" says "{name}" is '
        r"absent, expected none; correct the label map"
    )
    with pytest.raises(InputError, match=message):
        EvaluationCases([given], labels=LABELS, absent=asked)[0]
    there = EvaluationCases([replace(given, slice_index=0)], labels=LABELS, absent=asked)[0]
    assert [int(mask.sum()) for mask in masks(there)] == [14, 0][: 1 + asked]  # the item is about slice 0
    with pytest.raises(InputError, match=r'the case "p1" asks for slice 3, but the volume has 3 slices'):
        EvaluationCases([replace(given, slice_index=3)], labels=LABELS)[0]


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        ({"liver": (1,), "spleen": (2,)}, {"liver": 1, "spleen": 2}),
        ({"liver": (1, 2), "liver tumour": (2,)}, {"liver": 1, "liver tumour": 2}),
        ({"liver tumour": (2,), "liver": (1, 2)}, {"liver tumour": 2, "liver": 1}),
        ({"a": (1, 2), "b": (1,), "c": (2,)}, {"a": 1, "b": 3, "c": 2}),
        ({"a": (2,), "b": (2,), "c": (2,)}, {"a": 2, "b": 1, "c": 3}),
        ({"gone": (), "liver": (1,), "lost": ()}, {"gone": 2, "liver": 1, "lost": 3}),
        ({}, {}),
    ],
)
def test_every_prompt_has_a_number_of_its_own(
    values: dict[str, tuple[int, ...]], numbers: dict[str, int]
) -> None:
    assert prompt_numbers(values) == numbers
    assert list(prompt_numbers(values)) == list(values)


def test_a_merged_label_means_all_of_its_numbers(make_case: Callable[..., Case], labels: np.ndarray) -> None:
    merged = {"liver": (1, 2), "liver tumour": (2,), "abdomen": (1, 2, 6)}
    case = EvaluationCases([make_case("p", labels, list(merged))], labels=merged)[0]
    assert [prompt.label for prompt in case.prompts] == [1, 2, 6]
    expected = [np.isin(labels, (1, 2)), labels == 2, labels > 0]
    for mask, meant in zip(masks(case), expected, strict=True):
        np.testing.assert_array_equal(mask, meant)


@pytest.fixture
def nested(tmp_path: Path) -> Case:
    """16 x 16 pixels: a liver of 40 HU, in it a tumour of 200 HU, in it a core of 240 HU; air around."""
    labels = np.zeros((2, 16, 16), int)
    labels[:, 2:14, 2:14], labels[:, 4:10, 4:10], labels[:, 6:8, 6:8] = 1, 2, 3
    hu = np.choose(labels, (-1000, 40, 200, 240))
    return Case(
        case="n",
        image=write_nifti(tmp_path / "image.nii.gz", hu, (2.0, 1.0, 1.0)),
        label=write_nifti(tmp_path / "label.nii.gz", labels, (2.0, 1.0, 1.0)),
        patient="n",
        targets=("liver", "tumour", "core"),
    )


NESTED = {"liver": (1, 2, 3), "tumour": (2, 3), "core": (3,)}
FOUND = {"liver": (0.4, 1.0), "tumour": (0.8, 1.0), "core": (0.99, 1.0)}


@pytest.mark.parametrize("order", [("liver", "tumour", "core"), ("core", "tumour", "liver")])
def test_nested_targets_do_not_hurt_each_other(nested: Case, order: Sequence[str]) -> None:
    case = EvaluationCases([nested], labels={name: NESTED[name] for name in order})[0]
    network = Told(16, FOUND, crop="whole")
    assert dice(case, network) == [1.0, 1.0, 1.0]
    found = VolumeInferer()(case.image, network, case.prompts)
    labelled = {prompt.name: int((found.labels == prompt.label).sum()) for prompt in case.prompts}
    assert labelled["tumour"] == 0  # the label map has each voxel once: it is not what is judged


def test_a_prompt_scores_as_when_it_is_asked_alone(nested: Case) -> None:
    """Also where it is wrong: an organ that is found everywhere costs no other one anything."""
    network = Told(16, FOUND | {"liver": ANY}, crop="whole")
    together = dice(EvaluationCases([nested], labels=NESTED)[0], network)
    alone = [dice(EvaluationCases([nested], labels={name: NESTED[name]})[0], network)[0] for name in NESTED]
    assert together == alone
    assert together == [pytest.approx(2 * 144 / (144 + 256)), 1.0, 1.0]


def test_three_sentences_with_one_mask_score_the_same(tmp_path: Path, png: dict[str, Any]) -> None:
    """In one item, and in another about the same lesion; the label map can give it to one alone."""
    listed = items(
        tmp_path,
        png | {"lesion": 7, "prompts": ["bright", "on the right"], "case": "a"},
        png | {"lesion": [7], "prompts": ["the larger one"], "case": "b"},
    )
    (case,) = all_of(EvaluationCases(listed, sentences="all"))
    texts = ["bright", "on the right", "the larger one"]
    assert [prompt.text for prompt in case.prompts] == texts
    assert len({prompt.label for prompt in case.prompts}) == 3
    # Half-way between the lesion's grey of 200 and the 50 around it; then the other lesion of 100 too.
    right, wrong = (dice(case, Told(40, dict.fromkeys(texts, (low, 1.0)))) for low in (0.5, 0.3))
    assert right == [1.0, 1.0, 1.0]
    assert len(set(wrong)) == 1
    assert 0.6 < wrong[0] < 0.9


def test_sentences_of_one_image_are_asked_together(
    tmp_path: Path, png: dict[str, Any], make_volume: Any
) -> None:
    """And those of one slice: cases stand in the order of their first item."""
    volume = make_volume("LPS")
    (tmp_path / "other.png").write_bytes((tmp_path / "image.png").read_bytes())
    listed = items(
        tmp_path,
        png | {"lesion": 3, "prompts": ["small", "another word"], "case": "s"},
        volume | {"lesion": LEFT_LESION, "prompts": ["left"], "case": "l", "patient": "q"},
        png | {"lesion": 7, "prompts": ["large"], "case": "g"},
        png | {"image": "other.png", "lesion": 7, "prompts": ["large"], "case": "o"},
        volume | {"slice": 0, "lesion": [], "prompts": ["nothing"], "case": "z"},
        volume | {"lesion": RIGHT_LESION, "prompts": ["right"], "case": "r"},
    )
    cases = all_of(EvaluationCases(listed))
    assert [(case.case, case.slice_index) for case in cases] == [
        ("s", None),
        ("l", SLICE),
        ("o", None),
        ("z", 0),
    ]
    assert [[target.case for target in case.targets] for case in cases] == [
        ["s", "g"],
        ["l", "r"],
        ["o"],
        ["z"],
    ]
    assert [prompt.label for prompt in cases[0].prompts] == [1, 2]
    assert {target.name for case in cases for target in case.targets} == {LESION}
    assert [target.patient for target in cases[1].targets] == ["q", "v"]
    assert [(p.text, t.sentence) for p, t in zip(cases[1].prompts, cases[1].targets, strict=True)] == [
        ("left", "left"),
        ("right", "right"),
    ]
    assert [int(mask.sum()) for case in cases for mask in masks(case)] == [24, 48, 12, 12, 48, 0]


def test_every_sentence_is_asked_on_request(tmp_path: Path, png: dict[str, Any]) -> None:
    listed = items(
        tmp_path,
        png | {"lesion": 3, "prompts": ["a", "b", "a"], "case": "s"},
        png | {"lesion": 7, "prompts": ["c"], "case": "l"},
    )
    for sentences, expected in (
        ("all", [("s", "a"), ("s", "b"), ("l", "c")]),
        ("first", [("s", "a"), ("l", "c")]),
    ):
        (case,) = all_of(EvaluationCases(listed, sentences=sentences))  # type: ignore[arg-type]
        assert [(target.case, target.sentence) for target in case.targets] == expected
    with pytest.raises(InputError, match="sentences: found 'last', expected first or all"):
        EvaluationCases(listed, sentences="last")  # type: ignore[arg-type]


def test_more_sentences_than_labels_are_refused(tmp_path: Path, png: dict[str, Any]) -> None:
    many = [f"word {number}" for number in range(256)]
    listed = items(tmp_path, png | {"prompts": many})
    assert len(EvaluationCases(listed)[0].prompts) == 1
    with pytest.raises(
        InputError, match=r"image\.png: found 256 sentences for one image, expected at most 255"
    ):
        EvaluationCases(listed, sentences="all")


def test_sentences_may_mean_nothing(tmp_path: Path, png: dict[str, Any]) -> None:
    """With a label map and without one; what is drawn for them costs no other sentence anything."""
    bare = {key: value for key, value in png.items() if key != "label"}
    nothing = {"lesion": [], "prompts": ["a square lesion"]}
    listed = items(
        tmp_path,
        bare | nothing | {"case": "m"},
        png | nothing | {"case": "n"},
        png | {"lesion": 7, "prompts": ["large"], "case": "l"},
    )
    (case,) = all_of(EvaluationCases(listed))
    assert [int(mask.sum()) for mask in masks(case)] == [0, 0, 48]
    assert [target.others for target in case.targets] == [(), (), ()]
    quiet = dice(case, Told(40, {"large": (0.5, 1.0)}))
    assert quiet[2] == 1.0
    assert np.isnan(quiet[:2]).all()
    assert dice(case, Told(40, {"large": (0.5, 1.0), "a square lesion": ANY})) == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("crop", ["body", "whole"])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("axes", ["RAS", "PIR"])
def test_one_slice_is_segmented_and_judged_in_the_files_own_voxels(
    tmp_path: Path, make_volume: Any, axes: str, mirrored: bool, crop: str
) -> None:
    """The field is larger, turned, and mirrored or not: the bright lesion comes back to where it is."""
    volume = make_volume(axes)
    (case,) = all_of(EvaluationCases(items(tmp_path, volume | {"lesion": LEFT_LESION, "prompts": ["left"]})))
    network = Told(64, {"left": (0.7, 1.0)}, crop=crop, mirrored=mirrored)
    assert case.slice_index == SLICE
    assert case.targets[0].region.plane == SLICE
    found = VolumeInferer(presence_top_fraction=0.001)(case.image, network, case.prompts, slice_index=SLICE)
    np.testing.assert_array_equal(found.mask(0), masks(case)[0])
    assert found.mask(0).any()


def test_organs_of_one_slice_and_of_a_2d_image_count_there_alone(
    make_case: Callable[..., Case], labels: np.ndarray, tmp_path: Path, png: dict[str, Any]
) -> None:
    given = make_case("p", labels, ["liver"])
    case = EvaluationCases([replace(given, slice_index=1)], labels=LABELS)[0]
    assert (case.slice_index, case.targets[0].region.plane) == (1, 1)
    np.testing.assert_array_equal(masks(case)[0][1], labels[1] == 1)
    assert not masks(case)[0][[0, 2]].any()
    flat = Case("x", tmp_path / "image.png", tmp_path / "label.png", "x", ("cyst",))
    shown = EvaluationCases([flat], labels={"cyst": (3, 7)})[0]
    assert (shown.slice_index, shown.targets[0].region.plane) == (None, 0)
    assert masks(shown)[0].shape == (1, 20, 40)
    assert dice(shown, Told(40, {"cyst": (0.3, 1.0)})) == [pytest.approx(1, abs=0.1)]


@pytest.mark.parametrize("axes", ["RAS", "PIR"])
def test_lesions_beside_are_turned_as_when_they_are_asked_for(
    tmp_path: Path, make_volume: Any, axes: str
) -> None:
    volume = make_volume(axes)
    listed = items(
        tmp_path,
        volume | {"lesion": LEFT_LESION, "prompts": ["left"], "case": "l"},
        volume | {"lesion": RIGHT_LESION, "prompts": ["right"], "case": "r"},
        volume | {"lesion": RIGHT_LESION, "prompts": ["again"], "case": "r2"},
    )
    (case,) = all_of(EvaluationCases(listed))
    for target, other in zip(case.targets, (1, 0, 0), strict=True):  # each once, and none beside itself
        (beside,) = target.others
        np.testing.assert_array_equal(beside.mask(), masks(case)[other])


def beside(targets: Sequence[Target]) -> list[int]:
    return [len(target.others) for target in targets]


def test_beside_a_lesion_is_each_other_one_and_beside_several_nothing(
    tmp_path: Path, png: dict[str, Any]
) -> None:
    entries = [png | {"lesion": lesion, "prompts": ["x"], "case": str(lesion)} for lesion in (3, 7, [3, 7])]
    listed = items(tmp_path, *entries)
    case = EvaluationCases(listed)[0]
    small, large, both = masks(case)
    np.testing.assert_array_equal(both, small | large)
    assert beside(case.targets) == [1, 1, 0]
    np.testing.assert_array_equal(case.targets[0].others[0].mask(), large)
    together = EvaluationCases(listed[::2])[0]  # the large one is named by an item about both
    np.testing.assert_array_equal(together.targets[0].others[0].mask(), large)


def test_what_overlaps_a_lesion_does_not_lie_beside_it(tmp_path: Path, png: dict[str, Any]) -> None:
    """Label maps of their own: one lesion, and all of them."""
    labels = np.asarray(Image.open(tmp_path / png["label"]))
    Image.fromarray((labels == 3).astype(np.uint8)).save(tmp_path / "alone.png")
    entries = [
        png | {"label": "alone.png", "prompts": ["x"], "case": "a"},
        png | {"prompts": ["y"], "case": "b"},
    ]
    case = EvaluationCases(items(tmp_path, *entries))[0]
    assert beside(case.targets) == [0, 0]
    assert [int(mask.sum()) for mask in masks(case)] == [24, 72]  # each of its own label map


def test_label_maps_of_one_lesion_each_are_read_once(
    tmp_path: Path, png: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = []
    for number in range(6):
        mask = np.zeros((20, 40), np.uint8)
        mask[2:4, 6 * number : 6 * number + 3] = 1
        Image.fromarray(mask).save(tmp_path / f"lesion{number}.png")
        entries.append(png | {"label": f"lesion{number}.png", "prompts": ["x"], "case": str(number)})
    cases = EvaluationCases(items(tmp_path, *entries))
    read: list[str] = []

    def counting(path: Path, *, like: Volume) -> Volume:
        read.append(path.name)
        return read_label_map(path, like=like)

    monkeypatch.setattr("common.data.labelled.read_label_map", counting)
    case = cases[0]
    assert beside(case.targets) == [5] * 6
    assert [int(mask.sum()) for mask in masks(case)] == [6] * 6
    # The image of the case comes with its first label map.
    assert sorted(read) == sorted([*(f"lesion{number}.png" for number in range(6)), "lesion0.png"])


def test_organs_and_sentences_may_stand_in_one_section(
    make_case: Callable[..., Case], labels: np.ndarray, tmp_path: Path, png: dict[str, Any]
) -> None:
    data = [*items(tmp_path, png | {"prompts": ["x"]}), make_case("p1", labels, ["liver"])]
    asked = all_of(EvaluationCases(data, labels=LABELS))
    assert [[prompt.text for prompt in case.prompts] for case in asked] == [["x"], ["liver"]]


def test_errors_say_what_to_do(make_case: Callable[..., Case], labels: np.ndarray, tmp_path: Path) -> None:
    case = make_case("p1", labels, ["liver"])
    for cases in ([], [Case("p1", case.image, None, "p1", ())], [make_case("p3", labels, ["spleen"])]):
        with pytest.raises(
            InputError, match=rf"found no case \(of {len(cases)}\) that has a sentence or an annotation"
        ):
            EvaluationCases(cases, labels={"liver": (1,)})
    smaller = make_case("p2", labels[:2], ["liver"])
    with pytest.raises(InputError, match=r"2 x 5 x 7 voxels .* has 3 x 5 x 7, expected the same grid"):
        EvaluationCases([replace(case, label=smaller.label)], labels=LABELS)[0]
    with pytest.raises(InputError, match=r"gone\.nii\.gz: no such file"):
        EvaluationCases([replace(case, image=tmp_path / "gone.nii.gz")], labels=LABELS)[0]


def test_a_case_without_the_asked_organs_is_left_out_aloud(
    make_case: Callable[..., Case], labels: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    cases = [make_case("p1", labels, ["liver"]), make_case("p2", labels, ["spleen"])]
    kept = EvaluationCases(cases, labels={"liver": (1,)})
    assert [case.case for case in all_of(kept)] == ["p1"]
    assert "left out 1 cases" in caplog.text


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
