import nibabel
import numpy as np
import pytest

from tools.phantom.grid import VoxelGrid, orientation_code

GRID = VoxelGrid.around((10.0, -20.0, 300.0), (6, 8, 4), (1.5, 1.2, 4.0))


def test_48_numbers_give_all_48_orientations_and_6_all_axis_orders():
    assert len({orientation_code(number) for number in range(100, 148)}) == 48
    letters = {"L": "x", "R": "x", "P": "y", "A": "y", "I": "z", "S": "z"}
    orders = {"".join(letters[end] for end in orientation_code(number)) for number in range(7, 13)}
    assert len(orders) == 6


@pytest.mark.parametrize("number", range(48))
def test_a_voxel_lies_at_its_world_position_in_every_orientation(number):
    code = orientation_code(number)
    voxels = np.arange(6 * 8 * 4, dtype=np.int16).reshape(6, 8, 4)
    image = GRID.to_nifti(voxels, code)
    assert "".join(nibabel.aff2axcodes(image.affine)) == code
    marked = np.argwhere(np.asarray(image.dataobj) == voxels[5, 1, 3])[0]
    world = image.affine @ [*marked, 1]
    # Middle of the grid plus the way to voxel (5, 1, 3), by hand: 2.5 x 1.5, -2.5 x 1.2, 1.5 x 4 mm.
    np.testing.assert_allclose(world[:3], [13.75, -23.0, 306.0])
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-4)
    assert sorted(image.header.get_zooms()) == pytest.approx([1.2, 1.5, 4.0])
    assert image.get_data_dtype() == np.int16
