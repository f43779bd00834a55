"""The slice store against slices in memory, and what spoils it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from common.data import framed_cases
from common.data.datalist import Case
from common.data.framed_cases import frame_case, open_store
from common.data.framing import Channel, Framing
from common.data.organ_slices import OrganSlices
from common.errors import InputError
from tests.common.data.fields import field

SIZE = 16
FRAMING = Framing()
# What lies 2 mm apart is the next slice; bone and soft tissue are windows of their own.
SEVERAL = Framing(
    crop="whole", channels=(Channel(), Channel(window=(-1000, 1000)), Channel(offset_mm=2), Channel("red"))
)


@pytest.fixture
def cases(make_case: Callable[..., Case]) -> list[Case]:
    made = []
    for index, name in enumerate(("a", "b", "c")):
        labels = np.zeros((5 + index, 20, 24), int)
        labels[1:4, 2:9, 1:8], labels[2, 10:15, 10:20] = 1, 200
        made.append(make_case(name, labels, ("liver",), first=index * 8))
    return made


@pytest.mark.parametrize("framing", [FRAMING, SEVERAL], ids=["one channel", "several"])
def test_stored_slices_are_those_in_memory(cases: list[Case], tmp_path: Path, framing: Framing) -> None:
    stored = open_store(tmp_path / "store", cases, size=SIZE, framing=framing, progress=False)
    for case, one in zip(cases, stored, strict=True):
        framed = frame_case(case, size=SIZE, framing=framing)
        assert (one.case, one.spacing_mm, len(one)) == (framed.case, framed.spacing_mm, len(framed))
        assert {n: f.tolist() for n, f in one.present.items()} == {
            n: f.tolist() for n, f in framed.present.items()
        }
        for index in reversed(range(len(one))):
            assert one.read(index)[0].shape == (len(framing.channels), SIZE, SIZE)
            for found, expected in zip(one.read(index), framed.read(index), strict=True):
                assert found.dtype == expected.dtype
                assert torch.equal(found, expected)


def test_channels_of_a_case_show_what_each_was_declared_to(cases: list[Case]) -> None:
    """Slice n of case a has -150 + 8 n HU everywhere."""
    framed = frame_case(cases[0], size=SIZE, framing=SEVERAL)
    hu = -150 + 8 * np.arange(len(framed))
    above = np.append(hu[1:], hu[-1])  # the uppermost slice stands for what would be above it
    expected = np.stack([(hu + 160) / 400, (hu + 1000) / 2000, (above + 160) / 400, (hu + 160) / 400], axis=1)
    np.testing.assert_allclose(framed.images.float().mean(dim=(2, 3)), expected, atol=1e-3)


@pytest.mark.parametrize("framing", [FRAMING, SEVERAL], ids=["one channel", "several"])
def test_draws_from_a_store_are_those_from_memory(
    cases: list[Case], tmp_path: Path, framing: Framing
) -> None:
    network = field(SIZE)
    network.framing = framing
    settings = {
        "labels": {"liver": (1,), "spleen": (200,)},
        "network": network,
        "length": 9,
        "progress": False,
    }
    annotated = [Case(c.case, c.image, c.label, c.patient, ("liver", "spleen")) for c in cases]
    memory, disk = (
        OrganSlices(annotated, **settings),
        OrganSlices(annotated, store=tmp_path / "store", **settings),
    )
    for index in range(20):
        one, other = memory[index], disk[index]
        assert one.keys() == other.keys()
        assert one["image"].shape == (len(framing.channels), SIZE, SIZE)
        assert all(torch.equal(one[key], other[key]) for key in ("image", "label"))
        assert one["prompt"] == other["prompt"]


def test_a_store_is_built_once_and_goes_on_where_it_was_killed(
    cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []
    real = framed_cases.frame_case
    monkeypatch.setattr(
        framed_cases, "frame_case", lambda case, **options: built.append(case.case) or real(case, **options)
    )
    folder = tmp_path / "store"
    open_store(folder, cases[:1], size=SIZE, framing=FRAMING, progress=False)
    open_store(folder, cases, size=SIZE, framing=FRAMING, progress=False, start=2)
    assert built == ["a", "c", "b"]
    (stored,) = folder.glob("b-*.json")
    stored.unlink()  # what a process that was killed leaves: slices, but no record yet
    (half,) = folder.glob("c-*.slices")
    half.write_bytes(half.read_bytes()[:-1])
    open_store(folder, cases, size=SIZE, framing=FRAMING, progress=False)
    assert built == ["a", "c", "b", "b", "c"]
    open_store(folder, cases, size=2 * SIZE, framing=FRAMING, progress=False)
    assert built[5:] == ["a", "b", "c"]  # of another size


@pytest.mark.parametrize(
    "changes",
    [
        {"crop": "whole"},
        {"window": (-1000, 400)},
        {"mirrored": True},
        {"channels": ("grey", "grey")},
        {"channels": (Channel(window=(-160, 241)),)},
        {"channels": (Channel(offset_mm=2),)},
    ],
    ids=str,
)
def test_another_framing_has_slices_of_its_own(
    cases: list[Case], tmp_path: Path, changes: dict[str, Any]
) -> None:
    folder, other = tmp_path / "store", FRAMING.changed(changes)
    open_store(folder, cases[:1], size=SIZE, framing=FRAMING, progress=False)
    (changed,) = open_store(folder, cases[:1], size=SIZE, framing=other, progress=False)
    framed = frame_case(cases[0], size=SIZE, framing=other)
    for index in range(len(framed)):
        assert torch.equal(changed.read(index)[0], framed.read(index)[0])
    (again,) = open_store(folder, cases[:1], size=SIZE, framing=FRAMING, progress=False)
    assert torch.equal(again.read(0)[0], frame_case(cases[0], size=SIZE, framing=FRAMING).read(0)[0])
    assert len(list(folder.glob("*.slices"))) == 2  # both stay


def test_a_changed_image_is_built_anew(
    cases: list[Case], make_case: Callable[..., Case], tmp_path: Path
) -> None:
    before = open_store(tmp_path / "store", cases[:1], size=SIZE, framing=FRAMING, progress=False)[0].read(0)[
        0
    ]
    labels = np.ones((5, 20, 24), int)
    other = make_case("a", labels, ("liver",), first=30)
    after = open_store(tmp_path / "store", [other], size=SIZE, framing=FRAMING, progress=False)[0].read(0)[0]
    assert not torch.equal(before, after)


def test_a_damaged_slice_is_refused_and_the_others_are_read(cases: list[Case], tmp_path: Path) -> None:
    stored = open_store(tmp_path / "store", cases[:1], size=SIZE, framing=FRAMING, progress=False)[0]
    with stored.path.open("r+b") as file:
        file.seek(3 * SIZE * SIZE * 3 + 7)
        file.write(b"\xff")
    stored.read(2)
    with pytest.raises(
        InputError, match=r"a-.*\.slices: slice 3 differs from what was written .* remove the file"
    ):
        stored.read(3)
    record = json.loads(stored.path.with_suffix(".json").read_text())
    assert len(record["crc32"]) == 5
