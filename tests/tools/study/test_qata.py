"""The comparison of QaTa-COV19: its scores and intervals, and that only the words differ."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from common.data.referring import load_referring
from tools.study import qata
from tools.study.image_only import ImageOnlyUNet


def test_scores_are_dice_and_iou_of_the_counts() -> None:
    counts = np.array([[[6, 2, 2], [0, 0, 5]], [[4, 0, 4], [1, 1, 1]]])  # 2 seeds, 2 pictures
    report = qata.compare({qata.WITH: counts, qata.WITHOUT: counts[:, :, [0, 2, 1]] * [1, 1, 2]})
    row = report["networks"][qata.WITH]
    assert row["dice"]["mean"] == pytest.approx((12 / 16 + 0 + 8 / 12 + 2 / 4) / 4)
    assert row["iou"]["mean"] == pytest.approx((6 / 10 + 0 + 4 / 8 + 1 / 3) / 4)
    assert row["dice_by_seed"] == pytest.approx([12 / 16 / 2, (8 / 12 + 2 / 4) / 2])
    assert row["pooled_dice"]["mean"] == pytest.approx((12 / (12 + 9) + 10 / (10 + 6)) / 2)
    assert row["pooled_iou"]["mean"] == pytest.approx((6 / 15 + 5 / 11) / 2)
    (difference,) = report["differences"].values()
    other = report["networks"][qata.WITHOUT]
    assert difference["dice"]["mean"] == pytest.approx(row["dice"]["mean"] - other["dice"]["mean"])


def test_paired_interval_is_that_of_the_mean_of_differences() -> None:
    """Pictures differ much and networks by the same little everywhere: paired, the difference is certain."""
    rng = np.random.default_rng(0)
    right = rng.integers(100, 900, 200)
    better = np.stack([right, 1000 - right, 1000 - right], axis=1)[None]
    worse = better + np.array([-20, 20, 20])
    report = qata.compare({qata.WITH: better, qata.WITHOUT: worse})
    (difference,) = report["differences"].values()
    assert difference["dice"]["ci95"] == pytest.approx([0.02, 0.02])
    low, high = report["networks"][qata.WITH]["dice"]["ci95"]
    spread = 1.96 * right.std() / 1000 / np.sqrt(200)  # of a mean, by the central limit theorem
    assert (high - low) / 2 == pytest.approx(spread, rel=0.1)
    assert report["networks"][qata.WITH]["pooled_dice"]["mean"] == pytest.approx(right.mean() / 1000)


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


def test_shuffled_sentences_are_the_same_ones_on_other_pictures(tmp_path: Path) -> None:
    items = load_referring(write(tmp_path, 20), "training")
    others = qata.shuffled(items, seed=3)
    assert [item.image for item in others] == [item.image for item in items]
    assert sorted(item.prompts for item in others) == sorted(item.prompts for item in items)
    moved = sum(a.prompts != b.prompts for a, b in zip(items, others, strict=True))
    assert moved > 10  # of 20 with 5 sentences, 16 on average
    assert qata.shuffled(items, seed=3) == others
    assert qata.shuffled(items, seed=4) != others


def test_counts_are_in_the_files_own_pixels(tmp_path: Path) -> None:
    items = load_referring(write(tmp_path, 3), "training")
    counts = qata.segment(ImageOnlyUNet(["lesion"], image_size=32), items, words="target")
    areas = [np.count_nonzero(np.asarray(Image.open(item.label))) for item in items]
    np.testing.assert_array_equal(counts[:, 0] + counts[:, 2], areas)
    assert (counts.sum(axis=1) <= 1600).all()
