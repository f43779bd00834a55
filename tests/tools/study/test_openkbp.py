"""The comparison on OpenKBP, from rows whose means can be done in the head."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import Tensor

from common.data.datalist import Case
from common.data.evaluation_cases import EvaluationCases
from common.data.framing import Framing
from common.networks.base import TextSegmenter
from common.networks.guidance import Guidance
from common.text.vocabulary import Vocabulary
from tools.study import openkbp
from tools.study.openkbp import UNET
from tools.study.training import score

NAMES = "Med-VLM compact, names"
ORGANS = ("larynx", "mandible")


def row(case: str, label: str, dsc: float, mm: float) -> dict[str, Any]:
    status = "missed" if math.isinf(mm) else "found"
    counts = {"voxels_both": 1, "voxels_pred_only": 1, "voxels_ref_only": 1}
    return {
        "case": case,
        "label": label,
        "status": status,
        **counts,
        "dsc": dsc,
        "surfel_hd95_mm": mm,
        "surfel_assd_mm": mm / 4,
    }


def write_case(folder: Path) -> Case:
    """16 x 16 x 4 voxels of 2 mm: a larynx (1) of 32 and a mandible (2) of 64, both bright."""
    labels = np.zeros((16, 16, 4), np.uint8)
    labels[2:6, 2:6, 1:3], labels[8:12, 4:12, 1:3] = 1, 2
    for name, voxels in (("label", labels), ("image", np.where(labels > 0, 200, -100).astype(np.int16))):
        image = nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 2.0, 1.0]))
        image.set_qform(image.affine, code=1)
        nib.save(image, folder / f"{name}.nii.gz")
    return Case("a", folder / "image.nii.gz", folder / "label.nii.gz", "a", ORGANS)


def seed(*patients: tuple[tuple[float, float], tuple[float, float]]) -> list[dict[str, Any]]:
    """(Dice, HD95) of larynx and mandible of patients a, b, ..."""
    return [
        row(case, label, *scores)
        for case, of_patient in zip("abc", patients, strict=False)
        for label, scores in zip(ORGANS, of_patient, strict=True)
    ]


@pytest.fixture
def rows() -> dict[str, list[list[dict[str, Any]]]]:
    """Two seeds of two patients; with names, Dice is 0.1 better everywhere, and HD95 once by 1 mm."""
    return {
        UNET: [
            seed(((0.5, 8.0), (0.7, 4.0)), ((0.6, 6.0), (0.8, 2.0))),
            seed(((0.6, 6.0), (0.8, 2.0)), ((0.7, 4.0), (0.9, 2.0))),
        ],
        NAMES: [
            seed(((0.6, 8.0), (0.8, 4.0)), ((0.7, 6.0), (0.9, 2.0))),
            seed(((0.7, 6.0), (0.9, 2.0)), ((0.8, 4.0), (1.0, 1.0))),
        ],
    }


def test_scores_are_means_over_organs_and_seeds_of_patients(rows: dict[str, Any]) -> None:
    networks = openkbp.compare(rows)["networks"]
    unet = networks[UNET]
    # Patient a: 0.6 and 0.7 in the seeds, patient b: 0.7 and 0.8.
    assert unet["dsc"]["n"] == 2
    assert unet["dsc"]["mean"] == pytest.approx((0.65 + 0.75) / 2)
    assert unet["dsc"]["ci95"] == pytest.approx([0.65, 0.75])
    assert unet["dsc_by_seed"] == pytest.approx([0.65, 0.75])
    assert unet["organs"] == pytest.approx({"larynx": 2.4 / 4, "mandible": 3.2 / 4})
    assert unet["surfel_hd95_mm"]["mean"] == pytest.approx((5 + 3.5) / 2)
    assert unet["missed"] == 0


def test_a_missed_organ_has_a_dice_of_0_and_no_distance(rows: dict[str, Any]) -> None:
    rows[NAMES][1][2] = row("b", "larynx", 0.0, math.inf)
    names = openkbp.compare(rows)["networks"][NAMES]
    assert names["missed"] == 1
    assert names["dsc"]["mean"] == pytest.approx((0.75 + (0.8 + 0.5) / 2) / 2)
    # Patient a: 6 and 4 mm; patient b: 4 mm and, of the mandible alone, 1 mm.
    assert names["surfel_hd95_mm"]["mean"] == pytest.approx((5 + 2.5) / 2)


def test_differences_are_paired(rows: dict[str, Any]) -> None:
    """Patients differ by 0.1 from each other, but each by exactly 0.1 from itself: there is no interval."""
    differences = openkbp.compare(rows)["differences"]
    assert list(differences) == [f"{NAMES} - {UNET}"]
    dice = differences[f"{NAMES} - {UNET}"]["dsc"]
    assert dice["mean"] == pytest.approx(0.1)
    assert dice["ci95"] is None
    # Patient a: 0 mm in both seeds; patient b: 0 and 2.5 - 3 mm.
    assert differences[f"{NAMES} - {UNET}"]["surfel_hd95_mm"]["mean"] == pytest.approx(-0.125)


def test_tables(rows: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    facts = {"0": {"steps": 100, "slices_per_s": 8}, "1": {"steps": 200, "slices_per_s": 10}}
    openkbp.print_tables({**openkbp.compare(rows), "training": {UNET: facts, NAMES: facts}})
    said = capsys.readouterr().out
    assert f"| {UNET} | 0.700 (0.650 to 0.750) | 4.2 (3.5 to 5.0) | " in said
    assert "| 0 | 0.650, 0.750 | 150 | 9 |" in said
    assert "| larynx | 0.600 | 0.700 |" in said
    assert f"| {NAMES} - {UNET} | +0.100 | -0.1 (-0.2 to +0.0) |" in said


def test_arms_have_no_words_names_and_descriptions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openkbp.MedVLM, "from_preset", lambda preset, *, image_size: (preset, image_size))
    arms = openkbp.build(["larynx", "mandible"], seed=0)
    assert [(name, arm.level) for name, arm in arms.items()] == [
        (UNET, "simple"),
        ("Med-VLM compact, no words", "none"),
        ("Med-VLM compact, names", "simple"),
        ("Med-VLM compact, descriptions", "complex"),
    ]
    case = write_case(tmp_path)
    texts = [
        EvaluationCases([case], labels={"larynx": (1,)}, text_level=arm.level)[0].prompts[0].text
        for arm in arms.values()
    ]
    assert texts == ["larynx", "", "larynx", Vocabulary.load().organ("larynx").descriptions[0]]


class Deaf(TextSegmenter):
    """Finds all that is bright, whatever it is asked."""

    def __init__(self) -> None:
        super().__init__(image_size=16, default_prompt="larynx", framing=Framing(crop="whole"))

    def encode_image(self, image: Tensor) -> Tensor:
        return image

    def encode_text(self, prompts: Sequence[str]) -> Guidance:
        return Guidance(torch.zeros(len(prompts), 1, 1), torch.ones(len(prompts), 1, dtype=torch.bool))

    def decode(self, image_features: Tensor, guidance: Guidance) -> Tensor:
        return image_features.repeat_interleave(guidance.count // len(image_features), dim=0) - 0.5


def test_without_words_every_organ_is_scored_by_its_own_mask(tmp_path: Path) -> None:
    """All organs have the same text and probabilities, and a label map would give all to one of them.

    The bright voxels are the larynx' 32 and the mandible's 64, so of each Dice is 2 n / (96 + n).
    """
    case = write_case(tmp_path)
    cases = EvaluationCases([case], labels={"larynx": (1,), "mandible": (2,)}, text_level="none")
    assert [prompt.text for prompt in cases[0].prompts] == ["", ""]
    rows = score(Deaf(), cases)
    assert {row["label"]: row["dsc"] for row in rows} == pytest.approx(
        {"larynx": 2 * 32 / 128, "mandible": 2 * 64 / 160}
    )
    networks = openkbp.compare({UNET: [rows], "no words": [rows]})["networks"]
    assert networks["no words"]["organs"] == pytest.approx({"larynx": 0.5, "mandible": 0.8})
    assert networks["no words"]["missed"] == 0
