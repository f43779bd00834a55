"""Errors of a user are one line and an exit code; all others keep their traceback."""

import ast
from pathlib import Path

import pytest

from common.errors import InputError
from tools.command_line import says_input_errors

TOOLS = Path(__file__).parents[2] / "tools"


@says_input_errors(exit_code=2)
def command(error: Exception | None, *, code: int = 0) -> int:
    """Raise or return."""
    if error is not None:
        raise error
    return code


def test_what_the_command_returns_is_returned(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(None, code=7) == 7
    assert capsys.readouterr() == ("", "")


def test_an_input_error_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(InputError("--x: found 1, expected 2.")) == 2
    assert capsys.readouterr() == ("", "error: --x: found 1, expected 2.\n")


@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt(), SystemExit(2)])
def test_other_errors_go_through(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(type(error)):
        command(error)
    assert capsys.readouterr() == ("", "")


def test_every_command_line_uses_it() -> None:
    """Each module with a `main` and a parser; those of benchmarks are called by one that uses it."""
    without = []
    for path in TOOLS.rglob("*.py"):
        source = path.read_text("utf-8")
        for node in ast.parse(source).body:
            entry = isinstance(node, ast.FunctionDef) and node.name == "main" and "ArgumentParser(" in source
            if entry and not ("says_input_errors" in source or path.parent.name == "benchmark"):
                without.append(path.relative_to(TOOLS).as_posix())
    assert without == []
