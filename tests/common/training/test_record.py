"""What is kept of trainings and evaluations."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine

from common.errors import InputError
from common.training.record import EvaluationRecord, RunRecord, git_commit


def test_a_record_adds_an_entry_for_every_start(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").touch()
    datalist = tmp_path / "datalist.json"
    item = {"image": "a.nii.gz", "label": "a.nii.gz", "patient": "p7"}
    datalist.write_text(json.dumps({"labels": {"1": "liver"}, "training": [item]}))
    for _ in range(2):
        engine = Engine(lambda _engine, _batch: None)
        RunRecord(output_dir=tmp_path / "run", datalist=datalist, seed=3).attach(engine)
        engine.run([0])
    entries = json.loads((tmp_path / "run" / "run.json").read_text())
    assert len(entries) == 2
    assert entries[0]["split"] == {"training": {"a": "p7"}}
    assert entries[0]["datalist"]["sha256"] == hashlib.sha256(datalist.read_bytes()).hexdigest()
    assert entries[0]["seed"] == 3
    assert entries[0]["versions"]["torch"] == torch.__version__
    assert entries[0]["git_commit"] == git_commit()
    assert not (tmp_path / "run" / "config.json").exists()  # its engine has no config
    engine.config = {"epochs": 3}  # type: ignore[attr-defined]
    engine.run([0])
    assert json.loads((tmp_path / "run" / "config.json").read_text()) == {"epochs": 3}


def test_a_record_of_items_with_sentences(tmp_path: Path) -> None:
    """It needs no labels, and two items may be lesions of one image without ids of their own."""
    datalist = tmp_path / "datalist.json"
    files = {"image": "a.png", "label": "a_label.png", "patient": "p7"}
    items = [{**files, "lesion": number, "prompts": ["a lesion"]} for number in (1, 2)]
    other = {**files, "image": "b.png", "patient": "p8", "prompts": ["all lesions"]}
    datalist.write_text(json.dumps({"training": items, "test": [other]}))
    facts = RunRecord(output_dir=tmp_path / "run", datalist=datalist, seed=0).facts()
    assert facts["split"] == {"training": {"a-1": "p7", "a-2": "p7"}, "test": {"b": "p8"}}


def test_a_record_of_malformed_labels_is_refused(tmp_path: Path) -> None:
    datalist = tmp_path / "datalist.json"
    datalist.write_text(json.dumps({"labels": ["liver"], "training": []}))
    with pytest.raises(InputError, match=r'datalist.json: "labels" is \["liver"\], expected \{"1": "liver"'):
        RunRecord(output_dir=tmp_path / "run", datalist=datalist, seed=0).facts()


def test_an_evaluation_says_of_what_it_is_and_what_it_replaces(tmp_path: Path, caplog) -> None:
    datalist, weights = tmp_path / "datalist.json", tmp_path / "model.pt"
    datalist.write_text("{}")
    weights.write_bytes(b"first")

    def evaluate(section: str = "test") -> None:
        engine = Engine(lambda _engine, _batch: None)
        EvaluationRecord(
            output_dir=tmp_path / "eval", datalist=datalist, section=section, checkpoint=weights
        ).attach(engine)
        engine.run([0])

    evaluate()
    evaluate()
    assert "will be replaced" not in caplog.text
    weights.write_bytes(b"second")
    evaluate(section="validation")
    assert f"{tmp_path}/eval: results of another checkpoint and section are there" in caplog.text
    record = json.loads((tmp_path / "eval" / "evaluation.json").read_text())
    assert record["checkpoint"] == {"path": str(weights), "sha256": hashlib.sha256(b"second").hexdigest()}
    assert record["datalist"]["sha256"] == hashlib.sha256(b"{}").hexdigest()
    assert record["section"] == "validation"
    assert record["versions"]["torch"] == torch.__version__
