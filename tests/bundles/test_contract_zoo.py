"""What MONAI's model zoo asks of every bundle, and what this repository asks besides."""

import ast
import importlib
import json
import pydoc
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from monai.bundle.scripts import verify_metadata, verify_net_in_out

from tests.bundles.subjects import BUNDLES, REPOSITORY

SCHEMA = (
    Path(__file__).parent / "meta_schema_20240725.json"
)  # MONAI's, as the address in metadata.json has it
CONFIGS = sorted(REPOSITORY.glob("bundles/*/configs/*.json"))
LIMIT_BYTES = 25_000_000  # larger files stand in large_files.yml

every_config = pytest.mark.parametrize("config", CONFIGS, ids=lambda path: f"{path.parts[-3]}/{path.stem}")


def metadata(bundle: Path) -> dict[str, Any]:
    return json.loads((bundle / "configs" / "metadata.json").read_text("utf-8"))


def values(content: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """All (id, value) pairs below `content`, ids as MONAI writes them."""
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for name, value in items:
        where = f"{key}#{name}" if key else str(name)
        if isinstance(value, dict | list):
            yield from values(value, where)
        else:
            yield where, value


def test_there_are_bundles() -> None:
    folders = {path.name for path in (REPOSITORY / "bundles").iterdir() if path.is_dir()}
    assert folders == {path.name for path in BUNDLES}


@pytest.mark.parametrize(
    "name", ["LICENSE", "configs/metadata.json", "configs/inference.json", "scripts/__init__.py"]
)
def test_files_that_the_zoo_wants(bundle: Path, name: str) -> None:
    assert (bundle / name).is_file()


def test_weights_are_there_or_have_an_address(bundle: Path) -> None:
    model = bundle / "models" / "model.pt"
    says_none = metadata(bundle)["data_source"].startswith("no weights yet")
    assert says_none != (model.is_file() or bool(list(bundle.glob("large_files.*"))))
    if model.is_file():
        assert model.stat().st_size < LIMIT_BYTES
        assert model.with_suffix(".json").is_file()


def test_metadata_follows_monais_schema(bundle: Path, tmp_path: Path) -> None:
    file = bundle / "configs" / "metadata.json"
    assert metadata(bundle)["schema"].rsplit("/", 1)[1] == SCHEMA.name
    verify_metadata(meta_file=str(file), filepath=str(SCHEMA))
    broken = metadata(bundle)
    broken["network_data_format"]["inputs"]["image"]["num_channels"] = "one"
    (tmp_path / "metadata.json").write_text(json.dumps(broken))
    with pytest.raises(ValueError, match="'one'"):
        verify_metadata(meta_file=str(tmp_path / "metadata.json"), filepath=str(SCHEMA))


def test_metadata_says_what_changed_and_what_it_is_for(bundle: Path) -> None:
    content = metadata(bundle)
    assert content["version"] == max(content["changelog"])
    for version in content["changelog"]:  # "latest" is a sort of text in MONAI
        assert re.fullmatch(r"\d\.\d\.\d", version)
    assert "research use only, not for diagnosis" in content["intended_use"].lower()


def test_pinned_versions_are_those_of_the_repository(bundle: Path) -> None:
    lines = (REPOSITORY / "requirements.txt").read_text("utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    content = metadata(bundle)
    stated = {name: content[f"{key}_version"] for name, key in (("monai", "monai"), ("torch", "pytorch"))}
    stated |= {"numpy": content["numpy_version"], **content["required_packages_version"]}
    assert stated == {name: pins[name] for name in stated}


def test_network_answers_as_metadata_says(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MONAI's check looks at channels and type; height, width and order of the keys are looked at here."""
    monkeypatch.syspath_prepend(str(bundle))
    files = {name: str(bundle / "configs" / f"{name}.json") for name in ("metadata", "inference")}
    verify_net_in_out(
        net_id="network_def", meta_file=files["metadata"], config_file=files["inference"], device="cpu"
    )
    form = metadata(bundle)["network_data_format"]
    assert next(iter(form["inputs"])) == "image"  # MONAI Label takes the first key of each
    assert next(iter(form["outputs"])) == "pred"
    parser = ConfigParser()
    parser.read_config(files["inference"])
    network = parser.get_parsed_content("network_def").eval()
    image, pred = form["inputs"]["image"], form["outputs"]["pred"]
    with torch.no_grad():
        logits = network(torch.rand(2, image["num_channels"], *image["spatial_shape"]))
        asked = network(
            torch.rand(1, image["num_channels"], *image["spatial_shape"]), [form["inputs"]["prompt"]]
        )
    assert logits.shape == (2, pred["num_channels"], *pred["spatial_shape"])
    assert asked.shape == (1, *logits.shape[1:])
    assert network.default_prompt == form["inputs"]["prompt"]


def test_the_record_of_the_weights_says_what_they_were_trained_with(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that loading compares, and what the bundle's own inference does unless told otherwise."""
    monkeypatch.syspath_prepend(str(bundle))
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    network = parser.get_parsed_content("network_def")
    settings = importlib.import_module("scripts.common.weights.checkpoints").settings_of(network)
    record = json.loads((bundle / "models" / "model.json").read_text("utf-8"))
    assert record.keys() == {"network_def", "trained_on", "frozen_bases"}
    assert record["network_def"] == json.loads(json.dumps(settings))["network_def"]


def test_scripts_are_the_same_in_every_bundle(bundle: Path) -> None:
    first = (BUNDLES[0] / "scripts" / "__init__.py").read_text("utf-8")
    assert (bundle / "scripts" / "__init__.py").read_text("utf-8") == first


@pytest.mark.parametrize(
    "file",
    [*REPOSITORY.glob("common/**/*.py"), *REPOSITORY.glob("bundles/*/scripts/*.py")],
    ids=lambda path: str(path.relative_to(REPOSITORY)),
)
def test_code_of_bundles_imports_itself_relatively(file: Path) -> None:
    """In a packaged bundle it is called `scripts.common`, and there is no `common`."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        own = {"common", "scripts", "tools"} & {name.split(".")[0] for name in names}
        assert not own, f"line {node.lineno} imports {own}"


@every_config
def test_config_names_what_there_is_and_nobodys_folders(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(config.parents[1]))
    for key, value in values(json.loads(config.read_text("utf-8"))):
        if not isinstance(value, str):
            continue
        assert not re.match(r"^\$\s*(import|from)\s+scripts", value), (
            key
        )  # fails in other working directories
        assert not re.search(r"^(/|~|[A-Za-z]:\\)|/(home|root|Users|mnt|media|tmp)/", value), (
            f"{key}: own path"
        )
        if key.endswith("_target_") and value.startswith("scripts."):
            assert pydoc.locate(value) is not None, f"{key}: {value} is not there"
        if value.startswith("$") and not re.match(r"imports#\d+$", key):
            assert "import" not in value, key  # MONAI would take the expression for an import statement


@pytest.mark.parametrize("config", REPOSITORY.glob("bundles/*/configs/multi_gpu_*.json"), ids=str)
def test_other_ranks_leave_out_nothing_but_what_they_would_say_twice(config: Path) -> None:
    parser = ConfigParser()
    parser.read_config([str(config.parent / "train.json"), str(config)])
    names = [*parser["train#handlers"], *parser["validate#handlers"]]
    handlers = [parser[name[1:]] if isinstance(name, str) else name for name in names]
    left_out = {h["_target_"] for h in handlers if h.get("_disabled_") == "$not @first_process"}
    once = {"StatsHandler", "TensorBoardStatsHandler", "ignite.handlers.ProgressBar", "MLFlowHandler"}
    assert left_out <= once
    kept = {h["_target_"] for h in handlers if h.get("_disabled_") != "$not @first_process"}
    assert not kept & once
