"""What each case is asked: prompts of its own from lists, and one slice of a volume."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from common.errors import InputError
from common.inference import CaseRunner, CasesFailedError, Segmentation, SliceRange, VolumeInferer, prompts
from common.inference.cleaning import in_slice, keep_largest_components, smooth_across_slices
from common.inference.segmentation import OwnMasks
from common.outputs.preview import views_of
from common.text.prompts import Prompt

SHARED = "5 at 49.5"


@pytest.fixture
def run(network, tmp_path):
    """Run on inputs and return the cases' reports."""

    def start(inputs, **changes):
        options = {"network": network, "inferer": VolumeInferer(), "progress": False, **changes}
        outcomes = CaseRunner(inputs, tmp_path / "out", **options).run().outcomes
        return [json.loads(Path(outcome.report).read_text("utf-8")) for outcome in outcomes]

    return start


@pytest.fixture
def images(make_nifti, random_hu):
    """Four volumes, stored as (x, y, slices from inferior to superior)."""
    stored = {name: random_hu(8, 8, 5, seed=seed) for seed, name in enumerate("abcd")}
    for name, voxels in stored.items():
        make_nifti(voxels, np.diag([-1.0, -1.0, 2.0, 1.0]), f"{name}.nii.gz")
    return stored


def mask_of(path):
    return np.asarray(nib.load(path).dataobj)


def listed(tmp_path, *entries):
    path = tmp_path / "list.json"
    path.write_text(json.dumps(entries), "utf-8")
    return path


def test_every_case_of_a_list_gets_the_masks_of_its_own_prompts(run, images, network, tmp_path):
    (tmp_path / "list.csv").write_text(
        "image,prompt\na.nii.gz,5 at 99.5\nb.nii.gz,\nc.nii.gz,-5 at -20.5\na.nii.gz,-5 at 0.5\n"
    )
    reports = run(tmp_path / "list.csv", prompts=[SHARED])
    expected = {
        "a": np.where(images["a"] > 99.5, 1, np.where(images["a"] < 0.5, 2, 0)),
        "b": images["b"] > 49.5,
        "c": images["c"] < -20.5,
    }
    for name, mask in expected.items():
        np.testing.assert_array_equal(mask_of(tmp_path / f"out/{name}_seg.nii.gz"), mask)
    asked = [[row["prompt"] for row in report["prompts"]] for report in reports]
    assert asked == [["5 at 99.5", "-5 at 0.5"], [SHARED], ["-5 at -20.5"]]
    assert network.texts_encoded == ["5 at 99.5", "-5 at 0.5", SHARED, "-5 at -20.5"]


def test_prompts_of_the_run_are_needed_only_where_a_case_has_none(run, images, tmp_path):
    path = listed(tmp_path, {"image": "a.nii.gz", "prompt": SHARED}, "b.nii.gz")
    with pytest.raises(
        InputError,
        match=r"^prompts, prompts_file: found neither, expected exactly one, as .*/b\.nii\.gz has no prompts "
        "of its own in a list; say what to segment there",
    ):
        run(path)
    assert not (tmp_path / "out").exists()
    (report,) = run(listed(tmp_path, {"image": "a.nii.gz", "prompt": SHARED}), prompts_file="not needed.txt")
    assert [row["prompt"] for row in report["prompts"]] == [SHARED]


def test_one_text_is_no_list_of_texts(run, images, tmp_path):
    """Its letters would be the prompts."""
    with pytest.raises(InputError, match=r"^prompts: found the text 'liver', expected a list of texts"):
        run(tmp_path / "a.nii.gz", prompts="liver")


def test_texts_are_encoded_ahead_and_each_once(run, images, network, tmp_path, monkeypatch):
    monkeypatch.setattr(prompts, "TEXTS_AT_ONCE", 2)
    calls, encode = [], network.encode_text
    network.encode_text = lambda asked: calls.append(list(asked)) or encode(asked)
    run(
        listed(
            tmp_path, *({"image": f"{name}.nii.gz", "prompt": f"5 at {n}.5"} for n, name in enumerate("abcd"))
        )
    )
    assert calls == [["5 at 0.5", "5 at 1.5"], ["5 at 2.5", "5 at 3.5"]]
    for number, name in enumerate("abcd"):
        mask = mask_of(tmp_path / f"out/{name}_seg.nii.gz")
        np.testing.assert_array_equal(mask, images[name] > number + 0.5)


@pytest.mark.parametrize("bad", ["a", "b"])
def test_a_text_that_cannot_be_encoded_fails_its_own_case_alone(bad, run, images, tmp_path):
    asked = {"a": "5 at 0.5", "b": "5 at 2.5", "c": "5 at 1.5"} | {bad: "nonsense"}
    path = listed(tmp_path, *({"image": f"{name}.nii.gz", "prompt": text} for name, text in asked.items()))
    with pytest.raises(CasesFailedError, match=rf"^1 of 3 cases failed: .*{bad}\.nii\.gz: ValueError: "):
        run(path)
    done = sorted(file.name[0] for file in (tmp_path / "out").glob("*.json"))
    assert done == sorted({"a", "b", "c"} - {bad})


def test_only_entries_that_changed_are_done_again(run, images, network, tmp_path):
    def entries(*slices):
        return [{"image": "a.nii.gz", "prompt": SHARED, "slice": index} for index in slices]

    run(listed(tmp_path, *entries(1, 2), {"image": "b.nii.gz", "prompt": "5 at 0.5"}))
    done = network.images_encoded
    run(listed(tmp_path, *entries(1, 2, 3), {"image": "b.nii.gz", "prompt": "5 at 9.5"}), skip_existing=True)
    assert network.images_encoded == done + 1 + 5
    np.testing.assert_array_equal(mask_of(tmp_path / "out/b_seg.nii.gz"), images["b"] > 9.5)


@pytest.mark.parametrize("crop", ["body", "whole"])
def test_a_slice_comes_out_as_it_does_among_all_and_the_others_stay_empty(
    crop, make_network, make_nifti, random_hu, run, tmp_path
):
    """The body's box is that of all slices: here the asked one has air where others have the patient."""
    stored = random_hu(16, 12, 5)
    stored[:10, :, 3] = -1000
    source = make_nifti(stored, np.diag([-1.0, -1.0, -2.0, 1.0]))  # from superior to inferior
    kinds = ["labels", "masks", "probabilities", "preview"]
    options = {"prompts": [SHARED, "2 at 9.5"]}
    names = [
        f"case_{kind}.nii.gz"
        for kind in ("seg", *(f"{a}_{b}" for a in ("mask", "prob") for b in ("1_5_at_49_5", "2_2_at_9_5")))
    ]
    (whole,) = run(source, network=make_network(8, crop=crop), outputs=kinds, **options)
    every = {name: mask_of(tmp_path / "out" / name) for name in names}
    network = make_network(8, crop=crop)
    (report,) = run(source, network=network, outputs=kinds, slice_index=1, **options)
    assert network.images_encoded == 1
    for name, voxels in every.items():
        alone = mask_of(tmp_path / "out" / name)
        np.testing.assert_array_equal(alone[..., 3], voxels[..., 3])  # 1 from below
        assert voxels[..., 3].any()
        assert not np.delete(alone, 3, axis=2).any()
    assert (report["slice"], whole["slice"]) == (1, None)
    assert report["shape"] == [5, 12, 16]
    assert report["prompts"][0]["slices"] == {"first": 1, "last": 1, "count": 1}


def test_cleaning_looks_at_the_asked_slice_alone():
    labels = np.zeros((5, 4, 4), np.uint8)
    labels[2, 0, 0] = labels[2, 2:, 2:] = 1
    np.testing.assert_array_equal(in_slice(2, smooth_across_slices)(labels), labels)
    largest = in_slice(2, keep_largest_components)(labels)
    assert (largest[2, 0, 0], largest.sum()) == (0, 4)
    assert in_slice(None, smooth_across_slices) is smooth_across_slices


def test_an_asked_slice_survives_all_cleaning(network, make_volume, random_hu):
    slices = random_hu(5, 8, 8)
    volume, asked = make_volume(slices), [Prompt(SHARED, SHARED, 1)]
    result = VolumeInferer(smooth=True)(volume, network, asked, slice_index=2)
    np.testing.assert_array_equal(result.labels[2], slices[2] > 49.5)
    (found,) = result.results
    assert found.labelled.slices == SliceRange(2, 2, 1)
    assert found.mask == found.labelled


def test_the_preview_shows_the_asked_slice(make_volume):
    slices = np.arange(5)[:, None, None] * np.ones((5, 4, 4))
    nothing = np.zeros(slices.shape, np.uint8)
    found = Segmentation(nothing, [], {}, 3, OwnMasks(slices.shape), lambda mask: mask)
    (view,) = views_of(make_volume(slices), found)
    assert view.title == "axial, slice 3"
    assert (view.image == 3).all()


def test_a_case_without_the_slice_is_reported_and_the_others_are_done(
    run, images, make_network, make_nifti, tmp_path
):
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "p.png")
    make_nifti(images["a"][..., :2], name="short.nii.gz")
    asks_itself = {"image": "p.png", "slice": 3}  # the slice of the run is meant for volumes
    entries = ("a.nii.gz", "short.nii.gz", "p.png", asks_itself, {"image": "b.nii.gz", "slice": 4})
    with pytest.raises(CasesFailedError) as caught:
        run(
            listed(tmp_path, *entries),
            network=make_network(8, images=True),
            prompts=[SHARED],
            slice_index=3,
        )
    assert str(caught.value) == (
        f"2 of 5 cases failed: {tmp_path}/short.nii.gz: found slice 3 for a volume of 2 slices, "
        f"expected 0 (the most inferior one) to 1; correct slice; {tmp_path}/p.png: found slice 3 for a 2D "
        "image, expected none; leave slice out."
    )
    assert (tmp_path / "out/p_seg.png").is_file()
    for name, index in (("a_seg", 3), ("b-4_seg", 4)):
        mask = mask_of(tmp_path / f"out/{name}.nii.gz")
        np.testing.assert_array_equal(mask[..., index], images[name[0]][..., index] > 49.5)


def test_a_slice_needs_a_volume(run, make_network, tmp_path):
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "p.png")
    with pytest.raises(InputError, match="slice: found 3, but none of the inputs is a volume"):
        run(tmp_path / "p.png", network=make_network(8, images=True), prompts=[SHARED], slice_index=3)


@pytest.mark.parametrize("value", [-1, 1.5, "2", True])
def test_a_slice_is_a_number(value, run, images, tmp_path):
    with pytest.raises(
        InputError, match=rf"^slice: found {value!r}, expected a whole number from 0 \(the most"
    ):
        run(tmp_path / "a.nii.gz", prompts=[SHARED], slice_index=value)
