"""What is medvlm_organ's own: its size, its organs, the paper's recipe, and own data in three commands."""

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from tests.bundles.commands import options, run
from tests.bundles.subjects import REPOSITORY, Subject, cause_of

BUNDLE = REPOSITORY / "bundles" / "medvlm_organ"


@pytest.fixture
def medvlm(data: Callable[[str], Path]) -> Subject:
    return Subject(BUNDLE, "organ", data("organ"))


def test_checkpoint_holds_the_parameters_of_the_readme() -> None:
    """4,462,096 trained ones of `compact`, and the positions' fixed frequencies and batch norms' state."""
    tensors = torch.load(BUNDLE / "models" / "model.pt", weights_only=True)
    assert {"text_adapter.a", "text_projection.weight"} < tensors.keys()
    assert 0 <= sum(value.numel() for value in tensors.values()) - 4_462_096 < 10_000
    base = json.loads((BUNDLE / "models" / "model.json").read_text())["frozen_bases"]["text_encoder"]
    assert base["model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert base["sha256"] == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def test_an_organ_that_the_labels_lack_is_said(medvlm: Subject, tmp_path: Path) -> None:
    workflow = medvlm.workflow("train.json", **{**medvlm.training(tmp_path), "organs": ["liver", "femur"]})
    workflow.initialize()
    with pytest.raises(RuntimeError, match="Failed to instantiate") as caught:  # MONAI's, around ours
        workflow.run()
    assert "organs: 'femur' is not among the labels of" in str(cause_of(caught.value))


def test_paper_json_is_the_published_recipe(medvlm: Subject) -> None:
    """ICCV 2025 Workshops, pp. 7342-7352: Dice + BCE, unweighted; batches of 16; 150 epochs; full texts."""
    parser = medvlm.config("train.json", "paper.json")
    assert parser["network_def"]["preset"] == "paper"
    assert (parser["batch_size"], parser["epochs"]) == (16, 150)
    weights = parser["loss_weights"]
    assert {name: weight for name, weight in weights.items() if weight} == {"dice": 1.0, "bce": 1.0}
    assert weights.keys() == parser["loss"]["parts"].keys()
    assert (parser["text_level"], parser["noise"], parser["prompts_per_slice"]) == ("complex", 0.0, 1)
    assert (parser["draws_per_epoch"], parser["negative_rate"], parser["absent_rate"]) == (None, 0.0, 0.0)
    assert parser["train"]["dataset"]["length"] == "@draws_per_epoch"
    assert parser["optimizer"]["_target_"] == "torch.optim.AdamW"


def test_an_epoch_of_paper_json_has_each_slice_and_mask_once(medvlm: Subject, tmp_path: Path) -> None:
    """Counted by hand in the phantoms' label maps; with `compact`, of which no base is large."""
    changes = {**medvlm.training(tmp_path), "network_def#preset": "compact"}
    del changes["draws_per_epoch"], changes["prompts_per_slice"]
    workflow = medvlm.workflow("train.json", "paper.json", **changes)
    workflow.initialize()
    dataset = workflow.parser.get_parsed_content("train#dataset")
    datalist = medvlm.datalist()
    numbers = {name: int(key) for key, name in datalist["labels"].items()}
    expected = set()
    for item in datalist["training"]:
        image = nib.as_closest_canonical(nib.load(medvlm.data / item["label"]))
        labels = np.asarray(image.dataobj)  # slices last, the most inferior one first
        case = Path(item["image"]).name.removesuffix(".nii.gz")
        for name in changes["organs"]:
            slices = (labels == numbers[name]).any(axis=(0, 1)).nonzero()[0]
            expected |= {(case, int(index), name) for index in slices}
    draws = [dataset[index] for index in range(len(dataset))]
    found = [(draw["case"], draw["slice_index"], draw["target"][0]) for draw in draws]
    assert len(found) == len(expected)
    assert set(found) == expected
    assert all(draw["label"].any() for draw in draws)


@pytest.mark.slow
def test_own_data_in_three_commands(medvlm: Subject, tmp_path: Path) -> None:
    """A folder of images and label maps, a training from the shipped weights, a report, as in the README."""
    phantoms, labels = medvlm.data, medvlm.datalist()["labels"]
    names = [part for number, name in labels.items() for part in ("--name", f"{number}={name}")]
    shares = ["--validation", "0.25", "--test", "0.25"]
    data = tmp_path / "data"
    preparing = ["--source", str(phantoms), "--out", str(data), *names, *shares]
    run("-m", "tools.prepare", "folder", *preparing, cwd=REPOSITORY)
    places = {"dataset_dir": data, "ckpt_dir": tmp_path / "model", "device": "cpu"}
    shipped = BUNDLE / "models" / "model.pt"
    few = {"epochs": 1, "draws_per_epoch": 8, "batch_size": 4, "init_checkpoint": shipped}
    training = options(BUNDLE, "train.json", **places, **few, output_dir=tmp_path / "run")
    said = run("-m", "monai.bundle", "run", "training", *training, cwd=tmp_path)
    assert f"weights of {shipped}" in said
    evaluating = options(BUNDLE, "train.json", "evaluate.json", **places, output_dir=tmp_path / "report")
    run("-m", "monai.bundle", "run", "evaluating", *evaluating, cwd=tmp_path)
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())["volumes"]
    assert summary["labels"].keys() >= set(labels.values())
    assert summary["labels"]["liver"]["metrics"]["dsc"]["mean"] > 0.5  # the shipped weights, two steps on
