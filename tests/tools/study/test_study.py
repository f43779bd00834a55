"""Studies: the image-only baseline, equal turns, and the table of words."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from tqdm import tqdm

from common.data.datalist import load_datalist, load_label_values
from common.data.organ_slices import OrganSlices
from common.errors import InputError
from common.training import Augmentation
from tools.study import training, words
from tools.study.image_only import ImageOnlyUNet
from tools.study.objectives import PromptObjective, dice_and_bce

ORGANS = ["liver", "spleen", "left kidney"]


def write(path: Path, voxels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 4.0, 1.0]))
    image.set_qform(image.affine, code=1)
    nib.save(image, path)
    return path


@pytest.fixture
def datalist(tmp_path: Path) -> Path:
    """One 32 x 32 x 6 case of soft tissue with three square organs."""
    labels = np.zeros((32, 32, 6), np.uint8)
    for number in (1, 2, 3):
        labels[8 * number : 8 * number + 6, 10:20, :4] = number
    write(tmp_path / "label.nii.gz", labels)
    write(tmp_path / "image.nii.gz", (40 + 30 * labels).astype(np.int16))
    item = {"image": "image.nii.gz", "label": "label.nii.gz", "patient": "a"}
    content = {"labels": {str(i + 1): name for i, name in enumerate(ORGANS)}, "training": [item]}
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps(content))
    return path


def test_image_only_unet_gives_the_channel_that_the_prompt_names() -> None:
    network = ImageOnlyUNet(ORGANS, image_size=32).eval()
    image = torch.rand(2, 1, 32, 32)
    channels = network.unet(image)
    logits = network(image, ["spleen", "liver", "left kidney", "spleen"])
    expected = torch.stack([channels[0, 1], channels[0, 0], channels[1, 2], channels[1, 1]])[:, None]
    torch.testing.assert_close(logits, expected)
    with pytest.raises(InputError, match="'the liver' is not one of liver, spleen, left kidney"):
        network.encode_text(["the liver"])


def test_networks_take_turns_and_get_the_same_time(datalist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "TURNS", 3)
    cases, labels = load_datalist(datalist, "training"), load_label_values(datalist)
    networks = [ImageOnlyUNet(ORGANS, image_size=32) for _ in range(2)]
    trainings = [
        training.Training(
            network,
            OrganSlices(cases, labels=labels, network=network, length=100, text_level="none", progress=False),
            augmentation=Augmentation(),
            objective=PromptObjective("target", dice_and_bce()),
            recipe=training.Recipe(2),
            minutes=0.5 / 60,
            device=torch.device("cpu"),
        )
        for network in networks
    ]
    order = []
    take_turn = training.Training.take_turn

    def noted(self: training.Training, bar: tqdm) -> None:
        order.append(trainings.index(self))
        take_turn(self, bar)

    monkeypatch.setattr(training.Training, "take_turn", noted)
    training.train_in_turns(trainings)
    assert order[:2] == [0, 1]
    assert all(done.elapsed_s >= 0.5 for done in trainings)
    assert all(not done.network.training for done in trainings)


@pytest.mark.parametrize(
    ("decay", "shares"),
    [
        ("cosine", {0.0: 0.0, 0.015: 0.5, 0.5: 0.5, 1.0: 0.0}),
        ("power", {0.0: 1.0, 0.5: 0.5**0.9, 1.0: 0.0, 1.2: 0.0}),
        ("none", {0.0: 1.0, 1.0: 1.0}),
    ],
)
def test_learning_rates_fall(decay: training.Decay, shares: dict[float, float]) -> None:
    assert {share: training.DECAYS[decay](share) for share in shares} == pytest.approx(shares)


def test_table_of_words_is_the_dice_of_every_prompt_with_every_organ(
    datalist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The masks overlap: what the label map left to either of them has no part in it."""
    found = np.zeros((2, 32, 32, 6), np.uint8)
    found[0, 8:14, 10:20, :2] = 1  # half of the liver: Dice 2 * 120 / (120 + 240)
    found[1, 24:30, 10:20, :4] = 1  # all of the left kidney
    found[1, 8:14, 10:20, :1] = 1  # and a quarter of the liver: 2 * 240 / (240 + 300), 2 * 60 / (240 + 300)
    files = ["image_mask_1_the_liver.nii.gz", "image_mask_2_left_kidney.nii.gz"]
    for file, mask in zip(files, found, strict=True):
        write(tmp_path / file, mask)
    prompts = [{"label": 1, "prompt": "the liver"}, {"label": 2, "prompt": "left kidney"}]
    report = tmp_path / "image_seg.json"
    report.write_text(json.dumps({"prompts": prompts, "outputs": {"masks": files}}))
    rows = words.run(report, tmp_path / "label.nii.gz", datalist)
    assert rows["the liver"] == pytest.approx({"liver": 2 / 3, "spleen": 0, "left kidney": 0})
    assert rows["left kidney"] == pytest.approx({"liver": 2 / 9, "spleen": 0, "left kidney": 8 / 9})
    assert "| the liver | **0.67** | 0.00 | 0.00 |" in capsys.readouterr().out


def test_report_of_something_else_is_refused(tmp_path: Path, datalist: Path) -> None:
    with pytest.raises(
        InputError, match=r"expected the report of an inference, a file that ends in _seg\.json"
    ):
        words.run(tmp_path / "x.nii.gz", tmp_path / "label.nii.gz", datalist)


def test_an_inference_without_masks_is_refused(tmp_path: Path, datalist: Path) -> None:
    """A label map cannot say what each prompt found."""
    report = tmp_path / "image_seg.json"
    content = {"prompts": [{"prompt": "the liver"}], "outputs": {"labels": ["image_seg.nii.gz"]}}
    report.write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        words.run(report, tmp_path / "label.nii.gz", datalist)
    assert str(caught.value) == (
        f"{report}: found 0 masks of 1 prompts, expected one of each; run it again with masks "
        "among its outputs."
    )
    report.write_text("{}")
    with pytest.raises(
        InputError, match=r"cannot be read as the report of an inference \('prompts'\); run it"
    ):
        words.run(report, tmp_path / "label.nii.gz", datalist)


def test_help_needs_no_torch() -> None:
    lines = [
        "import sys, tools.study.__main__ as study",
        "try: study.main(['openkbp', '--help'])",
        "except SystemExit: pass",
        "assert 'torch' not in sys.modules",
    ]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, capture_output=True)
