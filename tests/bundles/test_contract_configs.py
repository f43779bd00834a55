"""How the configs of every bundle are written: short, and each value in one place."""

import json
from pathlib import Path
from typing import Any

import pytest

LINES = {"train.json": 160, "inference.json": 60}


def content(bundle: Path, name: str) -> dict[str, Any]:
    return json.loads((bundle / "configs" / name).read_text("utf-8"))


@pytest.mark.parametrize("name", LINES)
def test_length(bundle: Path, name: str) -> None:
    assert len((bundle / "configs" / name).read_text("utf-8").splitlines()) <= LINES[name]


@pytest.mark.parametrize("name", LINES)
def test_an_argument_of_the_network_stands_in_network_def_alone(bundle: Path, name: str) -> None:
    """`window` is a key of its own, which the framing points at."""
    config = content(bundle, name)
    network = config["network_def"]
    assert not set(network) & set(config)
    assert network["framing"]["window"] == "@window"
    text = json.dumps({key: value for key, value in config.items() if key != "network_def"})
    assert not [key for key in network if f"@network_def#{key}" in text]


def test_inference_builds_the_network_that_training_builds(bundle: Path) -> None:
    """All that inference.json says of the network, train.json says too, and in the same way."""
    trained, used = (content(bundle, name) for name in ("train.json", "inference.json"))
    assert used["window"] == trained["window"]
    assert used["network_def"].items() <= trained["network_def"].items()


@pytest.mark.parametrize("key", ["_target_", "presence_threshold", "presence_top_fraction"])
def test_evaluation_empties_the_masks_that_inference_empties(bundle: Path, key: str) -> None:
    trained, used = (content(bundle, name) for name in ("train.json", "inference.json"))
    assert trained["validate"]["inferer"][key] == used["inferer"][key]


@pytest.mark.parametrize("name", ["evaluate.json", "multi_gpu_train.json", "multi_gpu_evaluate.json"])
def test_other_configs_change_what_there_is(bundle: Path, name: str) -> None:
    """Ids with a separator have to be ids of train.json; MONAI would add others without a word."""
    config: Any = content(bundle, "train.json")
    for key in (key for key in content(bundle, name) if "#" in key):
        place = config
        for part in key.split("#")[:-1]:
            place = place[part]
        assert isinstance(place, dict), key


def test_one_name_for_one_thing_in_every_bundle(bundle: Path) -> None:
    """Keys that users of one bundle know are those of all."""
    shared = {
        *("bundle_root", "dataset_dir", "datalist", "ckpt_dir", "output_dir", "checkpoint", "device"),
        *("amp", "seed", "window", "epochs", "batch_size", "learning_rate", "loss_weights", "val_interval"),
        *("half", "init_checkpoint", "keep_states", "num_workers", "accumulation_steps", "images"),
        *(
            "schedule",
            "clip_gradients",
            "patience",
            "draws_per_epoch",
            "slice_batch",
            "network_def",
            "model",
            "network",
            "training",
        ),
    }
    assert shared <= content(bundle, "train.json").keys()
    asked = {"input", "prompts_file", "outputs", "slice", "section", "checkpoint", "inferer", "inferring"}
    assert asked <= content(bundle, "inference.json").keys()
