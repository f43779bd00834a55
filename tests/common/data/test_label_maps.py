"""Label maps of every format: the numbers that other programs wrote, at their places, or a refusal."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its own manual uses
from PIL import ExifTags, Image

from common.data.images import read_image_2d, write_labels_png
from common.data.itk_files import write_labels_itk
from common.data.label_maps import check_same_grid, read_label_map
from common.data.readers import read_image
from common.data.volumes import write_labels
from common.errors import InputError

FORMATS = ("nii", "nii.gz", "nrrd", "nhdr", "mha", "mhd")
BEYOND_FLOAT32 = 2**24 + 1  # float32 takes it for 2**24


def written(path: Path, values: np.ndarray) -> Path:
    """Values (Z, Y, X) in a grid whose axes are exchanged and turned, as SimpleITK writes it."""
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.7, 1.3, 2.5))
    image.SetOrigin((-11.0, 22.0, 33.0))
    a = np.deg2rad(12.0)
    image.SetDirection([0, np.cos(a), -np.sin(a), 0, np.sin(a), np.cos(a), 1, 0, 0])
    sitk.WriteImage(image, str(path))
    return path


def numbers(dtype: str) -> np.ndarray:
    values = np.random.default_rng(3).choice([0, 1, 2, 100], (4, 5, 6)).astype(dtype)
    if values.dtype.itemsize > 4 or dtype in ("int32", "uint32"):
        values[0, 0, 0] = BEYOND_FLOAT32
    return values


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
)
@pytest.mark.parametrize("ending", FORMATS)
def test_every_number_is_read_where_it_was_written(tmp_path: Path, ending: str, dtype: str) -> None:
    values = numbers(dtype)
    path = written(tmp_path / f"a.{ending}", values)
    labels = read_label_map(path)
    assert labels.slices.dtype == np.int32
    image = sitk.ReadImage(str(path))
    to_index = np.linalg.inv(labels.affine)
    for x, y, z in np.ndindex(6, 5, 4):
        left, posterior, superior = image.TransformIndexToPhysicalPoint((x, y, z))
        d, h, w = np.rint((to_index @ [-left, -posterior, superior, 1.0])[:3]).astype(int)
        assert labels.slices[d, h, w] == values[z, y, x]


@pytest.mark.parametrize("ending", ["nii.gz", "nii", "nrrd", "mha"])
def test_what_is_written_here_is_read_back(tmp_path: Path, ending: str) -> None:
    """All kinds of files that inference writes."""
    image = read_image(written(tmp_path / "image.nrrd", numbers("float32")))
    labels = np.random.default_rng(1).integers(0, 256, image.slices.shape).astype(np.uint8)
    write = write_labels if ending.startswith("nii") else write_labels_itk
    write(tmp_path / f"a.{ending}", labels, like=image)
    np.testing.assert_array_equal(read_label_map(tmp_path / f"a.{ending}", like=image).slices, labels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_png_that_is_written_here_is_read_back(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(np.arange(15, dtype=np.uint8).reshape(3, 5)).save(tmp_path / "image.jpg", exif=exif)
    image = read_image_2d(tmp_path / "image.jpg")
    labels = np.random.default_rng(1).integers(0, 256, image.slices.shape).astype(np.uint8)
    write_labels_png(tmp_path / "a.png", labels, like=image)
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.png", like=image).slices, labels)


def test_a_png_is_upright_and_keeps_all_values(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 2**16, (5, 7)).astype(np.uint16)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # its first column is the top: turned to the right by a quarter
    Image.fromarray(values).save(tmp_path / "16.png", exif=exif)
    read = read_label_map(tmp_path / "16.png").slices
    assert read.dtype == np.int32
    np.testing.assert_array_equal(read, np.rot90(values, -1)[None])
    palette = Image.fromarray((values % 5).astype(np.uint8))
    palette.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200, 90, 90, 90, 1, 2, 3])
    palette.save(tmp_path / "palette.png")
    assert Image.open(tmp_path / "palette.png").mode == "P"
    np.testing.assert_array_equal(read_label_map(tmp_path / "palette.png").slices, values[None] % 5)
    Image.fromarray(values > 2**15).save(tmp_path / "two.png")
    assert Image.open(tmp_path / "two.png").mode == "1"
    np.testing.assert_array_equal(read_label_map(tmp_path / "two.png").slices, values[None] > 2**15)


def test_labels_on_another_grid_are_refused(tmp_path: Path) -> None:
    affine = np.diag([0.7, 0.8, 5.0, 1.0])

    def saved(name: str, shape: tuple[int, ...] = (5, 6, 7), shift_mm: float = 0.0) -> Path:
        moved = affine.copy()
        moved[0, 3] += shift_mm
        nib.save(nib.Nifti1Image(np.ones(shape, np.uint8), moved), tmp_path / name)
        return tmp_path / name

    image = read_image(written(tmp_path / "other.nrrd", numbers("uint8")))
    with pytest.raises(InputError, match="expected the same grid"):
        read_label_map(saved("a.nii"), like=image)
    ct = read_label_map(saved("ct.nii"))
    name = saved("wide.nii", (5, 6, 8))
    with pytest.raises(InputError) as wrong:
        read_label_map(name, like=ct)
    assert str(wrong.value) == (
        f"{name}: the labels have 8 x 6 x 5 voxels (slices x rows x columns) and the image {ct.grid.path} "
        f"has 7 x 6 x 5, expected the same grid; resample {name} to the image with nearest neighbours."
    )
    with pytest.raises(InputError, match=r"differs .* up to 0\.357 voxels \(0\.25 mm\) apart"):
        read_label_map(saved("moved.nii", shift_mm=0.25), like=ct)
    check_same_grid(read_label_map(saved("near.nii", shift_mm=5e-4)), ct)


def test_a_png_fits_images_alone(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((6, 5), np.uint8)).save(tmp_path / "a.png")
    nib.save(nib.Nifti1Image(np.zeros((5, 6, 1), np.uint8), np.eye(4)), tmp_path / "a.nii")
    png, nifti = read_label_map(tmp_path / "a.png"), read_label_map(tmp_path / "a.nii")
    for one, other in ((png, nifti), (nifti, png)):
        with pytest.raises(
            InputError, match=r"but .*a\.png has only pixels and .*a\.nii has a position in space"
        ):
            check_same_grid(one, other)


@pytest.mark.parametrize(("value", "text"), [(0.5, "0.5"), (-1.0, "-1"), (np.nan, "nan"), (1e12, "1e+12")])
@pytest.mark.parametrize("ending", FORMATS)
def test_numbers_that_are_no_labels_are_refused_in_every_format(
    tmp_path: Path, ending: str, value: float, text: str
) -> None:
    data = np.ones((3, 4, 5), np.float64)
    data[2, 2, 2] = value
    path = written(tmp_path / f"a.{ending}", data)
    with pytest.raises(InputError) as wrong:
        read_label_map(path)
    assert str(wrong.value) == (
        f"{path}: a label map holds {text}, expected whole numbers from 0 up; "
        "give a label map, not an image or a probability map."
    )


@pytest.mark.parametrize("ending", ["nii.gz", "nrrd", "mha"])
def test_rounding_errors_are_no_fractions(tmp_path: Path, ending: str) -> None:
    path = written(tmp_path / f"a.{ending}", np.full((3, 4, 5), 0.99999))
    np.testing.assert_array_equal(read_label_map(path).slices, 1)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1 2 3")
    with pytest.raises(InputError, match=r"a\.txt: found the ending '\.txt', expected a label map \(\.nii"):
        read_label_map(tmp_path / "a.txt")
    for ending in ("nii.gz", "nrrd", "mha", "png"):
        with pytest.raises(InputError, match=rf"gone\.{ending}: no such file"):
            read_label_map(tmp_path / f"gone.{ending}")
    Image.new("RGB", (4, 4)).save(tmp_path / "colour.png")
    with pytest.raises(InputError, match=r"colour\.png: found a PNG of mode RGB as label map"):
        read_label_map(tmp_path / "colour.png")
