"""The answer to a job. How jobs and answers pass between two processes is in tests/tools/test_engine.py."""

from typing import Any

import pytest

from common.errors import InputError
from common.jobs import answer_to


def test_a_job_that_is_done_is_answered_with_what_was_found() -> None:
    assert answer_to(lambda job: {"twice": 2 * job["number"]}, {"number": 3}) == {"ok": True, "twice": 6}


def test_a_bug_while_an_input_error_is_handled_is_not_the_users(capsys: pytest.CaptureFixture[str]) -> None:
    """The log has its traceback; what MONAI raises from an InputError is still the user's."""

    def bug(_job: dict[str, Any]) -> dict[str, Any]:
        try:
            raise InputError("the prompt")
        except InputError:
            return {}["no such key"]

    def wrapped(_job: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError("component instantiate error") from InputError("the prompt")

    assert answer_to(bug, {}) == {"ok": False, "kind": "internal", "message": "KeyError: 'no such key'"}
    assert "Traceback" in capsys.readouterr().err
    assert answer_to(wrapped, {}) == {"ok": False, "kind": "input", "message": "the prompt"}
    assert capsys.readouterr().err == ""
