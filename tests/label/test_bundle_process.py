"""A bundle's process: its time limit, its crash, and clients that went away."""

import threading
import time

import numpy as np
import pytest

from common.errors import InputError
from tools.monailabel.bundle_process import BundleError, BundleProcess, ClientGoneError, TimeLimitError
from tools.monailabel.bundles import find_bundles

from .conftest import voxels
from .threshold import make_threshold_bundle


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    root = make_threshold_bundle(tmp_path_factory.mktemp("bundles") / "threshold")
    bundle = find_bundles([root], root.parent / "unpacked")["threshold"]
    process = BundleProcess(bundle, device="cpu", time_limit_s=300)
    yield process
    process.close()


def job(phantoms, output, text="0.5", **changes):
    image = str(phantoms.images["phantom_000"])
    prompts = [{"text": text, "name": text, "label": 1}]
    fields = {"options": {}, "checkpoint": None, "uncertainty": False, "masks": []}
    return {"image": image, "prompts": prompts, "output": str(output), **fields, **changes}


def test_jobs_one_after_the_other(process, phantoms, tmp_path):
    """The threshold is known: 0.5 of the window of -160 to 240 HU is 40 HU."""
    found = process.ask(job(phantoms, tmp_path / "a.nii.gz", uncertainty=True))
    mask, image = voxels(tmp_path / "a.nii.gz") == 1, voxels(phantoms.images["phantom_000"])
    assert np.mean(mask == (image > 40)) > 0.99  # but for the way to the network's grid and back
    assert found["prompts"][0]["voxels"] == np.count_nonzero(mask)
    assert 0 < found["prompts"][0]["uncertainty"] < 1
    process.ask(job(phantoms, tmp_path / "b.nii.gz", options={"keep_largest": True}))
    assert 0 < np.count_nonzero(voxels(tmp_path / "b.nii.gz")) < np.count_nonzero(mask)


def test_an_error_of_the_user_is_a_sentence(process, phantoms, tmp_path):
    with pytest.raises(InputError, match=r"gone.nii.gz: no such file; give a NIfTI file"):
        process.ask(job(phantoms, tmp_path / "a.nii.gz", image="/gone.nii.gz"))
    with pytest.raises(BundleError, match=r"^threshold: ValueError: could not convert string to float"):
        process.ask(job(phantoms, tmp_path / "a.nii.gz", text="liver"))


def test_a_client_that_went_away_is_not_served(process, phantoms, tmp_path):
    slow = threading.Thread(target=process.ask, args=(job(phantoms, tmp_path / "a.nii.gz", "sleep 2"),))
    slow.start()
    time.sleep(0.5)
    with pytest.raises(ClientGoneError):
        process.ask(job(phantoms, tmp_path / "gone.nii.gz"), wanted=lambda: False)
    slow.join()
    assert (tmp_path / "a.nii.gz").exists()
    assert not (tmp_path / "gone.nii.gz").exists()


def test_a_crash_and_a_time_limit(process, phantoms, tmp_path, monkeypatch):
    """Either ends one job, and the next one gets a new process."""
    with pytest.raises(BundleError, match=r"^threshold: its process ended during the work"):
        process.ask(job(phantoms, tmp_path / "a.nii.gz", "crash"))
    with monkeypatch.context() as patch:
        patch.setattr(process, "time_limit_s", 2.0)
        with pytest.raises(
            TimeLimitError, match=r"^threshold: stopped because it was not done after 2 s; use fewer prompts"
        ):
            process.ask(job(phantoms, tmp_path / "a.nii.gz", "sleep 600"))
    process.ask(job(phantoms, tmp_path / "b.nii.gz"))
    assert (tmp_path / "b.nii.gz").exists()
    assert not (tmp_path / "a.nii.gz").exists()
