"""The comparison on OpenKBP, from rows whose means can be done in the head."""

import json
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
from common.errors import InputError
from common.networks.base import TextSegmenter
from common.networks.guidance import Guidance
from common.text.vocabulary import Vocabulary
from tests.tools.study.volumes import ORGANS as VOLUME_ORGANS
from tests.tools.study.volumes import write_patients
from tools.study import openkbp, opponents, training
from tools.study.image_only import ImageOnlyUNet
from tools.study.openkbp import UNET
from tools.study.opponents import SETTINGS
from tools.study.organ_scores import compare, print_tables
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


def test_scores_are_means_over_organs_seeds_and_patients(rows: dict[str, Any]) -> None:
    unet = compare(rows, ())["networks"][UNET]
    # Patient a: 0.6 and 0.7 in the seeds, patient b: 0.7 and 0.8. One in 16 draws has twice the worse seed
    # and twice the worse patient, so the interval has both ends.
    assert unet["dsc"]["mean"] == pytest.approx(0.7)
    assert unet["dsc"]["ci95"] == pytest.approx([0.6, 0.8])
    assert unet["dsc_by_seed"] == pytest.approx([0.65, 0.75])
    assert unet["organs"] == pytest.approx({"larynx": 2.4 / 4, "mandible": 3.2 / 4})
    # Of 8, 4, 6, 2 mm in one seed the median is 5, of 6, 2, 4, 2 mm it is 3; the 90th percentiles lie 0.7
    # of the way from the third to the fourth.
    assert unet["hd95_median_mm"]["mean"] == pytest.approx((5 + 3) / 2)
    assert unet["hd95_p90_mm"]["mean"] == pytest.approx((6 + 0.7 * 2 + 4 + 0.7 * 2) / 2)
    assert (unet["missed"], unet["asked"]) == (0, 8)


def test_a_missed_organ_has_a_dice_of_0_and_no_distance(rows: dict[str, Any]) -> None:
    rows[NAMES][1][2] = row("b", "larynx", 0.0, math.inf)
    names = compare(rows, ())["networks"][NAMES]
    assert names["missed"] == 1
    assert names["dsc"]["mean"] == pytest.approx((0.75 + (0.8 + 0.5) / 2) / 2)
    # 8, 4, 6 and 2 mm; and 6, 2 and 1 mm.
    assert names["hd95_median_mm"]["mean"] == pytest.approx((5 + 2) / 2)


def test_a_network_that_finds_nothing_has_no_distances(rows: dict[str, Any]) -> None:
    nothing = [[row(str(each["case"]), str(each["label"]), 0.0, math.inf) for each in rows[UNET][0]]]
    found = compare({UNET: nothing}, ())["networks"][UNET]
    assert found["missed"] == 4
    assert found["hd95_p90_mm"] == {"mean": None, "ci95": None}


def test_differences_are_paired(rows: dict[str, Any]) -> None:
    """Patients differ by 0.1 from each other, but each by exactly 0.1 from itself."""
    differences = compare(rows, ((NAMES, UNET), (NAMES, "not trained")))["differences"]
    assert list(differences) == [f"{NAMES} - {UNET}"]
    dice = differences[f"{NAMES} - {UNET}"]["dsc"]
    assert dice["mean"] == pytest.approx(0.1)
    assert dice["ci95"] == pytest.approx([0.1, 0.1])
    # The medians are 5 mm in both, and 3 mm in both: of 6, 2, 4, 1 mm too.
    assert differences[f"{NAMES} - {UNET}"]["hd95_median_mm"]["mean"] == pytest.approx(0)


def test_a_row_of_one_seed_stands_beside_rows_of_more(rows: dict[str, Any]) -> None:
    found = compare({**rows, "long": rows[UNET][:1]}, (("long", UNET), (NAMES, UNET)))
    assert found["networks"]["long"]["dsc_by_seed"] == pytest.approx([0.65])
    assert list(found["differences"]) == [f"{NAMES} - {UNET}"]


def test_tables(rows: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    facts = {
        "0": {"minutes": 20.0, "steps": 100, "slices_per_s": 8},
        "1": {"minutes": 20.1, "steps": 200, "slices_per_s": 10},
    }
    print_tables({**compare(rows, ((NAMES, UNET),)), "training": {UNET: facts, NAMES: facts}})
    said = capsys.readouterr().out
    assert f"| {UNET} | 0.700 (0.600 to 0.800) | 4.0 (" in said
    assert "| 0 of 8 | 0.650, 0.750 | 20.1 | 150 | 9 |" in said
    assert "| larynx | 0.600 | 0.700 |" in said
    assert f"| {NAMES} - {UNET} | +0.100 (+0.100 to +0.100) | " in said


def test_arms_have_no_words_names_and_descriptions(tmp_path: Path) -> None:
    comparison = openkbp.Comparison(write_patients(tmp_path), tmp_path / "slices", device="cpu")
    description = Vocabulary.load().organ("larynx").descriptions[0]
    for name, text in ((openkbp.NONE, ""), (NAMES, "larynx"), (openkbp.DESCRIPTIONS, description)):
        asked = comparison.arm(name).asked(0)["test"]
        assert [asked[0].case, asked[0].prompts[0].text] == ["test0", text]


def test_all_arms_see_the_same_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openkbp, "IMAGE_SIZE", 32)
    comparison = openkbp.Comparison(write_patients(tmp_path), tmp_path / "slices", device="cpu")
    framing = openkbp.compact_framing()
    network = ImageOnlyUNet(VOLUME_ORGANS, image_size=32, framing=framing)
    arms = [comparison.arm(name, setting=SETTINGS[0]) for name in openkbp.ARMS.values()]
    drawn = [arm.samples(network, 3)[57] for arm in arms]
    assert len({len(sample["image"]) for sample in drawn} | {len(framing.channels)}) == 1
    for sample in drawn[1:]:
        assert sample["target"] == drawn[0]["target"]
        torch.testing.assert_close(sample["image"], drawn[0]["image"], rtol=0, atol=0)
        torch.testing.assert_close(sample["label"], drawn[0]["label"], rtol=0, atol=0)
    # The image-only networks have as many channels.
    assert arms[3].network().framing == framing
    assert arms[4].network().framing == framing


def test_a_run_of_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both opponents, two seeds, the search and the long run; a second command trains nothing."""
    monkeypatch.setattr(openkbp, "IMAGE_SIZE", 64)
    monkeypatch.setattr(opponents, "BATCH", 2)
    monkeypatch.setattr(opponents, "FILTERS", (4, 8, 8, 8, 8, 8))
    monkeypatch.setattr(training, "TURNS", 1)
    write_patients(tmp_path)
    work, given = tmp_path / "work", {"minutes": 1 / 60, "cap_minutes": 0.5 / 60, "device": "cpu"}
    report = openkbp.run(tmp_path, work, seeds=[0, 1], arms=["unet", "dynunet"], **given)
    assert json.loads((work / "results.json").read_text()) == report
    assert report["patients"] == {"training": 3, "validation": 2, "test": 2}
    long = f"{UNET}, until it no longer gains"
    assert list(report["networks"]) == [long, UNET, openkbp.DYNUNET]
    assert len(report["networks"][long]["dsc_by_seed"]) == 1
    assert len(report["networks"][openkbp.DYNUNET]["dsc_by_seed"]) == 2
    assert report["networks"][UNET]["asked"] == 2 * 3  # the second patient has no larynx
    assert set(report["search"]["dice"]) == {setting.name for setting in SETTINGS}
    (winner,) = (setting for setting in SETTINGS if setting.name == report["search"]["winner"])
    for path in (work / "cells").glob("unet-tuned-image-only-seed*.json"):
        settings = json.loads(path.read_text())["settings"]
        assert settings["recipe"]["learning_rate"] == winner.learning_rate
        assert settings["network"]["width"] == winner.width
    said = capsys.readouterr().out
    assert f"| **{winner.name}** | **" in said
    assert "The winner's long run was stopped at its cap after" in said
    assert (work / "seed1" / "dynunet-nnu-net-s-plan-image-only" / "model.pt").is_file()

    monkeypatch.setattr(training.Training, "train_for", None)
    again = openkbp.run(tmp_path, work, seeds=[0, 1], arms=["unet", "dynunet"], **given)
    assert again["networks"] == report["networks"]


def test_an_arm_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        openkbp.run(
            tmp_path, tmp_path, minutes=1, cap_minutes=0, seeds=[0], device="cpu", arms=["names", "vnet"]
        )
    assert str(caught.value) == (
        "arms: found 'vnet', expected some of names, descriptions, none, unet, dynunet; choose of these."
    )


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
    networks = compare({UNET: [rows], "no words": [rows]}, ())["networks"]
    assert networks["no words"]["organs"] == pytest.approx({"larynx": 0.5, "mandible": 0.8})
    assert networks["no words"]["missed"] == 0
