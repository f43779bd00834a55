"""What a client's fields become, and which names it may use."""

import pytest

from common.errors import InputError
from tools.monailabel.client_request import check_plain_name, read_asked, whole_number


def test_prompts_come_as_a_list_or_in_one_field():
    """Commas belong to descriptions; in a list a semicolon does too."""
    one = read_asked({"prompt": " the spleen, left of the stomach ;liver; ", "keep_largest": True})
    assert one.prompts == ("the spleen, left of the stomach", "liver")
    assert one.options == {"keep_largest": True}
    assert read_asked({"prompts": ["a; b", "$x"], "prompt": "shown in the viewer"}).prompts == ("a; b", "$x")


def test_nothing_else_of_a_request_goes_on():
    request = {
        **{
            "prompt": "liver",
            "image": "/etc/passwd",
            "label": "/x",
            "device": "cuda",
            "result_dtype": "float",
        },
        **{"result_extension": ".nrrd", "smooth": "true", "presence_threshold": 0.25},
    }
    asked = read_asked(request)
    assert asked.file_format == "nrrd"
    assert asked.options == {"smooth": True, "presence_threshold": 0.25}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "prompt: found no text, expected words"),
        ({"prompt": ";;"}, "prompt: found ';;', which has no word, expected words"),
        ({"prompts": []}, "prompts: found 0 texts, expected a list of 1 to 255 texts; say what to segment."),
        ({"prompts": ["a"] * 300}, "prompts: found 300 texts, expected a list of 1 to 255 texts"),
        ({"prompts": ["a", 3]}, "prompt 2: found int, expected text"),
        ({"prompt": "a;b;a"}, "prompts: found 'a' twice, expected different texts; leave one out."),
        ({"prompt": "a", "keep_largest": 1}, "keep_largest: found 1, expected true or false."),
        ({"prompt": "a", "presence_threshold": 2}, "presence_threshold: found 2, expected a number from 0"),
        ({"prompt": "a", "presence_threshold": True}, "presence_threshold: found True, expected a number"),
        (
            {"prompt": "a", "result_extension": "/../x.nii"},
            "result_extension: found '/../x.nii', expected .nii.gz",
        ),
    ],
)
def test_what_cannot_be_used_is_said(params, message):
    with pytest.raises(InputError) as caught:
        read_asked(params)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "name", ["", ".", "..", " ", "a/b", "a\\b", "C:x", "a\0b", "a\nb", "x" * 201, None, 3]
)
def test_names_that_lead_elsewhere(name):
    with pytest.raises(InputError, match=r"^image: found .*, expected a plain name without"):
        check_plain_name(name, "image")


@pytest.mark.parametrize("name", ["case_1", "1.2.840.3", "Müller, links (2)", "a..b"])
def test_plain_names(name):
    assert check_plain_name(name, "image") == name


def test_whole_numbers():
    assert whole_number("12", "max_epochs", 1, 20) == 12
    for value in ("0", 21, "1.5", True, "$1", None):
        with pytest.raises(InputError, match=r"^max_epochs: found .*, expected a whole number from 1 to 20"):
            whole_number(value, "max_epochs", 1, 20)
