"""The comparison of QaTa-COV19: scores and intervals, that only the words differ, and a run of seconds."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from common.data.datalist import load_referring
from common.data.evaluation_cases import EvaluationCases
from common.errors import InputError
from common.networks.lsms.network import LSMS
from common.text.encoders import TextEncoder
from common.weights.checkpoints import read_tensors
from tools.study import image_arms, qata, training
from tools.study.arms import Arm
from tools.study.cells import slug
from tools.study.image_only import ImageOnlyUNet
from tools.study.training import score

SIDE, SHAPE = 64, (96, 80)  # of the networks' field and of the images
BERT = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocabulary": ["infected", "area", "in", "the", "upper", "lower", "left", "right", "lung"],
}
TINY: dict[str, Any] = {
    "widths": (8, 16, 16, 32),
    "depths": (1, 1, 1, 1),
    "ffn_ratios": (2, 2, 1, 1),
    "ham_channels": 32,
    "align_channels": 32,
    "rank": 4,
}


def write(folder: Path, count: int) -> Path:
    rng = np.random.default_rng(1)
    items = []
    for index in range(count):
        mask = np.zeros((40, 40), np.uint8)
        mask[rng.integers(0, 20) :, : rng.integers(10, 30)] = 255
        Image.fromarray(mask).save(folder / f"mask{index}.png")
        Image.fromarray(mask // 2 + 20).save(folder / f"image{index}.png")
        files: dict[str, Any] = {"image": f"image{index}.png", "label": f"mask{index}.png"}
        items.append(files | {"prompts": [f"sentence {index % 5}"]})
    (folder / "datalist.json").write_text(json.dumps({"training": items}))
    return folder / "datalist.json"


def test_shuffled_sentences_are_the_same_ones_on_other_images(tmp_path: Path) -> None:
    items = load_referring(write(tmp_path, 20), "training")
    others = qata.shuffled(items, seed=3)
    assert [item.image for item in others] == [item.image for item in items]
    assert sorted(item.prompts for item in others) == sorted(item.prompts for item in items)
    assert all(a.prompts != b.prompts for a, b in zip(items, others, strict=True))
    assert qata.shuffled(items, seed=3) == others
    assert qata.shuffled(items, seed=4) != others


def test_shuffled_sentences_say_nothing_of_an_image_but_what_is_not_said(tmp_path: Path) -> None:
    """The images of one sentence get all others, each about as often as it occurs."""
    items = load_referring(write(tmp_path, 100), "training")  # 20 of each of 5 sentences
    pairs = Counter(
        (a.prompts, b.prompts) for s in range(20) for a, b in zip(items, qata.shuffled(items, s), strict=True)
    )
    assert len(pairs) == 20
    assert min(pairs.values()) > 60  # 100 on average


def test_items_of_mostly_one_sentence_cannot_be_shuffled(tmp_path: Path) -> None:
    items = load_referring(write(tmp_path, 3), "training")
    same = [replace(item, prompts=items[0].prompts) for item in items[:2]]
    with pytest.raises(InputError, match="found 2 of 3 items with one sentence, expected half or fewer"):
        qata.shuffled([*same, items[2]], seed=0)


def test_counts_are_in_the_files_own_pixels(tmp_path: Path) -> None:
    items = load_referring(write(tmp_path, 3), "training")
    rows = score(
        ImageOnlyUNet(["lesion"], image_size=32), EvaluationCases(items), by_name=True, boundaries=()
    )
    counts = image_arms.counts_of(rows, items)
    areas = [np.count_nonzero(np.asarray(Image.open(item.label))) for item in items]
    np.testing.assert_array_equal(counts[:, 0] + counts[:, 2], areas)
    assert (counts.sum(axis=1) <= 1600).all()


@pytest.fixture
def presets(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """Small networks of random words stand for the presets; the list says which were asked for."""
    asked: list[tuple[str, bool]] = []

    def build(preset: str, *, image_size: int, language: bool = True) -> LSMS:
        asked.append((preset, language))
        encoder = TextEncoder(None, config=BERT, max_tokens=16) if language else None
        return LSMS(text_encoder=encoder, image_size=image_size, framing=qata.FRAMING, **TINY)

    monkeypatch.setattr(qata.LSMS, "from_preset", build)
    monkeypatch.setattr(qata, "SIDES", {"compact": SIDE, "paper_t": SIDE})
    monkeypatch.setattr(image_arms, "BATCH", 4)
    monkeypatch.setattr(training, "TURNS", 1)
    return asked


def test_arms_see_the_same_images_for_the_same_time_and_differ_in_words(
    tmp_path: Path, presets: list[tuple[str, bool]]
) -> None:
    items = load_referring(write(tmp_path, 12), "training")
    built = qata.arms(items, items, qata.SETTINGS[0], device="cpu")
    arms = {name: arm.training(minutes=0.2, seed=3, device="cpu") for name, arm in built.items()}
    assert presets == [("compact", True), ("compact", False), ("compact", True)]
    assert {name: arm.settings["words"] for name, arm in built.items()} == {
        qata.WITH: "prompt",
        qata.WITHOUT: "target",
        qata.SHUFFLED: "prompt",
        qata.UNET: "target",
    }
    assert isinstance(arms[qata.UNET].network, ImageOnlyUNet)
    assert arms[qata.WITHOUT].network.text_encoder is None
    assert {arm.recipe for arm in built.values()} == {training.Recipe(4, 1e-3)}
    assert arms[qata.UNET].budget_s == pytest.approx(12)
    own = {item.case: item.prompts[0] for item in items}
    others = {item.case: item.prompts[0] for item in qata.shuffled(items, seed=3)}
    for _ in range(5):  # more than the three batches of an epoch
        batches = {name: next(arm._batches) for name, arm in arms.items()}
        first = batches[qata.WITH]
        for name, batch in batches.items():
            torch.testing.assert_close(batch["image"], first["image"], rtol=0, atol=0)
            torch.testing.assert_close(batch["label"], first["label"], rtol=0, atol=0)
            assert batch["case"] == first["case"]
            assert set(batch["target"]) == {"lesion"}
            said = others if name == qata.SHUFFLED else own
            assert batch["prompt"] == [said[case] for case in batch["case"]]


def test_fewer_images_than_a_batch_are_refused(tmp_path: Path, presets: list[tuple[str, bool]]) -> None:
    items = load_referring(write(tmp_path, 3), "training")
    with pytest.raises(InputError, match="training: found 3 images, expected at least 4, one batch"):
        qata.arms(items, items, qata.SETTINGS[0], device="cpu")[qata.UNET].training(
            minutes=0.2, seed=0, device="cpu"
        )


def write_source(folder: Path) -> dict[str, str]:
    """QaTa-COV19 in small: 14 images to train on and 4 to test; returns the sentences of these."""
    rng = np.random.default_rng(4)
    content: dict[str, list[dict[str, str]]] = {}
    for part, count in (("train", 14), ("valid", 4)):
        for kind in ("images", "masks"):
            (folder / part / kind).mkdir(parents=True)
        content[part] = []
        for index in range(count):
            rows, columns = (("upper", "lower")[index % 2], ("left", "right")[index // 2 % 2])
            mask = np.zeros(SHAPE, np.uint8)
            top, left = 48 * (rows == "lower") + rng.integers(0, 8), 40 * (columns == "right")
            mask[top : top + 40, left : left + 36] = 255
            grey = rng.integers(60, 100, SHAPE) + mask // 4
            name = f"covid_{part}{index}"
            Image.fromarray(grey.astype(np.uint8)).save(folder / part / "images" / f"{name}.png")
            Image.fromarray(mask).save(folder / part / "masks" / f"mask_{name}.png")
            caption = f"infected area in the {rows} {columns} lung"
            content[part].append({"image_path": f"mask_{name}.png", "caption": caption})
    (folder / "annotation.json").write_text(json.dumps(content))
    return {Path(entry["image_path"]).stem[5:]: entry["caption"] for entry in content["valid"]}


@torch.no_grad()
def dice_by_pillow(network: torch.nn.Module, folder: Path, name: str, words: str) -> float:
    """Dice of one image with nothing of this project but the network.

    Pillow scales there and back. It smooths where it scales down, so images are larger than the field.
    """
    grey = Image.open(folder / "valid" / "images" / f"{name}.png").convert("F")
    image = np.array(grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR)) / 255
    logits = network(torch.from_numpy(image).float()[None, None], [words])[0, 0].numpy()
    own = Image.fromarray(logits).resize(SHAPE[::-1], Image.Resampling.BILINEAR)
    found = np.array(own) > 0
    truth = np.array(Image.open(folder / "valid" / "masks" / f"mask_{name}.png")) == 255
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


def test_a_run_scores_what_its_networks_find(
    tmp_path: Path,
    presets: list[tuple[str, bool]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, work = tmp_path / "source", tmp_path / "work"
    sentences = write_source(source)
    built: list[dict[str, training.Training]] = [{}, {}]
    result = Arm.result

    def noted(self: Arm, done: training.Training, seed: int) -> dict[str, Any]:
        for name in self.asked(seed):
            built[seed][name] = done
        return result(self, done, seed)

    monkeypatch.setattr(Arm, "result", noted)
    times = {"minutes": 0.6 / 60, "cap_minutes": 0.2 / 60}
    report = qata.run(source, work, seeds=[0, 1], device="cpu", **times)
    assert json.loads((work / "results.json").read_text()) == report
    assert report["images"] == {
        "training": 13,
        "validation": 1,
        "test": 4,
    }  # a tenth of the 14 patients validates
    assert report["seeds"] == [0, 1]

    for name, key in ((qata.WITH, "prompt"), (qata.WITHOUT, "target"), (qata.UNET, "target")):
        expected = []
        for seed, arms in enumerate(built):
            network = arms[name].network
            words = {case: text if key == "prompt" else "lesion" for case, text in sentences.items()}
            scores = [dice_by_pillow(network, source, case, text) for case, text in words.items()]
            expected.append(np.mean(scores))
            folder = work / f"seed{seed}" / slug(name)
            saved = read_tensors(folder / "model.pt")
            assert saved.keys() == network.state_dict().keys()
            assert all(torch.equal(saved[part], value) for part, value in network.state_dict().items())
        found = report["networks"][name]
        assert found["dice_by_seed"] == pytest.approx(expected, abs=5e-3)
        assert found["dice"]["mean"] == pytest.approx(np.mean(expected), abs=5e-3)
    assert max(row["dice"]["mean"] for row in report["networks"].values()) > 0.1  # something was found

    # The network with words, asked at the test by the sentences of other images.
    expected = []
    for seed, arms in enumerate(built):
        test = qata.shuffled(load_referring(work / "data" / "datalist.json", "test"), seed)
        network = arms[qata.WITH].network
        expected.append(np.mean([dice_by_pillow(network, source, i.case, i.prompts[0]) for i in test]))
    assert report["networks"][qata.SWAPPED]["dice_by_seed"] == pytest.approx(expected, abs=5e-3)
    compared = (qata.WITH, qata.WITHOUT, qata.SHUFFLED, qata.UNET)
    assert all(arms[name].elapsed_s >= 0.6 for arms in built for name in compared)
    said = capsys.readouterr().out
    assert f"| {qata.WITH} - {qata.WITHOUT} | " in said
    assert f"| {qata.SWAPPED} | " in said
