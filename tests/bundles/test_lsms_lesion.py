"""lsms_lesion's configs, really run in this process on small pictures and slices, and what they write."""

import csv
import hashlib
import json
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

from tests.bundles.commands import run as command_line
from tests.bundles.lesions import SENTENCES

BUNDLE = Path(__file__).parents[2] / "bundles" / "lsms_lesion"
SIDE = 64  # of the field
Make = Callable[..., ConfigWorkflow]


class Run(NamedTuple):
    """Where a tiny training left its files, and what it was told."""

    overrides: dict[str, Any]
    models: Path
    data: Path


@pytest.fixture(scope="session")
def make(workflows_of: Callable[[Path], Make]) -> Make:
    return workflows_of(BUNDLE)


@pytest.fixture(scope="session")
def run(
    make: Make, tiny_lesions: dict[str, Any], lesions: Path, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """A tiny training through train.json, started in a folder that is not the bundle's."""
    folder = tmp_path_factory.mktemp("trained")
    places = {"ckpt_dir": str(folder / "models"), "output_dir": str(folder / "logs")}
    overrides = {**tiny_lesions, "dataset_dir": str(lesions), **places}
    with chdir(folder):
        workflow = make("train.json", **overrides)
        workflow.initialize()
        assert workflow.check_properties() == []
        workflow.run()
        workflow.finalize()
    return Run(overrides, folder / "models", lesions)


def cause_of(error: BaseException | None) -> BaseException | None:
    """The InputError behind an error of MONAI's."""
    while error is not None and type(error).__name__ != "InputError":
        error = error.__cause__
    return error


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def test_training_leaves_one_checkpoint_of_what_was_trained(run: Run) -> None:
    assert sorted(path.name for path in run.models.iterdir()) == ["model.json", "model.pt", "states"]
    tensors = torch.load(run.models / "model.pt", weights_only=True)
    assert not [name for name in tensors if name.startswith("text_encoder.")]  # the frozen base
    assert [name for name in tensors if ".language." in name]
    assert {value.dtype for value in tensors.values()} == {torch.float16, torch.int64}
    assert (run.models / "model.pt").stat().st_size < 12_000_000
    record = json.loads((run.models / "model.json").read_text())
    assert record["image_size"] == SIDE
    assert record["framing"] == {"crop": "whole", "window": [-160, 240], "channels": 1, "mirrored": True}
    assert record["network_def"]["coordinates"] is True


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("window", [-1000, 400], "framing#window [-160.0, 240.0] ([-1000.0, 400.0] is in use)"),
        ("framing#mirrored", False, "framing#mirrored true (false is in use)"),
        ("network_def#coordinates", False, "network_def#coordinates true (false is in use)"),
    ],
)
@pytest.mark.parametrize(
    "configs", [["inference.json"], ["train.json", "evaluate.json"]], ids=lambda c: c[-1]
)
def test_weights_trained_with_other_settings_are_refused(
    make: Make, run: Run, tmp_path: Path, configs: list[str], key: str, value: Any, words: str
) -> None:
    """The ids that the sentence names are those that a command line overrides."""
    sure = {"checkpoint": str(run.models / "model.pt"), "output_dir": str(tmp_path), key: value}

    def initialize_and_run() -> None:
        if configs == ["inference.json"]:
            given = {"device": "cpu", "image_size": SIDE, "input": str(run.data / "images")}
            workflow = make(*configs, workflow_type="infer", **given, **sure)
        else:
            workflow = make(*configs, **{**run.overrides, **sure})
        workflow.initialize()
        workflow.run()

    with pytest.raises((RuntimeError, ValueError)) as caught:  # MONAI's around ours, or ours
        initialize_and_run()
    assert f"model.pt: trained with {words}; override {words.split()[0]} with the" in str(
        cause_of(caught.value)
    )


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
        rows = {row["case"]: row for row in csv.DictReader(file)}
    scores = {case: float(row["dsc"]) for case, row in rows.items()}
    items = json.loads((run.data / "datalist.json").read_text())["test"]
    assert scores.keys() == {item["case"] for item in items}
    with (tmp_path / "scores" / "slices.csv").open() as file:
        slices = {row["case"]: int(row["slice"]) for row in csv.DictReader(file)}
    assert {item.get("slice", 0) for item in items} == {0, 1}
    assert slices == {item["case"]: item.get("slice", 0) for item in items}
    record = json.loads((tmp_path / "scores" / "evaluation.json").read_text())
    assert (
        record["checkpoint"]["sha256"] == hashlib.sha256((run.models / "model.pt").read_bytes()).hexdigest()
    )
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
                other = masks(run.data, tmp_path / str(value), {**item, "lesion": 3 - value})[1]
                taken = np.count_nonzero(found & truth) > np.count_nonzero(found & other)
                assert float(rows[item["case"]]["right_lesion"]) == taken
                assert rows[item["case"]]["sentence"] == sentence
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


@pytest.mark.slow
def test_export_full_needs_nothing_but_its_folder(make: Make, run: Run, tmp_path: Path) -> None:
    out, options = tmp_path / "full", ["--set", f"image_size={SIDE}"]
    checkpoint = run.models / "model.pt"
    command = ["-m", "tools.export_full", "--bundle", str(BUNDLE), "--checkpoint", str(checkpoint)]
    command_line(*command, *options, "--out", str(out), cwd=BUNDLE.parents[1])

    def logits(**weights: str) -> torch.Tensor:
        workflow = make("inference.json", workflow_type="infer", device="cpu", image_size=SIDE, **weights)
        workflow.initialize()
        network = workflow.parser.get_parsed_content("network").eval()
        image = torch.rand(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            return network(image, list(SENTENCES.values()))

    full = logits(checkpoint=str(out / "model.pt"), text_model=str(out / "text_encoder"))
    torch.testing.assert_close(full, logits(checkpoint=str(checkpoint)), rtol=0, atol=1e-5)


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
    weighing = parser["loss"]["parts"].keys() - {
        name for name, weight in parser["loss_weights"].items() if weight == 0
    }
    assert (weighing, parser["prompts_per_picture"]) == ({"dice", "bce"}, 1)


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
            "/nowhere/mscan_t.pth: there is no such file, expected SegNeXt's weights; give the",
        ),
        (
            {"draws_per_epoch": 3},
            "draws_per_epoch, batch_size: found 3 draws an epoch for 1 process(es) with batches of 4",
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
    assert sentence in str(cause_of(caught.value))
