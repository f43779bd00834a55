"""Every bundle's inference.json, really run: grids, files, reports, prompts as text, shared image passes."""

import json
import math
from contextlib import chdir
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from nibabel import orientations

from tests.bundles.subjects import array, dice

CODE = "$__import__('pathlib').Path('was_run').touch()"


class Inference(NamedTuple):
    """A volume, stored obliquely and in an odd order, and what inference.json made of it."""

    run: Any
    image: nib.Nifti1Image
    folder: Path
    texts: dict[str, str]  # name -> prompt
    faults: list[str]

    @property
    def labels(self) -> nib.Nifti1Image:
        return nib.load(self.folder / "out" / "patient_seg.nii.gz")

    @property
    def report(self) -> dict[str, Any]:
        return json.loads((self.folder / "out" / "patient_seg.json").read_text())

    def mask(self, number: int) -> nib.Nifti1Image:
        (path,) = (self.folder / "out").glob(f"patient_mask_{number}_*.nii.gz")
        return nib.load(path)


def in_odd_grid(image: nib.Nifti1Image) -> nib.Nifti1Image:
    """Stored as I, P, R, tilted by 7 degrees, with different qform and sform codes."""
    now = orientations.io_orientation(image.affine)
    to_ipr = orientations.ornt_transform(now, orientations.axcodes2ornt(("I", "P", "R")))
    odd = image.as_reoriented(to_ipr)
    tilt = np.eye(4)
    cosine, sine = math.cos(math.radians(7)), math.sin(math.radians(7))
    tilt[1:3, 1:3] = [[cosine, -sine], [sine, cosine]]
    odd.set_qform(tilt @ odd.affine, code=2)
    odd.set_sform(tilt @ odd.affine, code=4)
    return odd


def prepared(run: Any, image: Path, texts: dict[str, str], out: Path, **overrides: Any) -> ConfigWorkflow:
    """Inference of an image, initialised and not yet run."""
    out.mkdir(parents=True)
    prompts = out.parent / f"{out.name}.json"
    prompts.write_text(json.dumps([{"prompt": text, "name": name} for name, text in texts.items()]))
    given = {"input": str(image), "output_dir": str(out), "prompts_file": str(prompts), **overrides}
    workflow = run.subject.inference(run.checkpoint, **given)
    workflow.initialize()
    return workflow


@pytest.fixture(scope="module")
def inferred(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Inference:
    """A volume of the test section in another grid, with prompts of which two are code."""
    folder = tmp_path_factory.mktemp("inferred")
    image = in_odd_grid(nib.load(trained.subject.volume()))
    nib.save(image, folder / "patient.nii.gz")
    texts = {**{f"ask {text}": text for text in trained.subject.prompts}, "sum": "$1+1", "code": CODE}
    with chdir(folder):
        outputs = {"outputs": ["masks", "labels", "preview"]}
        workflow = prepared(trained, folder / "patient.nii.gz", texts, folder / "out", **outputs)
        faults = workflow.check_properties()
        workflow.run()
        workflow.finalize()
    return Inference(trained, image, folder, texts, faults)


def test_config_has_all_that_monai_asks_for(inferred: Inference) -> None:
    assert inferred.faults == []


def test_label_map_and_masks_lie_in_the_inputs_own_grid(inferred: Inference) -> None:
    image = inferred.image
    for written in (inferred.labels, *(inferred.mask(n) for n in range(1, len(inferred.texts) + 1))):
        assert written.shape == image.shape
        assert written.get_data_dtype() == np.uint8
        assert nib.aff2axcodes(written.affine) == ("I", "P", "R")
        for form in ("sform", "qform"):
            affine, code = getattr(written, f"get_{form}")(coded=True)
            expected_affine, expected_code = getattr(image, f"get_{form}")(coded=True)
            assert code == expected_code
            np.testing.assert_array_equal(affine, expected_affine)


def test_the_way_of_storing_changes_nothing(inferred: Inference, tmp_path: Path) -> None:
    """The same volume as it was, upright and in its first order: the same voxels are found."""
    run = inferred.run
    with chdir(tmp_path):
        prepared(run, run.subject.volume(), inferred.texts, tmp_path / "out", outputs=["masks"]).run()
    found = 0
    for number in range(1, len(inferred.texts) + 1):
        (path,) = (tmp_path / "out").glob(f"*_mask_{number}_*.nii.gz")
        plain, odd = (nib.as_closest_canonical(image) for image in (nib.load(path), inferred.mask(number)))
        np.testing.assert_array_equal(np.asarray(plain.dataobj), np.asarray(odd.dataobj))
        found += np.count_nonzero(plain.dataobj)
    assert found


def test_report_agrees_with_the_files(inferred: Inference) -> None:
    """Voxels, millilitres and slices counted again, in files brought to RAS+ by nibabel."""
    labels = np.asarray(nib.as_closest_canonical(inferred.labels).dataobj)
    voxel_ml = np.prod(inferred.labels.header.get_zooms()) / 1000
    rows = inferred.report["prompts"]
    assert set(np.unique(labels)) <= set(range(len(rows) + 1))
    assert (labels > 0).any()
    for number, row in enumerate(rows, start=1):
        assert row["label"] == number
        assert 0 <= row["presence_score"] <= 1
        own = np.asarray(nib.as_closest_canonical(inferred.mask(number)).dataobj) > 0
        for said, mask in ((row, labels == number), (row["mask"], own)):
            assert said["voxels"] == np.count_nonzero(mask)
            assert said["ml"] == pytest.approx(np.count_nonzero(mask) * voxel_ml, rel=1e-5, abs=1e-4)
            found = np.flatnonzero(mask.any(axis=(0, 1)))
            ends = (int(found[0]), int(found[-1])) if len(found) else (None, None)
            assert said["slices"] == {"first": ends[0], "last": ends[1], "count": len(found)}
    assert (inferred.folder / "out" / "patient_seg.png").read_bytes().startswith(b"\x89PNG")


def test_prompts_are_text_and_never_code(inferred: Inference) -> None:
    assert [row["prompt"] for row in inferred.report["prompts"]] == list(inferred.texts.values())
    assert not list(inferred.folder.rglob("was_run"))


def test_2d_images_are_answered_in_their_pixels(trained: Any, tmp_path: Path) -> None:
    if trained.subject.kind != "sentence":
        pytest.skip("asked for organs in volumes")
    image = next(target.image for target in trained.subject.targets() if target.image.suffix == ".png")
    texts = {text: text for text in trained.subject.prompts}
    with chdir(tmp_path):
        prepared(trained, image, texts, tmp_path / "out", outputs=["masks", "labels"]).run()
    rows = json.loads((tmp_path / "out" / f"{image.stem}_seg.json").read_text())["prompts"]
    labels = array(tmp_path / "out" / f"{image.stem}_seg.png")
    assert labels.shape == array(image).shape[:2]
    for number, row in enumerate(rows, start=1):
        (path,) = (tmp_path / "out").glob(f"{image.stem}_mask_{number}_*.png")
        assert array(path).shape == labels.shape
        assert row["mask"]["voxels"] == np.count_nonzero(array(path))
        assert row["voxels"] == np.count_nonzero(labels == number)


def test_prompts_share_the_image_pass_and_get_what_they_get_alone(trained: Any, tmp_path: Path) -> None:
    """One `encode_image` for each batch of slices, however many prompts; rounding may move single voxels."""
    subject, batch = trained.subject, 2
    image = subject.volume()
    slices = nib.as_closest_canonical(nib.load(image)).shape[2]
    texts = {text: text for text in subject.prompts}
    asked = {"together": texts, **{f"alone {n}": {text: text} for n, text in enumerate(texts, start=1)}}
    for name, group in asked.items():
        with chdir(tmp_path):
            overrides = {"outputs": ["masks"], "inferer#slice_batch": batch}
            workflow = prepared(trained, image, group, tmp_path / name, **overrides)
            network = workflow.parser.get_parsed_content("network")
            calls, encode = [], network.encode_image
            network.encode_image = lambda images, calls=calls, encode=encode: (
                calls.append(len(images)) or encode(images)
            )
            workflow.run()
        assert len(calls) == math.ceil(slices / batch), name
        assert sum(calls) == slices
    for number in range(1, len(texts) + 1):
        (together,) = (tmp_path / "together").glob(f"*_mask_{number}_*.nii.gz")
        (alone,) = (tmp_path / f"alone {number}").glob("*_mask_1_*.nii.gz")
        assert dice(array(together) > 0, array(alone) > 0) >= 0.999


def test_shipped_weights_fit_the_config_as_it_stands(subject: Any) -> None:
    """Initialising inference.json loads models/model.pt strictly and checks its base."""

    workflow = subject.workflow("inference.json", workflow_type="infer", device="cpu")
    workflow.initialize()
    network = workflow.parser.get_parsed_content("network")
    tensors = torch.load(subject.root / "models" / "model.pt", weights_only=True)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, tensors[name].to(value.dtype), rtol=0, atol=0)
