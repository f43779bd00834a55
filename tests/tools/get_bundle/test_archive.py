"""Archives and manifests that somebody made to do harm: one sentence, and nothing written outside."""

import hashlib
import json
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import InputError
from tools.get_bundle.archive import unpack
from tools.get_bundle.manifest import Manifest, safe_path
from tools.get_bundle.sources import read_index

bounded = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

SMALL = {"LICENSE": b"Apache-2.0", "configs/inference.json": b"{}"}


def manifest_of(release) -> Manifest:
    return Manifest.read(json.dumps(release.manifest).encode(), "here")


def sentence(call: Callable[..., Any], *arguments: Any) -> str | None:
    """What a call that ends in our error says, in one line; None when it returns. Other errors go through."""
    try:
        call(*arguments)
    except InputError as error:
        return str(error) if "\n" not in str(error) else "not one line"
    return None


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def link(name: str, kind: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, (kind | 0o777) << 16
    return entry


ESCAPES = ["../evil", "mini/../../evil", "/evil", "C:/evil", "mini/..\\..\\evil", "mini//evil", "mini/./evil"]
ESCAPES += [
    "mini/a\x00b",
    "mini/con.txt",
    "mini/a:stream",
    "mini/a.",
    "other/LICENSE",
    "mini",
    "mini/",
    "\\\\h\\s",
]


@pytest.mark.parametrize("name", ESCAPES)
def test_paths_that_lead_elsewhere(tmp_path, write, name):
    entry = zipfile.ZipInfo()
    entry.filename = name  # as it is: the constructor would cut and turn some of them
    extra = [("mini/LICENSE", b"Apache-2.0"), ("mini/configs/inference.json", b"{}"), (entry, b"evil")]
    release = write(tmp_path / "usb", files=SMALL, entries=extra)
    before = everything(tmp_path)
    with pytest.raises(InputError, match=r"an archive may write only there, so do not use it\.$"):
        unpack(release.zip, manifest_of(release), tmp_path / "out" / "mini")
    assert everything(tmp_path) == before


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR])
def test_links_and_special_files(tmp_path, write, kind):
    entries = [(link("mini/LICENSE", kind), b"Apache-2.0"), ("mini/configs/inference.json", b"{}")]
    release = write(tmp_path / "usb", files=SMALL, entries=entries)
    with pytest.raises(InputError, match=r"'mini/LICENSE' is a link or a special file, expected plain ones"):
        unpack(release.zip, manifest_of(release), tmp_path / "mini")
    assert not (tmp_path / "mini").exists()


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([("mini/LICENSE", b"Apache-2.0")], "lacks configs/inference.json, which its manifest lists"),
        (
            [("mini/a.py", b""), ("mini/LICENSE", b"Apache-2.0")],
            "holds a.py, which its manifest does not list",
        ),
        ([("mini/LICENSE", b"Apache-2.0")] * 2, "holds LICENSE twice, expected once; do not use it"),
        ([("mini/LICENSE", b"0" * 10**6)], "LICENSE unpacks to 1,000,000 bytes, expected 10 of its manifest"),
        (
            [("mini/LICENSE", b"Apache-3.0"), ("mini/configs/inference.json", b"{}")],
            "LICENSE does not have the bytes that its manifest lists",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_other_content_than_announced(tmp_path, write, entries, sentence):
    release = write(tmp_path / "usb", files=SMALL, entries=entries, compress=zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match=sentence):
        unpack(release.zip, manifest_of(release), tmp_path / "out" / "mini")
    assert {path for path in everything(tmp_path) if not path.startswith("usb")} <= {"out"}


def test_a_bomb_that_lies_about_its_size_is_stopped(tmp_path, write):
    """100 MB packed in 100 kB, announced as 10 bytes everywhere: 11 bytes are read."""
    entries = [("mini/LICENSE", b"0" * 10**8), ("mini/configs/inference.json", b"{}")]
    release = write(tmp_path / "usb", files=SMALL, entries=entries, compress=zipfile.ZIP_DEFLATED)
    raw = release.zip.read_bytes().replace(struct.pack("<L", 10**8), struct.pack("<L", 10))
    release.zip.write_bytes(raw)
    release.manifest["zip"] |= {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    with pytest.raises(InputError):
        unpack(release.zip, manifest_of(release), tmp_path / "mini")
    assert not (tmp_path / "mini").exists()
    assert not list(tmp_path.glob(".partial-*"))


def change(manifest: dict, path: str, value) -> dict:
    copy = json.loads(json.dumps(manifest))
    *inner, last = path.split("#")
    place = copy
    for key in inner:
        place = place[key]
    place[last] = value
    return copy


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("name", "../mini", "cannot be read as a bundle's manifest"),
        ("version", "0.10.0", "cannot be read as a bundle's manifest"),
        ("zip#file", "../mini_v0.1.0.zip", "do not use it"),
        ("zip#bytes", -1, "-1 is not a number of bytes"),
        ("zip#bytes", 1e9, "is not a number of bytes"),
        ("zip#bytes", True, "is not a number of bytes"),
        ("zip#bytes", 10**11, "announces 100.0 GB, expected at most 8.6; do not use it"),
        ("zip#sha256", "A" * 64, "cannot be read"),
        ("files#../evil", {"bytes": 1, "sha256": "0" * 64}, "is not a plain path below the bundle"),
        (
            "files#license",
            {"bytes": 1, "sha256": "0" * 64},
            "LICENSE and license are one file on some systems",
        ),
        ("files#LICENSE/x", {"bytes": 1, "sha256": "0" * 64}, "lies in a folder that is also a file"),
        ("files", [], "cannot be read"),
    ],
)
def test_manifests_that_are_refused(tmp_path, write, path, value, sentence):
    release = write(tmp_path, files=SMALL)
    with pytest.raises(InputError, match=sentence):
        Manifest.read(json.dumps(change(release.manifest, path, value)).encode(), "there")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
manifest_like = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["mini", "../x", ""]) | json_values,
        "version": st.sampled_from(["0.1.0", "0.10.0"]) | json_values,
        "zip": st.fixed_dictionaries({"file": st.just("mini_v0.1.0.zip"), "bytes": json_values})
        | json_values,
        "files": st.dictionaries(st.text(max_size=20), json_values, max_size=3) | json_values,
    },
)


@bounded
@given(content=st.binary(max_size=200) | (json_values | manifest_like).map(lambda v: json.dumps(v).encode()))
def test_any_bytes_are_a_manifest_or_one_sentence(content):
    for read in (Manifest.read, read_index):
        said = sentence(read, content, "there")
        assert said is None or said.startswith("there: ")


def test_deeply_nested_json_is_one_sentence():
    for content in (b"[" * 100_000, b'{"a":' * 100_000, b"1" * 10_000, b"\xff\xfe"):
        with pytest.raises(InputError, match="cannot be read"):
            Manifest.read(content, "there")


@bounded
@given(path=st.text(alphabet=st.sampled_from("a.b/\\:~C\x00\n é"), max_size=12) | st.text(max_size=40))
def test_a_safe_path_stays_below_its_folder(tmp_path, path):
    try:
        safe_path(path)
    except ValueError:
        return
    target = (tmp_path / path).resolve()
    assert target != tmp_path
    assert target.is_relative_to(tmp_path.resolve())
    for system in (PureWindowsPath, PurePosixPath):
        assert not system(path).is_absolute()
        assert ".." not in system(path).parts
        assert not system(path).drive


@bounded
@given(data=st.data())
def test_a_zip_with_any_bytes_changed_is_right_or_one_sentence(tmp_path_factory, write, data):
    """The hash of the whole is made to fit, so that the reader itself meets what was changed."""
    folder = tmp_path_factory.mktemp("zip")
    compress = data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    release = write(folder / "usb", files=SMALL, compress=compress)
    raw = bytearray(release.zip.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.just(len(raw)) | st.integers(0, len(raw)))]
    release.zip.write_bytes(raw)
    release.manifest["zip"] |= {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    before = everything(folder)
    said = sentence(unpack, release.zip, manifest_of(release), folder / "out" / "mini")
    if said is not None:
        assert str(release.zip) in said
        assert everything(folder) - before <= {"out"}
    else:
        found = {path: (folder / "out/mini" / path).read_bytes() for path in SMALL}
        assert found == SMALL
        assert everything(folder) - before == {
            *("out", "out/mini", "out/mini/LICENSE", "out/mini/manifest.json", "out/mini/configs"),
            "out/mini/configs/inference.json",
        }
