"""What a bundle says of itself."""

import json
from pathlib import Path

import pytest

from common.errors import InputError
from tools.engine import has_id, prompt_kinds

BUNDLES = Path(__file__).parents[2] / "bundles"


def bundle_with(folder: Path, content: str) -> Path:
    (folder / "configs").mkdir()
    (folder / "configs/metadata.json").write_text(content)
    return folder


def test_our_own_bundles_say_what_they_are_asked_for() -> None:
    assert prompt_kinds(BUNDLES / "medvlm_organ") == ("organ",)
    assert prompt_kinds(BUNDLES / "lsms_lesion") == ("sentence",)


def test_a_bundle_may_be_asked_for_both(tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path, '{"prompt_kinds": ["organ", "sentence"]}')
    assert prompt_kinds(bundle) == ("organ", "sentence")


@pytest.mark.parametrize(
    "kinds",
    [[], ["organs"], ["organ", "image"], [["organ"]], [{"organ": True}], "organ", {"organ": True}, None],
)
def test_other_kinds_are_refused(kinds: object, tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path, json.dumps({"prompt_kinds": kinds}))
    with pytest.raises(InputError) as caught:
        prompt_kinds(bundle)
    assert str(caught.value) == (
        f"{tmp_path}/configs/metadata.json: found {kinds!r} as prompt_kinds, expected a list of organ, "
        "sentence."
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [("{}", "KeyError"), ("[]", "TypeError"), ("{", "JSONDecodeError"), (None, "FileNotFound")],
)
def test_a_bundle_that_does_not_say_is_refused(content: str | None, reason: str, tmp_path: Path) -> None:
    bundle = tmp_path if content is None else bundle_with(tmp_path, content)
    with pytest.raises(InputError) as caught:
        prompt_kinds(bundle)
    found = str(caught.value)
    assert found.startswith(f"{tmp_path}/configs/metadata.json: found no prompt_kinds ({reason}")
    assert found.endswith("), expected a list of organ, sentence; fetch the bundle again.")


def test_ids_of_a_config() -> None:
    config = {"network_def": {"preset": None, "framing": {"window": [0, 1]}}, "device": "cpu"}
    for name in ("network_def", "network_def#preset", "network_def#framing#window", "device"):
        assert has_id(config, name), name
    for name in ("preset", "network_def#framing#crop", "device#index", "network_def#framing#window#0#1", ""):
        assert not has_id(config, name), name
