"""Does a bundle listen: the questions, and the answers of a bundle whose understanding is known."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from common.data.datalist import load_datalist
from common.errors import InputError
from common.text.noise import add_typos
from common.text.phrases import CARRIERS, RELATIONS
from common.text.vocabulary import Vocabulary, sides
from tools.study import listen

REPOSITORY = Path(__file__).parents[3]
ORGANS = {1: "liver", 2: "spleen", 3: "left kidney"}
HU = {0: -100, 1: 0, 2: 100, 3: 200}

SCRIPTS = f'''"""Where `common` is."""

from pathlib import Path

if not (Path(__file__).parent / "common").is_dir():
    __path__.append({str(REPOSITORY)!r})
'''

NETWORK = r'''
import re

import torch

from .common.networks.base import TextSegmenter
from .common.networks.guidance import Guidance

GREY = {"liver": 0.4, "spleen": 0.65, "left kidney": 0.9}  # of the window from -160 to 240 HU


class FirstName(TextSegmenter):
    """Marks the grey value of the organ that a text names first; it knows three names and no other word."""

    def __init__(self):
        super().__init__(image_size=16, default_prompt="liver")

    def encode_text(self, prompts):
        names = [re.search(rf"\b({'|'.join(GREY)})\b", prompt.casefold()) for prompt in prompts]
        greys = torch.tensor([GREY[name[0]] if name else 9.0 for name in names])
        return Guidance(greys[:, None, None], torch.ones(len(greys), 1, dtype=torch.bool))

    def encode_image(self, image):
        return image

    def decode(self, image_features, guidance):
        rows = guidance.count // len(image_features)
        return 10 - 100 * (image_features.repeat_interleave(rows, dim=0) - guidance.tokens[..., None]).abs()
'''

CONFIG = {
    "bundle_root": ".",
    "input": "",
    "output_dir": "",
    "prompts_file": "",
    "outputs": ["labels"],
    "checkpoint": None,
    "device": "cpu",
    "network_def": {"_target_": "scripts.net.FirstName"},
    "inferer": {"_target_": "scripts.common.inference.VolumeInferer", "device": "@device"},
    "evaluator": {
        "_target_": "scripts.common.inference.CaseRunner",
        "inputs": "@input",
        "output_dir": "@output_dir",
        "prompts_file": "@prompts_file",
        "outputs": "@outputs",
        "network": "@network_def",
        "inferer": "@inferer",
    },
    "initialize": ["$import sys", "$sys.path.insert(0, @bundle_root)"],
    "run": ["$@evaluator.run()"],
}


def write(path: Path, voxels: np.ndarray) -> None:
    """Voxels of 10 x 10 x 10 mm: 1 ml each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(voxels, np.diag([10.0, 10.0, 10.0, 1.0]))
    image.set_qform(image.affine, code=1)
    nib.save(image, path)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    for part in ("configs", "scripts"):
        (folder / part).mkdir(parents=True)
    (folder / "scripts/__init__.py").write_text(SCRIPTS)
    (folder / "scripts/net.py").write_text(NETWORK)
    (folder / "configs/inference.json").write_text(json.dumps(CONFIG))
    (folder / "configs/metadata.json").write_text('{"prompt_kinds": ["organ"]}')
    return folder


@pytest.fixture
def datalist(tmp_path: Path) -> Path:
    """Volumes of 16 x 16 x 3. "less" has no spleen, but as much unmarked tissue of its grey value."""
    labels = np.zeros((16, 16, 3), np.uint8)
    labels[1:6, 2:12, :2], labels[7:10, 3:9, 1:], labels[12:15, 1:5, :] = 1, 2, 3
    items = []
    for name, shown in (("all", labels), ("less", np.where(labels == 2, 0, labels))):
        grey = np.vectorize(HU.get)(labels).astype(np.int16)
        write(tmp_path / f"images/{name}.nii.gz", grey)
        write(tmp_path / f"labels/{name}.nii.gz", shown.astype(np.uint8))
        files = {"image": f"images/{name}.nii.gz", "label": f"labels/{name}.nii.gz"}
        items.append(files | ({"absent": ["prostate"]} if name == "less" else {}))
    content = {"labels": {str(number): name for number, name in ORGANS.items()}, "test": items}
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps(content))
    return path


def of_kind(asked: list[listen.Question], kind: str) -> list[listen.Question]:
    return [question for question in asked if question.kind == kind]


def test_every_organ_is_asked_for_in_every_way() -> None:
    labels = list(ORGANS.values())
    asked = listen.questions(labels, ["prostate", "spleen"])
    assert [question.text for question in of_kind(asked, "name")] == labels
    assert [question.text for question in of_kind(asked, "absent")] == [*labels, "prostate"]  # each once
    for kind in ("synonym", "paraphrase", "description"):
        assert [question.organ for question in of_kind(asked, kind)] == sorted(labels * 3, key=labels.index)
    for question in of_kind(asked, "paraphrase"):
        assert question.organ in question.text
        assert question.text not in {carrier.format(question.organ) for carrier in CARRIERS}
    assert len({question.text for question in asked if question.kind != "absent"}) == len(
        [question for question in asked if question.kind != "absent"]
    )


def test_typos_are_never_the_name_and_keep_its_side() -> None:
    names = [organ.name for organ in Vocabulary.load().organs]
    asked = listen.questions(names, [])
    typos = of_kind(asked, "typo")
    assert {question.organ for question in typos} == set(names)
    assert listen.questions(names, []) == asked  # the same slips in every run
    for question in typos:
        assert question.text != question.organ
        assert sides(question.text) == sides(question.organ)
        assert abs(len(question.text) - len(question.organ)) <= len(question.organ.split())
    assert add_typos("left", np.random.default_rng(0), rate=1.0) == "left"


def test_swapped_sentences_come_in_pairs() -> None:
    names = [organ.name for organ in Vocabulary.load().group("phantom")]
    swaps = of_kind(listen.questions(names, []), "swap")
    texts = {question.text: question.organ for question in swaps}
    assert len(texts) == len(swaps) > 20
    for text, organ in texts.items():
        (other,) = (name for name in Vocabulary.load().organ(organ).neighbours if text.endswith(name))
        swapped = text.replace(organ, "*").replace(other, organ).replace("*", other)
        assert texts[swapped] == other
        assert text not in {relation.format(organ=organ, neighbour=other) for relation in RELATIONS}


def test_measured_is_the_overlap_with_every_organ_that_is_there(datalist: Path, tmp_path: Path) -> None:
    """Liver of 100 voxels, spleen of 36: half of the one with all of the other is the other's mask."""
    case = load_datalist(datalist, "test")[0]
    labels = np.asarray(nib.load(case.label).dataobj)
    half = (labels == 1) & (np.arange(16)[None, :, None] < 7)
    masks = {"half": half, "both": half | (labels == 2), "none": labels == 9}
    folder = tmp_path / "masks"
    for name, mask in masks.items():
        write(folder / f"{name}.nii.gz", mask.astype(np.uint8))
    asked = [listen.Question("name", "liver", "liver"), listen.Question("typo", "liver", "livr")]
    asked += [listen.Question("synonym", "liver", "hepar"), listen.Question("absent", "spleen", "spleen")]
    files = ["half.nii.gz", "both.nii.gz", "none.nii.gz", "none.nii.gz"]
    scores = [{"presence_score": score} for score in (0.9, 0.8, 0.3, 0.1)]
    (folder / "all_seg.json").write_text(json.dumps({"outputs": {"masks": files}, "prompts": scores}))

    rows = list(listen._measure(case, {name: (number,) for number, name in ORGANS.items()}, asked, folder))

    assert [row["kind"] for row in rows] == ["name", "typo", "synonym"]  # the spleen is there
    assert [row["ml"] for row in rows] == [50, 86, 0]
    assert [row["presence_score"] for row in rows] == [0.9, 0.8, 0.3]
    assert [row["dice"] for row in rows] == pytest.approx([2 * 50 / 150, 2 * 50 / 186, 0])
    assert 2 * 36 / (86 + 36) > 2 * 50 / 186  # the second mask is more spleen than liver
    assert [row["right"] for row in rows] == [True, False, False]


def row(kind: str, organ: str, score: float, case: str = "a") -> dict[str, Any]:
    return {"case": case, "kind": kind, "organ": organ, "dice": score, "right": score > 0.5}


def test_summary_compares_with_the_plain_names_of_the_same_cases_and_organs() -> None:
    rows = [row("name", "liver", 0.8), row("name", "spleen", 0.6), row("name", "liver", 1.0, "b")]
    rows += [row("typo", "liver", 0.4), row("typo", "liver", 0.6), row("typo", "liver", 1.0, "b")]
    rows += [
        {"case": "a", "kind": "absent", "organ": "heart", "ml": ml, "right": ml < 1} for ml in (0, 0, 0.9, 3)
    ]
    kinds = listen.summarise(rows)
    assert list(kinds) == ["name", "typo", "absent"]
    assert kinds["name"] == pytest.approx({"n": 3, "right": 1, "dice": 0.8, "of_plain": 1})
    # Twice case a and once case b by name: 0.8, 0.8, 1.0.
    assert kinds["typo"] == pytest.approx({"n": 3, "right": 2 / 3, "dice": 2 / 3, "of_plain": 2 / 2.6})
    assert kinds["absent"] == {"n": 4, "right": 0.75}


def test_a_bundle_of_known_understanding(
    bundle: Path, datalist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It knows three names, whatever stands around them, and that the first one counts."""
    report = listen.run(bundle, datalist, "test", tmp_path / "work")
    kinds = report["kinds"]
    # "all" has three organs and "less" two; three texts of a kind for each.
    assert kinds["name"] == {"n": 5, "right": 1, "dice": 1, "of_plain": 1}
    assert kinds["paraphrase"] == {"n": 15, "right": 1, "dice": 1, "of_plain": 1}
    # Of all synonyms that are asked for, "whole liver" and "liver parenchyma" have a name that it knows.
    assert kinds["synonym"] == pytest.approx({"n": 15, "right": 4 / 15, "dice": 4 / 15, "of_plain": 4 / 15})
    assert kinds["typo"] == {"n": 15, "right": 0, "dice": 0, "of_plain": 0}
    # Spleen and left kidney are neighbours: two sentences about the spleen, and two about each kidney.
    assert kinds["swap"] == {"n": 6, "right": 1, "dice": 1, "of_plain": 1}
    # "less" has neither spleen nor prostate; for "spleen" it gives the 36 ml that look like one.
    assert kinds["absent"] == {"n": 2, "right": 0.5}
    wrong = [row for row in report["rows"] if row["kind"] == "absent" and not row["right"]]
    assert [(row["case"], row["organ"], row["ml"]) for row in wrong] == [("less", "spleen", 36)]
    written = json.loads((tmp_path / "work/listen.json").read_text())
    assert written["kinds"] == kinds
    assert written["presence_threshold"] == 0.0  # the bundle's own
    said = capsys.readouterr().out
    assert "| a slip in every word | 15 | 0.0% | 0.000 | 0.0% |" in said
    assert "| organs that are not there | 2 | 50.0% under 1 ml | | |" in said


def test_a_section_without_labels_is_refused(datalist: Path, tmp_path: Path) -> None:
    content = json.loads(datalist.read_text())
    content["validation"] = [{"image": "images/all.nii.gz", "case": "x", "patient": "x"}]
    content["test"] = []
    datalist.write_text(json.dumps(content))
    with pytest.raises(InputError, match="no case of validation has a label map; name another section"):
        listen.run(tmp_path, datalist, "validation", tmp_path / "work")
