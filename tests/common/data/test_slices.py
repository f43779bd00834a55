"""Windowing, and the frame between a slice and the network's square field, checked in millimetres."""

import numpy as np
import pytest
import torch

from common.data.slices import OUTSIDE_LOGIT, Box, SliceFrame, window

AIR_HU, BODY_HU = -1000.0, 40.0


def body(shape: tuple[int, int], box: tuple[int, int, int, int]) -> np.ndarray:
    """(1, H, W) of air with a body in rows top to bottom and columns left to right."""
    slices = np.full((1, *shape), AIR_HU, np.float32)
    top, bottom, left, right = box
    slices[0, top:bottom, left:right] = BODY_HU
    return slices


def centroid(image: torch.Tensor) -> tuple[float, float]:
    """Row and column of the centre of mass of (H, W), in pixels."""
    rows, columns = torch.meshgrid(
        *(torch.arange(n, dtype=torch.float64) for n in image.shape), indexing="ij"
    )
    mass = image.double().sum()
    return float((rows * image).sum() / mass), float((columns * image).sum() / mass)


def test_soft_tissue_window_is_400_wide_around_40_hu() -> None:
    hu = torch.tensor([-1000.0, -160.0, -60.0, 40.0, 140.0, 240.0, 3000.0])
    torch.testing.assert_close(window(hu), torch.tensor([0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0]))
    torch.testing.assert_close(window(hu, (-1000.0, 3000.0))[[0, -1]], torch.tensor([0.0, 1.0]))


def test_box_holds_the_body_of_all_slices_and_nothing_more() -> None:
    slices = np.concatenate([body((40, 50), (10, 20, 5, 9)), body((40, 50), (15, 30, 7, 44))])
    assert Box.around_body(slices) == Box(10, 30, 5, 44)


def test_box_of_air_alone_is_the_whole_slice() -> None:
    assert Box.around_body(np.full((3, 7, 9), AIR_HU)) == Box(0, 7, 0, 9)


@pytest.mark.parametrize(
    ("box", "spacing_mm", "inner"),
    [
        ((0, 100, 0, 50), (1.0, 2.0), (128, 128)),  # 100 mm x 100 mm
        ((0, 100, 0, 50), (1.0, 1.0), (128, 64)),  # 100 mm x 50 mm
        ((20, 60, 0, 80), (1.5, 1.5), (64, 128)),  # 60 mm x 120 mm
        ((20, 60, 10, 50), (0.5, 2.0), (32, 128)),  # 20 mm x 80 mm
    ],
)
def test_frame_keeps_the_shape_of_the_body_in_millimetres(
    box: tuple[int, int, int, int], spacing_mm: tuple[float, float], inner: tuple[int, int]
) -> None:
    frame = SliceFrame.fit(body((120, 90), box), spacing_mm, 128)
    assert (frame.inner_height, frame.inner_width) == inner
    field = frame.to_field(torch.ones(1, 1, 120, 90))[0, 0]
    rows, columns = ((128 - side) // 2 for side in inner)  # padded by 0 in equal parts
    expected = torch.zeros(128, 128)
    expected[rows : rows + inner[0], columns : columns + inner[1]] = 1
    torch.testing.assert_close(field, expected)


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0), (0.5, 1.5), (2.0, 0.8)])
def test_disc_stays_a_disc_of_the_same_area_in_millimetres(spacing_mm: tuple[float, float]) -> None:
    radius_mm, side_mm = 30.0, 120.0
    shape = tuple(round(side_mm / step) for step in spacing_mm)
    y, x = ((np.arange(n) + 0.5) * step - side_mm / 2 for n, step in zip(shape, spacing_mm, strict=True))
    disc = torch.from_numpy((y[:, None] ** 2 + x[None] ** 2 <= radius_mm**2).astype(np.float32))
    frame = SliceFrame.fit(body(shape, (0, shape[0], 0, shape[1])), spacing_mm, 96)
    field = frame.to_field(disc[None, None])[0, 0]
    pixel_mm = side_mm / 96
    assert float(field.sum()) * pixel_mm**2 == pytest.approx(np.pi * radius_mm**2, rel=0.02)
    for axis in (0, 1):  # the diameter is the longest chord along either axis
        assert float(field.sum(axis).max()) * pixel_mm == pytest.approx(
            2 * radius_mm, abs=2 * max(spacing_mm)
        )
    assert centroid(field) == pytest.approx((47.5, 47.5), abs=0.1)


def test_nothing_changes_where_the_body_has_the_size_of_the_field() -> None:
    image = torch.rand(2, 3, 32, 32)
    frame = SliceFrame.fit(body((32, 32), (0, 32, 0, 32)), (0.7, 0.7), 32)
    assert torch.equal(frame.to_field(image), image)
    assert torch.equal(frame.from_field(frame.to_field(image)), image)


def test_outside_of_the_body_belongs_to_no_organ() -> None:
    frame = SliceFrame.fit(body((48, 40), (10, 42, 4, 36)), (1.0, 1.0), 32)
    logits = torch.randn(1, 2, 32, 32)
    whole = frame.from_field(logits)
    assert torch.equal(whole[..., 10:42, 4:36], logits)
    outside = torch.ones(48, 40, dtype=torch.bool)
    outside[10:42, 4:36] = False
    assert whole[..., outside].unique().tolist() == [OUTSIDE_LOGIT]
    assert torch.sigmoid(torch.tensor(OUTSIDE_LOGIT)) < 1e-8


@pytest.mark.parametrize("size", [48, 200])
def test_there_and_back_moves_nothing(size: int) -> None:
    """A blob off centre comes back to where it was, from a coarser and from a finer field."""
    y, x = torch.meshgrid(torch.arange(120.0), torch.arange(90.0), indexing="ij")
    blob = torch.exp(-((y - 40) ** 2 + (x - 62) ** 2) / (2 * 8.0**2))
    frame = SliceFrame.fit(body((120, 90), (5, 112, 3, 88)), (1.0, 1.3), size)
    back = frame.from_field(frame.to_field(blob[None, None]))[0, 0]
    inside = back.clamp(min=0)  # OUTSIDE_LOGIT is no mass
    assert centroid(inside) == pytest.approx((40, 62), abs=0.1)
    torch.testing.assert_close(inside[10:110, 10:80], blob[10:110, 10:80], atol=0.05, rtol=0)


def test_labels_keep_their_values() -> None:
    labels = torch.randint(0, 4, (1, 1, 100, 70)).float() * 10
    frame = SliceFrame.fit(body((100, 70), (3, 90, 2, 60)), (0.9, 1.1), 64)
    assert set(frame.to_field(labels, mode="nearest-exact").unique().tolist()) <= {0.0, 10.0, 20.0, 30.0}
