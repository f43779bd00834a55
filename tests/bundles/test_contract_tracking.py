"""MLflow by one override: what a training of each bundle leaves in its local store."""

import importlib.util
from contextlib import chdir
from pathlib import Path

import pytest

from tests.bundles.subjects import Subject


@pytest.mark.slow
def test_mlflow_keeps_parameters_curves_and_images(subject: Subject, tmp_path: Path) -> None:
    if importlib.util.find_spec("mlflow") is None:
        pytest.skip("mlflow is not installed: pip install '.[tracking]' to have its store tested")
    from mlflow import MlflowClient

    changes = {**subject.training(tmp_path), "draws_per_epoch": 8}
    with chdir(tmp_path):
        workflow = subject.workflow("train.json", "mlflow.json", **changes)
        workflow.initialize()
        workflow.trainer.config = workflow.parser.get()
        workflow.run()
        workflow.finalize()
    client = MlflowClient(f"sqlite:///{tmp_path / 'logs'}/mlflow.db")
    experiment = client.get_experiment_by_name(subject.root.name)
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    curves = {"train_loss", "epoch_loss/dice", "epoch_loss/bce", "learning_rate", "val_mean_dice"}
    assert curves <= run.data.metrics.keys()
    history = client.get_metric_history(run.info.run_id, "val_mean_dice")
    assert [point.step for point in history] == [1, 2]
    kept = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert {"run.json", "config.json"} <= kept
    assert any(name.endswith("_epoch_00002.png") for name in kept)
