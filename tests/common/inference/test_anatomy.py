"""As many connected parts as an organ has: volumes whose parts are drawn by hand."""

from typing import Any

import numpy as np
import pytest

from common.inference import VolumeInferer
from common.inference.cleaning import keep_pieces
from common.text.prompts import Prompt


def boxes(*places: tuple[slice, slice, slice], shape: tuple[int, int, int] = (9, 12, 12)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    for place in places:
        mask[place] = True
    return mask


LARGE = (slice(3, 7), slice(2, 7), slice(2, 7))  # 100 voxels, away from both ends
SMALL = (slice(2, 4), slice(9, 11), slice(9, 11))  # 8
SMALLER = (slice(5, 6), slice(10, 12), slice(0, 2))  # 4


@pytest.mark.parametrize(
    ("pieces", "kept"), [(1, [LARGE]), (2, [LARGE, SMALL]), (3, [LARGE, SMALL, SMALLER])]
)
def test_the_largest_parts_stay(pieces: int, kept: list[Any]) -> None:
    np.testing.assert_array_equal(keep_pieces(boxes(LARGE, SMALL, SMALLER), pieces), boxes(*kept))


def test_an_empty_mask_stays_empty() -> None:
    assert not keep_pieces(boxes(), 1).any()


def test_one_empty_slice_does_not_part_a_cord_and_two_do() -> None:
    cord = boxes((slice(1, 4), slice(5, 7), slice(5, 7)), (slice(5, 8), slice(6, 8), slice(5, 7)))
    np.testing.assert_array_equal(keep_pieces(cord, 1), cord)
    apart = boxes((slice(1, 4), slice(5, 7), slice(5, 7)), (slice(6, 8), slice(5, 7), slice(5, 7)))
    np.testing.assert_array_equal(keep_pieces(apart, 1), boxes((slice(1, 4), slice(5, 7), slice(5, 7))))


def test_what_goes_on_outside_the_scan_stays_if_it_is_large() -> None:
    """Both sides of a mandible in a scan that ends above the chin; 3 of 40 voxels are no side of it."""
    left, right = ((slice(0, 5), slice(2, 6), slice(x, x + 2)) for x in (1, 9))
    speck = (slice(0, 1), slice(10, 11), slice(4, 7))
    np.testing.assert_array_equal(keep_pieces(boxes(left, right, speck), 1), boxes(left, right))


def segment(network: Any, volume: Any, texts: list[str], asked: list[str], **options: Any) -> Any:
    """Ask in words for what the network of known answers finds by `asked`, see its class."""
    prompts = [Prompt(text, text, number) for number, text in enumerate(texts, start=1)]
    inferer = VolumeInferer(**options)
    return inferer(volume, network, prompts, guidance=network.encode_text(asked))


@pytest.fixture
def stored() -> np.ndarray:
    """A block of 100 HU, and away from it a speck of 200 HU in two slices."""
    hu = np.full((5, 8, 8), -100)
    hu[1:4, 2:5, 2:5] = 100
    hu[2:4, 7, 7] = 200
    return hu


def test_an_organ_of_one_piece_loses_the_rest_and_others_take_it(
    network: Any, make_volume: Any, stored: np.ndarray
) -> None:
    found = segment(network, make_volume(stored), ["liver", "vertebrae"], ["9 at 0", "1 at 0"])
    liver, vertebrae = found.results
    assert (liver.mask.voxels, liver.removed_voxels) == (27, 2)
    assert (vertebrae.mask.voxels, vertebrae.removed_voxels) == (29, 0)
    np.testing.assert_array_equal(found.mask(0), stored == 100)
    np.testing.assert_array_equal(found.mask(1), stored > 0)
    np.testing.assert_array_equal(found.labels, np.where(stored == 100, 1, np.where(stored == 200, 2, 0)))
    assert (liver.labelled.voxels, vertebrae.labelled.voxels) == (27, 2)
    assert (liver.overlap_voxels, vertebrae.overlap_voxels) == (0, 27)


@pytest.mark.parametrize(
    ("text", "voxels", "removed"),
    [("the liver, left of the spleen", 27, 2), ("both kidneys", 29, 0), ("lesion in the liver", 29, 0)],
)
def test_words_decide_how_many_parts_stay(
    network: Any, make_volume: Any, stored: np.ndarray, text: str, voxels: int, removed: int
) -> None:
    (result,) = segment(network, make_volume(stored), [text], ["9 at 0"]).results
    assert (result.mask.voxels, result.removed_voxels) == (voxels, removed)
    assert result.labelled.voxels == voxels


def test_it_can_be_switched_off(network: Any, make_volume: Any, stored: np.ndarray) -> None:
    (result,) = segment(network, make_volume(stored), ["liver"], ["9 at 0"], anatomy=False).results
    assert (result.mask.voxels, result.removed_voxels) == (29, 0)


def test_one_slice_alone_is_left_as_it_is(network: Any, make_volume: Any, stored: np.ndarray) -> None:
    prompts = [Prompt("liver", "liver", 1)]
    guidance = network.encode_text(["9 at 0"])
    found = VolumeInferer()(make_volume(stored), network, prompts, guidance=guidance, slice_index=2)
    assert (found.results[0].mask.voxels, found.results[0].removed_voxels) == (10, 0)
