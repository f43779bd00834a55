"""Whatever a datalist says, it is refused with a sentence or read as it stands."""

import contextlib
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from common.data.datalist import (
    SECTIONS,
    Case,
    load_datalist,
    load_label_values,
    load_referring,
)
from common.data.label_maps import read_label_map
from common.errors import InputError
from common.inference.lists import read_list
from tests.hard_input.datalists import organ_slabs, write_set
from tools.prepare.join import join

FILES = {
    section: tuple(f"{section}{ending}" for ending in (".nii.gz", ".nii", ".png", ".jpg"))
    for section in SECTIONS
}
FIELDS = (
    *("image", "label", "patient", "case", "targets", "absent", "prompts", "lesion", "slice"),
    *("attributes", "dataset", "levels"),
)
WORDS = ("liver", "Liver", "spleen", "the left one", "", " ", "$1", "\ud800", "\0", "/", "..", "x" * 300, "٣")

words = st.sampled_from(WORDS) | st.text(max_size=8)
numbers = st.integers(-2, 300) | st.sampled_from([2**31, 10**30, 41.0, 0.5, float("nan"), float("inf")])
junk = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(("liver", "spleen", "lesion"))
RIGHT_LABELS = {"0": "background", "1": "liver", "2": ["liver", "spleen"], "3": "lesion"}
sentences = st.lists(st.sampled_from(("the left one", "a $round lesion")), min_size=1, max_size=2)
lesions = st.integers(1, 3) | st.lists(st.integers(1, 9), max_size=3, unique=True)
OF_ORGANS: dict[str, st.SearchStrategy[Any]] = {
    "targets": st.lists(names, max_size=2),
    "absent": st.lists(st.just("prostate"), max_size=1),
}
OF_ORGANS |= {"slice": st.integers(0, 9) | st.just(4.0)}
OF_SENTENCES: dict[str, st.SearchStrategy[Any]] = {
    "lesion": lesions,
    "orientation_free": st.just(False),
    "dataset": st.just("kvasir"),
}
OF_SENTENCES |= {"levels": st.just({"p0": [""], "p1": ["polyp", "a $polyp"]})}


@st.composite
def right_items(draw: st.DrawFn, section: str, number: int) -> dict[str, Any]:
    """An item of organs, or of sentences about a slice or a 2D image, with some of the fields it may have."""
    kind = draw(st.sampled_from(("organs", "slice", "image")))
    volumes, images = FILES[section][:2], FILES[section][2:]
    item: dict[str, Any] = {"image": draw(st.sampled_from(images if kind == "image" else volumes))}
    item |= {"case": f"{section}-{number}", "label": item["image"]}
    if kind != "organs":
        item["prompts"] = draw(sentences)
    if kind == "slice":
        item["slice"] = draw(st.integers(0, 9))
    more = OF_ORGANS if kind == "organs" else OF_SENTENCES
    item |= {name: draw(more[name]) for name in draw(st.sets(st.sampled_from(sorted(more))))}
    return item | draw(st.sampled_from(({}, {"patient": f"{section} p"})))


@st.composite
def right_datalists(draw: st.DrawFn) -> dict[str, Any]:
    sections = ("training", "test")
    return {"labels": RIGHT_LABELS} | {
        section: [draw(right_items(section, number)) for number in range(draw(st.integers(1, 3)))]
        for section in sections
    }


@st.composite
def wrong_datalists(draw: st.DrawFn) -> dict[str, Any]:
    """A right one in which a field of an item, an item, a label or a section is anything."""
    content = draw(right_datalists())
    content["labels"] = dict(content["labels"])
    anything = draw(words | junk)
    match draw(st.sampled_from(("field", "field", "field", "item", "label", "section"))):
        case "field":
            content["training"][0][draw(st.sampled_from(FIELDS) | words)] = anything
        case "item":
            content["test"].append(anything)
        case "label":
            content["labels"][draw(st.sampled_from(("1", "4", "255", "256", "-1", "9" * 5000, "٣")))] = (
                anything
            )
        case "section":
            content[draw(st.sampled_from(("labels", "training", "test", "validation")))] = anything
    return content


contents = (
    right_datalists() | wrong_datalists() | wrong_datalists() | st.dictionaries(words, junk, max_size=3)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("datalists")
    for name in (name for names in FILES.values() for name in names):
        (made / name).touch()
    return made


def given_examples(count: int) -> Any:
    return settings(
        max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
    )


def check_as_it_stands(path: Path, content: Mapping[str, Any], section: str) -> None:
    """InputError, or each case says what its item says."""
    cases: list[Case] | None = None
    values: dict[str, tuple[int, ...]] = {}
    with contextlib.suppress(InputError):
        cases = load_datalist(path, section)
        values = load_label_values(path) if "labels" in content else {}
    event("refused" if cases is None else "read")
    if cases is None:
        return
    assert len(cases) == len(content[section])
    assert len({case.case for case in cases}) == len(cases)
    for case, item in zip(cases, content[section], strict=True):
        check_case(path, case, {"image": item} if isinstance(item, str) else item, values)


def check_case(
    path: Path, case: Case, item: Mapping[str, Any], values: Mapping[str, tuple[int, ...]]
) -> None:
    assert case.image == path.parent / item["image"]
    assert case.image.exists()
    assert (case.label is None) == (item.get("label") is None)
    assert case.slice_index == item.get("slice")
    assert case.prompts == tuple(item.get("prompts", ()))
    assert case.absent == tuple(item.get("absent", ()))
    levels = {level: list(texts) for level, texts in case.levels.items()}
    assert levels == (item.get("levels") or {})
    assert "" not in [text for level, texts in levels.items() if level != "p0" for text in texts]
    assert case.attributes == (item.get("attributes") or {})
    lesion = item.get("lesion")
    assert case.lesions == (None if lesion is None else tuple(sorted(np.atleast_1d(lesion).tolist())))
    assert set(case.targets) <= values.keys()
    if case.label is not None and "targets" in item:
        assert case.targets == tuple(item["targets"])
    for field in ("case", "patient"):
        if field in item:
            assert getattr(case, field) == str(item[field])
        assert not set(getattr(case, field)) & set("/\0")


def check_any(folder: Path, content: Mapping[str, Any]) -> None:
    path = folder / "datalist.json"
    path.write_text(json.dumps(content))
    for section in SECTIONS:
        check_as_it_stands(path, content, section)
        at_random = partial(load_referring, level="random")
        for read in (load_referring, at_random, read_list):
            with contextlib.suppress(InputError):
                read(path, section)


@given(content=contents)
@given_examples(100)
def test_some_datalists_are_refused_or_read_as_they_stand(folder: Path, content: dict[str, Any]) -> None:
    check_any(folder, content)


@pytest.mark.slow
@given(content=contents)
@given_examples(2000)
def test_any_datalist_is_refused_or_read_as_it_stands(folder: Path, content: dict[str, Any]) -> None:
    check_any(folder, content)


@pytest.mark.slow
@given(
    content=st.binary(max_size=200)
    | st.text(max_size=100).map(str.encode)
    | junk.map(json.dumps).map(str.encode)
)
@given_examples(2000)
def test_any_bytes_are_refused_or_read(folder: Path, content: bytes) -> None:
    for name in ("any.json", "any.csv"):
        path = folder / name
        path.write_bytes(content)
        with contextlib.suppress(InputError):
            read_list(path)
    with contextlib.suppress(InputError):
        load_datalist(folder / "any.json", "training")


organs = st.sampled_from(("liver", "liver tumour", "spleen", "pancreas"))
named = st.dictionaries(
    st.integers(1, 6).map(str), st.lists(organs, min_size=1, max_size=2, unique=True), min_size=1, max_size=4
)


@pytest.mark.slow
@given(
    sets=st.lists(
        st.tuples(named, st.lists(st.integers(0, 7), min_size=1, max_size=6)), min_size=2, max_size=3
    )
)
@given_examples(200)
def test_any_joined_datalists_keep_what_their_numbers_mean(
    tmp_path_factory: pytest.TempPathFactory, sets: list[tuple[dict[str, list[str]], list[int]]]
) -> None:
    """Each organ has the voxels that its own datalist gives it, and none of another's."""
    folder = tmp_path_factory.mktemp("joined")
    own = [
        write_set(folder / f"set{index}", names, organ_slabs(planes))
        for index, (names, planes) in enumerate(sets)
    ]
    joined = join(own, folder / "joined")
    after = load_label_values(joined)
    for path, case in zip(own, load_datalist(joined, "training"), strict=True):
        before = load_label_values(path)
        (its,) = load_datalist(path, "training")
        assert case.label is not None
        assert its.label is not None
        written, stored = read_label_map(case.label).slices, read_label_map(its.label).slices
        assert case.targets == its.targets
        for organ, values in after.items():
            np.testing.assert_array_equal(np.isin(written, values), np.isin(stored, before.get(organ, ())))
