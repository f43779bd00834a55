"""What is lsms_lesion's own: the paper's recipe and its Table 3, SegNeXt's weights, coordinates."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.bundles.subjects import REPOSITORY, Subject, cause_of

BUNDLE = REPOSITORY / "bundles" / "lsms_lesion"


@pytest.fixture
def lsms(data: Callable[[str], Path]) -> Subject:
    return Subject(BUNDLE, "sentence", data("sentence"))


def test_checkpoint_holds_the_language_branches() -> None:
    tensors = torch.load(BUNDLE / "models" / "model.pt", weights_only=True)
    assert [name for name in tensors if ".language." in name]
    record = json.loads((BUNDLE / "models" / "model.json").read_text())["network_def"]
    assert record["coordinates"] is True
    assert (record["framing"]["crop"], record["framing"]["mirrored"]) == ("whole", True)


def test_paper_json_is_the_published_recipe(lsms: Subject) -> None:
    """arXiv 2408.17347: AdamW, 3e-5, weight decay 0.01, decay of power 0.9, 100 epochs, batches of 16.

    Without augmentation; the visual branch starts from SegNeXt's weights.
    """
    parser = lsms.config("train.json", "paper.json")
    assert parser["network_def"]["preset"] == "paper"
    assert (parser["epochs"], parser["batch_size"], parser["learning_rate"]) == (100, 16, 3e-5)
    optimizer, schedule = parser["optimizer"], parser["lr_scheduler"]
    assert (optimizer["_target_"], optimizer["weight_decay"]) == ("torch.optim.AdamW", 0.01)
    assert (parser["schedule"], schedule["name"], schedule["power"]) == ("power", "@schedule", 0.9)
    assert parser["network_def"]["mscan"] == "mscan_b_20230227-3ab7d230.pth"
    assert parser["train"]["augmentation"] is None
    weights = parser["loss_weights"]
    assert {name: weight for name, weight in weights.items() if weight} == {"dice": 1.0, "bce": 1.0}
    assert weights.keys() == parser["loss"]["parts"].keys()
    assert (parser["prompts_per_image"], parser["draws_per_epoch"]) == (1, None)


def test_the_former_key_of_prompts_per_image_is_read(lsms: Subject, tmp_path: Path) -> None:
    """Also for the losses, which have to know how many sentences of an image stand together."""
    workflow = lsms.workflow("train.json", **{**lsms.training(tmp_path), "prompts_per_picture": 4})
    workflow.initialize()
    with pytest.warns(FutureWarning, match="prompts_per_picture is now called prompts_per_image"):
        loss = workflow.parser.get_parsed_content("loss")
    assert {part.prompts_per_image for part in loss.parts.values() if hasattr(part, "prompts_per_image")} == {
        4
    }


@pytest.mark.parametrize("level", ["p0", "p6", "random"])
def test_level_says_by_which_texts_training_and_evaluation_ask(
    lsms: Subject, tmp_path: Path, level: str
) -> None:
    """Validation never asks by random ones: it takes those of p1, and evaluation refuses."""
    texts = {"p0": [""], "p1": ["it"], "p6": ["that one", "that"]}
    content = lsms.datalist()
    for item in (item for section in ("training", "validation", "test") for item in content[section]):
        del item["prompts"]
        item |= {"levels": texts, "orientation_free": False}
        item |= {name: str(lsms.data / item[name]) for name in ("image", "label")}
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    given = {**lsms.training(tmp_path), "dataset_dir": str(tmp_path), "level": level}

    def data(section: str, *configs: str) -> list[Any]:
        workflow = lsms.workflow("train.json", *configs, **given)
        workflow.initialize()
        return workflow.parser.get_parsed_content(f"{section}#dataset#data")

    expected = {"it", "that one", "that"} if level == "random" else set(texts[level])
    assert {text for case in data("train") for text in case.prompts} == expected
    assert {case.level for case in data("validate")} == {"p1" if level == "random" else level}
    assert {case.level for case in data("validate", "evaluate.json")} == {level}


def test_options_of_table_3_are_overrides(lsms: Subject, tmp_path: Path) -> None:
    rows = {"kernels": [7], "pixel_map": False, "decoder": "mlp", "decoder_stages": [3, 4]}
    changes = {f"network_def#{name}": value for name, value in rows.items()}
    workflow = lsms.workflow("train.json", **{**lsms.training(tmp_path), **changes})
    workflow.initialize()
    network = workflow.parser.get_parsed_content("network_def")
    names = [name for name, _ in network.named_parameters()]
    assert {name.split(".units.")[1].split(".")[0] for name in names if ".units." in name} == {"7"}
    assert not [name for name in names if ".pixel_map." in name]
    assert len(network.decoder.stages) == 2
    assert network.decoder_stages == (3, 4)


def test_weights_of_segnext_that_are_not_there_are_said(lsms: Subject, tmp_path: Path) -> None:
    given = {**lsms.training(tmp_path), "network_def#mscan": "/nowhere/mscan_t.pth"}
    workflow = lsms.workflow("train.json", **given)
    workflow.initialize()
    with pytest.raises(RuntimeError) as caught:  # MONAI's, around ours
        workflow.run()
    said = "/nowhere/mscan_t.pth: there is no such file, expected SegNeXt's weights; give the"
    assert said in str(cause_of(caught.value))
