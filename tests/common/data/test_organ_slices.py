"""Training samples against the label maps that they come from, and over many draws."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import Compose, RandGaussianNoised
from PIL import Image
from torch.utils.data import DataLoader

from common.data.datalist import Case
from common.data.draws import EpochSampler, collate_slices
from common.data.framed_cases import frame_case
from common.data.framing import Framing
from common.data.organ_slices import OrganSlices
from common.errors import InputError
from common.text.vocabulary import Vocabulary
from tests.common.data.fields import field

SIZE, DEPTH = 16, 12
NAMES = {1: "liver", 2: "spleen", 7: "left kidney"}
LABELS = {name: (number,) for number, name in NAMES.items()}
NEVER = ("prostate", "urinary bladder")
TARGETS = {"a": ("liver", "spleen", "left kidney"), "b": ("liver",)}


def label_maps() -> dict[str, np.ndarray]:
    """Two cases (D, H, W). In b only the liver was annotated, though a spleen was left in its label map."""
    a, b = (np.zeros((DEPTH, SIZE, SIZE), int) for _ in range(2))
    a[2:9, 2:9, 1:8], a[5:8, 3:7, 10:15], a[7:11, 10:14, 9:13] = 1, 2, 7
    b[4:7, 1:12, 2:6], b[3:9, 3:8, 9:14] = 1, 2
    return {"a": a, "b": b}


@pytest.fixture
def cases(make_case: Callable[..., Case]) -> list[Case]:
    return [
        make_case(name, labels, TARGETS[name], first=index * DEPTH)
        for index, (name, labels) in enumerate(label_maps().items())
    ]


def dataset(cases: list[Case], **changes: Any) -> OrganSlices:
    settings = {
        "labels": LABELS,
        "network": field(SIZE),
        "length": 100,
        "prompts_per_slice": 3,
        "progress": False,
    }
    return OrganSlices(cases, **settings | changes)


def assert_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one["prompt"] == other["prompt"]
    assert one["target"] == other["target"]
    assert torch.equal(torch.as_tensor(one["image"]), torch.as_tensor(other["image"]))
    assert torch.equal(torch.as_tensor(one["label"]), torch.as_tensor(other["label"]))


def test_draw_is_a_function_of_seed_and_number(cases: list[Case]) -> None:
    noise = Compose([RandGaussianNoised(keys="image", prob=1.0, std=0.1)])
    first, again = (dataset(cases, transform=noise, seed=5) for _ in range(2))
    forwards = [first[index] for index in range(40)]
    backwards = [again[index] for index in reversed(range(40))][::-1]
    for one, other in zip(forwards, backwards, strict=True):
        assert_equal(one, other)
    assert len({float(draw["image"].mean()) for draw in forwards}) == 40  # noise of each draw is its own
    other_seed = dataset(cases, seed=6)
    assert [other_seed[index]["prompt"] for index in range(40)] != [draw["prompt"] for draw in forwards]


def test_masks_are_those_of_the_label_map(cases: list[Case], slice_number: Callable[..., int]) -> None:
    stacked = np.concatenate(list(label_maps().values()))
    numbers = {name: number for number, name in NAMES.items()}
    drawn = dataset(cases)
    for index in range(200):
        draw = drawn[index]
        assert draw["image"].shape == (1, SIZE, SIZE)
        assert draw["image"].dtype == draw["label"].dtype == torch.float32
        reference = stacked[slice_number(draw["image"].numpy())]
        expected = np.stack([reference == numbers[target] for target in draw["target"]])
        np.testing.assert_array_equal(draw["label"].numpy(), expected)


def test_words_are_the_organs_own(cases: list[Case]) -> None:
    vocabulary = Vocabulary.load()
    drawn = dataset(cases)
    for draw in (drawn[index] for index in range(100)):
        for prompt, target in zip(draw["prompt"], draw["target"], strict=True):
            organ = vocabulary.organ(target)
            assert any(spelling in prompt for spelling in organ.spellings) or prompt in organ.descriptions


@pytest.mark.parametrize("rate", [0.0, 0.25, 1.0])
def test_negatives_come_at_the_stated_rate_and_organs_equally_often(cases: list[Case], rate: float) -> None:
    count = 3000
    drawn = dataset(cases, negative_rate=rate, prompts_per_slice=1)
    draws = [drawn[index] for index in range(count)]
    absent = sum(not draw["label"][0].any() for draw in draws)
    assert absent / count == pytest.approx(rate, abs=5 * np.sqrt(rate * (1 - rate) / count))
    anchors = Counter(draw["target"][0] for draw in draws)
    for name in NAMES.values():
        assert anchors[name] / count == pytest.approx(1 / 3, abs=5 * np.sqrt(2 / 9 / count))


def test_organ_that_was_not_annotated_is_never_asked_for(
    cases: list[Case], slice_number: Callable[..., int]
) -> None:
    drawn = dataset(cases)
    of_b = 0
    for draw in (drawn[index] for index in range(500)):
        if slice_number(draw["image"].numpy()) >= DEPTH:
            of_b += 1
            assert set(draw["target"]) == {"liver"}  # asked for three times, in words of its own
        else:
            assert sorted(draw["target"]) == sorted(TARGETS["a"])
    assert of_b > 50


def test_draws_of_a_block_share_their_level(cases: list[Case]) -> None:
    vocabulary, block = Vocabulary.load(), 4
    drawn = dataset(cases, level_block=block)
    described, named = [], []
    for draw in (drawn[index] for index in range(1200)):
        organs = [vocabulary.organ(target) for target in draw["target"]]
        pairs = list(zip(draw["prompt"], organs, strict=True))
        described.append([prompt in organ.descriptions for prompt, organ in pairs])
        named.append([prompt in organ.spellings for prompt, organ in pairs])
    blocks = np.array(described).reshape(-1, block * 3)  # three prompts a draw
    assert (blocks == blocks[:, :1]).all()
    share = 1 / 3  # simple, sentence or complex
    near = 5 * np.sqrt(share * (1 - share) / len(blocks))
    assert blocks[:, 0].mean() == pytest.approx(share, abs=near)
    # Sentences are told from names by the words around: a block of twelve bare names is a simple one.
    assert np.array(named).reshape(-1, block * 3).all(axis=1).mean() == pytest.approx(share, abs=near)


@pytest.mark.parametrize("level", ["none", "simple", "complex"])
def test_one_level_alone(cases: list[Case], level: str) -> None:
    vocabulary = Vocabulary.load()
    drawn = dataset(cases, text_level=level)
    for draw in (drawn[index] for index in range(50)):
        for prompt, target in zip(draw["prompt"], draw["target"], strict=True):
            assert prompt in vocabulary.organ(target).texts(level)


def test_noise_reaches_the_prompts(cases: list[Case]) -> None:
    clean, noisy = (dataset(cases, text_level="simple", noise=noise) for noise in (0.0, 1.0))
    pairs = [(clean[i]["prompt"], noisy[i]["prompt"]) for i in range(100)]
    changed = [one != other for before, after in pairs for one, other in zip(before, after, strict=True)]
    assert np.mean(changed) > 0.3  # two of five words of four letters or more
    with pytest.raises(InputError, match="noise: found 2, expected a share from 0 to 1"):
        dataset(cases, noise=2)
    with pytest.raises(InputError, match="text level: found 'long', expected one of none, simple, sentence"):
        dataset(cases, text_level="long")


@pytest.mark.parametrize("rate", [0.0, 0.25, 1.0])
def test_structures_that_are_not_in_a_case_have_empty_masks_at_the_stated_rate(
    cases: list[Case], slice_number: Callable[..., int], rate: float
) -> None:
    """Case a names two of them and b none; one stands where the last prompt would."""
    absent, count = ("prostate", "my own structure"), 2000
    drawn = dataset([replace(cases[0], absent=absent), cases[1]], absent_rate=rate)
    asked: list[str] = []
    of_a = 0
    for draw in (drawn[index] for index in range(count)):
        found = [target for target in draw["target"] if target in absent]
        if slice_number(draw["image"].numpy()) >= DEPTH:
            assert not found
            continue
        of_a += 1
        assert found == [target for target in draw["target"][-1:] if target in absent]
        for target in found:
            assert not draw["label"][-1].any()
            assert target != "my own structure" or target in draw["prompt"][-1]
        asked += found
    assert of_a > 1000
    assert len(asked) / of_a == pytest.approx(rate, abs=5 * np.sqrt(rate * (1 - rate) / of_a))
    if rate:
        assert Counter(asked)["prostate"] / len(asked) == pytest.approx(0.5, abs=2.5 / np.sqrt(len(asked)))


def test_an_absent_structure_never_takes_the_place_of_the_drawn_organ(cases: list[Case]) -> None:
    """With one prompt a slice, empty samples are as many as `negative_rate` says."""
    count, rate = 3000, 0.25
    named = [replace(case, absent=("prostate",)) for case in cases]
    drawn = dataset(named, prompts_per_slice=1, absent_rate=0.5, negative_rate=rate)
    draws = [drawn[index] for index in range(count)]
    assert {target for draw in draws for target in draw["target"]} == set(NAMES.values())
    empty = sum(not draw["label"].any() for draw in draws)
    assert empty / count == pytest.approx(rate, abs=5 * np.sqrt(rate * (1 - rate) / count))


def absent_alone(case: Case, labelled: bool) -> Case:
    """The volume of a case as one that only names what it has not, with a label map or without one."""
    return replace(case, case="n", label=case.label if labelled else None, targets=(), absent=NEVER)


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("prompts", [1, 3])
@pytest.mark.parametrize("rate", [0.25, 1.0])
def test_a_case_that_only_names_what_it_has_not_is_drawn(
    cases: list[Case], labelled: bool, prompts: int, rate: float
) -> None:
    """One case of two, times `absent_rate`; its masks are empty in each of its slices."""
    count = 1000
    data = [cases[0], absent_alone(cases[1], labelled)]
    drawn = dataset(data, absent_rate=rate, prompts_per_slice=prompts)
    own = [draw for draw in (drawn[index] for index in range(count)) if draw["case"] == "n"]
    assert len(own) / count == pytest.approx(rate / 2, abs=5 * np.sqrt(rate / 2 * (1 - rate / 2) / count))
    assert {draw["slice_index"] for draw in own} == set(range(DEPTH))
    for draw in own:
        assert draw["label"].shape == (prompts, SIZE, SIZE)
        assert not draw["label"].any()
        assert set(draw["target"]) == set(NEVER) if prompts > 1 else set(draw["target"]) < set(NEVER)
    assert {target for draw in own for target in draw["target"]} == set(NEVER)


def test_without_a_length_they_come_beside_all_slices_and_organs(cases: list[Case]) -> None:
    settings: dict[str, Any] = {"length": None, "negative_rate": 0.0, "prompts_per_slice": 1}
    alone = dataset(cases[:1], **settings)
    drawn = dataset([cases[0], absent_alone(cases[1], False)], absent_rate=0.5, **settings)
    assert len(drawn) == round(len(alone) * 4 / 3)  # a quarter of all draws: one case of two, times a half
    draws = [drawn[index] for index in range(len(drawn))]
    pairs = [(draw["slice_index"], draw["target"][0]) for draw in draws if draw["case"] == "a"]
    expected = [(draw["slice_index"], draw["target"][0]) for draw in (alone[i] for i in range(len(alone)))]
    assert sorted(pairs) == sorted(expected)


def test_with_a_rate_of_0_they_are_left_out(cases: list[Case]) -> None:
    drawn, alone = (
        dataset(data, absent_rate=0.0) for data in ([*cases, absent_alone(cases[0], False)], cases)
    )
    for index in range(50):
        assert_equal(drawn[index], alone[index])


def test_voxels_of_what_is_absent_are_refused(cases: list[Case]) -> None:
    """By any of its names; case b has a spleen that its targets do not name."""
    message = (
        r'b\.nii\.gz: the label map has voxels of "spleen" \(label 2\), but the case "b" says "Lien" is '
        r"absent, expected none; correct the label map, or remove"
    )
    with pytest.raises(InputError, match=message):
        dataset([cases[0], replace(cases[1], absent=("prostate", "Lien"))])
    assert len(dataset([cases[0], replace(cases[1], absent=("left kidney",))])) == 100


def test_a_tumour_is_no_hole_in_its_organ(make_case: Callable[..., Case]) -> None:
    """A ball of label 1 around a ball of label 2, as label maps with one number a voxel have it."""
    grid = np.stack(np.mgrid[:DEPTH, :SIZE, :SIZE]).astype(float)
    distance = np.sqrt(((grid - np.array([5.5, 7.5, 7.5])[:, None, None, None]) ** 2).sum(axis=0))
    labels = np.where(distance < 2.5, 2, np.where(distance < 5, 1, 0))
    named = {"liver": (1, 2), "liver tumour": (2,)}
    case = make_case("p", labels, tuple(named))
    for chosen in (named, {"liver": (1, 2)}):
        drawn = dataset([case], labels=chosen, negative_rate=0.0)
        for draw in (drawn[index] for index in range(60)):
            true = {"liver": distance < 5, "liver tumour": distance < 2.5}
            for target, mask in zip(draw["target"], draw["label"], strict=True):
                np.testing.assert_array_equal(mask.numpy(), true[target][draw["slice_index"]])


def test_an_organ_may_have_its_numbers_in_different_slices(make_case: Callable[..., Case]) -> None:
    """Lungs numbered apart: a slice that holds either is one that holds the lung."""
    labels = np.zeros((DEPTH, SIZE, SIZE), int)
    labels[2:4, 2:6, 2:6], labels[6:9, 2:6, 9:13] = 3, 4
    drawn = dataset([make_case("p", labels, ("lung",))], labels={"lung": (3, 4)}, negative_rate=0.5)
    for draw in (drawn[index] for index in range(100)):
        assert bool(draw["label"].any()) == (draw["slice_index"] in (2, 3, 6, 7, 8))


def test_what_words_are_drawn_changes_neither_slices_nor_their_augmentation(cases: list[Case]) -> None:
    """So that trainings with other words, or none, see the same images."""
    noise = Compose([RandGaussianNoised(keys="image", prob=1.0, std=0.1)])
    levels = [dataset(cases, text_level=level, transform=noise) for level in ("none", "simple", "complex")]
    for index in range(30):
        first, *others = (level[index] for level in levels)
        for other in others:
            assert other["target"] == first["target"]
            assert torch.equal(torch.as_tensor(other["image"]), torch.as_tensor(first["image"]))


def test_no_more_prompts_than_organs(cases: list[Case]) -> None:
    drawn = dataset(cases, labels={"liver": (1,), "spleen": (2,)}, prompts_per_slice=8)
    assert {len(drawn[index]["prompt"]) for index in range(20)} == {2}


def test_labels_beyond_eight_bits_are_background(make_case: Callable[..., Case]) -> None:
    """257 must not become 1."""
    labels = np.zeros((4, SIZE, SIZE), int)
    labels[1, 2:5, 2:5], labels[2, 8:12, 8:12], labels[3, 1:3, 1:3] = 1, 257, 3
    framed = frame_case(make_case("c", labels, ("liver",)), size=SIZE, framing=Framing())
    np.testing.assert_array_equal(framed.labels.numpy(), np.where(labels == 257, 0, labels))
    assert {number: found.tolist() for number, found in framed.present.items()} == {1: [1], 3: [3]}


def test_batch_puts_the_prompts_of_an_image_in_a_row(cases: list[Case]) -> None:
    drawn = dataset(cases)
    samples = [drawn[index] for index in range(4)]
    batch = collate_slices(samples)
    assert batch["image"].shape == (4, 1, SIZE, SIZE)
    assert batch["label"].shape == (12, 1, SIZE, SIZE)
    for row in range(12):
        sample, column = samples[row // 3], row % 3
        assert torch.equal(batch["label"][row, 0], sample["label"][column])
        assert batch["prompt"][row] == sample["prompt"][column]
        assert batch["target"][row] == sample["target"][column]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_ranks_share_an_epoch_and_epochs_share_nothing(cases: list[Case], world_size: int) -> None:
    data = dataset(cases, length=10)
    samplers = [EpochSampler(data, rank=rank, world_size=world_size) for rank in range(world_size)]
    seen: list[int] = []
    for epoch in range(3):
        parts = [list(sampler) for sampler in samplers]
        assert {len(part) for part in parts} == {len(sampler) for sampler in samplers} == {10 // world_size}
        drawn = sorted(index for part in parts for index in part)
        start = epoch * 10
        assert drawn == list(range(start, start + 10 // world_size * world_size))
        seen += drawn
    assert len(set(seen)) == len(seen)


def test_loader_goes_on_to_new_draws_in_its_second_epoch(cases: list[Case]) -> None:
    data = dataset(cases, length=6)
    loader = DataLoader(data, batch_size=2, sampler=EpochSampler(data), collate_fn=collate_slices)
    epochs = [list(loader) for _ in range(2)]
    expected = [data[index]["prompt"] for index in range(12)]
    got = [batch["prompt"] for epoch in epochs for batch in epoch]
    assert got == [expected[i] + expected[i + 1] for i in range(0, 12, 2)]


@pytest.mark.parametrize(("world_size", "batch_size"), [(1, 6), (3, 2)])
def test_an_epoch_without_a_whole_batch_is_refused(
    cases: list[Case], world_size: int, batch_size: int
) -> None:
    """A loader that drops incomplete batches would be empty."""

    def loader(length: int) -> DataLoader[Any]:
        data = dataset(cases, length=length)
        sampler = EpochSampler(data, batch_size=batch_size, rank=0, world_size=world_size)
        return DataLoader(data, batch_size, sampler=sampler, collate_fn=collate_slices, drop_last=True)

    assert len(loader(6)) == 1
    expected = (
        rf"draws_per_epoch, batch_size: found 5 draws an epoch for {world_size} process\(es\) with batches"
    )
    with pytest.raises(
        InputError, match=rf"{expected} of {batch_size}, expected a whole batch .* \(6 draws\)"
    ):
        loader(5)


def test_without_a_length_an_epoch_has_each_slice_and_organ_once(
    cases: list[Case], slice_number: Callable[..., int]
) -> None:
    """Counted in the label maps; b's spleen was not annotated, and the second epoch has another order."""
    numbers = {name: number for number, name in NAMES.items()}
    expected = [
        (case, index, name)
        for case, labels in label_maps().items()
        for name in TARGETS[case]
        for index in np.flatnonzero((labels == numbers[name]).any(axis=(1, 2))).tolist()
    ]
    data = dataset(cases, length=None, negative_rate=0.0, prompts_per_slice=1, seed=3)
    assert len(data) == len(expected)

    def pairs(order: Any) -> list[tuple[str, int, str]]:
        draws = [data[index] for index in order]
        assert all(draw["label"][0].any() and len(draw["target"]) == 1 for draw in draws)
        return [(draw["case"], draw["slice_index"], draw["target"][0]) for draw in draws]

    first, second = pairs(range(len(data))), pairs(range(len(data), 2 * len(data)))
    assert sorted(first) == sorted(second) == sorted(expected)
    assert first != second
    assert pairs(reversed(range(len(data)))) == first[::-1]  # a draw is a function of seed and number alone
    other = dataset(cases, length=None, negative_rate=0.0, prompts_per_slice=1, seed=4)
    assert [other[index]["slice_index"] for index in range(len(data))] != [index for _, index, _ in first]


@pytest.mark.parametrize("stored", [False, True])
def test_a_case_about_one_slice_is_drawn_there_alone(
    cases: list[Case], slice_number: Callable[..., int], tmp_path: Path, stored: bool
) -> None:
    """Slices that nobody annotated are no negatives; two cases may be about one volume."""
    kept = {"store": tmp_path / "store"} if stored else {}
    about = [replace(cases[0], case=f"a-{plane}", slice_index=plane) for plane in (3, 7)]
    drawn = dataset([*about, cases[1]], negative_rate=0.5, **kept)
    seen: dict[str, set[int]] = {}
    for draw in (drawn[index] for index in range(300)):
        seen.setdefault(draw["case"], set()).add(draw["slice_index"])
        labels = label_maps()[draw["case"][0]][draw["slice_index"]]
        first = 0 if draw["case"] != "b" else DEPTH
        assert slice_number(draw["image"].numpy()) == first + draw["slice_index"]
        for target, mask in zip(draw["target"], draw["label"], strict=True):
            np.testing.assert_array_equal(mask.numpy(), labels == LABELS[target][0])
    assert (seen["a-3"], seen["a-7"]) == ({3}, {7})
    assert len(seen["b"]) > 5
    once = dataset(about, length=None, negative_rate=0.0)
    assert len(once) == 4  # the liver in slice 3, all three organs in slice 7
    with pytest.raises(
        InputError, match=r'a\.nii\.gz: the case "a" asks for slice 12, but the volume has 12'
    ):
        dataset([replace(cases[0], slice_index=DEPTH)], **kept)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"prompts": ("a cyst",)}, '"prompts"'),
        ({"lesions": (1,)}, '"lesion"'),
        ({"levels": {"p1": ("a cyst",)}}, '"levels"'),
        ({"prompts": ("a square",), "lesions": ()}, '"prompts" and "lesion"'),
    ],
)
def test_a_lesion_is_not_taken_for_an_organ(cases: list[Case], changes: dict[str, Any], found: str) -> None:
    """As joined data sets of organs and of sentences have it, whose numbers mean different things."""
    message = rf'a\.nii\.gz: the case "a" has {found}, expected only organs in every item, .*; leave the item'
    with pytest.raises(InputError, match=message):
        dataset([replace(cases[0], **changes), cases[1]])


def test_errors_say_what_to_do(cases: list[Case], make_case: Callable[..., Case]) -> None:
    with pytest.raises(InputError, match="found no training case; list at least one under 'training'"):
        dataset([])
    with pytest.raises(
        InputError, match=r"no training case has a voxel of 'pancreas' \(label 9\); remove it"
    ):
        dataset(cases, labels={**LABELS, "pancreas": (9,)})
    with pytest.raises(
        InputError, match=r"negative_rate: found 0\.25 with draws_per_epoch null.* set it to 0"
    ):
        dataset(cases, length=None)
    unlabelled = Case("a", cases[0].image, None, "a", ())
    with pytest.raises(InputError, match=r"a\.nii\.gz: this case has no label file.*add 'label'"):
        dataset([unlabelled])
    other_grid = make_case("z", label_maps()["a"], TARGETS["a"], spacing_mm=(2.0, 1.5, 1.0))
    with pytest.raises(InputError, match="the labels' affine differs from that of the image"):
        dataset([Case("a", cases[0].image, other_grid.label, "a", TARGETS["a"])])


def test_a_network_of_volumes_trains_on_no_2d_images(cases: list[Case], tmp_path: Path) -> None:
    """As inference refuses them later, in the same words; one that takes 2D images trains on them."""
    pixels = label_maps()["a"][7].astype(np.uint8)
    for name, grey in (("image.PNG", 30 * pixels), ("label.png", pixels)):
        Image.fromarray(grey).save(tmp_path / name)
    flat = replace(cases[0], case="p", image=tmp_path / "image.PNG", label=tmp_path / "label.png")
    data = [*cases, flat]
    with pytest.raises(
        InputError, match=r"image\.PNG: found the ending '\.PNG', expected NIfTI .*; convert it"
    ):
        dataset(data, network=field(SIZE, images=False))
    drawn = dataset(data, network=field(SIZE, images=True))
    assert "p" in {drawn[index]["case"] for index in range(100)}


def test_an_organ_of_the_users_own_is_asked_for_by_its_name(
    make_case: Callable[..., Case], caplog: pytest.LogCaptureFixture
) -> None:
    labels = np.zeros((3, 5, 7), np.uint8)
    labels[1, 2:4, 2:5] = 1
    drawn = dataset([make_case("own", labels, ["livre"])], labels={"livre": (1,)}, text_level="complex")[0]
    assert set(drawn["prompt"]) == {"livre"}
    assert "'livre' is not in the vocabulary (did you mean 'liver'?)" in caplog.text
