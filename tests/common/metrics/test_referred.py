"""Evaluation with sentences, by the parts of lsms_lesion's evaluate.json, on masks that are known."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.engines import SupervisedEvaluator
from PIL import Image
from torch.utils.data import DataLoader

from common.data import MaskInOwnGridd, ReferringCases, collate_slices, load_referring
from common.metrics import CaseReport, ReferredLesions
from common.training import PreparePrompts

SIZE = 64  # of the pictures and of the network's field: no pixel is interpolated
BRIGHT, DARK = "the bright one", "the dark one"


class Listener(torch.nn.Module):
    """What is brighter than 0.7, or, for a sentence with "dark", what is darker than 0.3."""

    def forward(self, image: torch.Tensor, text: Any = None) -> torch.Tensor:
        return 0.3 - image if "dark" in text[0] else image - 0.7


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, str]]:
    """Of two pictures of patient p with a bright and a dark lesion, and one of q with a bright one.

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
    cases = ReferringCases(load_referring(tmp_path / "datalist.json", "test"), size=SIZE, sentences="all")
    SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(cases, collate_fn=collate_slices),
        prepare_batch=PreparePrompts(),
        network=Listener(),
        postprocessing=MaskInOwnGridd(),
        val_handlers=[CaseReport(str(tmp_path), ReferredLesions(cases), boundaries=[])],
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
