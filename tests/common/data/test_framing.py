"""What a network's channels show of a slice or an image, in numbers worked out by hand."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from common.data.framing import RGB, Channel, Framing
from common.data.images import read_image_2d
from common.data.slices import Box, SliceFrame
from common.data.volumes import Grid, Volume
from common.errors import InputError
from tests.common.data.referring_files import SHAPES_AND_SIZES

AIR_HU = -1000.0


def volume(slices: np.ndarray, spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Volume:
    grid = Grid(Path("ct.nii"), slices.shape[::-1], np.eye(4), nib.Nifti1Header())
    return Volume(slices.astype(np.float32), spacing_mm, grid)


def numbered(depth: int, spacing_mm: tuple[float, float, float]) -> Volume:
    """Slice n has n HU everywhere."""
    return volume(np.broadcast_to(np.arange(depth)[:, None, None], (depth, 4, 4)), spacing_mm)


def shown(framing: Framing, image: Volume, indices: Any = (0,), size: int = 4) -> np.ndarray:
    """The field (B, C, size, size)."""
    field = framing.field(image, indices, framing.frame(image, size))
    assert field.dtype == torch.float32
    assert 0 <= field.min() <= field.max() <= 1
    return field.numpy()


def saved(folder: Path, pixels: np.ndarray) -> Any:
    Image.fromarray(pixels).save(folder / "image.png")
    return read_image_2d(folder / "image.png")


def random_pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_a_volume_is_seen_in_its_window() -> None:
    hu = np.array([[[-1000, -160, -60, 40], [140, 240, 241, 3000]]]).repeat(2, axis=1)
    share = np.array([[0, 0, 0.25, 0.5], [0.75, 1, 1, 1]]).repeat(2, axis=0)
    np.testing.assert_allclose(shown(Framing(crop="whole"), volume(hu))[0, 0], share, atol=1e-6)
    wide = shown(Framing(crop="whole", window=(-1000, 3000)), volume(hu))[0, 0]
    np.testing.assert_allclose(wide, (hu[0] + 1000) / 4000, atol=1e-6)


def test_two_windows_are_two_channels_and_slices_stay_in_order() -> None:
    slices = np.random.default_rng(0).uniform(-1000, 1000, (3, 4, 4))
    framing = Framing(crop="whole", channels=(Channel(), Channel(window=(-1000, 400))))
    field = shown(framing, volume(slices), [2, 0])
    assert field.shape == (2, 2, 4, 4)
    for row, index in enumerate((2, 0)):
        np.testing.assert_allclose(field[row, 0], ((slices[index] + 160) / 400).clip(0, 1), atol=1e-5)
        np.testing.assert_allclose(field[row, 1], ((slices[index] + 1000) / 1400).clip(0, 1), atol=1e-5)


@pytest.mark.parametrize("crop", ["body", "whole"])
def test_colours_of_an_image_are_its_channels(tmp_path: Path, crop: str) -> None:
    pixels = random_pixels(4, 4, 3)
    image = saved(tmp_path, pixels)
    field = shown(Framing(crop=crop, channels=RGB), image)
    np.testing.assert_allclose(field[0], pixels.transpose(2, 0, 1) / 255, atol=1e-6)
    turned = shown(Framing(channels=("blue", "grey", "red")), image)[0]
    np.testing.assert_allclose(turned[[2, 0]], pixels.transpose(2, 0, 1)[[0, 2]] / 255, atol=1e-6)
    np.testing.assert_allclose(turned[1], np.asarray(Image.fromarray(pixels).convert("L")) / 255, atol=1e-6)


def test_all_colours_of_what_is_grey_are_its_grey(tmp_path: Path) -> None:
    pixels = random_pixels(4, 4)
    of_image = shown(Framing(channels=RGB), saved(tmp_path, pixels))
    np.testing.assert_allclose(of_image, np.stack([pixels] * 3)[None] / 255, atol=1e-6)
    hu = np.random.default_rng(1).uniform(-160, 240, (2, 4, 4))
    of_volume = shown(Framing(crop="whole", channels=(*RGB, "grey")), volume(hu), [0, 1])
    np.testing.assert_allclose(of_volume, np.stack([(hu + 160) / 400] * 4, axis=1), atol=1e-6)


def test_an_image_has_its_own_range_and_no_neighbours(tmp_path: Path) -> None:
    """Windows and distances are those of volumes."""
    pixels = np.random.default_rng(0).integers(0, 65536, (4, 4), np.uint16)
    framing = Framing(window=(-1000, 10), channels=(Channel(window=(0, 1)), Channel(offset_mm=-7)))
    np.testing.assert_allclose(
        shown(framing, saved(tmp_path, pixels)), np.stack([pixels] * 2)[None] / 65535, atol=1e-6
    )


@pytest.mark.parametrize(
    ("spacing_mm", "offset_mm", "expected"),
    [
        (1.0, 3.0, [3, 4, 5, 6, 7, 7, 7, 7]),  # above the volume's end: its last slice
        (1.0, -3.0, [0, 0, 0, 0, 1, 2, 3, 4]),
        (2.5, 5.0, [2, 3, 4, 5, 6, 7, 7, 7]),  # 2 slices of 2.5 mm
        (2.5, -5.0, [0, 0, 0, 1, 2, 3, 4, 5]),
        (0.8, 3.0, [4, 5, 6, 7, 7, 7, 7, 7]),  # 3.75 slices: the fourth is the nearest
        (5.0, 2.0, [0, 1, 2, 3, 4, 5, 6, 7]),  # nearer to the slice itself than to the next
        (3.0, 100.0, [7] * 8),
    ],
)
def test_neighbours_lie_at_a_distance_in_mm(spacing_mm: float, offset_mm: float, expected: list[int]) -> None:
    """The spacing in the plane, which is another one, has no part in it."""
    framing = Framing(crop="whole", window=(0, 8), channels=(Channel(), Channel(offset_mm=offset_mm)))
    field = shown(framing, numbered(8, (spacing_mm, 0.3, 0.7)), range(8))
    np.testing.assert_allclose(field[:, 0, 0, 0] * 8, np.arange(8))
    np.testing.assert_allclose(field[:, 1, 0, 0] * 8, expected)


@pytest.mark.parametrize("steps", [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
def test_every_slice_has_its_neighbour_equally_far_away(steps: float) -> None:
    """Half-way between two slices, too: rounding 0.5, 1.5, 2.5 would give 0, 2, 2."""
    framing = Framing(crop="whole", window=(0, 40), channels=(Channel(offset_mm=steps * 2),))
    field = shown(framing, numbered(40, (2.0, 1.0, 1.0)), range(10, 30))
    moved = field[:, 0, 0, 0] * 40 - np.arange(10, 30)
    np.testing.assert_allclose(moved, round(float(moved[0])), atol=1e-4)
    assert abs(moved[0] - steps) == pytest.approx(0.5, abs=1e-4)


def test_only_volumes_are_mirrored_and_only_they_are_cropped(tmp_path: Path) -> None:
    hu = np.full((2, 6, 8), AIR_HU)
    hu[:, 1:5, 2:6] = np.arange(4) * 10  # brighter to the patient's left
    image = volume(hu)
    plain, mirrored = (Framing(mirrored=turned, window=(0, 100)) for turned in (False, True))
    assert plain.frame(image, 4) == SliceFrame(6, 8, Box(1, 5, 2, 6), 4, 4, 4)
    np.testing.assert_allclose(shown(plain, image)[0, 0], [[0, 0.1, 0.2, 0.3]] * 4, atol=1e-6)
    np.testing.assert_allclose(shown(mirrored, image)[0, 0], [[0.3, 0.2, 0.1, 0]] * 4, atol=1e-6)
    whole = Framing(crop="whole", mirrored=True).frame(image, 4)
    assert whole == SliceFrame(6, 8, Box(0, 6, 0, 8), 4, 4, 4, mirrored=True)
    dark = np.zeros((6, 8), np.uint8)
    dark[1:5, 2:6] = 255
    image = saved(tmp_path, dark)
    for framing in (plain, mirrored, Framing(crop="whole", mirrored=True)):
        assert framing.frame(image, 4) == SliceFrame.stretched(6, 8, 4)


def test_the_body_keeps_its_shape_in_mm_and_what_is_whole_does_not() -> None:
    image = volume(np.zeros((1, 10, 20)), (5.0, 1.0, 1.0))
    field = shown(Framing(window=(-1, 0)), image, size=8)[0, 0]
    np.testing.assert_allclose(field[2:6], 1, atol=1e-6)
    np.testing.assert_allclose(field[[0, 1, 6, 7]], 0)  # padded as air
    np.testing.assert_allclose(shown(Framing(crop="whole", window=(-1, 0)), image, size=8), 1, atol=1e-6)


@pytest.mark.parametrize(("shape", "size"), SHAPES_AND_SIZES)
def test_a_mask_comes_back_to_where_the_field_shows_it(
    tmp_path: Path, shape: tuple[int, int], size: int
) -> None:
    """Logits are a disc's signed distance, at the place of the file that each field pixel shows."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    (y, x), radius = (0.4 * shape[0], 0.6 * shape[1]), 0.2 * min(shape)
    own = [(np.mgrid[:size, :size][axis] + 0.5) * shape[axis] / size - 0.5 for axis in range(2)]
    logits = torch.from_numpy(radius - np.hypot(own[0] - y, own[1] - x))
    frame = Framing().frame(saved(tmp_path, random_pixels(*shape)), size)
    back = frame.from_field(logits[None, None])[0, 0].numpy() > 0
    disc = np.hypot(rows - y, columns - x) < radius
    assert 2 * (back & disc).sum() / (back.sum() + disc.sum()) > 0.97
    assert [rows[back].mean(), columns[back].mean()] == pytest.approx((y, x), abs=0.1)


def test_configs_may_write_channels_as_names_or_objects() -> None:
    framing = Framing(channels=["red", {"window": [-1000, 400], "offset_mm": 3}, Channel("blue")])
    assert framing.channels == (Channel("red"), Channel("grey", (-1000.0, 400.0), 3.0), Channel("blue"))
    assert [channel.name for channel in framing.channels] == [
        "red",
        "grey, window -1000 to 400, 3 mm above",
        "blue",
    ]
    assert Channel(offset_mm=-2.5).name == "grey, 2.5 mm below"
    assert Framing(**asdict(framing)) == framing  # as model.json has it


def test_changes_replace_what_they_name() -> None:
    framing = Framing(crop="whole", mirrored=True, images=True)
    assert framing.changed(None) == framing.changed({}) == framing
    changed = framing.changed({"window": [0, 80], "channels": ["red"]})
    assert changed == Framing("whole", (0.0, 80.0), (Channel("red"),), True, True)
    assert framing.changed(Framing()) == Framing()
    with pytest.raises(
        InputError,
        match=r"^framing: found 'windows', expected some of crop, window, channels, mirrored, images;",
    ):
        framing.changed({"windows": [0, 80]})
    with pytest.raises(InputError, match="crop: found 'head', expected body or whole; choose one"):
        framing.changed({"crop": "head"})


COLOURS = (
    "expected a list of colours \\(grey, red, green, blue\\) or of objects with colour, window, offset_mm"
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop": "head"}, "crop: found 'head', expected body or whole; choose one"),
        ({"window": (240, -160)}, r"window: found \[240, -160\], expected the lower and the upper intensity"),
        ({"window": (40, 40)}, r"window: found \[40, 40\], expected the lower"),
        ({"window": (0, float("nan"))}, r"window: found \[0, nan\], expected the lower"),
        ({"window": (float("-inf"), 0)}, r"window: found \[-inf, 0\], expected the lower"),
        ({"window": (1, 2, 3)}, r"window: found \[1, 2, 3\], expected the lower"),
        ({"window": 400}, "window: found 400, expected the lower and the upper intensity"),
        ({"window": None}, "window: found None, expected the lower"),
        ({"window": ("low", "top")}, r"window: found \['low', 'top'\], expected the lower"),
        ({"channels": ()}, rf"channels: found \(\), {COLOURS}"),
        ({"channels": "red"}, f"channels: found 'red', {COLOURS}"),
        ({"channels": 3}, f"channels: found 3, {COLOURS}"),
        ({"channels": ["cyan"]}, "the colour 'cyan', expected one of grey, red, green, blue; choose one"),
        ({"channels": [{"color": "red"}]}, r"channels: found \['color'\], expected a colour or an object"),
        ({"channels": [7]}, "channels: found 7, expected a colour or an object with colour, window"),
        ({"channels": [{"window": [5, 4]}]}, r"window: found \[5, 4\], expected the lower and the upper"),
        ({"channels": [{"offset_mm": "3"}]}, "channels: found the offset_mm '3', expected a number of mm"),
        ({"channels": [{"offset_mm": float("nan")}]}, "found the offset_mm nan, expected a number of mm"),
    ],
)
def test_errors_say_what_to_do(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Framing(**changes)
