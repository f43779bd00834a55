"""Overrides as MONAI's command line reads them, and the last line of a run that fails."""

import json
import subprocess
import sys
from pathlib import Path

import fire
import pytest

from common.config.command_line import read_arguments
from common.config.overrides import check_keys, check_spelling, prepare
from common.errors import InputError

REPOSITORY = Path(__file__).parents[3]
CONFIG = """{
    "imports": ["$import sys", "$from common.errors import InputError"],
    "language": true,
    "step": "$1 + 1",
    "initialize": [{"_target_": "common.config.overrides.prepare"}],
    "run": ["@step"]
}"""


def run(folder: Path, *overrides: str) -> tuple[int, str]:
    (folder / "config.json").write_text(CONFIG)
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(folder / "config.json")]
    done = subprocess.run([*command, *overrides], cwd=REPOSITORY, capture_output=True, text=True)
    return done.returncode, done.stderr


def check(*words: str) -> None:
    """Of `python -m monai.bundle run WORDS`."""
    check_keys(read_arguments(["run", *words]))


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
        "network_def": {
            "_target_": "Net",
            "preset": "a",
            "text_model": None,
            "framing": {"window": [0, 1]},
            "epochs": 3,
        },
        "run": ["$go(@seed)"],
    }
    contents = {"first.json": first, "second.json": {"train#steps": "@epochs", "images": 2}}
    for name, content in contents.items():
        (tmp_path / name).write_text(json.dumps(content))
    return ["--config_file", str([str(tmp_path / name) for name in contents])]


@pytest.mark.parametrize(
    "given",
    ["--prompts_file", "--prompts-file", "-epochs", "--epochs=4", "--images", "--seed", "--run",
     "--train#dataset", "--train::dataset", "--+train#dataset", "--meta_file", "--workflow_type", "-4"],
)  # fmt: skip
def test_keys_of_the_files_and_monais_own_pass(given: str, files: list[str]) -> None:
    check("training", *files, given, "x", "--", "--verbose")
    check(given, "x", f"--config-file={files[1]}")


def test_fires_spelling_of_false_is_of_the_key(files: list[str]) -> None:
    check("training", *files, "--noamp")
    with pytest.raises(InputError, match=r"^amq: found --amq, but"):
        check("training", *files, "--noamq")


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        (["--promts_file", "b.txt"], r"did you mean prompts_file\? Rename it"),
        (["-epoch=4"], r"did you mean epochs\? Rename it"),
        (["--outputz", "['masks']"], r"did you mean outputs\? Rename it"),
        (["--override", "1"], "rename it"),
        (["--noamp", "x"], r"did you mean amp\? Rename it"),  # only without a value does it mean amp
    ],
)
def test_a_key_that_the_files_do_not_have_is_refused(given: list[str], hint: str, files: list[str]) -> None:
    key = given[0].strip("-").partition("=")[0]
    with pytest.raises(
        InputError, match=f"^{key}: found --{key}, but the config files have no .*; {hint} or"
    ):
        check("training", *files, *given)


@pytest.mark.parametrize(
    "given",
    ["--network_def#preset", "--network_def::preset", "--network-def#text-model=x", "--network_def#rank",
     "--network_def#framing#window", "--network_def#framing#crop", "--network_def#_target_",
     "--network_def", "--+network_def#preset", "--epochs"],
)  # fmt: skip
def test_arguments_that_the_network_has_pass(given: str, files: list[str], tmp_path: Path) -> None:
    """Also one that a config file adds, and a key that the network shares with the run."""
    (tmp_path / "second.json").write_text(json.dumps({"network_def#rank": 4}))
    check("training", *files, given, "x")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "--network_def#text_modle",
            "network_def#text_modle: found --network_def#text_modle, but the config files' network_def has "
            "no text_modle, expected one of its arguments; did you mean network_def#text_model? Rename it "
            "or leave it out.",
        ),
        ("--network_def::presett=b", "did you mean network_def#preset? Rename it or leave it out."),
        (
            "--network-def#frame#window",
            "has no frame, expected one of its arguments; did you mean network_def#",
        ),
        ("--+network_def#presets", "found --network_def#presets, but the config files' network_def has no p"),
        (
            "--network_def#zzzzzzzzzzzzzzzz",
            "network_def has no zzzzzzzzzzzzzzzz, expected one of its arguments; ",
        ),
        (
            "--preset",
            "--preset: network arguments are given as --network_def#preset, found --preset alone; write "
            "--network_def#preset.",
        ),
        ("--text-model=x", "--text_model: network arguments are given as --network_def#text_model, found"),
        ("--framing", "--framing: network arguments are given as --network_def#framing, found"),
    ],
)
def test_a_misspelt_argument_of_the_network_is_refused(given: str, message: str, files: list[str]) -> None:
    """MONAI would hand it over, and a preset takes any name whose value is None."""
    with pytest.raises(InputError) as caught:
        check("training", *files, given, "x")
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["train", "inference"])
@pytest.mark.parametrize("bundle", sorted(REPOSITORY.glob("bundles/*/")), ids=lambda path: path.name)
def test_what_a_bundles_files_name_passes(bundle: Path, name: str) -> None:
    """Each argument of the network; and the other spelling of each does not."""
    config = bundle / "configs" / f"{name}.json"
    definition = json.loads(config.read_text())["network_def"]
    file = ["--config_file", str(config)]
    check(*file, *(f"--network_def#{name}" for name in definition))
    for name in definition:
        if not name.startswith("_"):
            with pytest.raises(InputError, match=f"--{name}: network arguments are given as --network_def#"):
                check(*file, f"--{name}", "1")


def test_an_argument_that_a_sections_class_does_not_take_is_refused(tmp_path: Path) -> None:
    inferer = {"_target_": "common.inference.VolumeInferer", "slice_batch": 8}
    content = {
        "inferer": inferer,
        "optimizer": {"_target_": "torch.optim.AdamW"},
        "train": {"trainer": inferer},
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    file = ["--config_file", str(tmp_path / "a.json")]
    passing = (
        "inferer#presence_top_fraction",
        "optimizer#betas",
        "train#trainer#amp",
        "inferer#_disabled_",
        "train#x",
    )
    check(*file, *(word for key in passing for word in (f"--{key}", "1")))
    for key, near in {
        "inferer#presence_treshold": "inferer#presence_threshold",
        "optimizer#lrr": "optimizer#lr",
        "train#trainer#slice_bach": "train#trainer#slice_batch",
    }.items():
        said = rf"{key}: found --{key}, but .* has no argument .*did you mean {near}\b"
        with pytest.raises(InputError, match=said):
            check(*file, f"--{key}", "1")


def test_a_config_without_a_network_leaves_its_arguments_to_monai(tmp_path: Path) -> None:
    (tmp_path / "plain.json").write_text(json.dumps({"epochs": 3}))
    check("training", "--config_file", str(tmp_path / "plain.json"), "--network_def#preset", "a")


def test_keys_of_other_files_and_of_monais_tracking_are_not_judged(files: list[str]) -> None:
    check("training", "--args_file", "a.json", "--anything", "1")
    check("training", *files, "--tracking", "mlflow", "--save_execute_config", "False")


def test_a_run_with_a_key_that_no_file_has_ends_with_one_sentence(tmp_path: Path) -> None:
    code, said = run(tmp_path, "--langauge", "False")
    assert code == 1
    assert said.splitlines()[-1].startswith("error: langauge: found --langauge, but the config files have")
    assert "Traceback" not in said


def test_a_program_that_builds_a_workflow_keeps_its_words_and_its_errors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["notebook", "run", "--config_file", "none.json", "--language", "false"])
    hook = sys.excepthook
    prepare()
    assert sys.excepthook is hook


def test_a_run_with_pythons_spelling_goes_through(tmp_path: Path) -> None:
    code, said = run(tmp_path, "--language", "False")
    assert code == 0, said


@pytest.mark.parametrize(
    ("step", "last", "traced"),
    [
        ("$InputError.missing", "AttributeError", True),  # a bug keeps its traceback
        ("$(_ for _ in ()).throw(InputError('scan.nii: cut'))", "error: scan.nii: cut", False),
        ("$(_ for _ in ()).throw(KeyboardInterrupt())", "stopped by Ctrl-C: the same command", False),
    ],
)
def test_the_last_line_says_what_was_wrong(step: str, last: str, traced: bool, tmp_path: Path) -> None:
    code, said = run(tmp_path, "--step", step)
    assert code != 0
    assert last in said.splitlines()[-1] or (traced and last in said)
    assert ("Traceback" in said) == traced
