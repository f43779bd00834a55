"""What MONAI's command line was given, as MONAI itself reads it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigWorkflow

from common.config.command_line import config_of, config_of_run, read_arguments, started_by_monai

REPOSITORY = Path(__file__).parents[3]
FIRST = {
    "imports": ["$import json", "$import pathlib", "$from common.config.command_line import config_of_run"],
    "out": "",
    "epochs": 3,
    "rate": "$@epochs * 0.1",
    "network_def": {"_target_": "Net", "preset": "a", "window": [0, 1]},
    "loss_weights": {"dice": 1.0},
    "text": "x",
    "initialize": [],
    "run": ["$pathlib.Path(@out).write_text(json.dumps(config_of_run()))"],
    "training": "%run",
}
SECOND = {"network_def#window": [-1, 1], "+loss_weights": {"bce": 2.0}, "again": "%network_def#preset"}


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    for name, content in {"first": FIRST, "second": SECOND, "metadata": {"version": "0.1"}}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return [str(tmp_path / f"{name}.json") for name in ("first", "second")]


CHANGES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "none": ([], {}),
    "values": (["--epochs", "5", "--text=a b"], {"epochs": 5, "text": "a b"}),
    "paths": (["--network_def#preset", "b", "--network-def::window", "[2,3]"],
              {"network_def#preset": "b", "network_def::window": [2, 3]}),
    "flags": (["--text", "--noepochs"], {"text": True, "epochs": False}),
    "one line": (["--text", "a,b"], {"text": ("a", "b")}),
    "sections": (["--loss_weights", "{'dice': 0.5}"], {"loss_weights": {"dice": 0.5}}),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_the_config_is_the_one_of_monais_workflow(name: str, files: list[str]) -> None:
    words, overrides = CHANGES[name]
    workflow = ConfigWorkflow(files, logging_file=False, **overrides)
    workflow.initialize()
    read = config_of(read_arguments(["run", "training", "--config_file", str(files), *words]))
    assert read == workflow.parser.get()
    assert read["_meta_"] == {"version": "0.1"}


def test_arguments_in_order_have_their_names() -> None:
    given = read_arguments(["run", "training", "begin", "--meta_file=m.json", "--", "--trace"])
    assert given == {"run_id": "training", "init_id": "begin", "meta_file": "m.json"}
    assert read_arguments(["run_workflow", "my.Workflow"]) == {"workflow_name": "my.Workflow"}


def test_reading_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    read_arguments(["run", "--text", "x"])
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("by_file", [False, True], ids=["options", "args_file"])
def test_a_run_knows_its_config(files: list[str], by_file: bool, tmp_path: Path) -> None:
    """An override of None is none to MONAI, and one on the command line goes before one in the file."""
    out = str(tmp_path / "seen.json")
    given = {"config_file": files, "epochs": 4, "out": out}
    words = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    if by_file:
        (tmp_path / "args.json").write_text(json.dumps({**given, "epochs": 7}))
        words = ["--args_file", str(tmp_path / "args.json"), "--epochs", "4"]
    command = [sys.executable, "-m", "monai.bundle", "run", "training", *words, "--text", "None"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    workflow = ConfigWorkflow(files, logging_file=False, epochs=4, out=out)
    workflow.initialize()
    assert json.loads(Path(out).read_text()) == workflow.parser.get()


def test_other_programs_have_no_command_line_of_monais(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["monai/bundle/__main__.py", "run", "--config_file", "none.json"])
    assert not started_by_monai()
    assert config_of_run() is None
