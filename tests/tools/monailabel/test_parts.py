"""Weights trained at a site, the guard, the worker's uncertainty, and names for DICOM SEG."""

import asyncio
import json

import nibabel as nib
import numpy as np
import pytest

from common.errors import InputError
from tools.monailabel.bundles import newest_checkpoint, publish
from tools.monailabel.dicom_names import segments_for
from tools.monailabel.guard import Guard
from tools.monailabel.label_worker import uncertainty


def test_the_newest_weights_are_those_with_the_highest_number(tmp_path):
    trained, models = tmp_path / "trained", tmp_path / "models"
    trained.mkdir()
    assert newest_checkpoint(models) is None
    for number in range(1, 12):
        (trained / "model.pt").write_text(str(number))
        assert publish(trained, models) == models / str(number) / "model.pt"
    (models / ".partial-12").mkdir()  # of a publication that was cut short
    newest = newest_checkpoint(models)
    assert newest is not None
    assert newest.read_text() == "11"


def test_the_states_of_a_training_are_not_published(tmp_path):
    (tmp_path / "trained/states").mkdir(parents=True)
    for name in ("model.pt", "model.json", "training.json", "states/epoch_00001-0123456789abcdef.pt"):
        (tmp_path / "trained" / name).write_text("x")
    folder = publish(tmp_path / "trained", tmp_path / "models").parent
    assert sorted(path.name for path in folder.rglob("*")) == ["model.json", "model.pt", "training.json"]


def call(guard: Guard, *, method="POST", path="/x", query="", headers=(), chunks=(b"",)) -> tuple[int, str]:
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": headers,
    }
    parts = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    sent: list[dict] = []

    async def receive():
        return parts.pop(0) if parts else {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    asyncio.run(guard(scope, receive, send))
    body = sent[1]["body"].decode()
    return sent[0]["status"], json.loads(body)["detail"] if sent[0]["status"] != 200 else body


async def echo(_scope, receive, send):
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": str(size).encode()})


async def parser(scope, receive, send):
    """As FastAPI does, takes any error while it reads for a broken body."""
    try:
        await echo(scope, receive, send)
    except Exception:
        await send({"type": "http.response.start", "status": 400})
        await send({"type": "http.response.body", "body": b"{}"})


@pytest.mark.parametrize("app", [echo, parser])
def test_bodies_up_to_the_limit(app):
    guard = Guard(app, upload_limit=1_000_000)
    assert call(guard, chunks=[b"x" * 500_000] * 2) == (200, "1000000")
    assert call(guard, chunks=[b"x" * 500_001] * 2)[0] == 413
    assert call(guard, headers=[(b"content-length", b"1000001")])[0] == 413


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"path": "/proxy/dicom/%2e%2e/instances"}, 400),
        ({"path": "/proxy/dicom/wado/../../instances"}, 400),
        ({"query": "image=%2Fetc%2Fpasswd"}, 422),
        ({"query": "image=1.2.3&tag=final&other=/fine"}, 200),
        ({"query": "session_id=..%5C.."}, 422),
        ({"query": "uncompress=True"}, 422),
        ({"query": "uncompress=false"}, 200),
        ({"path": "/reload/"}, 403),
        ({"path": "/model/x", "method": "GET"}, 200),
    ],
)
def test_what_the_guard_lets_through(request_, status):
    assert call(Guard(echo, upload_limit=10), **request_)[0] == status


def test_uncertainty():
    """By hand: p = 1, 1, 0.6, 0.2 has the mask 1, 1, 1, 0, so Dice 2 (2.6) / (2.8 + 3)."""
    values = np.rint(255 * np.array([1, 1, 0.6, 0.2])).astype(np.uint8).reshape(2, 1, 2)
    assert uncertainty(values, 0.9) == pytest.approx(1 - 5.2 / 5.8, abs=1e-9)
    assert uncertainty(np.full((2, 2, 2), 255, np.uint8), 1.0) == 0
    assert uncertainty(np.full((2, 2, 2), 100, np.uint8), 0.39) == 0.39  # nothing found: the presence score


def test_segments_are_named_by_their_numbers(tmp_path):
    """Number 1 was asked for and not found: the others keep their names."""
    array = np.zeros((3, 3, 3), np.uint8)
    array[0], array[1] = 2, 5
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "mask.nii.gz")
    entries = [{"name": "tooth", "idx": 1}, {"name": "Leber, größer\\rechts" + "x" * 70, "idx": 2}]
    entries.append({"name": "spleen", "idx": 5})
    found = segments_for(tmp_path / "mask.nii.gz", entries, algorithm_type="AUTOMATIC")
    labels = [(one["segmentAttribute"]["labelID"], one["segmentAttribute"]["SegmentLabel"]) for one in found]
    assert labels == [(2, ("Leber, gro?er/rechts" + "x" * 70)[:64]), (5, "spleen")]
    with pytest.raises(InputError, match=r"^label_info: found no name for the label numbers \[5\]"):
        segments_for(tmp_path / "mask.nii.gz", entries[:2], algorithm_type="AUTOMATIC")
    nib.save(nib.Nifti1Image(0 * array, np.eye(4)), tmp_path / "empty.nii.gz")
    with pytest.raises(InputError, match=r"^label: found nothing but background"):
        segments_for(tmp_path / "empty.nii.gz", entries, algorithm_type="AUTOMATIC")
