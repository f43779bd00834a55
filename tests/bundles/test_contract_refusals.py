"""What a user of any bundle sets wrongly is said in one sentence, by the ids that overrides have."""

from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigWorkflow

from tests.bundles.subjects import Subject, cause_of


def start(workflow: ConfigWorkflow) -> None:
    workflow.initialize()
    workflow.run()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"network_def#preset": "huge"}, "preset: found 'huge', expected one of "),
        ({"dataset_dir": "/nowhere"}, "/nowhere/datalist.json: no such file; give a datalist"),
        (
            {"draws_per_epoch": 3},
            "draws_per_epoch, batch_size: found 3 draws an epoch for 1 process(es) with batches of 4",
        ),
        ({"window": [240, -160]}, "window: found [240, -160], expected the lower and the upper intensity"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_of_a_training(subject: Subject, tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    workflow = subject.workflow("train.json", **{**subject.training(tmp_path), **changes})
    with chdir(tmp_path), pytest.raises(RuntimeError) as caught:  # MONAI's, around ours
        start(workflow)
    assert sentence in str(cause_of(caught.value))


@pytest.mark.parametrize("config", ["inference.json", "evaluate.json"])
@pytest.mark.parametrize("key", ["window", "network_def#framing#mirrored"])
def test_other_settings_than_the_weights_were_trained_with(
    trained: Any, tmp_path: Path, config: str, key: str
) -> None:
    """The network's framing stands in no tensor's shape, so only the record beside the checkpoint tells."""
    subject = trained.subject
    framing = subject.config("../models/model.json")["network_def"]["framing"]
    value = [-1000, 400] if key == "window" else not framing["mirrored"]
    changes = {key: value, "output_dir": str(tmp_path)}
    if config == "inference.json":
        workflow = subject.inference(trained.checkpoint, input=str(subject.volume()), **changes)
    else:
        workflow = subject.workflow("train.json", config, **{**trained.overrides, **changes})
    with chdir(tmp_path), pytest.raises((RuntimeError, ValueError)) as caught:  # MONAI's around ours, or ours
        start(workflow)
    said = str(cause_of(caught.value))
    name = key if "#" in key else f"network_def#framing#{key}"
    assert "model.pt: trained with" in said
    assert name in said
