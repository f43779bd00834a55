"""Words for masks: shapes whose answer is plain, and the published prompts of 360 real masks."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.errors import InputError
from common.text.mask_attributes import mask_attributes, number_word

KVASIR = Path(__file__).parents[4] / "shared/data/endo_kvasir_seg"


def disc(row: float, column: float, radius: float, *, size: tuple[int, int] = (300, 600)) -> np.ndarray:
    rows, columns = np.ogrid[: size[0], : size[1]]
    return np.where((rows - row) ** 2 + (columns - column) ** 2 <= radius**2, 255, 0).astype(np.uint8)


def ellipse(ratio: float) -> np.ndarray:
    rows, columns = np.ogrid[:200, :200]
    return np.where(((rows - 100) / ratio) ** 2 + (columns - 100) ** 2 <= 80**2, 255, 0).astype(np.uint8)


def test_pieces_are_counted_sized_and_placed_in_raster_order():
    mask = np.maximum(disc(40, 500, 30), np.maximum(disc(150, 60, 3), disc(250, 300, 45)))
    found = mask_attributes(mask)
    assert found.number == "three"
    assert found.sizes == ("tiny", "small")  # 29 of 180,000 pixels; 0.016 and 0.035 of the image
    assert found.locations == ("top right", "left", "bottom")


@pytest.mark.parametrize(
    ("share", "word"),
    [
        (0.0009, "tiny"),
        (0.001, "small"),
        (0.0799, "small"),
        (0.08, "medium"),
        (0.2999, "medium"),
        (0.3, "large"),
    ],
)
def test_sizes_by_share_of_the_image(share, word):
    mask = np.zeros((100, 1000), np.uint8)
    mask.flat[: round(share * mask.size)] = 255
    assert mask_attributes(mask).sizes == (word,)


def test_specks_and_pixels_that_touch_at_corners():
    mask = disc(150, 300, 40)
    mask[0, 0] = 255  # 1 of 180,000 pixels
    mask[10:15, 20:25] = mask[15:20, 25:30] = 255  # two squares that touch at a corner
    assert mask_attributes(mask).number == "two"
    published = mask_attributes(mask, rule="published")
    assert (published.number, published.sizes) == ("four", ("tiny", "small"))


@pytest.mark.parametrize(
    ("row", "column", "place"),
    [
        (99, 99, "top left"),
        (100, 100, "top left"),
        (101, 100, "left"),
        (200, 200, "center"),
        (201, 201, "bottom right"),
        (150, 250, "right"),
        (20, 150, "top"),
        (250, 150, "bottom"),
        (250, 20, "bottom left"),
        (20, 250, "top right"),
    ],
)
def test_nine_places_and_borders_belong_to_the_middle(row, column, place):
    mask = np.zeros((300, 300), np.uint8)
    mask[row - 8 : row + 7, column - 8 : column + 7] = 255  # the middle of the box is at row - 0.5
    assert mask_attributes(mask).locations == (place,)


@pytest.mark.parametrize(
    ("ratio", "word"), [(1.0, "round"), (0.82, "round"), (0.7, "oval"), (0.52, "oval"), (0.4, "elongated")]
)
def test_shapes_of_ellipses_follow_the_ratio_of_their_axes(ratio, word):
    assert mask_attributes(ellipse(ratio)).shape == word


def test_a_shape_with_a_bay_is_irregular():
    mask = ellipse(1.0)
    mask[100:, 80:120] = 0
    assert mask_attributes(mask).shape == "irregular"


@pytest.mark.parametrize(
    ("rgb", "name"),
    [((0, 0, 0), "black"), ((250, 250, 250), "white"), ((210, 40, 40), "red"), ((240, 220, 100), "yellow")],
)
def test_the_colour_is_that_of_the_mask_alone(rgb, name):
    mask = disc(150, 300, 60)
    image = np.full((*mask.shape, 3), (0, 0, 255), np.uint8)
    image[mask > 0] = rgb
    assert mask_attributes(mask, image).colour == name


def test_an_empty_mask_has_no_piece_and_no_words():
    found = mask_attributes(np.zeros((20, 30), np.uint8), np.zeros((20, 30, 3), np.uint8))
    assert (found.number, found.sizes, found.locations, found.shape, found.colour) == (
        "no",
        (),
        (),
        None,
        None,
    )


def test_a_grey_image_has_no_colour():
    mask = disc(150, 300, 60)
    assert mask_attributes(mask, mask).colour is None


def test_numbers_are_words_to_twenty():
    assert [number_word(count) for count in (0, 1, 13, 20, 21)] == ["no", "one", "thirteen", "twenty", "21"]


def test_another_rule_and_another_size_are_refused():
    mask = np.zeros((20, 30), np.uint8)
    with pytest.raises(InputError, match="rule: found 'authors', expected clean or published; choose one"):
        mask_attributes(mask, rule="authors")
    with pytest.raises(InputError, match="image: found 31 x 20 pixels for a mask of 30 x 20; give the image"):
        mask_attributes(mask, np.zeros((20, 31, 3), np.uint8))


@pytest.mark.skipif(not KVASIR.is_dir(), reason="NO ../shared/data: published prompts not compared")
def test_the_published_rule_gives_the_published_prompts():
    """Kvasir-SEG's prompts by Poudel et al.: number, size and place of masks of one and of several pieces."""
    records = [r for name in ("train", "val") for r in json.loads((KVASIR / f"anns/{name}.json").read_text())]
    records = [record for record in records if (KVASIR / "masks" / record["mask_name"]).is_file()]
    several = [r for r in records if not r["prompts"]["p5"].startswith("one")]
    assert len(records) == 360
    for record in (*records[::20], *several[::4]):
        mask = np.asarray(Image.open(KVASIR / "masks" / record["mask_name"]).convert("L"))
        found, prompts = mask_attributes(mask, rule="published"), record["prompts"]
        number, *sizes = prompts["p5"].removesuffix(prompts["p3"]).split()
        place = re.search("located in (.*) of the image", prompts["p6"])
        assert (found.number, ", ".join(found.sizes)) == (number, " ".join(sizes)), record["mask_name"]
        assert place is not None
        assert ", ".join(found.locations) == place[1], record["mask_name"]
