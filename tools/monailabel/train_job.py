"""Train a bundle in a process of its own: `python -m tools.monailabel.train_job` (see `common.jobs`).

It goes on from the weights that are served, and keeps a checkpoint only when it is better on the studies that
were held back than these weights were.
"""

import importlib
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from .torchvision_cpu import make_importable


def main() -> int:
    """Do a job {"root", "overrides", "start_from", "result": file for what `train` returns}.

    Returns:
        The exit code.
    """

    def work(job: dict[str, Any]) -> None:
        Path(job["result"]).write_text(json.dumps(train(job)), "utf-8")

    make_importable()
    code: int = importlib.import_module("scripts.common.jobs").run_job(work)
    return code


def train(job: dict[str, Any]) -> dict[str, Any]:
    """Measure the weights served so far, then train.

    Returns:
        The validation's key metric `before` and `after`, and what viewers show: `best_metric`, `epoch`,
        `total_epochs`, `total_time` (seconds).
    """
    since = time.monotonic()
    config = str(Path(job["root"]) / "configs" / "train.json")
    workflow = ConfigWorkflow(
        config_file=config,
        workflow_type="train",
        logging_file=False,
        **importlib.import_module("scripts.common.config.values").as_data(job["overrides"]),
    )
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, force=True)
    workflow.initialize()
    content = workflow.parser.get_parsed_content
    checkpoints = importlib.import_module("scripts.common.weights.checkpoints")
    start_from = job["start_from"] or str(Path(job["root"]) / "models" / "model.pt")
    checkpoints.load_trained(content("model"), start_from)
    trainer = content("train#trainer")  # has its validation keep the best weights
    trainer.config = workflow.parser.get()
    validation = content("validate#evaluator")
    validation.run()  # whose value counts as the best so far: only better weights are kept later
    before = float(validation.state.metrics[validation.state.key_metric_name])
    workflow.run()
    after = float(validation.state.best_metric)
    workflow.finalize()
    epochs = job["overrides"]["epochs"]
    return {
        **{"metric": validation.state.key_metric_name, "before": before, "after": after},
        **{"best_metric": after, "epoch": epochs, "total_epochs": epochs},
        "total_time": round(time.monotonic() - since, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
