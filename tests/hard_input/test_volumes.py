"""Volumes that are broken, cut off, or leave their geometry out: refused in one sentence, or read right."""

import json
import logging
import os
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from common.data.itk_files import write_labels_itk
from common.data.label_maps import check_same_grid, read_label_map
from common.data.readers import read_image
from common.errors import InputError
from common.files import NOT_UTF8, cut_to_bytes, short_name
from common.inference.cases import find_cases
from common.inference.prompts import check_asked
from common.zips import unpack_zip
from tests.hard_input import volumes as hard


@pytest.mark.parametrize("name", hard.REFUSED)
def test_refused_in_one_sentence_with_the_files_name(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = hard.REFUSED[name].make(tmp_path)
    with pytest.raises(InputError, match=hard.REFUSED[name].sentence) as refused:
        read_image(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")  # no raw line of nibabel's, numpy's or MetaIO's


@pytest.mark.parametrize("name", hard.TAKEN)
def test_taken_with_every_voxel_in_its_place(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    volume = read_image(hard.TAKEN[name](tmp_path))
    np.testing.assert_array_equal(volume.slices, hard.SLICES)
    np.testing.assert_allclose(volume.grid.affine, hard.AFFINE, atol=1e-5)
    assert volume.spacing_mm == pytest.approx(hard.SPACING_MM[::-1])
    assert not caplog.records


@pytest.mark.parametrize(
    ("make", "warning"),
    [
        (
            lambda f: _longer(hard.nifti(f)),
            "ct.nii: 99 bytes follow the voxels that its header announces",
        ),
        (lambda f: hard.metaimage(f, data=hard.RAW + bytes(99)), "ct.mha: 99 bytes follow the voxels"),
        (lambda f: hard.nrrd(f, data=hard.RAW + bytes(99)), "ct.nrrd: 99 bytes follow the voxels"),
        (
            lambda f: hard.metaimage(f, {"Offset": None}),
            "ct.mha: its header has no origin; the first voxel is",
        ),
        (
            lambda f: hard.nrrd(f, {"space origin": None}),
            "ct.nrrd: its header has no origin; the first voxel",
        ),
        (
            lambda f: hard.nifti(f, {0: b"\x00\x01\0\0"}),
            "ct.nii: its header is unusual (sizeof_hdr should be 348; set sizeof_hdr to 348).",
        ),
        (
            hard.nifti_with_odd_extension,
            "ct.nii: its header has an extension of 20 bytes, expected a multiple of 16",
        ),
        (
            lambda f: hard.nifti(f, {hard.QUATERN_B: b"\0\0\xc0\x7f"}),
            "ct.nii: the qform is not a rotation; the sform is used.",
        ),
    ],
)
def test_warned_with_the_files_name(
    make, warning: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    np.testing.assert_array_equal(read_image(make(tmp_path)).slices, hard.SLICES)
    assert not [one for one in recwarn if "xtension" in str(one.message)]  # nibabel's names no file
    assert [record.getMessage() for record in caplog.records] == [caplog.messages[0]]
    assert warning in caplog.messages[0]


def _longer(path: Path) -> Path:
    path.write_bytes(path.read_bytes() + bytes(99))
    return path


def test_a_stream_that_never_ends_is_given_up(tmp_path: Path) -> None:
    """Little more than what the header announces is unpacked, and none of it is kept."""
    rest = zlib.compress(hard.RAW + bytes(200 << 20), level=1)
    path = hard.metaimage(tmp_path, {"CompressedData": "True"}, data=rest)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"ct\.mha: more than 64 MiB follow the voxels"):
        read_image(path)
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


def test_a_label_map_is_judged_by_the_same_rule(tmp_path: Path) -> None:
    for name in ("mha, the checksum", "nrrd, no directions", "nii, offset 0"):
        (tmp_path / name).mkdir()
        with pytest.raises(InputError, match=hard.REFUSED[name].sentence):
            read_label_map(hard.REFUSED[name].make(tmp_path / name))


def test_a_zips_member_with_a_flipped_bit(tmp_path: Path) -> None:
    path = tmp_path / "series.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("1.dcm", bytes(1000))
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"series\.zip: cannot be unpacked \(Bad CRC-32 .*\); copy it again\.$"
    ):
        unpack_zip(path, tmp_path / "out", again="copy it again")


def test_a_png_with_a_flipped_bit(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(pixels).save(path, compress_level=0)
    read_image(path)
    content = bytearray(path.read_bytes())
    content[-20] ^= 1  # of zlib's checksum, at which decoders have all pixels already
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"x\.png: cannot be read as an image \(the checksum of its part 'IDAT'"
    ):
        read_image(path)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (lambda affine: affine.__setitem__((0, 3), affine[0, 3] + 1e-7), "same"),
        (lambda affine: affine.__setitem__((0, 3), affine[0, 3] + 0.009 * 0.8), "warned"),
        (lambda affine: affine.__setitem__((0, 3), affine[0, 3] + 0.011 * 0.8), "refused"),
        (
            lambda affine: affine.__setitem__((2, 2), affine[2, 2] * (1 + 0.009 / 3)),
            "warned",
        ),  # of four slices
        (lambda affine: affine.__setitem__((2, 2), affine[2, 2] * (1 + 0.011 / 3)), "refused"),
    ],
)
def test_grids_that_differ_by_less_than_a_hundredth_of_a_voxel_warn(
    change, verdict: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    affine = hard.AFFINE.copy()
    change(affine)
    labels = np.abs(hard.VOXELS).astype(np.uint8)
    for name, place in (("image", hard.AFFINE), ("labels", affine)):
        image = nib.Nifti1Image(labels, None, nib.Nifti1Header())
        image.header.set_sform(place, 1)
        nib.save(image, tmp_path / f"{name}.nii")
    image, moved = (read_label_map(tmp_path / f"{name}.nii") for name in ("image", "labels"))
    if verdict == "refused":
        with pytest.raises(InputError, match=r"lie up to 0\.011 voxels .* apart, expected less than 0\.01"):
            check_same_grid(moved, image)
    else:
        check_same_grid(moved, image)
    said = [message for message in caplog.messages if "0.009 voxels" in message]
    assert len(said) == (verdict == "warned")


BAD_BYTES = os.fsdecode(b"caf\xe9")


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX systems alone")
@pytest.mark.parametrize("make", [hard.metaimage, hard.nrrd, hard.nifti, lambda f: hard.TAKEN["mhd"](f)])
def test_a_folder_with_bytes_that_are_no_utf8(make, tmp_path: Path) -> None:
    folder = tmp_path / BAD_BYTES
    folder.mkdir()
    np.testing.assert_array_equal(read_image(make(folder)).slices, hard.SLICES)


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX systems alone")
@pytest.mark.parametrize("ending", ["nrrd", "mha"])
def test_label_maps_are_written_to_names_of_any_bytes(ending: str, tmp_path: Path) -> None:
    image = read_image(hard.nifti(tmp_path))
    path = tmp_path / BAD_BYTES / f"{BAD_BYTES}.{ending}"
    labels = (image.slices > 0).astype(np.uint8)
    write_labels_itk(path, labels, like=image)
    np.testing.assert_array_equal(read_label_map(path, like=image).slices, labels)
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_paths_of_any_bytes_come_back_from_json(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(BAD_BYTES, ensure_ascii=False), "utf-8", NOT_UTF8)
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == BAD_BYTES


def test_names_are_cut_by_bytes() -> None:
    assert cut_to_bytes("überall", 3) == "üb"
    assert cut_to_bytes("日本語", 8) == "日本"
    assert short_name("scan", 190) == "scan"
    one, other = (short_name("日" * 80 + last, 190) for last in "ab")
    assert one != other
    assert all(len(name.encode()) <= 190 for name in (one, other))
    assert len(os.fsencode(short_name(BAD_BYTES * 70, 190))) <= 190


def test_every_output_of_a_long_name_fits_a_file_system(tmp_path: Path) -> None:
    for last in "ab":
        (tmp_path / f"{'ü' * 120}{last}.nii.gz").touch()
    first, second = find_cases(tmp_path, tmp_path / "out")
    assert first.stem != second.stem
    for case in (first, second):
        longest = [f".partial-{case.stem.name}-12345678", f"{case.stem.name}_mask_255_{'x' * 40}.nii.gz"]
        assert all(len(name.encode()) <= 255 for name in longest)


def test_images_of_other_formats_are_counted_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.nii.gz", "b.IMG", "b.hdr", "c.mgz", "sub/d.tif", "sub/e.img", "notes.txt", ".f.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with caplog.at_level(logging.WARNING):
        check_asked(tmp_path, tmp_path / "out", None)  # before models are loaded, and not to be said twice
        assert [case.source.name for case in find_cases(tmp_path, tmp_path / "out")] == ["a.nii.gz"]
    assert caplog.messages == [
        f"{tmp_path}: 5 images of other formats are left out (1 .hdr, 2 .img, 1 .mgz, 1 .tif), expected "
        "NIfTI (.nii, .nii.gz), NRRD, MHA, or a DICOM series as a folder or .zip; convert them if they are "
        "wanted."
    ]
