"""HD95, mean surface distance and NSD at 2 mm as each library computes them, all from the same label maps.

Every function returns the HD95 of label 1, so that a run also shows which libraries agree.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ._volumes import Scene

Call = Callable[[], float]
TOLERANCE_MM = 2.0


def ours(scene: Scene, boundary: str) -> Call:
    from common.metrics import measure_labels
    from common.metrics.distances import BOUNDARIES

    boundaries = [name for name in BOUNDARIES if name == boundary]

    def call() -> float:
        rows = measure_labels(
            scene.pred,
            scene.ref,
            range(1, scene.labels + 1),
            spacing_mm=scene.spacing_mm,
            boundaries=boundaries,
            tolerances_mm=[TOLERANCE_MM],
        )
        return float(rows[1][f"{boundary}_hd95_mm"])

    return call


def monai(scene: Scene) -> Call:
    """On float32, its fastest; one-hot maps are made inside the call where there are several labels."""
    import torch
    from monai.metrics import (
        compute_average_surface_distance,
        compute_hausdorff_distance,
        compute_surface_dice,
    )
    from monai.networks.utils import one_hot

    torch.set_num_threads(
        1
    )  # as the others; on a loaded machine its threads wait for each other, 20 times slower
    pred, ref = (torch.from_numpy(labels)[None, None].float() for labels in (scene.pred, scene.ref))

    def call() -> float:
        several = scene.labels > 1
        a, b = (one_hot(labels, scene.labels + 1) if several else labels for labels in (pred, ref))
        shared: dict[str, Any] = {"include_background": not several, "spacing": scene.spacing_mm}
        hd95 = compute_hausdorff_distance(a, b, percentile=95, **shared)
        compute_average_surface_distance(a, b, symmetric=True, **shared)
        compute_surface_dice(a, b, class_thresholds=[TOLERANCE_MM] * scene.labels, **shared)
        return hd95[0, 0].item()

    return call


def surface_distance(scene: Scene) -> Call:
    from surface_distance import metrics

    def call() -> float:
        values = []
        for label in range(1, scene.labels + 1):
            both = metrics.compute_surface_distances(
                scene.ref == label, scene.pred == label, scene.spacing_mm
            )
            values.append(metrics.compute_robust_hausdorff(both, 95))
            metrics.compute_average_surface_distance(both)
            metrics.compute_surface_dice_at_tolerance(both, TOLERANCE_MM)
        return float(values[0])

    return call


def medpy(scene: Scene) -> Call:
    """Without NSD, which it has not."""
    from medpy.metric import binary

    def call() -> float:
        values = []
        for label in range(1, scene.labels + 1):
            pred, ref = scene.pred == label, scene.ref == label
            values.append(binary.hd95(pred, ref, scene.spacing_mm))
            binary.assd(pred, ref, scene.spacing_mm)
        return float(values[0])

    return call


def simpleitk(scene: Scene) -> Call:
    """Its users' recipe: a Maurer distance map, read at the contour of the other mask."""
    import SimpleITK as sitk  # noqa: N813

    def call() -> float:
        values = [_simpleitk_label(sitk, scene, label) for label in range(1, scene.labels + 1)]
        return values[0]

    return call


def _simpleitk_label(sitk: Any, scene: Scene, label: int) -> float:
    contours, maps = [], []
    for labels in (scene.pred, scene.ref):
        mask = sitk.GetImageFromArray((labels == label).astype(np.uint8))
        mask.SetSpacing(scene.spacing_mm[::-1])
        contour = sitk.LabelContour(mask, False)
        field = sitk.SignedMaurerDistanceMap(contour, squaredDistance=False, useImageSpacing=True)
        contours.append(sitk.GetArrayViewFromImage(contour) > 0)
        maps.append(np.abs(sitk.GetArrayFromImage(field)))
    forth, back = maps[1][contours[0]], maps[0][contours[1]]
    both = np.concatenate((forth, back))
    (both <= TOLERANCE_MM).mean(), both.mean()
    return float(max(np.percentile(forth, 95), np.percentile(back, 95)))
