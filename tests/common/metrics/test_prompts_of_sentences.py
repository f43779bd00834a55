"""Evaluation with sentences, by the parts of lsms_lesion's evaluate.json, on masks that are known."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from common.data import EvaluationCases, Framing, load_referring
from common.data.evaluation_cases import Target
from common.data.labelled import Region
from common.inference import VolumeInferer
from common.metrics import CaseReport
from common.metrics.prompts import hits_target, sentence_facts
from common.networks.base import TextSegmenter
from common.networks.guidance import Guidance
from common.training import Evaluator

SIZE = 64  # of the images and of the network's field: no pixel is interpolated
BRIGHT, DARK = "the bright one", "the dark one"


class Listener(TextSegmenter):
    """What is brighter than 0.7, or, for a sentence with "dark", what is darker than 0.3."""

    def __init__(self) -> None:
        framing = Framing(crop="whole", images=True)
        super().__init__(image_size=SIZE, default_prompt=BRIGHT, framing=framing)

    def encode_text(self, prompts: Sequence[str]) -> Guidance:
        """One token: -1 where it is dark that is meant."""
        tokens = torch.tensor([-1.0 if "dark" in prompt else 1.0 for prompt in prompts])
        return Guidance(tokens[:, None, None], torch.ones(len(prompts), 1, dtype=torch.bool))

    def encode_image(self, image: torch.Tensor) -> torch.Tensor:
        return image

    def decode(self, image_features: torch.Tensor, guidance: Guidance) -> torch.Tensor:
        assert guidance.tokens is not None
        images = image_features.repeat_interleave(guidance.count // len(image_features), dim=0)
        return guidance.tokens[..., None] * (images - 0.5) - 0.2


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, str]]:
    """Of two images of patient p with a bright and a dark lesion, and one of q with a bright one.

    The bright areas are 10 x 10 pixels, of which the label maps have 10, 8 and 6 rows.
    """
    items = []
    for name, patient, labelled in (("a", "p", 10), ("b", "p", 8), ("c", "q", 6)):
        grey, label = np.full((SIZE, SIZE), 128, np.uint8), np.zeros((SIZE, SIZE), np.uint8)
        grey[5:15, 5:15], label[5 : 5 + labelled, 5:15] = 250, 1
        files = {"image": f"{name}.png", "label": f"{name}_label.png", "patient": patient}
        items.append({**files, "case": f"{name}-1", "lesion": 1, "prompts": [BRIGHT, "it, not the dark one"]})
        if name != "c":
            grey[40:60, 40:60], label[40:60, 40:60] = 5, 2
            items.append({**files, "case": f"{name}-2", "lesion": 2, "prompts": [DARK]})
        Image.fromarray(grey).save(tmp_path / f"{name}.png")
        Image.fromarray(label).save(tmp_path / f"{name}_label.png")
    (tmp_path / "datalist.json").write_text(json.dumps({"test": items}))
    Evaluator(
        device=torch.device("cpu"),
        dataset=EvaluationCases(load_referring(tmp_path / "datalist.json", "test"), sentences="all"),
        network=Listener(),
        inferer=VolumeInferer(),
        val_handlers=[CaseReport(str(tmp_path), boundaries=[])],
    ).run()
    with (tmp_path / "volumes.csv").open() as file:
        return list(csv.DictReader(file))


def column(rows: list[dict[str, str]], name: str) -> dict[tuple[str, str], float]:
    return {(row["case"], row["sentence"]): float(row[name]) for row in rows}


def test_every_sentence_has_a_row_that_says_whether_its_lesion_was_taken(rows: list[dict[str, str]]) -> None:
    wrong = "it, not the dark one"  # of which the listener understands "dark" alone
    right = column(rows, "right_lesion")
    assert math.isnan(right.pop(("c-1", BRIGHT)))  # c has no other lesion
    assert math.isnan(right.pop(("c-1", wrong)))
    assert right == {
        **{(f"{name}-1", BRIGHT): 1.0 for name in "ab"},
        **{(f"{name}-1", wrong): 0.0 for name in "ab"},
        **{(f"{name}-2", DARK): 1.0 for name in "ab"},
    }
    assert {row["case"]: row["patient"] for row in rows} == {
        "a-1": "p", "a-2": "p", "b-1": "p", "b-2": "p", "c-1": "q",
    }  # fmt: skip


def test_shares_above_an_iou_and_their_means(rows: list[dict[str, str]], tmp_path: Path) -> None:
    iou = {("a-1", BRIGHT): 1.0, ("b-1", BRIGHT): 0.8, ("c-1", BRIGHT): 0.6}
    found = column(rows, "iou")
    assert {key: found[key] for key in iou} == pytest.approx(iou)
    for threshold in (0.5, 0.7, 0.9):
        above = column(rows, f"pr@{threshold}")
        assert {key: above[key] for key in iou} == {
            key: float(value > threshold) for key, value in iou.items()
        }
    metrics = json.loads((tmp_path / "summary.json").read_text())["volumes"]["labels"]["lesion"]["metrics"]
    # Of 8 rows 3 have nothing in common with their lesion, 2 are dark lesions found, 3 stand above.
    shares = {name: metrics[name]["mean"] for name in ("pr@0.5", "pr@0.7", "pr@0.9")}
    assert shares == pytest.approx({"pr@0.5": 5 / 8, "pr@0.7": 4 / 8, "pr@0.9": 3 / 8})
    assert metrics["right_lesion"]["mean"] == pytest.approx(4 / 6)
    assert metrics["right_lesion"]["ci95"] is None  # all of one patient
    assert metrics["pr@0.7"]["ci95"] == pytest.approx([0.0, 4 / 6])  # patients p: 4 of 6, q: 0 of 2


LESIONS = np.array([[[1, 1, 1, 1, 2, 2, 0, 0, 3, 3]]])


def facts(
    mask: list[int], lesion: tuple[int, ...] | None = (1,), others: Sequence[int] = (2, 3)
) -> dict[str, float | int | str]:
    """Of a mask over one row of pixels with three lesions."""
    beside = tuple(Region(LESIONS, (other,), 0) for other in others)
    target = Target("a", "p", "lesion", Region(LESIONS, lesion, 0), BRIGHT, beside)
    return sentence_facts(target, np.array([[mask]], bool))


def test_the_right_lesion_is_the_one_that_most_of_the_mask_lies_on() -> None:
    right = {
        "three pixels of it, two of another": ([1, 1, 1, 0, 1, 1, 0, 0, 0, 0], 1.0),
        "two of each": ([1, 1, 0, 0, 1, 1, 0, 0, 0, 0], 0.0),
        "one of it, two of the third": ([1, 0, 0, 0, 0, 0, 0, 0, 1, 1], 0.0),
        "beside all": ([0, 0, 0, 0, 0, 0, 1, 1, 0, 0], 0.0),
        "nothing": ([0] * 10, 0.0),
    }
    for name, (mask, expected) in right.items():
        assert facts(mask)["right_lesion"] == expected, name
    assert math.isnan(float(facts([1] * 10, others=())["right_lesion"]))
    assert [hits_target(3, [2, 1]), hits_target(2, [2]), hits_target(1, []), hits_target(0, [])] == [
        True,
        False,
        True,
        False,
    ]


def test_a_share_counts_above_its_threshold_alone() -> None:
    """An IoU of 3 of 4 pixels, of exactly one half, and of nothing that is meant."""
    found = facts([1, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    assert [found[f"pr@{threshold}"] for threshold in (0.5, 0.7, 0.9)] == [1.0, 1.0, 0.0]
    assert found["sentence"] == BRIGHT
    assert facts([1, 1, 0, 0, 0, 0, 0, 0, 0, 0])["pr@0.5"] == 0.0
    nothing = facts([1] * 10, lesion=(), others=())
    assert all(math.isnan(float(nothing[f"pr@{threshold}"])) for threshold in (0.5, 0.7, 0.9))


def test_published_dice_counts_nothing_found_of_nothing_as_one() -> None:
    """As the papers' averages do; `dsc`, which is NaN there, stays as it is."""
    empty = [0] * 10
    assert facts(empty, lesion=(), others=())["dice_published"] == 1.0
    assert facts([1] + [0] * 9, lesion=(), others=())["dice_published"] == 0.0
    assert facts(empty)["dice_published"] == 0.0
    assert facts([1, 1, 1, 0, 0, 0, 0, 0, 0, 1])["dice_published"] == 2 * 3 / (4 + 4)  # lesion 1 has 4 pixels


def evaluate_levels(folder: Path, network: TextSegmenter) -> list[dict[str, str]]:
    """Three images, of two data sets and of none, at two levels; the last one's sentence means nothing."""
    items: list[dict[str, object]] = []
    for name in "abc":
        grey = np.full((SIZE, SIZE), 128, np.uint8)
        grey[0, 0] = 100
        if name != "c":
            grey[5:15, 5:15] = 250
        Image.fromarray(grey).save(folder / f"{name}.png")
        Image.fromarray((grey > 200).astype(np.uint8)).save(folder / f"{name}_label.png")
        item: dict[str, object] = {"image": f"{name}.png", "case": name, "patient": name}
        item |= {"levels": {"p0": [""], "p1": [DARK, BRIGHT]}}
        if name == "c":
            item["lesion"] = []
        else:
            item |= {"label": f"{name}_label.png", "dataset": f"set {name}"}
        items.append(item)
    (folder / "datalist.json").write_text(json.dumps({"test": items}))
    cases = load_referring(folder / "datalist.json", "test", level=["p0", "p1"])
    Evaluator(
        device=torch.device("cpu"),
        dataset=EvaluationCases(cases),
        network=network,
        inferer=VolumeInferer(),
        val_handlers=[CaseReport(str(folder), boundaries=[])],
    ).run()
    with (folder / "volumes.csv").open() as file:
        return list(csv.DictReader(file))


def test_rows_say_data_set_and_level_and_the_summary_has_means_for_each(tmp_path: Path) -> None:
    """The listener hears "dark" at p1, of which there is none, and nothing at p0: it finds the bright."""
    rows = evaluate_levels(tmp_path, Listener())
    found = {
        (row["case"], row["dataset"], row["level"], row["sentence"]): (row["dsc"], row["dice_published"])
        for row in rows
    }
    assert found == {
        ("a", "set a", "p0", ""): ("1.0", "1.0"),
        ("a", "set a", "p1", DARK): ("0.0", "0.0"),
        ("b", "set b", "p0", ""): ("1.0", "1.0"),
        ("b", "set b", "p1", DARK): ("0.0", "0.0"),
        ("c", "", "p0", ""): ("nan", "1.0"),
        ("c", "", "p1", DARK): ("nan", "1.0"),
    }
    summary = json.loads((tmp_path / "summary.json").read_text())["volumes"]

    def mean(part: dict[str, Any], name: str) -> tuple[int, float]:
        stats = part["labels"]["lesion"]["metrics"][name]
        return stats["n"], stats["mean"]

    assert mean(summary, "dsc") == (4, 0.5)
    assert mean(summary, "dice_published") == (6, pytest.approx(4 / 6))
    assert {level: mean(part, "dsc") for level, part in summary["by_level"].items()} == {
        "p0": (2, 1.0),
        "p1": (2, 0.0),
    }
    assert mean(summary["by_level"]["p1"], "dice_published") == (3, pytest.approx(1 / 3))
    assert {name: mean(part, "dsc") for name, part in summary["by_dataset"].items()} == {
        "set a": (2, 0.5),
        "set b": (2, 0.5),
    }
    assert mean(summary["by_dataset"]["set a"]["by_level"]["p0"], "dsc") == (1, 1.0)
    assert "by_dataset" not in summary["by_level"]["p0"]


def test_one_level_and_no_data_set_make_no_groups(rows: list[dict[str, str]], tmp_path: Path) -> None:
    assert not {"dataset", "level"} & set(rows[0])
    assert not {"by_dataset", "by_level"} & set(
        json.loads((tmp_path / "summary.json").read_text())["volumes"]
    )
