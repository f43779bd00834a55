"""NRRD and MetaImage, against what SimpleITK wrote and where it says a voxel lies."""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from common.data.itk_files import read_itk, volume_from_array
from common.data.label_maps import read_label_map
from common.data.readers import read_image
from common.data.volumes import write_labels
from common.errors import InputError


def oblique():
    """A rotation about two axes, with axes exchanged: columns are directions in LPS."""
    a, b = np.deg2rad(12.0), np.deg2rad(-20.0)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return about_z @ about_x @ np.array([[0, 0, 1], [-1, 0, 0], [0, 1, 0.0]])


@pytest.fixture
def image():
    values = np.random.default_rng(3).integers(-1000, 1000, (4, 5, 6)).astype(np.int16)  # (z, y, x)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.7, 1.3, 2.5))
    image.SetOrigin((-11.0, 22.0, 33.0))
    image.SetDirection(oblique().ravel().tolist())
    return image


@pytest.mark.parametrize("name", ["case.nrrd", "case.nhdr", "case.mha", "case.mhd"])
def test_every_voxel_lies_where_simpleitk_says(image, name, tmp_path):
    sitk.WriteImage(image, str(tmp_path / name))
    volume = read_image(tmp_path / name)
    assert volume.slices.dtype == np.float32
    to_index = np.linalg.inv(volume.affine)
    for x, y, z in np.ndindex(6, 5, 4):
        left, posterior, superior = image.TransformIndexToPhysicalPoint((x, y, z))
        d, h, w = np.rint((to_index @ [-left, -posterior, superior, 1.0])[:3]).astype(int)
        assert volume.slices[d, h, w] == image.GetPixel(x, y, z)
    np.testing.assert_allclose(volume.spacing_mm, np.linalg.norm(volume.affine[:3, :3], axis=0), rtol=1e-6)


def test_masks_come_back_as_nifti_in_the_same_grid(image, tmp_path):
    sitk.WriteImage(image, str(tmp_path / "case.nrrd"))
    volume = read_itk(tmp_path / "case.nrrd")
    write_labels(tmp_path / "mask.nii.gz", (volume.slices > 0).astype(np.uint8), like=volume)
    mask = sitk.ReadImage(str(tmp_path / "mask.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(mask), sitk.GetArrayFromImage(image) > 0)
    np.testing.assert_allclose(mask.GetDirection(), image.GetDirection(), atol=1e-6)
    np.testing.assert_allclose(mask.GetOrigin(), image.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(mask.GetSpacing(), image.GetSpacing(), atol=1e-6)
    assert read_label_map(tmp_path / "mask.nii.gz").slices.shape == volume.slices.shape


def test_errors_say_what_to_do(image, tmp_path):
    with pytest.raises(InputError, match=r"gone\.nrrd: no such file; give a file that ends in \.nrrd"):
        read_itk(tmp_path / "gone.nrrd")
    (tmp_path / "broken.mha").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"broken\.mha: cannot be read as MHA \(.*\), so the file is broken"):
        read_itk(tmp_path / "broken.mha")
    sitk.WriteImage(image, str(tmp_path / "cut.nrrd"))
    (tmp_path / "cut.nrrd").write_bytes((tmp_path / "cut.nrrd").read_bytes()[:-30])
    with pytest.raises(InputError, match=r"cut\.nrrd: found 210 bytes of voxels, expected the 240 that its"):
        read_itk(tmp_path / "cut.nrrd")
    sitk.WriteImage(sitk.Image([4, 4], sitk.sitkInt16), str(tmp_path / "flat.mha"))
    with pytest.raises(InputError, match=r"flat\.mha: the image has 2 axes and 1 channels, expected"):
        read_itk(tmp_path / "flat.mha")
    sitk.WriteImage(sitk.Image([4, 4, 4], sitk.sitkVectorFloat32, 3), str(tmp_path / "colour.mha"))
    with pytest.raises(InputError, match=r"colour\.mha: the image has 3 axes and 3 channels, expected"):
        read_itk(tmp_path / "colour.mha")
    with pytest.raises(InputError, match=r"case\.txt: found the ending '\.txt', expected PNG, JPEG, NIfTI"):
        read_image(tmp_path / "case.txt")
    with pytest.raises(InputError, match=r"memory: the affine is singular"):
        volume_from_array("memory", np.zeros((2, 2, 2)), np.diag([1.0, 0.0, 1.0, 1.0]))
    with pytest.raises(InputError, match=r"memory: no voxel holds a finite number"):
        volume_from_array("memory", np.full((2, 2, 2), np.nan), np.eye(4))
