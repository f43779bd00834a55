"""Geometry of volumes: nibabel's own affine arithmetic and SimpleITK are the judges."""

import gzip
import itertools
import logging

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its own manual uses

from common.data.label_maps import read_label_map
from common.data.volumes import read_volume, write_labels
from common.errors import InputError

SHAPE = (5, 6, 7)
ORDERS = [
    "".join(code)
    for order in itertools.permutations([("L", "R"), ("P", "A"), ("I", "S")])
    for code in itertools.product(*order)
]
SPACINGS = [(1.0, 1.0, 1.0), (0.7, 0.8, 5.0), (2.5, 0.5, 1.25)]
DIRECTIONS = {
    "R": (1, 0, 0),
    "L": (-1, 0, 0),
    "A": (0, 1, 0),
    "P": (0, -1, 0),
    "S": (0, 0, 1),
    "I": (0, 0, -1),
}
ORIGIN_MM = (-31.5, 12.25, 140.0)


def axis_affine(codes, spacing):
    """RAS+ affine whose i-th stored axis points to codes[i] and has spacing[i] mm, written down by hand."""
    affine = np.eye(4)
    for axis, (code, size) in enumerate(zip(codes, spacing, strict=True)):
        affine[:3, axis] = np.array(DIRECTIONS[code]) * size
    affine[:3, 3] = ORIGIN_MM
    return affine


def oblique_affine():
    """RAS axes of 1, 2 and 3 mm, turned by 20 degrees about z and then by 15 degrees about x."""
    z, x = np.deg2rad([20, 15])
    about_z = [[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]]
    about_x = [[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]]
    affine = np.eye(4)
    affine[:3, :3] = np.array(about_x) @ np.array(about_z) @ np.diag([1.0, 2.0, 3.0])
    affine[:3, 3] = ORIGIN_MM
    return affine


def save(path, data, affine=None, *, sform=2, qform=1):
    image = nib.Nifti1Image(data, affine)
    if affine is not None:
        image.set_sform(affine, sform)
        image.set_qform(affine, qform)
    nib.save(image, path)
    return path


@pytest.fixture
def ct(tmp_path):
    data = np.random.default_rng(0).integers(-1000, 1000, SHAPE, dtype=np.int16)
    return save(tmp_path / "ct.nii.gz", data, axis_affine("RAS", (0.7, 0.8, 5.0)))


def test_there_are_48_axis_orders():
    assert len(set(ORDERS)) == 48


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("codes", ORDERS)
def test_axis_order_spacing_and_way_back(tmp_path, codes, spacing):
    data = np.random.default_rng(1).integers(-1000, 1000, SHAPE, dtype=np.int16)
    affine = axis_affine(codes, spacing)
    volume = read_volume(save(tmp_path / "ct.nii", data, affine))

    np.testing.assert_array_equal(volume.to_stored(volume.slices), data)
    sizes = {letter: size for code, size in zip(codes, spacing, strict=True) for letter in _axis_pair(code)}
    np.testing.assert_allclose(volume.spacing_mm, [sizes["S"], sizes["P"], sizes["L"]], rtol=1e-6)

    marked = (1, 4, 2)
    mark = np.zeros(SHAPE, dtype=np.uint8)
    mark[marked] = 1
    labels = read_label_map(save(tmp_path / "mark.nii", mark, affine))
    index = np.argwhere(labels.slices == 1)[0]
    world = nib.affines.apply_affine(affine, marked)
    np.testing.assert_allclose(nib.affines.apply_affine(labels.affine, index), world, atol=1e-4)
    # In slices, +d goes up, +h to the back (-y in RAS+) and +w to the left (-x), each by the spacing.
    d, h, w = volume.spacing_mm
    np.testing.assert_allclose(volume.affine[:3, :3], [[0, 0, -w], [0, -h, 0], [d, 0, 0]], atol=1e-6)


def _axis_pair(code):
    return next(pair for pair in ("LR", "PA", "IS") if code in pair)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("name", ["mask.nii", "mask.nii.gz"])
@pytest.mark.parametrize(("sform", "qform"), [(1, 0), (0, 1), (2, 3)])
def test_written_labels_have_the_exact_header_geometry(tmp_path, kind, name, sform, qform):
    affine = oblique_affine()
    image = kind(np.zeros(SHAPE, np.float32), affine)
    image.set_qform(affine, qform)
    image.set_sform(affine @ np.diag([1, 1, 1.01, 1]), sform)  # the two forms of a real file may disagree
    image.header.set_xyzt_units("mm", "sec")
    image.header["intent_code"] = 1002
    nib.save(image, tmp_path / "ct.nii")
    volume = read_volume(tmp_path / "ct.nii")
    labels = np.random.default_rng(2).integers(0, 256, volume.slices.shape)

    write_labels(tmp_path / "out" / name, labels, like=volume)

    before, after = nib.load(tmp_path / "ct.nii").header, nib.load(tmp_path / "out" / name).header
    fields = ["qform_code", "sform_code", "pixdim", "xyzt_units", "srow_x", "srow_y", "srow_z"]
    fields += ["quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"]
    for field in fields:
        np.testing.assert_array_equal(after[field], before[field], err_msg=field)
    assert type(after) is type(before)
    assert after.get_data_dtype() == np.uint8
    assert after.get_data_shape() == SHAPE
    np.testing.assert_array_equal(read_label_map(tmp_path / "out" / name).slices, labels)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


def test_itk_sees_the_mask_on_the_image(tmp_path, ct):
    volume = read_volume(ct)
    write_labels(tmp_path / "mask.nii.gz", (volume.slices > 0).astype(np.uint8), like=volume)

    image, mask = sitk.ReadImage(str(ct)), sitk.ReadImage(str(tmp_path / "mask.nii.gz"))

    assert mask.GetSize() == image.GetSize()
    assert mask.GetOrigin() == image.GetOrigin()
    assert mask.GetSpacing() == image.GetSpacing()
    assert mask.GetDirection() == image.GetDirection()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(mask), sitk.GetArrayFromImage(image) > 0)


def test_agrees_with_itk_on_an_oblique_grid(tmp_path):
    data = np.random.default_rng(3).integers(-1000, 1000, SHAPE, dtype=np.int16)
    path = save(tmp_path / "ct.nii.gz", data, oblique_affine())
    volume = read_volume(path)

    # ITK's index order is x, y, z and that of its arrays z, y, x: "LPS" there is (S, P, L) here.
    itk = sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(itk), volume.slices)
    np.testing.assert_allclose(itk.GetSpacing()[::-1], volume.spacing_mm, rtol=1e-5)
    lps = itk.TransformIndexToPhysicalPoint((4, 3, 2))
    ras = nib.affines.apply_affine(volume.affine, (2, 3, 4))
    np.testing.assert_allclose(np.array(lps) * [-1, -1, 1], ras, atol=1e-3)
    np.testing.assert_array_equal(volume.to_stored(volume.slices), data)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64, np.int64])
def test_numeric_types(tmp_path, dtype):
    data = np.arange(210).reshape(SHAPE).astype(dtype)
    image = nib.Nifti1Image(data, axis_affine("LPS", (1, 1, 1)), dtype=dtype)
    nib.save(image, tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    assert volume.slices.dtype == np.float32
    np.testing.assert_array_equal(volume.slices, data.transpose(2, 1, 0))
    assert read_label_map(tmp_path / "a.nii").slices.dtype == np.int32


def test_header_scaling_is_applied(tmp_path):
    image = nib.Nifti1Image(np.full(SHAPE, 2000, np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, -1024)
    nib.save(image, tmp_path / "a.nii")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii").slices, 2000 * 0.5 - 1024)


def test_four_axes_with_one_channel_are_written_as_three(tmp_path):
    data = np.random.default_rng(4).integers(0, 9, (*SHAPE, 1), dtype=np.int16)
    volume = read_label_map(save(tmp_path / "a.nii", data, axis_affine("PIR", (2.0, 1.0, 3.0))))
    write_labels(tmp_path / "b.nii", volume.slices, like=volume)
    written = nib.load(tmp_path / "b.nii")
    assert written.shape == SHAPE
    np.testing.assert_array_equal(np.asarray(written.dataobj), data[..., 0])


def test_single_slice(tmp_path):
    volume = read_volume(
        save(tmp_path / "a.nii", np.ones((5, 6, 1), np.int16), axis_affine("LPS", (1, 2, 5)))
    )
    assert volume.slices.shape == (1, 6, 5)
    np.testing.assert_allclose(volume.spacing_mm, (5, 2, 1))


@pytest.mark.parametrize(
    ("unit", "factor"), [("meter", 1000.0), ("mm", 1.0), ("unknown", 1.0), ("micron", 1e-3)]
)
def test_units_become_mm(tmp_path, unit, factor):
    image = nib.Nifti1Image(np.ones(SHAPE, np.int16), np.diag([0.5, 0.5, 2.0, 1.0]))
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii").spacing_mm, np.array([2, 0.5, 0.5]) * factor)


def test_a_unit_of_time_that_is_none_is_no_hindrance(tmp_path):
    image = nib.Nifti2Image(np.ones(SHAPE, np.int16), np.diag([0.5, 0.5, 2.0, 1.0]))
    nib.save(image, tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[500:504] = (256 + 1).to_bytes(4, "little")  # xyzt_units: metres, and no known time
    (tmp_path / "a.nii").write_bytes(content)
    assert read_volume(tmp_path / "a.nii").spacing_mm == (2000, 500, 500)


def test_some_nan_become_the_minimum_with_a_warning(tmp_path, caplog):
    data = np.full(SHAPE, 40.0, np.float32)
    data[0, 0, 0] = -900
    data[1, 2, 3] = np.nan
    data[2, 2, 2] = np.inf
    path = save(tmp_path / "a.nii", data, np.eye(4))
    with caplog.at_level(logging.WARNING):
        volume = read_volume(path)
    expected = np.where(np.isfinite(data), data, -900)
    np.testing.assert_array_equal(volume.to_stored(volume.slices), expected)
    assert "2 voxels are NaN or infinite; they were set to the image's minimum, -900." in caplog.text


def test_same_grid_in_another_axis_order_passes(tmp_path, ct):
    image = nib.load(ct)
    turned = image.as_reoriented(nib.orientations.axcodes2ornt("PIR"))
    save(tmp_path / "labels.nii", np.abs(np.asarray(turned.dataobj)), turned.affine)
    read_label_map(tmp_path / "labels.nii", like=read_volume(ct))


def error_of(call, *args, **kwargs):
    with pytest.raises(InputError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def test_missing_file(tmp_path):
    path = tmp_path / "nowhere.nii.gz"
    assert error_of(read_volume, path) == f"{path}: no such file; give a NIfTI file (.nii or .nii.gz)."


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.nii.gz", lambda raw: gzip.compress(raw)[: len(gzip.compress(raw)) // 2]),
        ("header_only.nii", lambda raw: raw[:200]),
        ("text.nii.gz", lambda raw: b"not an image"),
        ("text.nii", lambda raw: b"not an image"),
        ("plain.nii.gz", lambda raw: raw),
        ("crc.nii.gz", lambda raw: gzip.compress(raw)[:-8] + b"\0" * 8),
        ("image.png", lambda raw: b"\x89PNG\r\n\x1a\n"),
    ],
)
def test_broken_file(tmp_path, name, content):
    path = save(tmp_path / "whole.nii", np.arange(210, dtype=np.int16).reshape(SHAPE), np.eye(4))
    broken = tmp_path / name
    broken.write_bytes(content(path.read_bytes()))
    message = error_of(read_volume, broken)
    assert message.startswith(f"{broken}: cannot be read as NIfTI (")
    assert message.endswith(
        "), so the file is broken, cut off or of another kind; give a whole .nii or .nii.gz file."
    )
    assert "\n" not in message


def test_cut_off(tmp_path):
    path = save(tmp_path / "cut.nii", np.arange(210, dtype=np.int16).reshape(SHAPE), np.eye(4))
    path.write_bytes(path.read_bytes()[:400])
    assert error_of(read_volume, path) == (
        f"{path}: found 48 bytes of voxels, expected the 420 that its header announces, so the file is cut "
        "off or broken; copy it again or export it again."
    )


def test_other_image_format(tmp_path):
    nib.save(nib.MGHImage(np.zeros(SHAPE, np.float32), np.eye(4)), tmp_path / "a.mgz")
    message = error_of(read_volume, tmp_path / "a.mgz")
    assert "a.mgz: this is MGHImage, expected one NIfTI file; convert it to .nii.gz." in message


@pytest.mark.parametrize(
    ("shape", "text"), [((5, 6), "5 x 6"), ((5, 6, 7, 3), "5 x 6 x 7 x 3"), ((5, 6, 1, 9), "5 x 6 x 1 x 9")]
)
def test_wrong_dimensions(tmp_path, shape, text):
    path = save(tmp_path / "a.nii", np.ones(shape, np.int16), np.eye(4))
    assert error_of(read_volume, path) == (
        f"{path}: the image has shape {text}, expected three axes, or four with one channel; "
        "give one volume of slices."
    )


def test_empty_axis(tmp_path):
    path = save(tmp_path / "a.nii", np.ones((5, 0, 7), np.int16), np.eye(4))
    assert error_of(read_volume, path) == (
        f"{path}: the image has shape 5 x 0 x 7, with an axis of no voxels; export it again."
    )


def test_axis_of_negative_length(tmp_path):
    """NIfTI-2's lengths are signed; the product of such lengths can look small enough for the file."""
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti2Image(np.ones((3, 4, 5), np.int16), np.eye(4)), path)
    content = bytearray(path.read_bytes())
    content[32:40] = (-(2**62)).to_bytes(8, "little", signed=True)  # dim[2]
    path.write_bytes(content)
    assert error_of(read_volume, path) == (
        f"{path}: the image has shape 3 x {-(2**62)} x 5, with an axis of no voxels; export it again."
    )


def test_colour_and_complex(tmp_path):
    path = save(tmp_path / "a.nii", np.ones(SHAPE, np.complex64), np.eye(4))
    assert "a.nii: voxels are of type complex64, expected one real number for each voxel" in error_of(
        read_volume, path
    )
    rgb = np.ones(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    path = save(tmp_path / "b.nii", rgb, np.eye(4))
    assert "convert the image to one grey channel." in error_of(read_volume, path)


def test_all_nan(tmp_path):
    path = save(tmp_path / "a.nii", np.full(SHAPE, np.nan, np.float32), np.eye(4))
    assert error_of(read_volume, path) == (
        f"{path}: no voxel holds a finite number (all NaN or infinite); export the image again."
    )


def test_missing_affine(tmp_path):
    path = save(tmp_path / "a.nii", np.ones(SHAPE, np.int16), np.eye(4), sform=0, qform=0)
    assert error_of(read_volume, path) == (
        f"{path}: the affine is missing (qform and sform codes are both 0), so the patient's left and right "
        "are unknown; convert the series again from DICOM, or set it in the header if you know it (NIfTI, "
        "with nibabel: image.set_sform(affine, 1))."
    )


def with_sform(tmp_path, diagonal):
    image = nib.Nifti1Image(np.ones(SHAPE, np.int16), None)
    image.header.set_sform(np.diag(np.array(diagonal, float)), 1)
    nib.save(image, tmp_path / "a.nii")


def test_singular_affine(tmp_path):
    with_sform(tmp_path, (1, 1, 0, 1))
    assert "a.nii: the affine is singular (" in error_of(read_volume, tmp_path / "a.nii")


def test_affine_that_is_not_finite(tmp_path):
    with_sform(tmp_path, (np.nan, 1, 1, 1))
    message = error_of(read_volume, tmp_path / "a.nii")
    assert "a.nii: its affine holds a number that is not finite (axes nan, 0, 0, 0, 1," in message
    assert message.endswith("so the positions of voxels are unknown; convert the series again from DICOM.")


def test_labels_that_cannot_be_written(tmp_path, ct):
    volume = read_volume(ct)
    path = tmp_path / "out.nii.gz"
    labels = np.zeros(volume.slices.shape, np.int32)
    labels[0, 0, 0] = 256
    assert error_of(write_labels, path, labels, like=volume) == (
        f"{path}: labels from 0 to 256 were given to write, but a uint8 label map holds 0 to 255; "
        "use fewer labels or number them anew."
    )
    assert error_of(write_labels, path, labels - 1, like=volume).startswith(f"{path}: labels from -1 to 255")
    assert error_of(write_labels, path, labels.astype(float), like=volume) == (
        f"{path}: labels of type float64 were given to write; give whole numbers."
    )
    assert error_of(write_labels, path, labels[1:] * 0, like=volume) == (
        f"{ct}: an array of shape (6, 6, 5) was given for slices of shape (7, 6, 5); "
        "give one value for each voxel."
    )
    assert error_of(write_labels, tmp_path / "out.png", labels, like=volume) == (
        f"{tmp_path / 'out.png'}: label maps are written as NIfTI; give a name that ends in .nii.gz or .nii."
    )
    assert not path.exists()


def test_a_failed_write_leaves_the_old_file(tmp_path, ct, monkeypatch):
    volume = read_volume(ct)
    path = tmp_path / "out.nii.gz"
    write_labels(path, np.ones(volume.slices.shape, np.uint8), like=volume)
    before = path.read_bytes()

    def disk_full(image, name):
        name.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(nib, "save", disk_full)
    with pytest.raises(OSError, match="No space left"):
        write_labels(path, np.zeros(volume.slices.shape, np.uint8), like=volume)
    assert path.read_bytes() == before
    assert sorted(item.name for item in tmp_path.iterdir()) == ["ct.nii.gz", "out.nii.gz"]


def test_affines_that_disagree_are_said_and_the_sform_is_used(tmp_path, caplog):
    image = nib.Nifti1Image(np.zeros(SHAPE, np.int16), np.eye(4))
    image.set_sform(np.eye(4), 1)
    for shift, said in ((0.5, False), (30.0, True)):
        moved = np.eye(4)
        moved[0, 3] = shift
        image.set_qform(moved, 1)
        nib.save(image, tmp_path / "a.nii")
        caplog.clear()
        volume = read_volume(tmp_path / "a.nii")
        np.testing.assert_array_equal(volume.grid.affine, np.eye(4))
        assert ("a.nii: sform and qform are 30.0 mm apart; the sform is used" in caplog.text) is said
