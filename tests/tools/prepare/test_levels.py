"""Levels for any datalist of images: what is added, what stays, and what lacks metadata."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from common.data.datalist import load_referring
from tests.tools.prepare.drawings import disc, save, scene
from tools.prepare.__main__ import main


def datalist(folder: Path, items: list[dict[str, Any]], **head: Any) -> Path:
    save(folder / "image.jpg", scene(1))
    two = np.where(disc(20, 20, 12) > 0, 1, 0) + np.where(disc(60, 100, 8) > 0, 2, 0)
    save(folder / "two.png", two.astype(np.uint8))
    save(folder / "empty.png", np.zeros((90, 120), np.uint8))
    path = folder / "datalist.json"
    path.write_text(json.dumps({**head, "training": items}))
    return path


def added(path: Path, out: Path, family: str, target: str) -> list[dict[str, Any]]:
    command = ["levels", "--datalist", str(path), "--out", str(out), "--family", family, "--class", target]
    assert main(command) == 0
    load_referring(out / "datalist.json", "training")
    items: list[dict[str, Any]] = json.loads((out / "datalist.json").read_text())["training"]
    return items


def test_words_are_of_what_an_item_means_and_its_own_sentences_stay(tmp_path):
    common = {"image": "image.jpg", "label": "two.png", "patient": "a", "prompts": ["that one"]}
    items = [{**common, "case": "first", "lesion": 1}, {**common, "case": "all", "source": "me"}]
    first, both = added(datalist(tmp_path / "mine", items), tmp_path / "out", "photograph", "spot")
    assert (first["attributes"]["number"], first["attributes"]["location"]) == ("one", ["top left"])
    assert (both["attributes"]["number"], both["attributes"]["location"]) == (
        "two",
        ["top left", "bottom right"],
    )
    assert (both["prompts"], both["source"], both["dataset"]) == (["that one"], "me", "mine")
    assert first["levels"]["p1"] == ["spot"]
    assert "p7" not in first["levels"]  # nothing describes a spot


def test_items_of_labels_get_sentences_about_the_named_one(tmp_path):
    labels = {"1": "liver", "2": "cyst"}
    items = [
        {"image": "image.jpg", "label": "two.png", "case": "a", "patient": "p"},
        {"image": "image.jpg", "label": "empty.png", "case": "b", "patient": "p"},
    ]
    path = datalist(tmp_path / "mine", items, labels=labels)
    found, none = added(path, tmp_path / "out", "photograph", "cyst")
    assert (found["attributes"]["location"], found["lesion"]) == (["bottom right"], [2])
    assert found["prompts"][0] == "cyst"
    assert (none["lesion"], none["prompts"]) == ([], ["no cyst"])


def test_levels_that_lack_metadata_are_counted_and_known_metadata_is_used(tmp_path, capsys):
    common = {"image": "image.jpg", "label": "two.png", "patient": "a", "prompts": ["that one"]}
    items = [{**common, "case": "a", "attributes": {"view": "frontal"}}, {**common, "case": "b"}]
    with_view, without = added(datalist(tmp_path / "mine", items), tmp_path / "out", "chest_xray", "Edema")
    assert with_view["levels"]["p2"] == ["Edema in the frontal view of a Chest Xray."]
    assert list(without["levels"]) == ["p0", "p1"]
    assert "of 2 items: p2 1, p3 1, p4 1, p5 2, p6 2" in capsys.readouterr().out


def test_the_datalist_itself_is_not_written_over(tmp_path, capsys):
    path = datalist(tmp_path / "mine", [{"image": "image.jpg", "label": "two.png", "prompts": ["x"]}])
    command = ["levels", "--datalist", str(path), "--out", str(path.parent), "--family", "photograph"]
    assert main([*command, "--class", "spot"]) == 1
    assert "would overwrite" in capsys.readouterr().err
