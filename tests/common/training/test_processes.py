"""Two processes on this machine (gloo) against one, and what happens to one when the other is lost."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from common.errors import InputError
from common.training import start_processes
from tests.common.training.parts import write_images

REPOSITORY = Path(__file__).parents[3]
WORKER = "tests.common.training.training_process"
SECONDS = 500


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), **more}


def group(rank: int, port: int) -> dict[str, str]:
    """What torchrun, or a cluster, tells each of two processes."""
    values = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": 2,
    }
    return {name: str(value) for name, value in values.items()}


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def datalist(tmp_path: Path) -> Path:
    """Two cases for training, three for validation and five 2D images: odd numbers for two processes."""
    rng = np.random.default_rng(0)
    items = []
    for name in ("a1", "a2", "v1", "v2", "v3"):
        labels = np.zeros((32, 32, 6), np.uint8)
        labels[4:14, 5:20, 1:5], labels[18:28, 8:20, 2:6] = 1, 2
        image = (labels * 50 + rng.normal(0, 20, labels.shape)).astype(np.int16)
        for kind, array in (("image", image), ("label", labels)):
            nib.save(
                nib.Nifti1Image(array, np.diag([-1.0, -1.0, 2.0, 1.0])), tmp_path / f"{name}_{kind}.nii.gz"
            )
        items.append({"case": name, "image": f"{name}_image.nii.gz", "label": f"{name}_label.nii.gz"})
    content = {"labels": {"1": "liver", "2": "spleen"}, "training": items[:2], "validation": items[2:]}
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps(content))
    write_images(tmp_path, ["l1", "l2", "l3", "l4", "l5"])
    return path


def torchrun(task: str, folder: Path, datalist: Path) -> subprocess.CompletedProcess[str]:
    """Two processes of the worker, started as users start them."""
    options = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", WORKER)
    return subprocess.run(
        [sys.executable, *options, task, str(folder), str(datalist)],
        env=environment(), cwd=REPOSITORY, capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip


@pytest.mark.slow
def test_two_processes_are_one_with_the_double_batch(
    datalist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradients, validation score and evaluation tables."""
    from tests.common.training.training_process import evaluation, gradients, lesions

    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    done = torchrun("compare", two, datalist)
    assert done.returncode == 0, done.stderr[-2000:]
    gradients(datalist, one)
    evaluation(datalist, one)
    lesions(datalist, one)

    expected, found = (torch.load(folder / "gradients.pt", weights_only=True) for folder in (one, two))
    assert expected.keys() == found.keys()
    assert len(expected) > 50
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-7, msg=name)
    metrics = json.loads((one / "metrics-0.json").read_text())
    assert metrics.keys() == {"dice", "dice/liver", "dice/spleen"}
    assert 0.5 < metrics["dice"] < 1.0
    for rank in (0, 1):
        assert json.loads((two / f"metrics-{rank}.json").read_text()) == metrics
    alone = json.loads((one / "lesions-0.json").read_text())["val_mean_dice"]
    assert 0.3 < alone < 0.99
    for rank in (0, 1):
        assert json.loads((two / f"lesions-{rank}.json").read_text())["val_mean_dice"] == pytest.approx(
            alone, rel=1e-12
        )
    for report, count in (("report", 3 * 2), ("lesions", 5)):
        rows = [(folder / report / "volumes.csv").read_text().splitlines() for folder in (one, two)]
        assert len(rows[0]) == 1 + count
        assert sorted(rows[0]) == sorted(rows[1])


@pytest.mark.slow
def test_two_processes_take_the_same_rates_and_end_together(datalist: Path, tmp_path: Path) -> None:
    """Validations after every second epoch, two without gain cost the rate nine tenths, four end it."""
    from tests.common.training.training_process import steered

    done = torchrun("steered", tmp_path, datalist)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (json.loads((tmp_path / f"steered-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert first["rates"] == pytest.approx([0.1] * 6 + [0.01] * 4)
    assert first["epoch"] == 10
    shutil.rmtree(tmp_path / "models")
    steered(tmp_path)
    alone = json.loads((tmp_path / "steered-0.json").read_text())
    assert first["scores"] == pytest.approx(alone["scores"], rel=1e-12)
    assert {"val_loss", "val_mean_dice"} <= alone["scores"].keys()


@pytest.mark.slow
def test_torchrun_ends_all_when_one_is_killed(datalist: Path, tmp_path: Path) -> None:
    done = torchrun("SIGKILL", tmp_path, datalist)
    assert done.returncode != 0
    assert "Signal 9 (SIGKILL)" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["SIGKILL", "SIGSTOP"])
def test_without_torchrun_the_other_one_ends_by_itself(
    datalist: Path, tmp_path: Path, port: int, kind: str
) -> None:
    """As on two nodes: the other process is gone at once, or it answers no more."""
    both = [
        subprocess.Popen(
            [sys.executable, "-m", WORKER, kind, str(tmp_path), str(datalist)],
            env=environment(**group(rank, port)), cwd=REPOSITORY, stderr=subprocess.PIPE, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    try:
        _, said = both[0].communicate(timeout=SECONDS)
    finally:
        both[1].send_signal(signal.SIGKILL)
        both[1].wait()
        both[0].kill()
    assert both[0].returncode == 1, said[-3000:]
    assert "process 0 of 2: another process ended or did not answer in epoch 1" in said, said[-3000:]
    assert "start the same command again: training goes on from the newest state" in said


def test_without_a_launcher_it_is_said_how_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(
        InputError, match=r"RANK is not in the environment, .* start with torchrun --nproc_per_node=N"
    ):
        start_processes(timeout_minutes=1)
