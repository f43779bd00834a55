"""lsms_lesion's configs, really run in this process on small pictures and slices, and what they write."""

import csv
import json
import socket
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from PIL import Image

BUNDLE = Path(__file__).parents[2] / "bundles" / "lsms_lesion"
SIDE, SHAPE = 64, (72, 96)  # of the field, and of pictures
SENTENCES = {1: "the lesion on the left", 2: "the lesion on the right"}
TINY = {
    "device": "cpu",
    "image_size": SIDE,
    "epochs": 2,
    "draws_per_epoch": 48,
    "batch_size": 4,
    "prompts_per_picture": 2,
    "val_interval": 1,
}

Make = Callable[..., ConfigWorkflow]


class Run(NamedTuple):
    """Where a tiny training left its files, and what it was told."""

    overrides: dict[str, Any]
    models: Path
    data: Path


def labels_of(seed: int) -> np.ndarray:
    """(H, W) uint8: lesion 1 in the left half of the picture, 2 in the right one."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.uint8)
    for value, first in ((1, 4), (2, 52)):
        row, column = rng.integers(6, 40), first + rng.integers(0, 16)
        labels[row : row + 22, column : column + 20] = value
    return labels


def grey_of(labels: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 20, SHAPE)
    return (40 + 140 * (labels > 0) + noise).astype(np.uint8)


def write_volume(folder: Path, name: str, seed: int) -> None:
    """A volume of three slices, the middle one with lesions, whose "left" is the patient's."""
    labels = labels_of(seed)
    hu = np.where(labels > 0, 180, 0) + np.random.default_rng(seed).integers(-20, 20, SHAPE)
    for kind, plane in (("images", hu), ("labels", labels)):
        # (rows, columns) of the picture are posterior and, left in text being left in picture, the right: RPS
        voxels = np.stack([np.zeros_like(plane), plane, np.zeros_like(plane)], axis=-1).astype(np.int16)
        image = nib.Nifti1Image(voxels.transpose(1, 0, 2), np.diag([1.0, -1.0, 3.0, 1.0]))
        nib.save(image, folder / kind / f"{name}.nii.gz")


@pytest.fixture(scope="session")
def lesions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures and two slices with two lesions each, and their datalist."""
    folder = tmp_path_factory.mktemp("lesions")
    items: dict[str, list[dict[str, Any]]] = {"training": [], "validation": [], "test": []}
    for kind in ("images", "labels"):
        (folder / kind).mkdir()
    for seed in range(12):
        volume = seed in (0, 11)
        name = f"p{seed:02d}" + (".nii.gz" if volume else ".png")
        if volume:
            write_volume(folder, f"p{seed:02d}", seed)
        else:
            labels = labels_of(seed)
            Image.fromarray(labels).save(folder / "labels" / name)
            Image.fromarray(grey_of(labels, seed)).save(folder / "images" / name)
        section = "training" if seed < 8 else "validation" if seed == 8 else "test"
        for value, sentence in SENTENCES.items():
            files = {"image": f"images/{name}", "label": f"labels/{name}", "patient": str(seed)}
            where = {"slice": 1} if volume else {}
            items[section].append(
                {**files, **where, "lesion": value, "prompts": [sentence], "case": f"p{seed:02d}-{value}"}
            )
    (folder / "datalist.json").write_text(json.dumps({"labels": {"1": "lesion"}, **items}))
    return folder


@pytest.fixture(scope="session")
def make(workflows_of: Callable[[Path], Make]) -> Make:
    return workflows_of(BUNDLE)


@pytest.fixture(scope="session")
def run(make: Make, lesions: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A tiny training through train.json, started in a folder that is not the bundle's."""
    folder = tmp_path_factory.mktemp("trained")
    places = {"ckpt_dir": str(folder / "models"), "output_dir": str(folder / "logs")}
    overrides = {**TINY, "dataset_dir": str(lesions), **places}
    with chdir(folder):
        workflow = make("train.json", **overrides)
        workflow.initialize()
        assert workflow.check_properties() == []
        workflow.run()
        workflow.finalize()
    return Run(overrides, folder / "models", lesions)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def test_training_leaves_one_checkpoint_of_what_was_trained(run: Run) -> None:
    assert sorted(path.name for path in run.models.iterdir()) == ["model.json", "model.pt", "states"]
    tensors = torch.load(run.models / "model.pt", weights_only=True)
    assert not [name for name in tensors if name.startswith("text_encoder.")]  # the frozen base
    assert [name for name in tensors if ".language." in name]
    assert {value.dtype for value in tensors.values()} == {torch.float16, torch.int64}
    assert (run.models / "model.pt").stat().st_size < 12_000_000
    assert json.loads((run.models / "model.json").read_text())["image_size"] == SIDE


def test_evaluation_scores_what_inference_writes(make: Make, run: Run, tmp_path: Path) -> None:
    """Dice of evaluate.json's table, against the label maps that inference.json writes for each sentence."""
    with chdir(tmp_path):
        workflow = make(
            "train.json", "evaluate.json", **{**run.overrides, "output_dir": str(tmp_path / "scores")}
        )
        workflow.initialize()
        assert workflow.check_properties() == []
        workflow.run()
    with (tmp_path / "scores" / "volumes.csv").open() as file:
        scores = {row["case"]: float(row["dsc"]) for row in csv.DictReader(file)}
    items = json.loads((run.data / "datalist.json").read_text())["test"]
    assert scores.keys() == {item["case"] for item in items}
    summary = json.loads((tmp_path / "scores" / "summary.json").read_text())
    assert summary["volumes"]["labels"]["lesion"]["metrics"]["dsc"]["mean"] == pytest.approx(
        np.mean(list(scores.values()))
    )
    for value, sentence in SENTENCES.items():
        (tmp_path / "prompts.txt").write_text(sentence)
        with chdir(tmp_path):
            inference = make(
                "inference.json",
                workflow_type="infer",
                device="cpu",
                image_size=SIDE,
                input=[str(run.data / name) for name in sorted({item["image"] for item in items})],
                output_dir=str(tmp_path / str(value)),
                prompts_file=str(tmp_path / "prompts.txt"),
                checkpoint=str(run.models / "model.pt"),
            )
            inference.initialize()
            assert inference.check_properties() == []
            inference.run()
        for item in items:
            if item["lesion"] == value:
                found, truth = masks(run.data, tmp_path / str(value), item)
                assert scores[item["case"]] == pytest.approx(dice(found, truth), abs=1e-9)
    assert max(scores.values()) > 0.2  # something was found


def masks(data: Path, output: Path, item: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """What inference wrote and the reference, in the file's own pixels."""
    image = Path(item["image"])
    if image.suffix == ".png":
        found = np.asarray(Image.open(output / f"{image.stem}_seg.png"))
        return found == 1, np.asarray(Image.open(data / item["label"])) == item["lesion"]
    written, reference = (
        nib.load(output / image.name.replace(".nii", "_seg.nii")),
        nib.load(data / item["label"]),
    )
    np.testing.assert_array_equal(written.affine, reference.affine)
    truth = np.asarray(reference.dataobj)[..., item["slice"]] == item["lesion"]
    return np.asarray(written.dataobj)[..., item["slice"]] == 1, truth


def test_multi_gpu_config_has_all_properties(
    make: Make, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1}
    for name, value in group.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(tmp_path)
    overrides = {**run.overrides, "ckpt_dir": str(tmp_path / "m"), "output_dir": str(tmp_path / "o")}
    workflow = make("train.json", "multi_gpu_train.json", **overrides)
    workflow.initialize()
    try:
        assert workflow.check_properties() == []
        network = workflow.parser.get_parsed_content("network")
        assert isinstance(network, torch.nn.parallel.DistributedDataParallel)
        assert network.module is workflow.parser.get_parsed_content("model")
    finally:
        workflow.finalize()
    assert not torch.distributed.is_initialized()


def test_paper_json_is_the_published_recipe() -> None:
    """arXiv 2408.17347: AdamW, 3e-5, weight decay 0.01, decay of power 0.9, 100 epochs, batches of 16."""
    parser = ConfigParser()
    parser.read_config([str(BUNDLE / "configs" / name) for name in ("train.json", "paper.json")])
    assert (parser["preset"], parser["epochs"], parser["batch_size"]) == ("paper", 100, 16)
    assert parser["learning_rate"] == 3e-5
    assert (parser["optimizer"]["_target_"], parser["optimizer"]["weight_decay"]) == (
        "torch.optim.AdamW",
        0.01,
    )
    schedule = parser["lr_scheduler"]
    assert (schedule["_target_"].rsplit(".", 1)[1], schedule["power"]) == ("PolynomialLR", 0.9)
    assert parser["train"]["preprocessing"]["transforms"] == []


def test_options_of_table_3_are_overrides(make: Make, run: Run) -> None:
    changes = {"kernels": [7], "pixel_map": False, "decoder": "mlp", "decoder_stages": [3, 4]}
    workflow = make("train.json", **{**run.overrides, **changes})
    workflow.initialize()
    network = workflow.parser.get_parsed_content("network_def")
    names = [name for name, _ in network.named_parameters()]
    assert {name.split(".units.")[1].split(".")[0] for name in names if ".units." in name} == {"7"}
    assert not [name for name in names if ".pixel_map." in name]
    assert len(network.decoder.stages) == 2
    assert network.decoder_stages == (3, 4)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"preset": "huge"}, "preset: found 'huge', expected one of paper, paper_t, compact"),
        (
            {"mscan": "/nowhere/mscan_t.pth"},
            "/nowhere/mscan_t.pth: cannot be read as a torch file of weights",
        ),
        ({"window": [240, -160]}, "window: found [240, -160], expected the lower and the upper intensity"),
    ],
)
def test_what_a_user_sets_wrongly_is_said(
    make: Make, run: Run, changes: dict[str, Any], sentence: str
) -> None:
    def initialize_and_run() -> None:
        workflow = make("train.json", **{**run.overrides, **changes})
        workflow.initialize()
        workflow.run()

    with pytest.raises(RuntimeError) as caught:  # MONAI's, around ours
        initialize_and_run()
    cause: BaseException | None = caught.value
    while cause is not None and type(cause).__name__ != "InputError":
        cause = cause.__cause__
    assert sentence in str(cause)
