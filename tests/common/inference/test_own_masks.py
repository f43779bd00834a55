"""Own masks: what goes in comes out, in little memory, and nothing else that is asked changes them."""

import tracemalloc
from itertools import pairwise

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.inference import VolumeInferer
from common.inference.segmentation import OwnMasks
from common.text.prompts import Prompt

SHAPE = (4, 7, 9)


def prompts(*texts):
    return [Prompt(text, text, label) for label, text in enumerate(texts, start=1)]


def stored(*volumes):
    """Own masks of whole volumes (D, H, W) bool, one a prompt."""
    masks = OwnMasks(volumes[0].shape)
    for row, volume in enumerate(volumes):
        for index, section in enumerate(volume):
            masks.put(row, index, section, top=0, left=0)
    return masks


@pytest.mark.parametrize("density", [0.0, 0.01, 0.5, 1.0])
def test_what_is_put_comes_out(density):
    """From nothing over a few voxels to whole slices."""
    rng = np.random.default_rng(3)
    volumes = [rng.random(SHAPE) < density for _ in range(3)]
    masks = stored(*volumes)
    for row, volume in enumerate(volumes):
        found = masks.of(row)
        assert found.dtype == bool
        np.testing.assert_array_equal(found, volume)


@st.composite
def puts(draw):
    """(row, slice, top, left, mask) of masks that lie inside a slice of SHAPE."""
    _, height, width = SHAPE
    h, w = draw(st.integers(1, height)), draw(st.integers(1, width))
    bits = draw(st.lists(st.booleans(), min_size=h * w, max_size=h * w))
    return (
        draw(st.integers(0, 1)),
        draw(st.integers(0, SHAPE[0] - 1)),
        draw(st.integers(0, height - h)),
        draw(st.integers(0, width - w)),
        np.reshape(bits, (h, w)),
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(puts(), max_size=8))
def test_a_row_has_what_was_put_last_into_each_of_its_slices(actions):
    masks, expected = OwnMasks(SHAPE), np.zeros((2, *SHAPE), bool)
    for row, index, top, left, mask in actions:
        masks.put(row, index, mask, top=top, left=left)
        expected[row, index] = False
        expected[row, index, top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    for row in range(2):
        np.testing.assert_array_equal(masks.of(row), expected[row])


def test_an_empty_mask_takes_back_what_was_there_and_no_other():
    whole = np.ones((7, 9), bool)
    masks = OwnMasks(SHAPE)
    for row, index in ((0, 1), (0, 2), (1, 1)):
        masks.put(row, index, whole, top=0, left=0)
    masks.put(0, 1, ~whole, top=0, left=0)
    masks.put(2, 0, ~whole, top=0, left=0)  # where nothing was
    filled = [np.flatnonzero(masks.of(row).any(axis=(1, 2))).tolist() for row in range(4)]
    assert filled == [[2], [1], [], []]


def test_what_is_given_out_or_taken_in_is_nobodys_to_change():
    handed, masks = np.ones((7, 9), bool), OwnMasks(SHAPE)
    masks.put(0, 0, handed, top=0, left=0)
    handed[:] = False
    masks.of(0)[:] = False
    assert masks.of(0)[0].all()


def test_masks_take_bits_of_their_boxes_alone():
    """13 balls of 40 voxels in radius in 256 x 256 x 100: under a fiftieth of an array of bytes each."""
    z, y, x = np.ogrid[-50:50, -128:128, -128:128]
    ball = z**2 + y**2 + x**2 < 40**2
    masks = OwnMasks(ball.shape)
    tracemalloc.start()
    for row in range(13):
        for index, section in enumerate(ball):
            masks.put(row, index, section, top=0, left=0)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 13 * ball.nbytes / 50
    np.testing.assert_array_equal(masks.of(12), ball)


def test_memory_hardly_depends_on_the_number_of_prompts(network, make_volume):
    """Forty prompts with a small mask each: the peak grows by less than two arrays of bytes."""
    slices = np.full((200, 64, 64), -100)
    slices[:, 20:28, 20:28] = 200
    volume, inferer = make_volume(slices), VolumeInferer(slice_batch=2, prompt_batch=1)
    inferer(volume, network, prompts("5 at 0"))  # what is set up once

    def peak(count):
        network.images.clear()
        tracemalloc.start()
        inferer(volume, network, prompts(*(f"5 at {number}.5" for number in range(count))))
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    assert peak(40) - peak(1) < 2 * slices.size


TEXTS = ("9 at 99.5", "3 at 19.5", "-4 at 0.5", "5 at 239", "2 at 60.5")


@pytest.mark.parametrize(
    "options", [{}, {"presence_threshold": 0.55}, {"keep_largest": True, "smooth": True}]
)
def test_own_masks_are_the_same_whatever_else_is_asked(options, make_network, make_volume, random_hu):
    """Alone, in pairs, all together, in another order, with other numbers and in other batches."""
    volume, network = make_volume(random_hu(6, 20, 12)), make_network(16)

    def masks(texts, first=1, **batches):
        asked = [Prompt(text, text, number) for number, text in enumerate(texts, start=first)]
        found = VolumeInferer(**options, **batches)(volume, network, asked)
        sizes = [one.mask.voxels for one in found.results]
        assert sizes == [np.count_nonzero(mask) for mask in found.masks()]
        return dict(zip(texts, found.masks(), strict=True))

    alone = {text: masks([text])[text] for text in TEXTS}
    assert sum(mask.any() for mask in alone.values()) >= 3
    for texts in (*pairwise(TEXTS), TEXTS, TEXTS[::-1]):
        for text, mask in masks(texts, first=7, slice_batch=4, prompt_batch=2).items():
            np.testing.assert_array_equal(mask, alone[text])


def test_own_masks_of_one_slice_are_those_among_all(network, make_volume, random_hu):
    volume, asked = make_volume(random_hu(5, 8, 8)), prompts(*TEXTS)
    every = VolumeInferer()(volume, network, asked)
    one = VolumeInferer()(volume, network, asked, slice_index=3)
    for whole, mask in zip(every.masks(), one.masks(), strict=True):
        np.testing.assert_array_equal(mask[3], whole[3])
        assert not np.delete(mask, 3, axis=0).any()


def test_masks_lie_where_a_body_in_a_corner_lies(network, make_volume, random_hu):
    """Only the body's box goes through the network; its masks come back at its place."""
    slices = np.full((3, 20, 30), -1000)
    slices[:, 11:19, 21:29] = random_hu(3, 8, 8)
    result = VolumeInferer()(make_volume(slices), network, prompts("5 at 49.5", "5 at 99.5"))
    for mask, hu in zip(result.masks(), (49.5, 99.5), strict=True):
        np.testing.assert_array_equal(mask, slices > hu)


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


@pytest.mark.parametrize("threshold", [0.35, 0.5, 0.8])
def test_a_voxel_is_of_a_mask_exactly_where_its_probability_exceeds_the_networks_threshold(
    threshold, make_network, run, make_nifti, random_hu, tmp_path
):
    """In own masks, label map and probabilities alike; gains are low, so that thresholds lie far apart."""
    voxels = random_hu(8, 8, 5)
    outputs = ["labels", "masks", "probabilities"]
    options = {
        "prompts": [Prompt("4 at 50.3", "bright", 1), Prompt("-6 at 10.3", "dark", 2)],
        "outputs": outputs,
    }
    (report,) = run(make_nifti(voxels), network=make_network(8, threshold=threshold), **options)
    bright, dark = sigmoid(4 * (voxels - 50.3) / 400), sigmoid(-6 * (voxels - 10.3) / 400)
    assert np.abs(np.stack([bright, dark]) - threshold).min() > 1e-6  # nothing is a matter of rounding
    files = {
        name: np.asarray(nib.load(tmp_path / f"out/case_{name}.nii.gz").dataobj)
        for name in ("seg", "mask_1_bright", "mask_2_dark", "prob_1_bright", "prob_2_dark")
    }
    for name, probability in (("1_bright", bright), ("2_dark", dark)):
        np.testing.assert_array_equal(files[f"mask_{name}"], probability > threshold)
        np.testing.assert_array_equal(files[f"prob_{name}"] >= 128, probability > threshold)
    either = (bright > threshold) | (dark > threshold)
    expected = np.where(either, np.where(bright > dark, 1, 2), 0)
    np.testing.assert_array_equal(files["seg"], expected)
    assert {1, 2} <= set(np.unique(expected))
    assert report["settings"]["threshold"] == threshold


def test_another_threshold_is_another_request(make_network, run, make_nifti, random_hu, tmp_path):
    source = make_nifti(random_hu(8, 8, 2))
    sizes = []
    for threshold in (0.5, 0.35):
        network = make_network(8, threshold=threshold)
        (report,) = run(source, network=network, prompts=["4 at 50"], skip_existing=True)
        assert network.images_encoded == 2
        sizes.append(report["prompts"][0]["mask"]["voxels"])
    assert sizes[0] < sizes[1]
