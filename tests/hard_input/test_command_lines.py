"""What is typed behind the keys of MONAI's command line arrives as typed, or is refused in one sentence."""

import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monai.bundle import ConfigParser
from PIL import Image

from common import machine
from common.config.command_line import read_arguments, read_texts
from common.config.rules import RULES, take
from common.config.values import as_data
from common.config.values import settings as settings_of
from common.data.readers import read_image
from common.errors import InputError
from tests.common.conftest import write_dicom_series
from tests.hard_input import volumes
from tests.hard_input.command_lines import REFUSED, TAKEN, odd_words

REPOSITORY = Path(__file__).parents[2]
CONFIGS = sorted(REPOSITORY.glob("bundles/*/configs/*.json"))


def taken(key: str, word: str) -> Any:
    """What a run sees of `--key word`."""
    words = ["run", f"--{key}", word]
    return settings_of({}, read_arguments(words), read_texts(words))[key]


@pytest.mark.parametrize(("key", "word", "right"), TAKEN)
def test_a_value_is_the_one_that_was_typed(key: str, word: str, right: Any) -> None:
    found = taken(key, word)
    assert found == right
    assert type(found) is type(right)


@pytest.mark.parametrize(("key", "word", "expected"), REFUSED)
def test_a_value_of_another_kind_is_refused_in_one_sentence(key: str, word: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        taken(key, word)
    said = str(caught.value)
    assert said.startswith(f"{key}: found ")
    assert f"expected {expected}" in said
    assert "\n" not in said


@pytest.mark.slow
@settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(key=st.sampled_from(sorted(RULES)), word=odd_words)
def test_any_word_behind_any_key_is_taken_or_refused(key: str, word: str) -> None:
    """A value that is taken is taken again, and MONAI's parser hands it on as it is."""
    try:
        found = taken(key, word)
    except InputError as error:
        said = str(error)
        found = None
    else:
        said = None
    if said is not None:
        assert len(said.splitlines()) == 1
        return
    assert take(key, found) == found
    if RULES[key].as_typed and isinstance(found, str):
        assert found == word
    assert ConfigParser({"a": as_data({"a": found})["a"], "b": "@a"}).get_parsed_content("b") == found


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: "/".join(path.parts[-3::2]))
def test_what_the_configs_hold_passes(config: Path) -> None:
    content = json.loads(config.read_text())
    parser = ConfigParser(content)
    for key, value in settings_of(content, {}, {}).items():
        assert parser[key] == value


def test_every_flat_key_that_users_change_has_a_rule() -> None:
    """Flat values of the shipped configs; what names a component, or belongs to MONAI, is none."""
    for config in CONFIGS:
        if config.stem in ("train", "evaluate", "inference"):
            content = json.loads(config.read_text())
            plain = {key for key, value in content.items() if isinstance(value, bool | int | float | None)}
            assert {key for key in plain if "#" not in key} <= RULES.keys(), config


def test_the_two_spellings_of_a_nested_key_are_one() -> None:
    words = ["run", "--network-def::text-bank", "a#b"]
    assert settings_of({}, read_arguments(words), read_texts(words)) == {"network_def#text_bank": "a#b"}


def test_expressions_are_of_config_files_alone() -> None:
    assert settings_of({"epochs": "$1 + 1", "input": "@dataset_dir", "window": ["@a", 2]}, {}, {}) == {}


CONFIG = {
    "imports": ["$import os", "$import sys"],
    "bundle_root": ".",
    "output_dir": "$@bundle_root + '/eval'",
    "input": "x",
    "dataset": "@input",
    "epochs": 3,
    "draws_per_epoch": 20,
    "network_def": {"_target_": "builtins.dict", "text_bank": None},
    "initialize": [
        "$sys.path.insert(0, os.path.abspath(str(@bundle_root).replace('::', chr(35))))",
        {"_target_": "common.config.overrides.prepare"},
    ],
    "run": [
        {
            "_target_": "tests.hard_input.command_lines.write_seen",
            "path": "$@bundle_root + '/seen.json'",
            "output_dir": "@output_dir",
            "dataset": "@dataset",
            "network": "@network_def",
            "draws": "@draws_per_epoch",
        }
    ],
}


def run(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    (folder / "config.json").write_text(json.dumps(CONFIG))
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(folder / "config.json")]
    command += ["--bundle_root", str(folder), *words]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)


def test_a_run_sees_and_records_paths_as_typed(tmp_path: Path) -> None:
    """Nested ones too, in a folder with such a name, and a None that MONAI drops."""
    folder = tmp_path / "study #1"
    folder.mkdir()
    words = ["--output_dir", "run#2", "--input", "['ct #1.nii', 'b@2.nii']", "--draws_per_epoch", "None"]
    done = run(folder, *words, "--network_def#text_bank", "2024")
    assert done.returncode == 0, done.stderr
    seen = json.loads((folder / "seen.json").read_text())
    record = seen.pop("record")
    assert seen == {
        "output_dir": "run#2",
        "dataset": ["ct #1.nii", "b@2.nii"],
        "network": {"text_bank": "2024"},
        "draws": None,
    }
    assert record["output_dir"] == "run#2"
    assert record["input"] == ["ct #1.nii", "b@2.nii"]
    assert record["bundle_root"] == str(folder)
    assert record["draws_per_epoch"] is None
    assert record["network_def"]["text_bank"] == "2024"


def test_a_run_with_a_value_out_of_range_ends_with_one_sentence(tmp_path: Path) -> None:
    done = run(tmp_path, "--epochs", "0")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "error: epochs: found '0', expected a whole number from 1 up; correct --epochs."
    )
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "seen.json").exists()


ENDS = """
import signal
import sys
from common.inference.ahead import load_ahead

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore

def load(path):
    return open(path, "rb").read()

for _, loading in load_ahead([sys.argv[1]], load):
    print("waiting", flush=True)
    loading.result()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_input_that_never_answers_does_not_outlive_a_signal(number: int, tmp_path: Path) -> None:
    """A pipe into which nobody writes stands for a share that is gone."""
    os.mkfifo(tmp_path / "ct.nii.gz")
    (tmp_path / "read.py").write_text(ENDS)
    command = [sys.executable, str(tmp_path / "read.py"), str(tmp_path / "ct.nii.gz")]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"waiting\n"
            process.send_signal(number)
            assert process.wait(timeout=20) != 0
        finally:
            process.kill()


def _picture(folder: Path) -> Path:
    Image.fromarray(np.arange(30, dtype=np.uint8).reshape(5, 6)).save(folder / "x.png")
    return folder / "x.png"


def _series(folder: Path) -> Path:
    write_dicom_series(folder / "ct", np.arange(120).reshape(4, 5, 6))
    return folder / "ct"


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (volumes.nifti, (6, 5, 4)),
        (volumes.metaimage, (6, 5, 4)),
        (volumes.nrrd, (6, 5, 4)),
        (_series, (6, 5, 4)),
        (_picture, (6, 5)),
    ],
)
def test_an_image_that_memory_cannot_hold_is_refused_in_numbers(
    make: Callable[[Path], Path], shape: Sequence[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, needed = make(tmp_path), math.prod(shape) * 5
    monkeypatch.setattr(machine, "free_bytes", lambda: needed)
    read_image(path)
    monkeypatch.setattr(machine, "free_bytes", lambda: needed - 1)
    found = f"{path}: found {' x '.join(map(str, shape))} voxels, which take 0.0 GiB, expected no more than"
    with pytest.raises(InputError, match=f"^{re.escape(found)}"):
        read_image(path)


def test_free_memory_is_a_number_that_can_be() -> None:
    free = machine.free_bytes()
    assert free is None or 0 < free <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 100


@pytest.mark.parametrize("words", ["tools.infer --list-prompts", "tools.weights list"])
def test_output_that_nobody_reads_ends_a_tool_quietly(words: str) -> None:
    command = f"'{sys.executable}' -m {words} | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] in ("0", "141")


def test_lines_that_nobody_reads_end_a_worker_quietly(tmp_path: Path) -> None:
    (tmp_path / "log.py").write_text(
        "import logging, sys\n"
        "from common.terminal import end_when_unread\n"
        "end_when_unread()\n"
        "logging.basicConfig(stream=sys.stdout, level=logging.INFO)\n"
        "for _ in range(100_000): logging.info('line')\n"
    )
    command = f"'{sys.executable}' '{tmp_path}/log.py' | head -1; echo ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "141"


@pytest.mark.parametrize(
    ("name", "by_monai"),
    [
        ("medvlm_organ", True),
        pytest.param("medvlm_organ", False, marks=pytest.mark.slow),
        pytest.param("lsms_lesion", True, marks=pytest.mark.slow),
        pytest.param("lsms_lesion", False, marks=pytest.mark.slow),
    ],
)
def test_inputs_and_prompts_are_looked_at_before_anything_is_loaded(
    name: str, by_monai: bool, tmp_path: Path
) -> None:
    """There are no weights at all, and what is said is the input."""
    bundle = REPOSITORY / "bundles" / name
    config = bundle / "configs" / "inference.json"
    places = {"checkpoint": str(tmp_path / "none.pt"), "output_dir": str(tmp_path / "out")}
    given = {**places, "bundle_root": str(bundle), "input": str(tmp_path / "no #1.nii.gz")}
    words = ["--config_file", str(config), *(word for key in given for word in (f"--{key}", given[key]))]
    by_tool = "import sys, json; from scripts.common.inference.worker import run_config\n"
    by_tool += "run_config(sys.argv[1], json.loads(sys.argv[2]))"
    command = (
        ["-m", "monai.bundle", "run", *words] if by_monai else ["-c", by_tool, str(config), json.dumps(given)]
    )
    done = subprocess.run([sys.executable, *command], cwd=bundle, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"{tmp_path}/no #1.nii.gz: no such file or folder" in done.stderr
    assert "none.pt" not in done.stderr
