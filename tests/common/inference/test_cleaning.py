"""Cleaning, on label maps whose cleaned form is drawn by hand."""

import json

import nibabel as nib
import numpy as np
from scipy.ndimage import median_filter

from common.inference import CaseRunner, VolumeInferer
from common.inference.cleaning import keep_largest_components, smooth_across_slices


def column(*labels):
    """One voxel a slice."""
    return np.array(labels, np.uint8)[:, None, None]


def test_smoothing_closes_gaps_and_removes_single_slices():
    for before, after in [
        ((1, 1, 0, 1, 1), (1, 1, 1, 1, 1)),
        ((0, 0, 2, 0, 0), (0, 0, 0, 0, 0)),
        ((1, 1, 2, 2, 0), (1, 1, 2, 2, 0)),
        ((1, 2, 3, 3, 3), (1, 2, 3, 3, 3)),
        ((3, 0, 0, 0, 3), (3, 0, 0, 0, 3)),
        ((1, 0), (1, 0)),
        ((1,), (1,)),
    ]:
        np.testing.assert_array_equal(smooth_across_slices(column(*before)), column(*after))


def test_smoothing_of_one_label_is_a_median_across_slices():
    mask = np.random.default_rng(0).random((9, 6, 5)) > 0.5
    expected = median_filter(mask.astype(np.uint8), size=(3, 1, 1), mode="nearest")
    expected[[0, -1]] = mask[[0, -1]]
    smooth = smooth_across_slices(mask)
    assert smooth.dtype == bool
    np.testing.assert_array_equal(smooth, expected)


def test_the_largest_part_of_every_label_stays():
    labels = np.zeros((4, 9, 9), np.uint8)
    labels[0, :3, :3] = 1
    labels[1, 3, 3] = 1  # touches the corner of the block, and belongs to it
    labels[3, 7:, 7:] = 1
    labels[2, 0, 0] = labels[2, 8, :2] = 200
    expected = labels.copy()
    expected[3, 7:, 7:] = 0
    expected[2, 0, 0] = 0
    np.testing.assert_array_equal(keep_largest_components(labels), expected)
    assert not keep_largest_components(labels * 0).any()


def test_both_are_switches_that_reach_all_masks_and_the_counts(network, make_nifti, tmp_path):
    """A bar through all slices with a gap, and a loose voxel in one slice that overlaps another prompt."""
    stored = np.full((8, 8, 5), -100)
    stored[2:5, 2:5, [0, 1, 3, 4]] = 100
    stored[7, 7, 4] = 200
    texts = ["9 at 0", "1 at 150"]  # logits are equal at 168.75 HU: the steep one wins everywhere

    def run(**options):
        CaseRunner(make_nifti(stored), tmp_path, network=network, inferer=VolumeInferer(**options),
                   prompts=texts, outputs=["labels", "masks"], progress=False).run()  # fmt: skip
        names = ("case_seg", "case_mask_1_9_at_0", "case_mask_2_1_at_150")
        return [np.asarray(nib.load(tmp_path / f"{name}.nii.gz").dataobj) for name in names]

    bar = np.zeros(stored.shape, np.uint8)
    bar[2:5, 2:5] = 1
    labels, steep, gentle = run(smooth=True, keep_largest=True)
    np.testing.assert_array_equal(labels, bar)
    np.testing.assert_array_equal(steep, bar)
    assert gentle.sum() == 1
    rows = json.loads((tmp_path / "case_seg.json").read_text("utf-8"))["prompts"]
    assert [(row["voxels"], row["mask"]["voxels"]) for row in rows] == [
        (bar.sum(), steep.sum()),
        (0, gentle.sum()),
    ]
    labels, steep, gentle = run()
    np.testing.assert_array_equal(labels, stored > 0)
    np.testing.assert_array_equal(gentle, stored > 150)


def test_voxels_that_cleaning_removed_were_not_lost_to_another_prompt(network, make_volume):
    from common.text.prompts import Prompt

    slices = np.full((3, 8, 8), -100)
    slices[:, 2:5, 2:5] = 100
    slices[1, 7, 7] = 200
    asked = [Prompt("9 at 0", "steep", 1), Prompt("1 at 150", "gentle", 2)]
    steep, gentle = VolumeInferer(keep_largest=True)(make_volume(slices), network, asked).results
    assert (steep.labelled.voxels, steep.overlap_voxels) == (27, 0)
    assert (gentle.labelled.voxels, gentle.overlap_voxels) == (0, 1)


def test_what_a_mask_lost_is_part_of_the_cleaned_mask(network, make_volume):
    """Of two like masks the second loses all, less the speck that its cleaning takes away."""
    from common.text.prompts import Prompt

    slices = np.full((3, 8, 8), -100)
    slices[:, 2:5, 2:5] = 100
    slices[1, 7, 7] = 100
    asked = [Prompt("9 at 0", "steep", 1), Prompt("1 at 0", "gentle", 2)]
    gentle = VolumeInferer(keep_largest=True)(make_volume(slices), network, asked).results[1]
    assert gentle.mask.voxels == gentle.overlap_voxels == 27
