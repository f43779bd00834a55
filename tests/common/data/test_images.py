"""2D images against Pillow's own upright turning, and label maps in exactly their pixels."""

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from common.data.images import read_image_2d, write_labels_png
from common.data.readers import read_image
from common.errors import InputError


def save(path, pixels, *, orientation=None, mode=None, **options):
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    if orientation is not None:
        exif[ExifTags.Base.Orientation] = orientation
    (image if mode is None else image.convert(mode)).save(path, exif=exif, **options)
    return path


def random_pixels(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_network_sees_it_upright_and_the_label_map_has_its_stored_pixels(orientation, tmp_path):
    stored = random_pixels(5, 7, 3)
    path = save(tmp_path / "photo.png", stored, orientation=orientation)
    image = read_image_2d(path)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    np.testing.assert_array_equal(image.colours[0], upright)
    for place, colour in enumerate(("red", "green", "blue")):
        plane = image.planes([0], colour=colour)
        assert plane.shape == (1, *upright.shape[:2])
        np.testing.assert_array_equal(plane[0], upright[..., place])
        assert plane.flags.writeable  # torch warns users of others
    grey = np.asarray(Image.fromarray(upright).convert("L"))
    np.testing.assert_array_equal(image.slices[0], grey)
    np.testing.assert_array_equal(image.planes([0]), grey[None])
    assert image.in_colour
    np.testing.assert_array_equal(image.shown(0), upright)  # a viewer shows its colours

    write_labels_png(tmp_path / "mask.png", (image.slices > 99).astype(np.uint8), like=image)

    mask = Image.open(tmp_path / "mask.png")
    assert mask.mode == "L"
    np.testing.assert_array_equal(np.asarray(mask), np.asarray(Image.fromarray(stored).convert("L")) > 99)
    shown = np.asarray(ImageOps.exif_transpose(mask))  # by a viewer that turns the photo
    np.testing.assert_array_equal(shown, grey > 99)


def test_kinds_of_2d_images(tmp_path):
    pixels = random_pixels(6, 4)
    for name, mode in (("grey.png", None), ("alpha.png", "LA")):
        image = read_image_2d(save(tmp_path / name, pixels, mode=mode))
        assert image.colours is None
        assert not image.in_colour
        assert image.value_range == (0.0, 255.0)
        assert not image.in_mm
        np.testing.assert_array_equal(image.slices, pixels[None])
        np.testing.assert_array_equal(image.planes([0]), pixels[None])
        np.testing.assert_array_equal(image.shown(0), pixels)
        with pytest.raises(ValueError, match=rf"{name} has only grey values, but green was requested"):
            image.planes([0], colour="green")
    colours = random_pixels(6, 4, 3)
    np.testing.assert_array_equal(read_image_2d(save(tmp_path / "c.png", colours)).colours[0], colours)
    bits = read_image_2d(save(tmp_path / "bits.png", pixels > 99, mode="1"))
    np.testing.assert_array_equal(bits.slices[0], 255 * (pixels > 99))
    few = Image.fromarray(colours).quantize(8)
    few.save(tmp_path / "few.png")
    np.testing.assert_array_equal(
        read_image_2d(tmp_path / "few.png").colours[0], np.asarray(few.convert("RGB"))
    )
    smooth = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64).astype(np.uint8) // 2
    photo = read_image(save(tmp_path / "PHOTO.JPG", smooth, quality=95))
    np.testing.assert_allclose(photo.slices[0], smooth, atol=16)


def test_16_bits_are_shown_from_0_to_65535_and_nearly_black_ones_are_said(tmp_path, caplog):
    pixels = random_pixels(6, 4, dtype=np.uint16)
    image = read_image_2d(save(tmp_path / "x-ray.png", pixels))
    np.testing.assert_array_equal(image.slices, pixels[None])
    assert image.value_range == (0, 65535)
    assert not caplog.text
    read_image_2d(save(tmp_path / "dark.png", pixels // 16))
    assert f"dark.png: its brightest pixel is {pixels.max() // 16} of 65535" in caplog.text


def test_dropped_transparency_is_said(tmp_path, caplog):
    pixels = random_pixels(6, 4, 4)
    image = read_image_2d(save(tmp_path / "glass.png", pixels))
    np.testing.assert_array_equal(image.colours[0], pixels[..., :3])
    assert "glass.png: its transparency is dropped" in caplog.text
    caplog.clear()
    pixels[..., 3] = 255
    read_image_2d(save(tmp_path / "solid.png", pixels))
    assert not caplog.text


def test_errors_say_what_to_do(tmp_path):
    whole = save(tmp_path / "whole.png", random_pixels(64, 64)).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("no image")
    for name in ("cut.png", "text.jpg"):
        with pytest.raises(InputError, match=rf"{name}: cannot be read as an image \(.*\), so the file is"):
            read_image_2d(tmp_path / name)
    with pytest.raises(InputError, match=r"gone\.png: no such file; give a PNG or JPEG"):
        read_image_2d(tmp_path / "gone.png")
    frames = [Image.fromarray(random_pixels(4, 4)) for _ in range(2)]
    frames[0].save(tmp_path / "film.png", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match=r"film\.png: found 2 frames, expected one image"):
        read_image_2d(tmp_path / "film.png")
    save(tmp_path / "blank.png", np.full((4, 4), 7, np.uint8))
    with pytest.raises(InputError, match=r"blank\.png: every voxel is 7, expected an image with some"):
        read_image(tmp_path / "blank.png")
