"""medvlm_organ's configs, really run in this process on phantoms, and what they write."""

import csv
import hashlib
import json
import math
import re
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from nibabel import orientations
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

MAX_MODEL_BYTES = 12_000_000
CODE = "$__import__('pathlib').Path('was_run').touch()"
TEXTS = {"liver": "the liver", "spleen": "spleen", "sum": "$1+1", "code": CODE}


class Inference(NamedTuple):
    """The input, stored obliquely and in an odd order, and what inference.json made of it."""

    image: nib.Nifti1Image
    folder: Path
    labels: nib.Nifti1Image
    report: dict[str, Any]


@pytest.fixture(scope="session")
def held_out(phantoms: Path) -> tuple[Path, Path]:
    """Image and label map of the test patient."""
    item = json.loads((phantoms / "datalist.json").read_text())["test"][0]
    return phantoms / item["image"], phantoms / item["label"]


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


@pytest.fixture(scope="session")
def inferred(
    make_workflow: Callable[..., ConfigWorkflow],
    trained: Any,
    held_out: tuple[Path, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Inference:
    """inference.json on the test patient in another grid, with four prompts, two of which are code."""
    folder = tmp_path_factory.mktemp("inferred")
    image = in_odd_grid(nib.load(held_out[0]))
    nib.save(image, folder / "patient.nii.gz")
    prompts = [{"prompt": text, "name": name} for name, text in TEXTS.items()]
    (folder / "prompts.json").write_text(json.dumps(prompts))
    with chdir(folder):
        workflow = make_workflow(
            "inference.json",
            workflow_type="infer",
            device="cpu",
            image_size=trained.overrides["image_size"],
            input=str(folder / "patient.nii.gz"),
            output_dir=str(folder / "masks"),
            prompts_file=str(folder / "prompts.json"),
            checkpoint=str(trained.models / "model.pt"),
        )
        workflow.initialize()
        assert workflow.check_properties() == []
        workflow.run()
        workflow.finalize()
    report = json.loads((folder / "masks" / "patient_seg.json").read_text())
    return Inference(image, folder, nib.load(folder / "masks" / "patient_seg.nii.gz"), report)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def test_training_leaves_one_checkpoint_of_what_was_trained(trained: Any) -> None:
    assert sorted(path.name for path in trained.models.iterdir()) == ["model.json", "model.pt", "states"]
    path = trained.models / "model.pt"
    tensors = torch.load(path, weights_only=True)
    assert type(tensors) is dict
    assert all(isinstance(value, torch.Tensor) for value in tensors.values())
    assert not [name for name in tensors if name.startswith("text_encoder.")]  # the frozen base
    assert {"text_adapter.a", "text_projection.weight"} < tensors.keys()
    assert {value.dtype for value in tensors.values()} == {torch.float16}
    assert 4e6 < sum(value.numel() for value in tensors.values()) < 5e6
    assert path.stat().st_size < MAX_MODEL_BYTES
    base = json.loads((trained.models / "model.json").read_text())["frozen_bases"]["text_encoder"]
    assert base["model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert base["sha256"] == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def test_training_draws_its_curves(trained: Any) -> None:
    scalars: dict[str, list[Any]] = {}
    for file in trained.logs.glob("events.out.tfevents.*"):
        events = EventAccumulator(str(file)).Reload()
        scalars |= {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
    epochs, batches = trained.overrides["epochs"], 64 // trained.overrides["batch_size"]
    assert [event.step for event in scalars["val_mean_dice"]] == list(range(1, epochs + 1))
    assert {"epoch_loss", "epoch_loss/dice", "epoch_loss/bce", "slices_per_s"} < scalars.keys()
    assert {"val_mean_dice/liver", "val_mean_dice/spleen"} & scalars.keys()
    rates = [event.value for event in scalars["learning_rate"]]
    assert rates == pytest.approx([0.001, 0.0005])  # a cosine over two epochs
    losses = [event.value for event in scalars["train_loss"]]
    assert len(losses) == epochs * batches
    assert np.mean(losses[-batches:]) < np.mean(losses[:batches])  # it learns


def test_training_leaves_pictures_and_its_record(trained: Any, phantoms: Path) -> None:
    pictures = [path.name for path in (trained.logs / "pictures").iterdir()]
    assert sorted(name[-9:] for name in pictures) == ["00001.png", "00002.png"]  # one case, two epochs
    (entry,) = json.loads((trained.logs / "run.json").read_text())
    content = (phantoms / "datalist.json").read_bytes()
    assert entry["datalist"]["sha256"] == hashlib.sha256(content).hexdigest()
    split = {name: len(json.loads(content)[name]) for name in ("training", "validation", "test")}
    assert {name: len(cases) for name, cases in entry["split"].items()} == split
    config = json.loads((trained.logs / "config.json").read_text())
    assert all(config[name] == value for name, value in trained.overrides.items())
    assert config["train"]["trainer"]["_target_"] == "SupervisedTrainer"


def test_label_map_lies_in_the_inputs_own_grid(inferred: Inference) -> None:
    image, labels = inferred.image, inferred.labels
    assert labels.shape == image.shape
    assert labels.get_data_dtype() == np.uint8
    assert nib.aff2axcodes(labels.affine) == ("I", "P", "R")
    for form in ("sform", "qform"):
        affine, code = getattr(labels, f"get_{form}")(coded=True)
        expected_affine, expected_code = getattr(image, f"get_{form}")(coded=True)
        assert code == expected_code
        np.testing.assert_array_equal(affine, expected_affine)


def test_report_agrees_with_the_label_map(inferred: Inference) -> None:
    """Voxels, millilitres and slices counted again in the file, brought to RAS+ by nibabel."""
    labels = np.asarray(nib.as_closest_canonical(inferred.labels).dataobj)
    voxel_ml = np.prod(inferred.labels.header.get_zooms()) / 1000
    rows = inferred.report["prompts"]
    assert set(np.unique(labels)) <= {0, 1, 2, 3, 4}
    assert (labels > 0).any()
    for number, row in enumerate(rows, start=1):
        mask = labels == number
        assert row["label"] == number
        assert row["voxels"] == np.count_nonzero(mask)
        assert row["ml"] == pytest.approx(np.count_nonzero(mask) * voxel_ml, rel=1e-5, abs=1e-4)
        found = np.flatnonzero(mask.any(axis=(0, 1)))
        ends = (int(found[0]), int(found[-1])) if len(found) else (None, None)
        assert row["slices"] == {"first": ends[0], "last": ends[1], "count": len(found)}
        assert 0 <= row["presence_score"] <= 1
    assert inferred.report["versions"]["monai"] == "1.6.1"
    assert (inferred.folder / "masks" / "patient_seg.png").read_bytes().startswith(b"\x89PNG")


def test_mask_lies_where_the_organ_is(inferred: Inference, held_out: tuple[Path, Path]) -> None:
    """After 32 steps a liver is rough, but with an axis mixed up it would lie elsewhere."""
    names = json.loads((held_out[0].parents[1] / "datalist.json").read_text())["labels"]
    number = next(int(key) for key, name in names.items() if name == "liver")
    reference = in_odd_grid(nib.load(held_out[1]))
    mask, truth = np.asarray(inferred.labels.dataobj) == 1, np.asarray(reference.dataobj) == number
    assert dice(mask, truth) > 0.5


def test_prompts_are_text_and_never_code(inferred: Inference) -> None:
    assert [row["prompt"] for row in inferred.report["prompts"]] == list(TEXTS.values())
    assert not list(inferred.folder.rglob("was_run"))


def test_evaluation_scores_as_numpy_does(
    make_workflow: Callable[..., ConfigWorkflow],
    trained: Any,
    held_out: tuple[Path, Path],
    phantoms: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Dice of evaluate.json's table, against label maps that inference.json writes for the same prompts."""
    monkeypatch.chdir(tmp_path)
    overrides = {**trained.overrides, "output_dir": str(tmp_path / "scores")}
    workflow = make_workflow("train.json", "evaluate.json", **overrides)
    workflow.initialize()
    assert workflow.check_properties() == []
    workflow.run()
    workflow.finalize()
    with (tmp_path / "scores" / "volumes.csv").open() as file:
        rows = {row["label"]: row for row in csv.DictReader(file)}
    organs = trained.overrides["organs"]
    assert rows.keys() == set(organs)
    assert {row["case"] for row in rows.values()} == {held_out[0].name.removesuffix(".nii.gz")}

    names = json.loads((phantoms / "datalist.json").read_text())["labels"]
    numbers = {name: int(key) for key, name in names.items()}
    prompts = [{"prompt": name, "label": numbers[name]} for name in organs]
    (tmp_path / "prompts.json").write_text(json.dumps(prompts))
    inference = make_workflow(
        "inference.json",
        workflow_type="infer",
        device="cpu",
        image_size=trained.overrides["image_size"],
        dataset_dir=str(held_out[0]),
        output_dir=str(tmp_path / "masks"),
        prompts_file=str(tmp_path / "prompts.json"),
        checkpoint=str(trained.models / "model.pt"),
    )
    inference.initialize()
    inference.run()
    (written,) = (tmp_path / "masks").glob("*_seg.nii.gz")
    pred, ref = (np.asarray(nib.load(path).dataobj) for path in (written, held_out[1]))
    assert any((pred == numbers[name]).any() for name in organs)
    for name in organs:
        expected = dice(pred == numbers[name], ref == numbers[name])
        assert float(rows[name]["dsc"]) == pytest.approx(expected, abs=1e-9)
        assert int(rows[name]["voxels_both"]) == np.count_nonzero(
            (pred == numbers[name]) & (ref == numbers[name])
        )
    summary = json.loads((tmp_path / "scores" / "summary.json").read_text())
    assert {"volumes", "slices"} <= summary.keys()
    assert (tmp_path / "scores" / "slices.csv").is_file()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"organs": ["liver", "femur"]}, "organs: 'femur' is not among the labels of"),
        ({"preset": "huge"}, "preset: found 'huge', expected one of paper, paper_qv, paper_sam, compact"),
        ({"dataset_dir": "/nowhere"}, r"/nowhere/datalist\.json: no such file; give a datalist"),
    ],
)
def test_what_a_user_sets_wrongly_is_said(
    make_workflow: Callable[..., ConfigWorkflow], trained: Any, changes: dict[str, Any], sentence: str
) -> None:
    workflow = make_workflow("train.json", **{**trained.overrides, **changes})
    workflow.initialize()
    with pytest.raises(RuntimeError, match="Failed to instantiate") as caught:  # MONAI's, around ours
        workflow.run()
    causes = [caught.value.__cause__]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    assert type(causes[-1]).__name__ == "InputError"
    assert re.search(sentence, str(causes[-1]))


def test_shipped_weights_fit_the_inference_config(
    make_workflow: Callable[..., ConfigWorkflow], bundle: Path
) -> None:
    """Initialising inference.json as it stands loads models/model.pt strictly and checks its base."""
    workflow = make_workflow("inference.json", workflow_type="infer", device="cpu")
    workflow.initialize()
    network = workflow.parser.get_parsed_content("network")
    tensors = torch.load(bundle / "models" / "model.pt", weights_only=True)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, tensors[name].to(value.dtype), rtol=0, atol=0)
