"""A network of 2D images: PNG and JPEG in, a PNG label map in the same pixels out."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from common.data.framing import RGB, Framing
from common.data.images import read_image_2d
from common.errors import InputError
from common.inference import CaseRunner, CasesFailedError, VolumeInferer
from common.networks.base import TextSegmenter
from common.networks.guidance import Guidance
from common.text.prompts import Prompt


class ColourNetwork(TextSegmenter):
    """Prompts are "CHANNEL above LEVEL" with levels from 0 to 255: a known function of the colours."""

    def __init__(self, image_size, **framing):
        framing = Framing(**{"crop": "whole", "channels": RGB, "images": True, **framing})
        super().__init__(image_size=image_size, default_prompt="R above 127", framing=framing)
        self.fields = []

    def encode_text(self, prompts):
        rows = [prompt.split(" above ") for prompt in prompts]
        tokens = torch.tensor([["RGB".index(channel), float(level)] for channel, level in rows])
        return Guidance(tokens[:, None], torch.ones(len(rows), 1, dtype=torch.bool))

    def encode_image(self, image):
        assert image.shape[1:] == (3, self.image_size, self.image_size)
        self.fields += list(image)
        return image

    def decode(self, image_features, guidance):
        rows = image_features.repeat_interleave(guidance.count // len(image_features), dim=0)
        channel, level = guidance.tokens[:, 0].T
        return (rows[torch.arange(len(rows)), channel.long()] - level[:, None, None] / 255)[:, None]


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels).save(tmp_path / "in/photo.PNG")
    return pixels


def run(inputs, out, network, **options):
    options = {"prompts": ["R above 99.5", "B above 199.25"], "progress": False} | options
    return CaseRunner(inputs, out, network=network, inferer=VolumeInferer(), **options).run()


def test_a_2d_image_comes_back_as_a_label_map_of_its_pixels(photo, tmp_path):
    out = tmp_path / "out"
    run(tmp_path / "in", out, ColourNetwork(8), outputs=["labels", "masks", "probabilities", "preview"])
    red, blue = photo[..., 0].astype(int) - 99.5, photo[..., 2].astype(int) - 199.25
    expected = np.where((red > 0) & (red >= blue), 1, np.where(blue > 0, 2, 0))
    label_map = Image.open(out / "photo_seg.png")
    assert label_map.mode == "L"
    np.testing.assert_array_equal(np.asarray(label_map), expected)
    np.testing.assert_array_equal(np.asarray(Image.open(out / "photo_mask_1_R_above_99_5.png")), red > 0)
    scaled = np.asarray(Image.open(out / "photo_prob_2_B_above_199_25.png"))
    np.testing.assert_allclose(scaled, 255 / (1 + np.exp(-blue / 255)), atol=0.51)
    report = json.loads((out / "photo_seg.json").read_text("utf-8"))
    assert report["outputs"]["preview"] == ["photo_seg_preview.png"]
    assert Image.open(out / "photo_seg_preview.png").mode == "RGBA"
    assert report["spacing_mm"] is None
    for row in report["prompts"]:
        assert row["voxels"] == np.sum(expected == row["label"])
        assert row["ml"] is row["mask"]["ml"] is None  # pixels have no size
    assert [row["mask"]["voxels"] for row in report["prompts"]] == [np.sum(red > 0), np.sum(blue > 0)]


def test_the_whole_image_is_stretched_to_the_field(tmp_path):
    """Halves of 40 x 20 pixels fill halves of the square field, and the mask ends where they do."""
    pixels = np.zeros((40, 20, 3), np.uint8)
    pixels[20:] = (200, 100, 50)
    Image.fromarray(pixels).save(tmp_path / "halves.png")
    network = ColourNetwork(16)
    run(tmp_path / "halves.png", tmp_path / "out", network, prompts=["G above 50"])
    (field,) = network.fields
    for channel, value in enumerate((200, 100, 50)):
        torch.testing.assert_close(field[channel, :7], torch.zeros(7, 16))
        torch.testing.assert_close(field[channel, 9:], torch.full((7, 16), value / 255))
    mask = np.asarray(Image.open(tmp_path / "out/halves_seg.png"))
    np.testing.assert_array_equal(mask, pixels[..., 1] > 50)


def test_grey_images_and_volumes_have_three_equal_channels(make_nifti, tmp_path):
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    network = ColourNetwork(8, window=(-100, 300))
    run(tmp_path / "grey.png", tmp_path / "out", network)
    volume = make_nifti(grey[..., None].astype(int) * 4 - 100, np.diag([-1.0, -1.0, 1.0, 1.0]))
    run(volume, tmp_path / "out", network)
    for field, expected in zip(network.fields, (grey / 255, grey.T * 4 / 400), strict=True):
        for channel in field:
            np.testing.assert_allclose(channel.numpy(), expected, atol=1e-6)


def test_colours_are_grey_to_a_network_of_one_channel(photo, tmp_path, make_network):
    network, image = make_network(8, crop="whole"), read_image_2d(tmp_path / "in/photo.PNG")
    VolumeInferer()(image, network, [Prompt("1 at 0", "a", 1)])
    weights = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(network.fields[0].numpy() * 255, photo @ weights, atol=0.51)
    np.testing.assert_allclose(image.slices[0], photo @ weights, atol=0.51)  # Pillow rounds


def test_volumes_can_be_mirrored_and_masks_come_back_where_they_belong(make_volume, random_hu, make_network):
    """Left in the words is left in the field: columns of a volume run the other way; a box that pads too."""
    slices = random_hu(3, 8, 6)
    for crop in ("whole", "body"):
        network, plain = make_network(8, crop=crop, mirrored=True), make_network(8, crop=crop)
        asked, volume = [Prompt("5 at 49.5", "a", 1)], make_volume(slices)
        VolumeInferer()(volume, plain, asked)
        mirrored = VolumeInferer()(volume, network, asked)
        for one, other in zip(network.fields, plain.fields, strict=True):
            torch.testing.assert_close(one, other.flip(-1))
        if crop == "body":  # nothing is resampled there
            np.testing.assert_array_equal(mirrored.labels, slices > 49.5)


def test_a_network_of_volumes_takes_no_2d_images(photo, make_nifti, random_hu, network, tmp_path):
    """2D images beside the volumes of a folder, such as previews, are left out; one by name is refused."""
    make_nifti(random_hu(8, 8, 2), name="in/ct.nii.gz")
    options = {"network": network, "prompts": ["5 at 0"]}
    outcomes = run(tmp_path / "in", tmp_path / "out", **options).outcomes
    assert [one.input for one in outcomes] == [str(tmp_path / "in/ct.nii.gz")]
    with pytest.raises(InputError, match=r"photo\.PNG: found the ending '\.PNG', expected NIfTI"):
        run(tmp_path / "in/photo.PNG", tmp_path / "out", **options)


def test_the_networks_framing_alone_decides_whether_2d_images_are_taken(
    photo, make_network, make_nifti, random_hu, tmp_path
):
    make_nifti(random_hu(8, 8, 2), name="in/ct.nii.gz")
    for images, expected in ((True, ["ct.nii.gz", "photo.PNG"]), (False, ["ct.nii.gz"])):
        network = make_network(8, images=images)
        outcomes = run(tmp_path / "in", tmp_path / f"out-{images}", network, prompts=["5 at 0"]).outcomes
        assert [Path(one.input).name for one in outcomes] == expected


def test_one_broken_image_of_a_folder_is_reported(photo, tmp_path):
    (tmp_path / "in/broken.jpeg").write_bytes(b"no image")
    with pytest.raises(CasesFailedError, match=r"^1 of 2 cases failed: .*broken\.jpeg: cannot be read as"):
        run(tmp_path / "in", tmp_path / "out", ColourNetwork(8))
    assert (tmp_path / "out/photo_seg.png").is_file()
