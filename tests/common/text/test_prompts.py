import json
from pathlib import Path

import pytest

from common.errors import InputError
from common.text.prompts import Prompt, check_prompt, read_prompts_file

# Texts that a shell, fire, a config parser or str.format would change.
AWKWARD = [
    "$1+1",
    "(liver)",
    "a,b",
    "@image#0",
    "%run",
    "{liver}",
    "%s",
    "'liver'",
    "1",
    "null",
    "foie gras é 肝臓",
]


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("text", AWKWARD)
def test_prompts_come_out_as_they_are(text: str, tmp_path: Path) -> None:
    assert check_prompt(text) == text
    expected = [Prompt(text, text, 1)]
    assert read_prompts_file(write(tmp_path / "a.txt", text)) == expected
    assert read_prompts_file(write(tmp_path / "a.json", [text])) == expected
    assert read_prompts_file(write(tmp_path / "b.json", [{"prompt": text}])) == expected


def test_check_prompt_strips_ends_only() -> None:
    assert check_prompt("  left   kidney \n") == "left   kidney"
    assert check_prompt("x" * 2000) == "x" * 2000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "^prompt: found NoneType, expected text; write what to segment in words.$"),
        (["liver"], "^prompt: found list, expected text;"),
        ("", "^prompt: found no text, expected words; write what to segment, such as liver.$"),
        (" \n\t ", "^prompt: found no text"),
        ("x" * 2001, "^prompt: found 2001 characters, expected at most 2000; shorten the text.$"),
        (
            "the\nliver",
            r"^prompt: found the control character U\+000A at position 4, expected printable text",
        ),
        ("the\tliver", r"U\+0009 at position 4"),
        ("liver\x00", r"U\+0000 at position 6"),
        ("li\x1b[31mver", r"U\+001B at position 3"),
        ("li\u2028ver", r"U\+2028 at position 3"),
        ("li\ud800ver", r"U\+D800 at position 3"),
    ],
)
def test_check_prompt_refuses(text: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_prompt(text)


def test_text_file_skips_comments_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "prompts.TXT"
    path.write_bytes(b"\xef\xbb\xbf# organs\r\nliver\r\n\r\n   # more\r\n  left kidney  \r\nlesion #2\r\n")
    assert read_prompts_file(path) == [
        Prompt("liver", "liver", 1),
        Prompt("left kidney", "left kidney", 2),
        Prompt("lesion #2", "lesion #2", 3),
    ]


def test_json_file_takes_names_labels_and_colours(tmp_path: Path) -> None:
    content = [
        "spleen",
        {"prompt": "the large organ on the right", "name": "liver", "label": 1, "colour": [221, 130, 101]},
        {"prompt": "aorta", "label": 255},
        {"prompt": "stomach", "label": None, "colour": None},
    ]
    assert read_prompts_file(write(tmp_path / "prompts.json", content)) == [
        Prompt("spleen", "spleen", 2),
        Prompt("the large organ on the right", "liver", 1, (221, 130, 101)),
        Prompt("aorta", "aorta", 255),
        Prompt("stomach", "stomach", 3),
    ]


def test_255_prompts_fill_all_labels(tmp_path: Path) -> None:
    entries = [{"prompt": "first", "label": 200}, *(f"thing {number}" for number in range(254))]
    prompts = read_prompts_file(write(tmp_path / "prompts.json", entries))
    assert sorted(prompt.label for prompt in prompts) == list(range(1, 256))
    assert prompts[0].label == 200


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "found 0 prompts, expected 1 to 255; write one prompt a line"),
        ("# nothing\n\n", "found 0 prompts"),
        (
            "liver\n\nliver\n",
            r"line 3: found the name 'liver' again \(first in .*line 1\), expected every name once;",
        ),
        ("liver\na\tb\n", r"line 2: found the control character U\+0009 at position 2"),
        (
            "\n".join(f"thing {number}" for number in range(256)),
            "found 256 prompts, expected 1 to 255; split",
        ),
    ],
)
def test_text_file_refuses(content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_prompts_file(write(tmp_path / "prompts.txt", content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "found 0 prompts, expected 1 to 255"),
        ("", "found no valid JSON"),
        ("[" * 100_000, "found no valid JSON"),
        (
            {"prompts": ["liver"]},
            r"found an object, expected a list of prompts; put them between \[ and \]\.$",
        ),
        ('"liver"', "found text, expected a list of prompts"),
        ([["liver"]], 'item 1: found a list, expected text or {"prompt": text}'),
        (["liver", 3], "item 2: found a number, expected text"),
        ([None], "item 1: found null, expected text"),
        ([{"name": "liver"}], "item 1: found an object without prompt"),
        ([{"prompt": 5}], "item 1: found int, expected text"),
        ([{"prompt": " "}], "item 1: found no text"),
        ([{"prompt": "liver", "name": ""}], "item 1, name: found no text"),
        (
            [{"prompt": "liver", "color": [1, 2, 3]}],
            "item 1: found the key 'color', expected prompt, name, label, colour",
        ),
        (
            [{"prompt": "liver", "label": 0}],
            "item 1: found the label 0, expected a whole number from 1 to 255",
        ),
        ([{"prompt": "liver", "label": 256}], "found the label 256"),
        ([{"prompt": "liver", "label": True}], "found the label True"),
        ([{"prompt": "liver", "label": "1"}], "found the label '1'"),
        ([{"prompt": "liver", "label": 1.0}], r"found the label 1\.0"),
        (
            [{"prompt": "a", "label": 4}, {"prompt": "b", "label": 4}],
            r"item 2: found the label 4 again \(first in .*item 1\)",
        ),
        ([{"prompt": "a", "name": "n"}, {"prompt": "b", "name": "n"}], "item 2: found the name 'n' again"),
        (
            [{"prompt": "liver", "colour": [1, 2]}],
            r"found the colour \[1, 2\], expected three whole numbers from 0 to 255",
        ),
        ([{"prompt": "liver", "colour": [1, 2, 256]}], r"found the colour \[1, 2, 256\]"),
        ([{"prompt": "liver", "colour": "red"}], "found the colour 'red'"),
    ],
)
def test_json_file_refuses(content: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_prompts_file(write(tmp_path / "prompts.json", content))


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"none\.txt: cannot be read \(No such file or directory\); give the path"
    ):
        read_prompts_file(tmp_path / "none.txt")
    with pytest.raises(InputError, match=r"prompts\.csv: found the ending '\.csv', expected \.txt or \.json"):
        read_prompts_file(tmp_path / "prompts.csv")
    (tmp_path / "latin.txt").write_bytes("œsophage\né".encode("cp1252"))
    with pytest.raises(
        InputError, match=r"latin\.txt: found the byte 0x9c at position 0, expected UTF-8 text; save"
    ):
        read_prompts_file(tmp_path / "latin.txt")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(InputError, match=r"folder\.json: cannot be read \(Is a directory\)"):
        read_prompts_file(tmp_path / "folder.json")
