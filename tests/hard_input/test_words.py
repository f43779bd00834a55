"""Words that are not understood are said, those that are none are refused, and none turns a line around."""

import json
import logging
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import pytest

from common.errors import InputError
from common.inference.prompts import choose_prompts
from common.terminal import keep_logs_printable, printable
from common.text.doubts import doubts
from common.text.prompts import check_prompt, number_prompts, read_prompts_file
from common.text.vocabulary import Vocabulary
from tests.hard_input.words import ANOTHER_LANGUAGE, BIDIRECTIONAL, BOTH, DENIES, NO_WORD, UNDERSTOOD
from tools import infer
from tools.command_line import Parser

TOOLS = [
    *(f"tools.{name}" for name in ("check_bundle", "export", "export_full", "infer", "prompts", "weights")),
    *(
        f"tools.{name}.__main__"
        for name in ("benchmark", "build_bundle", "evaluate", "get_bundle", "monailabel", "phantom")
    ),
    *("tools.prepare.__main__", "tools.study.__main__"),
]


@pytest.mark.parametrize("text", DENIES)
def test_negation_is_said_not_to_be_understood(text: str) -> None:
    (said,) = doubts(text)
    assert repr(DENIES[text]) in said
    assert repr(text) in said
    assert "denies something, and negation is not understood" in said


@pytest.mark.parametrize("text", ANOTHER_LANGUAGE)
def test_another_script_or_language_is_said(text: str) -> None:
    (said,) = doubts(text)
    assert f"({ANOTHER_LANGUAGE[text]})" in said
    assert "ask in English" in said


@pytest.mark.parametrize("text", UNDERSTOOD)
def test_what_was_learnt_is_not_doubted(text: str) -> None:
    assert doubts(text) == []


def test_no_text_of_the_vocabulary_is_doubted() -> None:
    for organ in Vocabulary.load().organs:
        for text in (*organ.spellings, *organ.descriptions):
            assert doubts(text) == [], text


@pytest.mark.parametrize("text", NO_WORD)
def test_text_without_a_word_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"^prompt: found .*, which has no word, expected words; write what"):
        check_prompt(text)


@pytest.mark.parametrize("text", BOTH)
def test_both_organs_of_a_pair_are_two_prompts(text: str, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text(f"{text}\nliver\n")
    (tmp_path / "prompts.json").write_text(json.dumps([{"prompt": text}, "liver"]))
    asked = [*BOTH[text], "liver"]
    for chosen in (
        read_prompts_file(tmp_path / "prompts.txt"),
        read_prompts_file(tmp_path / "prompts.json"),
        number_prompts([("here", text), ("there", "liver")]),
        choose_prompts([text, "liver"], None),
    ):
        assert [prompt.text for prompt in chosen] == asked
        assert [prompt.name for prompt in chosen] == asked
        assert [prompt.label for prompt in chosen] == list(range(1, len(asked) + 1))


def test_a_number_of_its_own_keeps_a_pair_one_prompt() -> None:
    (prompt,) = number_prompts([("here", {"prompt": "both kidneys", "label": 7})])
    assert (prompt.text, prompt.label) == ("both kidneys", 7)


@pytest.mark.parametrize("mark", BIDIRECTIONAL)
def test_marks_that_turn_a_line_around_are_printed_as_numbers(
    mark: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printable(f"a{mark}b") == f"a\\u{ord(mark):04x}b"
    factory = logging.getLogRecordFactory()
    try:
        keep_logs_printable()
        logging.getLogger("any").warning("%s: found it", f"ct{mark}.nii")
    finally:
        logging.setLogRecordFactory(factory)
    assert caplog.messages == [f"ct\\u{ord(mark):04x}.nii: found it"]
    assert infer.main(["--bundle", f"no{mark}", "--input", "a", "--output", "b", "--prompt", "c"]) == 1
    with pytest.raises(SystemExit):
        infer.main([f"--x{mark}"])
    said = capsys.readouterr().err
    assert mark not in said
    assert said.count(f"\\u{ord(mark):04x}") == 2


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_says_by_one_parser_what_is_wrong_with_its_options(
    tool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that prints these marks as numbers."""
    said: list[str] = []

    def error(_: Parser, message: str) -> NoReturn:
        said.append(message)
        raise SystemExit(2)

    monkeypatch.setattr(Parser, "error", error)
    with pytest.raises(SystemExit):
        import_module(tool).main(["--x"])
    assert len(said) == 1
