"""Fetching a bundle: from a name, a mirror, a URL and a file; going on, and refusing what is not right."""

import hashlib
import json
import zipfile
from pathlib import Path

import pytest

from common.errors import InputError
from tools import download as downloading
from tools.get_bundle.__main__ import main
from tools.get_bundle.sources import find


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(downloading.time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(downloading, "BLOCK", 1 << 16)


def installed(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_from_a_mirror_by_name_the_newest_version(tmp_path, write, serve, files, capsys):
    for version in ("0.1.0", "0.9.0", "0.2.0"):
        write(tmp_path / "site", version=version)
    write(tmp_path / "site", name="other", version="2.0.0")
    server = serve(tmp_path)
    assert main(["mini", "--index", f"{server.address}/site", "--out", str(tmp_path / "out")]) == 0
    found = installed(tmp_path / "out" / "mini")
    manifest = found.pop("manifest.json")
    assert found == files
    assert json.loads(manifest)["version"] == "0.9.0"
    assert left(tmp_path / "out") == {"mini"}
    said = capsys.readouterr()
    assert "version 0.9.0, all 5 files as published" in said.out
    assert "unprotected connection and nothing else confirms its content; give --sha256" in said.err


def test_a_version_by_number_from_a_folder(tmp_path, write):
    write(tmp_path / "usb", version="0.1.0")
    write(tmp_path / "usb", version="0.2.0")
    arguments = ["mini", "--version", "0.1.0", "--index", str(tmp_path / "usb"), "--out", str(tmp_path)]
    assert main(arguments) == 0
    assert json.loads((tmp_path / "mini/manifest.json").read_text())["version"] == "0.1.0"
    assert left(tmp_path / "usb") >= {"mini_v0.1.0.zip"}  # a local zip stays where it is


@pytest.mark.parametrize("kind", ["path", "file", "http"])
def test_from_one_zip(tmp_path, write, serve, files, kind):
    archive = write(tmp_path / "site with blanks").zip
    server = serve(tmp_path)
    source = {
        "path": str(archive),
        "file": archive.as_uri(),
        "http": f"{server.address}/site%20with%20blanks/{archive.name}",
    }[kind]
    assert main([source, "--out", str(tmp_path / "out")]) == 0
    assert installed(tmp_path / "out/mini").items() >= files.items()


def test_compressed_zips_too(tmp_path, write, files):
    archive = write(tmp_path, compress=zipfile.ZIP_DEFLATED).zip
    assert main([str(archive), "--out", str(tmp_path / "out")]) == 0
    assert installed(tmp_path / "out/mini").items() >= files.items()


def test_a_cut_connection_goes_on_where_it_stopped(tmp_path, write, serve, files):
    archive = write(tmp_path / "site").zip
    server = serve(tmp_path / "site")
    server.cut_after = [1_000_000, 500_000]
    assert main([f"{server.address}/{archive.name}", "--out", str(tmp_path / "out")]) == 0
    assert installed(tmp_path / "out/mini").items() >= files.items()
    asked = [part for path, part in server.asked if path.endswith(".zip")]
    assert asked == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_later_run_goes_on_too_and_a_server_without_ranges_starts_anew(
    tmp_path, write, serve, files, capsys
):
    archive = write(tmp_path / "site").zip
    server = serve(tmp_path / "site")
    command = [f"{server.address}/{archive.name}", "--out", str(tmp_path / "out")]
    server.cut_after = [700_000, 0, 0, 0]
    assert main(command) == 2
    assert "700,000 bytes are kept, run this again to continue." in capsys.readouterr().err
    (part,) = (tmp_path / "out").iterdir()
    assert part.stat().st_size == 700_000
    server.ranges, server.cut_after = False, []
    assert main(command) == 0
    assert server.asked[-1] == (f"/{archive.name}", "bytes=700000-")
    assert installed(tmp_path / "out/mini").items() >= files.items()
    assert left(tmp_path / "out") == {"mini"}


def test_a_part_that_was_damaged_is_thrown_away(tmp_path, write, serve, capsys):
    archive = write(tmp_path / "site").zip
    server = serve(tmp_path / "site")
    command = [f"{server.address}/{archive.name}", "--out", str(tmp_path / "out")]
    server.cut_after = [700_000, 0, 0, 0]
    assert main(command) == 2
    (part,) = (tmp_path / "out").iterdir()
    part.write_bytes(b"x" * 700_000)
    server.cut_after = []
    assert main(command) == 2
    assert "has sha256" in capsys.readouterr().err
    assert left(tmp_path / "out") == set()
    assert main(command) == 0


def test_a_page_that_asks_to_sign_in_is_called_so_and_spoils_nothing(tmp_path, write, serve, files, capsys):
    """A network's answer with status 200, in the place of manifest and zip, and in that of a zip's rest."""
    archive = write(tmp_path / "site").zip
    server = serve(tmp_path / "site")
    command = [f"{server.address}/{archive.name}", "--out", str(tmp_path / "out")]
    server.page = b"\n<!DOCTYPE html><html><body>Sign in</body></html>"
    assert main(command) == 2
    assert "answered with a web page (HTML), expected the file itself; sign in" in capsys.readouterr().err
    server.page, server.cut_after = None, [700_000, 0, 0, 0]
    assert main(command) == 2
    (part,) = (tmp_path / "out").iterdir()
    server.page = b"<html>" + bytes(100)
    name, digits = part.name.removesuffix(".part").removeprefix(".").rsplit(".", 1)
    with pytest.raises(InputError, match=r"answered with a web page \(HTML\).* arrived before is kept\.$"):
        downloading.download(command[0], tmp_path / "out" / name, sha256=digits)
    assert part.stat().st_size == 700_000
    server.page, server.cut_after = None, []
    assert main(command) == 0
    assert server.asked[-1] == (f"/{archive.name}", "bytes=700000-")
    assert installed(tmp_path / "out/mini").items() >= files.items()
    assert left(tmp_path / "out") == {"mini"}


def test_more_bytes_than_announced_are_not_written(tmp_path, write, serve, capsys):
    archive = write(tmp_path / "site").zip
    server = serve(tmp_path / "site")
    archive.write_bytes(archive.read_bytes() + b"more")
    assert main([f"{server.address}/{archive.name}", "--out", str(tmp_path / "out")]) == 2
    assert "bytes announced; nothing was kept." in capsys.readouterr().err
    assert left(tmp_path / "out") == set()


@pytest.mark.parametrize("change", ["cut", "longer", "one bit"])
def test_a_local_zip_that_is_not_the_manifests(tmp_path, write, capsys, change):
    archive = write(tmp_path / "usb").zip
    content = bytearray(archive.read_bytes())
    content[5000] ^= 1
    archive.write_bytes({"cut": content[:-9], "longer": content + b"x", "one bit": content}[change])
    assert main([str(archive), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "has sha256" in said if change == "one bit" else "cut short or changed, so fetch it again" in said
    assert not (tmp_path / "out" / "mini").exists()


def test_no_manifest_no_bundle(tmp_path, write, capsys):
    archive = write(tmp_path / "usb").zip
    archive.with_suffix(".manifest.json").unlink()
    assert main([str(archive), "--out", str(tmp_path / "out")]) == 2
    assert (
        "A zip is never unpacked without the .manifest.json that belongs beside "
        "it." in capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()


def test_a_mirror_cannot_give_other_bytes_than_were_published(tmp_path, write):
    real = write(tmp_path / "real").manifest["zip"]["sha256"]
    fake = write(tmp_path / "mirror", files={"scripts/__init__.py": b"import os"})
    published = tmp_path / "real" / "model_info.json"
    for options in ({"sha256": real}, {"published": published}):
        with pytest.raises(InputError, match=r"this is not what was published, do not use it\.$"):
            find("mini", index=str(tmp_path / "mirror"), **{"published": tmp_path / "none", **options})
    with pytest.raises(InputError, match="but this repository says"):
        find(str(fake.zip), published=published)
    assert find(str(fake.zip), published=tmp_path / "none").vouched is None
    assert find("mini", index=str(tmp_path / "real"), published=published).vouched == "this repository"


def test_by_name_alone_from_where_this_repository_says(tmp_path, write, serve):
    write(tmp_path / "site")
    server = serve(tmp_path / "site")
    records = json.loads((tmp_path / "site/model_info.json").read_text())
    records["mini_v0.1.0"]["source"] = f"{server.address}/mini_v0.1.0.zip"
    (tmp_path / "published.json").write_text(json.dumps(records))
    release = find("mini", published=tmp_path / "published.json")
    assert (release.zip, release.manifest.version) == (records["mini_v0.1.0"]["source"], "0.1.0")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["mini"], "lists no release of it; give --index with the address of a release or a mirror"),
        (["mini", "--index", "ftp://x/y"], "found a ftp address, expected http, https, file; use one."),
        (["../mini"], "../mini: neither a bundle's name nor a .zip; give a name, a path or a URL."),
        (["https:/x/a.tar"], "neither a bundle's name nor a .zip"),
        (["other", "--index", "SITE"], "lists no other, but mini_v0.1.0; choose one."),
        (["mini", "--version", "0.3.0", "--index", "SITE"], "lists no mini 0.3.0, but mini_v0.1.0; choose"),
        (["mini", "--index", "EMPTY"], "model_info.json: cannot be read"),
    ],
)
def test_what_cannot_be_found(tmp_path, write, capsys, arguments, sentence):
    write(tmp_path / "site")
    (tmp_path / "empty").mkdir()
    places = {"SITE": str(tmp_path / "site"), "EMPTY": str(tmp_path / "empty")}
    assert main([*(places.get(part, part) for part in arguments), "--out", str(tmp_path / "out")]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_there_stays_until_something_complete_takes_its_place(tmp_path, write, capsys):
    first = write(tmp_path / "usb", version="0.1.0").zip
    second = write(tmp_path / "usb", version="0.2.0")
    out = ["--out", str(tmp_path / "out")]
    assert main([str(first), *out]) == 0
    assert main([str(first), *out]) == 0  # nothing to do
    results = tmp_path / "out/mini/eval"
    results.mkdir()
    assert main([str(first), *out]) == 0  # what a run leaves does not count
    assert main([str(second.zip), *out]) == 2
    assert "something else is there already; choose another --out, or give --force" in capsys.readouterr().err
    second.zip.write_bytes(second.zip.read_bytes()[:-1])
    assert main([str(second.zip), *out, "--force"]) == 2
    assert json.loads((tmp_path / "out/mini/manifest.json").read_text())["version"] == "0.1.0"
    write(tmp_path / "usb", version="0.2.0")
    assert main([str(second.zip), *out, "--force"]) == 0
    assert json.loads((tmp_path / "out/mini/manifest.json").read_text())["version"] == "0.2.0"
    assert left(tmp_path / "out") == {"mini"}


def test_a_changed_copy_is_noticed(tmp_path, write):
    archive = str(write(tmp_path / "usb").zip)
    out = ["--out", str(tmp_path / "out")]
    assert main([archive, *out]) == 0
    (tmp_path / "out/mini/scripts/more.py").write_text("import os")
    assert main([archive, *out]) == 2


def test_a_folder_that_cannot_be_written(tmp_path, write, capsys):
    archive = str(write(tmp_path / "usb").zip)
    (tmp_path / "out").write_text("a file stands here")
    assert main([archive, "--out", str(tmp_path / "out")]) == 2
    assert "cannot write there" in capsys.readouterr().err


def test_a_file_without_a_known_hash(tmp_path, serve):
    (tmp_path / "site").mkdir()
    content = b"weights" * 1000
    (tmp_path / "site/a.pth").write_bytes(content)
    server = serve(tmp_path / "site")
    told = []
    downloading.download(
        f"{server.address}/a.pth", tmp_path / "a.pth", progress=lambda *now: told.append(now)
    )
    assert (tmp_path / "a.pth").read_bytes() == content
    assert told == [(7000, 7000)]
    digits = hashlib.sha256(content).hexdigest()[:8]  # as OpenMMLab gives them in a name
    downloading.download(f"{server.address}/a.pth", tmp_path / "b.pth", sha256=digits)
    with pytest.raises(InputError, match=r"expected 00000000\.\.\.; the file was changed or damaged"):
        downloading.download(f"{server.address}/a.pth", tmp_path / "c.pth", sha256="00000000")
    with pytest.raises(InputError, match="the server says 404 Not Found"):
        downloading.download(f"{server.address}/b.pth", tmp_path / "d.pth")
    assert left(tmp_path) == {"site", "a.pth", "b.pth"}
