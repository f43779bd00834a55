"""Overrides as MONAI's command line reads them, and the last line of a run that fails."""

import json
import subprocess
import sys
from pathlib import Path

import fire
import pytest

from common.command_line import check_keys, check_spelling
from common.errors import InputError

REPOSITORY = Path(__file__).parents[2]
CONFIG = """{
    "imports": ["$import sys", "$from common.errors import InputError"],
    "language": true,
    "step": "$1 + 1",
    "initialize": [{"_target_": "common.command_line.prepare"}],
    "run": ["@step"]
}"""


def run(folder: Path, *overrides: str) -> tuple[int, str]:
    (folder / "config.json").write_text(CONFIG)
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(folder / "config.json")]
    done = subprocess.run([*command, *overrides], cwd=REPOSITORY, capture_output=True, text=True)
    return done.returncode, done.stderr


@pytest.mark.parametrize("value", ["true", "false", "null", "False", "None"])
def test_what_is_refused_is_what_fire_takes_for_a_word(value: str) -> None:
    read = fire.Fire(lambda language: [language], command=["--language", value])[0]
    if isinstance(read, str):
        right = {"true": "True", "false": "False", "null": "None"}[value]
        message = f"part#language: found the text '{value}', expected {right}: .* give --part#language"
        with pytest.raises(InputError, match=message):
            check_spelling({"part": {"language": read}})
    else:
        check_spelling({"part": {"language": read}})


def test_lists_are_looked_through_and_other_texts_pass() -> None:
    check_spelling({"a": ["x", {"b": "none"}], "c": 1, "d": None, "e": "$not true"})
    with pytest.raises(InputError, match="a#1#b: found the text 'NULL', expected None"):
        check_spelling({"a": ["x", {"b": "NULL"}]})


def test_a_run_with_a_misread_override_ends_with_one_sentence(tmp_path: Path) -> None:
    code, said = run(tmp_path, "--language", "false")
    assert code == 1
    assert said.splitlines()[-1].startswith("error: language: found the text 'false', expected False: ")
    assert "Traceback" not in said


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Arguments that name two config files."""
    first = {
        "prompts_file": "a.txt",
        "epochs": 3,
        "amp": False,
        "outputs": ["masks"],
        "train": {},
        "run": ["$go(@seed)"],
    }
    contents = {"first.json": first, "second.json": {"train#steps": "@epochs", "pictures": 2}}
    for name, content in contents.items():
        (tmp_path / name).write_text(json.dumps(content))
    return ["--config_file", str([str(tmp_path / name) for name in contents])]


@pytest.mark.parametrize(
    "given",
    ["--prompts_file", "--prompts-file", "-epochs", "--epochs=4", "--noamp", "--pictures", "--seed", "--run",
     "--train#dataset", "--train::dataset", "--+train#dataset", "--meta_file", "--workflow_type", "-4"],
)  # fmt: skip
def test_keys_of_the_files_and_monais_own_pass(given: str, files: list[str]) -> None:
    check_keys(["training", *files, given, "x", "--", "--verbose"])
    check_keys([given, "x", f"--config-file={files[1]}"])


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        (["--promts_file", "b.txt"], r"did you mean prompts_file\? Correct it"),
        (["-epoch=4"], r"did you mean epochs\? Correct it"),
        (["--outputz", "['masks']"], r"did you mean outputs\? Correct it"),
        (["--override", "1"], "correct it"),
    ],
)
def test_a_key_that_the_files_do_not_have_is_refused(given: list[str], hint: str, files: list[str]) -> None:
    key = given[0].strip("-").partition("=")[0]
    with pytest.raises(
        InputError, match=f"^{key}: found --{key}, but the config files have no .*; {hint} or"
    ):
        check_keys(["training", *files, *given])


def test_keys_of_other_files_and_of_monais_tracking_are_not_judged(files: list[str]) -> None:
    check_keys(["training", "--args_file", "a.json", "--anything", "1"])
    check_keys(["training", *files, "--tracking", "mlflow", "--save_execute_config", "False"])


def test_a_run_with_a_key_that_no_file_has_ends_with_one_sentence(tmp_path: Path) -> None:
    code, said = run(tmp_path, "--langauge", "False")
    assert code == 1
    assert said.splitlines()[-1].startswith("error: langauge: found --langauge, but the config files have")
    assert "Traceback" not in said


def test_a_run_with_pythons_spelling_goes_through(tmp_path: Path) -> None:
    code, said = run(tmp_path, "--language", "False")
    assert code == 0, said


@pytest.mark.parametrize(
    ("step", "last", "traced"),
    [
        ("$InputError.missing", "AttributeError", True),  # a bug keeps its traceback
        ("$(_ for _ in ()).throw(InputError('scan.nii: cut'))", "error: scan.nii: cut", False),
        ("$(_ for _ in ()).throw(KeyboardInterrupt())", "stopped by Ctrl-C: a training goes on from", False),
    ],
)
def test_the_last_line_says_what_was_wrong(step: str, last: str, traced: bool, tmp_path: Path) -> None:
    code, said = run(tmp_path, "--step", step)
    assert code != 0
    assert last in said.splitlines()[-1] or (traced and last in said)
    assert ("Traceback" in said) == traced
