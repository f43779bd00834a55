"""The wrappers inside MONAI's engines: per-case spacing, misses, distributed rows."""

import csv
import json
from types import SimpleNamespace

import ignite.distributed as idist
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch, list_data_collate
from monai.engines import SupervisedEvaluator
from monai.handlers import from_engine
from monai.metrics import DiceMetric, HausdorffDistanceMetric

from common.errors import InputError
from common.metrics import (
    CaseReport,
    SegmentationMetric,
    SegmentationMetricHandler,
    SegmentedVolumes,
    TensorCases,
    measure_mask,
)

SPACINGS = [(2.5, 0.8, 0.8), (5.0, 1.5, 1.0), (1.0, 1.0, 3.0)]


def masks(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random((6, 9, 10)) < 0.3, rng.random((6, 9, 10)) < 0.3


def meta(mask: np.ndarray, spacing: tuple[float, ...], name: str = "") -> MetaTensor:
    """(1, D, H, W) float32 with its affine, as MONAI's loaders give it."""
    return MetaTensor(
        torch.from_numpy(mask[None]).float(),
        affine=torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64)),
        meta={"filename_or_obj": name},
    )


def one_hot(mask: np.ndarray, spacing: tuple[float, ...]) -> MetaTensor:
    foreground = meta(mask, spacing)
    return MetaTensor(
        torch.cat([1 - foreground.as_tensor(), foreground.as_tensor()]), affine=foreground.affine
    )


def test_metric_measures_every_case_with_its_own_spacing() -> None:
    metric, monai = SegmentationMetric("voxel_hd95_mm"), HausdorffDistanceMetric(percentile=95)
    pairs = [masks(seed) for seed in range(3)]
    preds = [one_hot(pred, s) for (pred, _), s in zip(pairs, SPACINGS, strict=True)]
    refs = [one_hot(ref, s) for (_, ref), s in zip(pairs, SPACINGS, strict=True)]
    values = metric(preds, refs)
    assert values.shape == (3, 1)
    plain = [torch.stack([m.as_tensor() for m in group]) for group in (preds, refs)]
    monai(*plain, spacing=SPACINGS)
    assert metric.aggregate().item() == pytest.approx(monai.aggregate().item(), rel=1e-5)
    assert torch.equal(SegmentationMetric("voxel_hd95_mm")(*plain, spacing_mm=SPACINGS), values)
    metric.reset()
    assert metric.get_buffer() is None


def test_dice_is_that_of_monai() -> None:
    preds, refs = zip(*[[one_hot(m, (1, 1, 1)) for m in masks(seed)] for seed in range(4)], strict=True)
    ours, monai = SegmentationMetric("dsc", include_background=True), DiceMetric(include_background=True)
    ours(preds, refs)
    monai(preds, refs)
    assert ours.aggregate().item() == pytest.approx(monai.aggregate().item(), rel=1e-6)


def test_a_miss_stays_in_the_mean() -> None:
    pred, ref = masks(0)
    empty = np.zeros_like(ref)
    cases = [(pred, ref), (empty, ref), (empty, empty)]
    preds, refs = zip(*[(one_hot(a, (1, 1, 1)), one_hot(b, (1, 1, 1))) for a, b in cases], strict=True)
    found = measure_mask(pred, ref, spacing_mm=(1, 1, 1))["surfel_hd_mm"]
    for penalty, expected in ((None, float("inf")), (50.0, (found + 50) / 2)):
        metric = SegmentationMetric("surfel_hd_mm", penalty_mm=penalty)
        metric(preds, refs)
        assert metric.aggregate().item() == pytest.approx(expected)


@pytest.mark.parametrize("name", ["asd", "surfel_asd_mm", "mesh_hd_mm", "voxel_nsd_xmm"])
def test_a_metric_that_there_is_not_is_told(name: str) -> None:
    with pytest.raises(
        InputError, match=f"metric: found '{name}', expected a key such as dsc, surfel_hd95_mm"
    ):
        SegmentationMetric(name)


def test_a_plain_tensor_needs_a_spacing() -> None:
    mask = torch.ones(1, 2, 4, 4, 4)
    with pytest.raises(InputError, match="spacing_mm: missing"):
        SegmentationMetric("surfel_hd_mm")(mask, mask)
    with pytest.raises(InputError, match="expected as many predictions, references and spacings"):
        SegmentationMetric("surfel_hd_mm")(mask, mask, spacing_mm=SPACINGS)


class Shift(torch.nn.Module):
    """Stands for a network: moves the mask by one column."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.roll(1, dims=-1)


def evaluate(**arguments: object) -> SupervisedEvaluator:
    items = [
        {"image": meta(ref, s), "label": meta(ref, s, f"case{seed}.nii.gz")}
        for seed, s in enumerate(SPACINGS)
        for _, ref in [masks(seed)]
    ]
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(items), batch_size=2, collate_fn=list_data_collate),
        network=Shift(),
        **arguments,
    )
    evaluator.run()
    return evaluator


def shifted(seed: int) -> tuple[np.ndarray, np.ndarray]:
    ref = masks(seed)[1]
    return np.roll(ref, 1, axis=-1), ref


def test_report_of_an_evaluator_has_every_case_with_its_spacing(tmp_path) -> None:
    config = {
        "report": {
            "_target_": "common.metrics.CaseReport",
            "output_dir": str(tmp_path),
            "cases": {"_target_": "common.metrics.TensorCases", "labels": {"1": "liver"}},
            "boundaries": ["surfel", "voxel"],
            "penalty_mm": 100,
        }
    }
    report = ConfigParser(config).get_parsed_content("report")
    assert isinstance(report, CaseReport)
    evaluate(val_handlers=[report])
    rows = list(csv.DictReader((tmp_path / "volumes.csv").open()))
    assert [(row["case"], row["label"]) for row in rows] == [(f"case{n}.nii.gz", "liver") for n in range(3)]
    for seed, row in enumerate(rows):
        expected = measure_mask(*shifted(seed), spacing_mm=SPACINGS[seed], boundaries=("surfel", "voxel"))
        for name in ("dsc", "surfel_hd95_mm", "voxel_assd_mm", "surfel_nsd_2mm"):
            assert float(row[name]) == pytest.approx(expected[name], rel=1e-12)
    slices = list(csv.DictReader((tmp_path / "slices.csv").open()))
    assert len(slices) == 18
    pred, ref = (mask[4] for mask in shifted(1))
    row = next(row for row in slices if (row["case"], row["slice"]) == ("case1.nii.gz", "4"))
    assert float(row["dsc"]) == pytest.approx(2 * (pred & ref).sum() / (pred.sum() + ref.sum()))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["boundaries"] == ["surfel", "voxel"]
    liver = summary["volumes"]["labels"]["liver"]
    assert liver["cases"]["found"] == 3
    assert liver["metrics"]["surfel_hd95_mm"]["penalty"] == 100
    assert summary["slices"]["labels"]["liver"]["metrics"]["dsc"]["n"] == 18


def test_handler_gives_the_evaluator_its_key_metric() -> None:
    handler = SegmentationMetricHandler(
        "voxel_hd_mm", include_background=True, output_transform=from_engine(["pred", "label"])
    )
    evaluator = evaluate(key_val_metric={"hd": handler})
    expected = [
        measure_mask(*shifted(n), spacing_mm=s, boundaries=["voxel"])["voxel_hd_mm"]
        for n, s in enumerate(SPACINGS)
    ]
    assert evaluator.state.metrics["hd"] == pytest.approx(np.mean(expected), rel=1e-6)
    assert evaluator.state.metric_details["hd"].flatten().tolist() == pytest.approx(expected)


def test_volumes_of_the_slice_wise_inferer_are_cases(tmp_path) -> None:
    pred, ref = masks(5)
    result = SimpleNamespace(prompt=SimpleNamespace(label=1, name="liver"))
    output = {
        "pred": SimpleNamespace(labels=pred.astype(np.uint8), results=[result]),
        "label": SimpleNamespace(slices=ref.astype(np.int32), spacing_mm=SPACINGS[0]),
    }
    engine = Engine(lambda _, batch: output)
    CaseReport(str(tmp_path), SegmentedVolumes()).attach(engine)
    engine.run([{"case": "a"}])
    (row,) = csv.DictReader((tmp_path / "volumes.csv").open())
    assert (row["case"], row["label"]) == ("a", "liver")
    expected = measure_mask(pred, ref, spacing_mm=SPACINGS[0])
    assert float(row["surfel_hd_mm"]) == pytest.approx(expected["surfel_hd_mm"])


def test_a_case_without_a_name_is_told() -> None:
    item = decollate_batch({"label": torch.ones(1, 1, 2, 2, 2), "pred": torch.ones(1, 1, 2, 2, 2)})
    with pytest.raises(InputError, match="case: an item of the batch has no name"):
        TensorCases({1: "liver"})(SimpleNamespace(batch=item, output=item))


def _share(rank: int, folder: str) -> None:
    """A process of two: measures case `rank`, and case 0 again, which a sampler repeats."""
    names = ["a", "b"] if rank else ["a"]
    output = [{"pred": torch.ones(1, 1, 2, 2), "label": torch.ones(1, 1, 2, 2)}]
    engine = Engine(lambda _, batch: output)
    CaseReport(folder, TensorCases({1: "liver"})).attach(engine)
    engine.run([[{"case": name, "spacing_mm": (1, 1, 1)}] for name in names])


@pytest.mark.slow
def test_rows_that_several_processes_measured_stand_once(tmp_path) -> None:
    with idist.Parallel(backend="gloo", nproc_per_node=2) as parallel:
        parallel.run(_share, str(tmp_path))
    rows = list(csv.DictReader((tmp_path / "volumes.csv").open()))
    assert [row["case"] for row in rows] == ["a", "b"]
