"""Every bundle's evaluate.json scores what its inference.json writes, and says of what."""

import csv
import hashlib
import json
from contextlib import chdir
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pytest

from tests.bundles.subjects import Target, dice, own_mask


class Evaluation(NamedTuple):
    """What evaluate.json wrote, and the masks that inference.json wrote for the same prompts."""

    run: Any
    folder: Path
    faults: list[str]
    rows: dict[tuple[str, str], dict[str, str]]  # by case and label

    def found(self, target: Target) -> np.ndarray:
        number = 1 + self.run.subject.prompts.index(target.prompt)
        return own_mask(self.folder / "masks", target, number)


@pytest.fixture(scope="module")
def evaluated(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    folder, subject = tmp_path_factory.mktemp("evaluated"), trained.subject
    with chdir(folder):
        overrides = {**trained.overrides, "output_dir": str(folder / "scores"), "absent": False}
        workflow = subject.workflow("train.json", "evaluate.json", **overrides)
        workflow.initialize()
        faults = workflow.check_properties()
        workflow.run()
        workflow.finalize()
        (folder / "prompts.json").write_text(json.dumps([{"prompt": text} for text in subject.prompts]))
        inference = subject.inference(
            trained.checkpoint,
            input=sorted({str(target.image) for target in subject.targets()}),
            output_dir=str(folder / "masks"),
            prompts_file=str(folder / "prompts.json"),
            outputs=["masks"],
        )
        inference.initialize()
        inference.run()
    with (folder / "scores" / "volumes.csv").open() as file:
        rows = {(row["case"], row["label"]): row for row in csv.DictReader(file)}
    return Evaluation(trained, folder, faults, rows)


def test_config_has_all_that_monai_asks_for(evaluated: Evaluation) -> None:
    assert evaluated.faults == []


def test_dice_is_that_of_the_masks_that_inference_writes(evaluated: Evaluation) -> None:
    """Of each prompt's own mask, in the file's own voxels, by numpy."""
    targets = list(evaluated.run.subject.targets())
    assert evaluated.rows.keys() == {(target.case, target.label) for target in targets}
    assert any(evaluated.found(target).any() for target in targets)
    for target in targets:
        row, found = evaluated.rows[target.case, target.label], evaluated.found(target)
        assert float(row["dsc"]) == pytest.approx(dice(found, target.mask), abs=1e-9)
        assert int(row["voxels_both"]) == np.count_nonzero(found & target.mask)


def test_rows_of_sentences_say_which_and_whether_the_right_one_was_taken(evaluated: Evaluation) -> None:
    if evaluated.run.subject.kind != "sentence":
        assert all("sentence" not in row for row in evaluated.rows.values())
        return
    targets = list(evaluated.run.subject.targets())
    for target in targets:
        row, found = evaluated.rows[target.case, target.label], evaluated.found(target)
        others = [t.mask for t in targets if t.image == target.image and t.case != target.case]
        overlaps = [np.count_nonzero(found & other) for other in others]
        taken = np.count_nonzero(found & target.mask) > max(overlaps)
        assert (row["sentence"], float(row["right_lesion"])) == (target.prompt, taken)


def test_slices_are_those_of_the_file(evaluated: Evaluation) -> None:
    """Of an item of one slice that slice; of a volume all that the target or the mask has."""
    with (evaluated.folder / "scores" / "slices.csv").open() as file:
        numbers: dict[tuple[str, str], set[int]] = {}
        for row in csv.DictReader(file):
            numbers.setdefault((row["case"], row["label"]), set()).add(int(row["slice"]))
    for target in evaluated.run.subject.targets():
        if evaluated.run.subject.kind == "organ":  # phantoms are stored in many orders
            either = (target.mask | evaluated.found(target)).astype(np.uint8)
            upright = nib.as_closest_canonical(nib.Nifti1Image(either, nib.load(target.image).affine))
            expected = set(np.flatnonzero(np.asarray(upright.dataobj).any(axis=(0, 1))))
        else:
            expected = {target.slice_index or 0}
        assert numbers[target.case, target.label] == expected


def test_summary_has_the_means(evaluated: Evaluation) -> None:
    summary = json.loads((evaluated.folder / "scores" / "summary.json").read_text())["volumes"]
    for label in {label for _, label in evaluated.rows}:
        values = [float(row["dsc"]) for (_, of), row in evaluated.rows.items() if of == label]
        assert summary["labels"][label]["metrics"]["dsc"]["mean"] == pytest.approx(np.mean(values))


def test_record_says_what_was_evaluated(evaluated: Evaluation) -> None:
    record = json.loads((evaluated.folder / "scores" / "evaluation.json").read_text())
    files = {"checkpoint": evaluated.run.checkpoint, "datalist": evaluated.run.subject.data / "datalist.json"}
    for name, path in files.items():
        assert record[name]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert record["section"] == "test"
