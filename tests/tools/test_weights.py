"""tools.weights: what it lists, fetches and checks, on files of this machine."""

import hashlib
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
import torch
from transformers import BertConfig, BertModel

from common.weights import wheels
from common.weights.known import KNOWN_BASES, KNOWN_FILES, MINILM, KnownBase, KnownFile
from tools.weights import main

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """A machine without weights: hub cache, torch's folder and site-packages are empty."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    absent = replace(wheels.WHEELS[MINILM], package="no-such-package-installed")
    monkeypatch.setattr(wheels, "WHEELS", {MINILM: absent})
    return tmp_path


@pytest.fixture
def cached(folder, monkeypatch) -> Path:
    """A model in the hub cache as the hub client lays it: a link to a blob of the name that the hub gave."""
    model = folder / "made"
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=6, **sizes)).save_pretrained(model)
    content = (model / "model.safetensors").read_bytes()
    blob = folder / "hub/models--org--tiny/blobs" / hashlib.sha256(content).hexdigest()
    place = folder / "hub/models--org--tiny/snapshots" / REVISION
    blob.parent.mkdir(parents=True)
    place.mkdir(parents=True)
    blob.write_bytes(content)
    (place / "model.safetensors").symlink_to(blob)
    (place / "config.json").write_bytes((model / "config.json").read_bytes())
    monkeypatch.setitem(KNOWN_BASES, "org/tiny", KnownBase(REVISION, 1, "MIT"))
    monkeypatch.setattr("tools.weights.NAMES", ("org/tiny", *KNOWN_FILES))
    return place


def test_list_names_sizes_licences_and_places(folder, capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 * (len(KNOWN_BASES) + len(KNOWN_FILES))
    assert lines[:3] == [
        "google-bert/bert-base-uncased",
        "    440 MB, licence: Apache-2.0",
        "    not on this machine",
    ]
    place = folder / "torch/checkpoints/medsam_vit_b.pth"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"x")
    main(["list"])
    assert capsys.readouterr().out.count(str(place)) == 1


def test_everything_that_a_preset_names_is_known():
    from tools.benchmark._networks import systems

    named = {
        value
        for system in systems().values()
        for settings in system.presets.values()
        for key, value in settings.items()
        if key.endswith("_model") and value is not None
    }
    assert named
    assert named <= KNOWN_BASES.keys() | KNOWN_FILES.keys()


def test_get_takes_what_is_here_and_asks_nobody(cached, capsys):
    assert main(["get", "org/tiny"]) == 0
    assert capsys.readouterr().out == f"org/tiny: {cached}\n"


def test_get_of_a_file_goes_on_where_it_stopped(folder, serve, monkeypatch, capsys):
    content = bytes(range(256)) * 4000
    (folder / "site").mkdir()
    (folder / "site/a_x.pth").write_bytes(content)
    server = serve(folder / "site")
    known = KnownFile(f"{server.address}/a_x.pth", 1, "MIT", hashlib.sha256(content).hexdigest()[:8])
    monkeypatch.setitem(KNOWN_FILES, "a_x.pth", known)
    monkeypatch.setattr("tools.weights.NAMES", ("a_x.pth",))
    server.cut_after = [300_000]
    assert main(["get", "all"]) == 0
    place = folder / "torch/checkpoints/a_x.pth"
    assert capsys.readouterr().out == f"a_x.pth: {place}\n"
    assert place.read_bytes() == content
    assert [part for _, part in server.asked] == [None, "bytes=300000-"]
    assert main(["verify", "a_x.pth"]) == 0
    place.write_bytes(content[:-1])
    assert main(["verify", "a_x.pth"]) == 1
    assert "; delete that copy and run python -m tools.weights get a_x.pth." in capsys.readouterr().err


def test_offline_the_message_has_all_that_is_needed(folder, monkeypatch, capsys):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert main(["get", "sam_vit_b_01ec64.pth", "facebook/sam-vit-base"]) == 1
    said = capsys.readouterr().err
    assert f"sam_vit_b_01ec64.pth: not in {folder}/torch/checkpoints; run" in said
    assert "(375 MB, licence: Apache-2.0) and put it there." in said
    revision = KNOWN_BASES["facebook/sam-vit-base"].revision
    place = f"{folder}/hub/models--facebook--sam-vit-base/snapshots/{revision}"
    assert f"(375 MB, licence: Apache-2.0) and give the folder, or put its files into {place}." in said


def test_a_server_that_is_not_there(folder, monkeypatch, capsys):
    monkeypatch.setattr("tools.download.ATTEMPTS", 1)
    known = KnownFile("http://127.0.0.1:9/a.pth", 7, "MIT", None)
    monkeypatch.setitem(KNOWN_FILES, "medsam_vit_b.pth", known)
    assert main(["get", "medsam_vit_b.pth"]) == 1
    said = capsys.readouterr().err
    assert "http://127.0.0.1:9/a.pth: cannot be fetched" in said
    assert (
        f"Or download it elsewhere (7 MB, licence: MIT) and put it into {folder}/torch/checkpoints." in said
    )


def test_verify_holds_the_cache_against_the_hubs_own_hash(cached, capsys):
    assert main(["verify", "all"]) == 0
    blob = (cached / "model.safetensors").resolve()
    assert capsys.readouterr().out == (
        f"org/tiny: model.safetensors has sha256 {blob.name}, as the hub said at commit 0123456789ab...; "
        "no sha256 is pinned here\n"
    )
    blob.write_bytes(blob.read_bytes()[:-1] + b"\xff")
    assert main(["verify", "org/tiny"]) == 1
    assert f"expected {blob.name[:12]}...; delete that copy" in capsys.readouterr().err


def by_hand(cached: Path) -> str:
    """Put a plain file in the place of the cache's link; returns its sha256."""
    content = (cached / "model.safetensors").read_bytes()
    (cached / "model.safetensors").unlink()
    (cached / "model.safetensors").write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def test_verify_claims_nothing_where_there_is_nothing_to_hold_it_against(cached, capsys):
    found = by_hand(cached)
    assert main(["verify", "org/tiny"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "org/tiny: NOT VERIFIED: no sha256 is pinned, and it did not come through the hub's" in said.err
    assert f"model.safetensors has sha256 {found}; compare with https://hugg" in said.err
    assert said.err.endswith(f"/org/tiny/tree/{REVISION}.\n")


def test_verify_against_a_pinned_hash(cached, monkeypatch, capsys):
    found = by_hand(cached)
    monkeypatch.setitem(KNOWN_BASES, "org/tiny", KnownBase(REVISION, 1, "MIT", found))
    assert main(["verify", "org/tiny"]) == 0
    assert capsys.readouterr().out == f"org/tiny: model.safetensors has sha256 {found}, as pinned\n"
    monkeypatch.setitem(KNOWN_BASES, "org/tiny", KnownBase(REVISION, 1, "MIT", found[::-1]))
    assert main(["verify", "org/tiny"]) == 1
    assert f"has sha256 {found[:12]}..., expected {found[:-13:-1]}...; delete" in capsys.readouterr().err


# Of "weights", by sha256sum and md5sum.
SHA256 = "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"
MD5 = "63f4f1e9b725370f459720575cd5f953"


@pytest.mark.parametrize(
    ("published", "said"),
    [
        ({"sha256": SHA256}, f"sha256 {SHA256}, as its authors published it"),
        (
            {"sha256": SHA256[:8]},
            f"first 8 digits of sha256 {SHA256[:8]}, as its authors published them (sha256 here: {SHA256})",
        ),
        ({"md5": MD5}, f"md5 {MD5}, as its authors published it (sha256 here: {SHA256})"),
    ],
    ids=["sha256", "8 digits", "md5"],
)
def test_verify_says_which_of_its_authors_hashes_was_compared(published, said, folder, monkeypatch, capsys):
    monkeypatch.setitem(KNOWN_FILES, "a.pth", KnownFile("https://x.y/a.pth", 1, "MIT", **published))
    monkeypatch.setattr("tools.weights.NAMES", ("a.pth",))
    place = folder / "torch/checkpoints/a.pth"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"weights")
    assert main(["verify", "a.pth"]) == 0
    assert capsys.readouterr().out == f"a.pth: {said}\n"
    place.write_bytes(b"weights" * 2)
    assert main(["verify", "a.pth"]) == 1
    ((kind, expected),) = published.items()
    error = capsys.readouterr().err
    assert f"has {kind} " in error
    assert f"expected {expected[:12]}...; delete that copy and run" in error


def test_every_known_file_has_a_hash_of_its_authors():
    assert all(known.sha256 or known.md5 for known in KNOWN_FILES.values())


def test_names_that_are_unknown_or_not_here(capsys):
    assert main(["verify", "org/nothing", "facebook/sam-vit-base"]) == 1
    said = capsys.readouterr().err
    assert "org/nothing: not one of the known weights; python -m tools.weights list shows them." in said
    assert "facebook/sam-vit-base: not on this machine; run python -m tools.weights get" in said
