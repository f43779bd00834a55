"""Labels that are saved, what is learnt from them, and a server that is killed."""

import json
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import requests

from .conftest import BUNDLE, REPOSITORY, Phantoms, Server, dice, voxels, wait_for

# A word and a thing that the bundle was not trained on: what the body is, the air around it and in it is not.
# The bundle asked for it finds an organ at best, while a few dozen steps learn what differs by 700 HU.
WORDS, BODY_HU = "trunk", -500


@pytest.fixture(scope="module")
def learning(start_server, studies, tmp_path_factory) -> tuple[Server, Path, Path]:
    """A server of its own, its studies folder and its work folder."""
    folder, work = tmp_path_factory.mktemp("learning"), tmp_path_factory.mktemp("work")
    for image in studies.iterdir():
        if image.name.endswith(".nii.gz"):
            shutil.copy(image, folder)
    return start_server(folder, work), folder, work


def trunk(phantoms: Phantoms, study: str) -> np.ndarray:
    return voxels(phantoms.images[study]) > BODY_HU


def label_of(phantoms: Phantoms, study: str, folder: Path) -> Path:
    """A label map in which the trunk has the number 1, as a viewer would submit it."""
    from common.data.volumes import read_volume, write_labels

    image = read_volume(phantoms.images[study])
    path = folder / f"{study}.nii.gz"
    write_labels(path, (image.slices > BODY_HU).astype(np.uint8), like=image)
    return path


def finished(server: Server, what: str) -> dict:
    """The last background task, once it is over."""

    def state() -> dict:
        return requests.get(f"{server.url}/{what}/", timeout=60).json()

    wait_for(lambda: state()["status"] not in ("SUBMITTED", "RUNNING"), 600, server)
    return state()


def test_label_train_infer(learning, phantoms, tmp_path):
    """What the words mean is learnt from two submitted labels; the next mask comes from the new weights."""
    server, _, work = learning
    client = server.client(tmp_path / "client")

    def overlap(study: str) -> tuple[float, str]:
        path, found = client.infer(BUNDLE, study, {"prompt": WORDS, "result_extension": ".nii.gz"})
        return dice(voxels(path) > 0, trunk(phantoms, study)), found["weights"]

    before = {study: overlap(study) for study in phantoms.images}
    assert {weights for _, weights in before.values()} == {"the bundle's own"}

    client.train_start(BUNDLE, {"max_epochs": 1, "draws_per_epoch": 240})
    task = finished(server, "train")
    assert task["status"] == "ERROR"
    assert "labels: found usable labels of 0 patient(s), expected 2 or more" in "\n".join(task["details"])

    for study in ("phantom_000", "phantom_001"):
        label = label_of(phantoms, study, tmp_path)
        client.save_label(study, str(label), params={"label_info": [{"name": WORDS, "idx": 1}]})
    client.train_start(BUNDLE, {"max_epochs": 1, "draws_per_epoch": 240})
    task = finished(server, "train")
    assert task["status"] == "DONE", "\n".join(task["details"])

    # What the training reports is what a client sees of the study that was held back.
    stats = client.info()["train_stats"][BUNDLE]
    assert stats["metric"] == "val_mean_dice"
    datalist = json.loads((work / "training" / BUNDLE / "data" / "datalist.json").read_text())
    (held_back,) = (item["case"] for item in datalist["validation"])
    after = {study: overlap(study) for study in phantoms.images}
    assert {weights for _, weights in after.values()} == {"trained here, number 1"}
    assert stats["before"] == pytest.approx(before[held_back][0], abs=0.01)
    assert stats["after"] == pytest.approx(after[held_back][0], abs=0.01)
    # A study that training never saw is the judge of what was learnt.
    assert after["phantom_002"][0] > max(0.7, before["phantom_002"][0])

    served = requests.get(f"{server.url}/model/{BUNDLE}", timeout=60).content
    assert served == (work / "models" / BUNDLE / "1" / "model.pt").read_bytes()
    assert served != (REPOSITORY / "bundles" / BUNDLE / "models" / "model.pt").read_bytes()


def test_scores_and_the_next_study(learning, phantoms, tmp_path):
    """After the training above: Dice of what is labelled, uncertainty of what is not, and that comes next."""
    server, _, _ = learning
    requests.post(f"{server.url}/scoring/dice_{BUNDLE}", json={}, timeout=60).raise_for_status()
    assert finished(server, "scoring")["status"] == "DONE"
    body = {"prompts": [WORDS, "liver"]}
    requests.post(f"{server.url}/scoring/uncertainty_{BUNDLE}", json=body, timeout=60).raise_for_status()
    assert finished(server, "scoring")["status"] == "DONE"

    client = server.client(tmp_path / "client")
    stored = client.datastore()["objects"]
    for study in ("phantom_000", "phantom_001"):
        scores = stored[study]["image"]["info"]["dice"][BUNDLE]
        path, _ = client.infer(BUNDLE, study, {"prompt": WORDS, "result_extension": ".nii.gz"})
        expected = dice(voxels(path) > 0, trunk(phantoms, study))
        assert scores == {WORDS: pytest.approx(expected, abs=1e-3)}
    unsure = stored["phantom_002"]["image"]["info"]["uncertainty"][BUNDLE]
    assert 0 <= unsure <= 1
    chosen = client.next_sample("most_uncertain", {"model": BUNDLE})
    assert (chosen["id"], chosen["uncertainty"][BUNDLE]) == ("phantom_002", unsure)


def test_many_studies_in_the_background(learning, tmp_path):
    """A broken study is reported, the others get masks."""
    server, folder, _ = learning
    (folder / "broken.nii.gz").write_bytes(b"no image")
    client = server.client(tmp_path / "client")
    wait_for(lambda: "broken" in client.datastore()["objects"], 60, server)
    body = {"prompts": ["liver"], "keep_largest": True}
    requests.post(f"{server.url}/batch/infer/{BUNDLE}?images=all", json=body, timeout=60).raise_for_status()
    task = finished(server, "batch/infer")
    assert task["status"] == "ERROR"
    assert "1 of 4 studies failed, first broken: broken.nii.gz: cannot be read as NIfTI" in "\n".join(
        task["details"]
    )
    (folder / "broken.nii.gz").unlink()
    for study in ("phantom_000", "phantom_001", "phantom_002"):
        label = client.datastore()["objects"][study]["labels"]["original"]
        assert label["info"]["params"]["label_names"] == {"liver": 1}
        assert voxels(client.download_label(study, "original")).max() == 1


def test_a_killed_server_has_all_that_was_saved(start_server, learning, phantoms, tmp_path):
    """Killed while labels come in: every label that was acknowledged is there afterwards, with its names."""
    server, folder, work = learning
    client = server.client(tmp_path / "client")
    label = label_of(phantoms, "phantom_000", tmp_path)
    acknowledged = {}
    for number in range(20):
        info = [{"name": f"{WORDS} {number}", "idx": 1}]
        client.save_label("phantom_000", str(label), tag=f"t{number}", params={"label_info": info})
        acknowledged[f"t{number}"] = info
    with suppress(requests.RequestException):  # the server is killed in the middle of this one
        requests.put(
            f"{server.url}/datastore/label?image=phantom_000&tag=last",
            files={"label": ("l.nii.gz", label.read_bytes())},
            timeout=0.02,
        )
    server.kill()

    client = start_server(folder, work).client(tmp_path / "client")
    stored = client.datastore()["objects"]["phantom_000"]["labels"]
    truth = trunk(phantoms, "phantom_000")
    for tag, info in acknowledged.items():
        assert stored[tag]["info"]["label_info"] == info
        np.testing.assert_array_equal(voxels(client.download_label("phantom_000", tag)) > 0, truth)
    assert client.info()["train_stats"][BUNDLE]["after"] > 0  # and what was trained is served again
