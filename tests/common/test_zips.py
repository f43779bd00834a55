"""Zips that others made: what is refused, and that nothing of it is written."""

import shutil
import stat
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from common.errors import InputError
from common.zips import LIMIT_BYTES, faults, unpack_zip


def pack(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, content in entries:
            archive.writestr(entry, content)
    return path


def member(name: str, kind: int = 0) -> zipfile.ZipInfo:
    """An entry with a name as it is (the constructor would turn some) and a kind of file."""
    entry = zipfile.ZipInfo()
    entry.filename, entry.external_attr = name, (kind | 0o644) << 16
    return entry


def refused(path: Path) -> str:
    """The sentence; nothing was written."""
    folder = path.parent / "out"
    with pytest.raises(InputError) as caught:
        unpack_zip(path, folder, again="fetch it again")
    assert not folder.exists()
    return str(caught.value)


def test_folders_files_and_odd_names_come_out_whole(tmp_path: Path) -> None:
    entries = [
        (member("a/", stat.S_IFDIR), b""),
        (member("a/12:30..dcm", stat.S_IFREG), bytes(10**5)),
        ("b", b"b"),
    ]
    unpack_zip(pack(tmp_path / "x.zip", *entries), tmp_path / "out", again="fetch it again")
    files = {
        path.relative_to(tmp_path / "out").as_posix(): path.stat().st_size
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert files == {"a/12:30..dcm": 10**5, "b": 1}


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/x", "..\\x", "a\\..\\..\\x", "C:\\x", "C:x", "\\\\host\\x"]
)
def test_a_member_that_leads_out_on_some_system(name: str, tmp_path: Path) -> None:
    path = pack(tmp_path / "x.zip", ("good", b""), (member(name), b""))
    assert refused(path) == f"{path}: its member {name!r} leads out of the folder; do not use this file."


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFDIR])
def test_a_member_that_is_no_plain_file(kind: int, tmp_path: Path) -> None:
    path = pack(tmp_path / "x.zip", (member("a", kind), b"/etc/passwd"))
    assert refused(path) == (
        f"{path}: its member 'a' is a link or a special file, expected plain ones; do not use this file."
    )


def test_more_than_the_limit_in_all(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.zip", ("a", b""), ("b", b""))
    with zipfile.ZipFile(path) as archive:
        first, second = archive.infolist()
        first.file_size, second.file_size = LIMIT_BYTES - 1, 1
        assert list(faults(archive)) == []
        second.file_size = 2
        assert list(faults(archive)) == ["its content is 8.6 GB, expected at most 8.6 GB"]


def test_more_than_the_disk_has_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 1, 10**9 - 1))
    path = pack(tmp_path / "x.zip", ("a", b"content"))
    unpack_zip(path, tmp_path / "fits", again="fetch it again")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 6))
    assert refused(path) == (
        f"{path}: found 0.0 GB in it, expected at most the 0.0 GB free in {tmp_path}; free space there."
    )


def test_what_is_no_zip_or_a_damaged_one(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(b"no zip")
    assert refused(path) == f"{path}: cannot be unpacked (File is not a zip file); fetch it again."
    raw = bytearray(pack(path, ("a", bytes(range(256)) * 100)).read_bytes())
    start = 30 + len("a")  # the header of an entry has 30 bytes and its name
    raw[start : start + 8] = b"\xff" * 8  # no block of deflate begins so
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"x\.zip: cannot be unpacked \(.*invalid.*\); fetch it again\.$"):
        unpack_zip(path, tmp_path / "out", again="fetch it again")


def test_a_member_that_would_begin_before_the_file_is_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", ("a.txt", b"a"))
    content = bytearray(path.read_bytes())
    offset = int.from_bytes(content[-6:-2], "little")  # of the central directory, in the record at the end
    content[-6:-2] = (offset + 10).to_bytes(4, "little")
    path.write_bytes(content)
    assert "its member 'a.txt' begins before the file does; do not use this file" in refused(path)
