"""A server on a folder of NIfTI studies: words, several bundles, many clients, and what may go wrong."""

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import nibabel as nib
import numpy as np
import pytest
import requests
from monailabel.client import MONAILabelClient
from monailabel.client.client import MONAILabelClientException

from .conftest import BUNDLE, REPOSITORY, Server, best_organ, voxels, wait_for

ORGANS = ("liver", "spleen", "left kidney")


@pytest.fixture
def client(server: Server, tmp_path: Path) -> MONAILabelClient:
    return server.client(tmp_path / "client")


def test_every_bundle_is_a_model_with_a_field_for_words(client):
    info = client.info()
    here = {path.parents[1].name for path in (REPOSITORY / "bundles").glob("*/configs/inference.json")}
    assert set(info["models"]) == {*here, "threshold"}
    assert BUNDLE in here
    assert info["models"][BUNDLE]["config"] == {"prompt": "liver", "keep_largest": False, "smooth": False}
    assert BUNDLE in info["trainers"]
    assert not {"lsms_lesion", "threshold"} & set(info["trainers"])  # learns from images; does not learn
    assert "not for diagnosis" in info["description"]


def test_the_mask_is_what_the_words_mean_in_the_studys_grid(client, phantoms):
    for study in ("phantom_000", "phantom_001"):
        params = {"prompt": "; ".join(f"the {organ}" for organ in ORGANS), "result_extension": ".nii.gz"}
        path, found = client.infer(BUNDLE, study, params)
        image, mask = nib.load(phantoms.images[study]), nib.load(path)
        assert mask.shape == image.shape
        np.testing.assert_array_equal(mask.affine, image.affine)
        assert found["label_names"] == {f"the {organ}": row for row, organ in enumerate(ORGANS, start=1)}
        for number, organ in enumerate(ORGANS, start=1):
            assert best_organ(voxels(path) == number, phantoms, study)[0] == organ
            assert best_organ(voxels(path) == number, phantoms, study)[1] > 0.7
            assert found["prompts"][number - 1]["voxels"] == np.count_nonzero(voxels(path) == number)
        assert found["notice"] == "Research use only, not for diagnosis."


@pytest.mark.parametrize("extension", [".nrrd", ".mha"])
def test_other_formats_hold_the_same_mask(client, extension):
    import SimpleITK

    path, _ = client.infer("threshold", "phantom_000", {"prompt": "0.6", "result_extension": extension})
    same, _ = client.infer("threshold", "phantom_000", {"prompt": "0.6", "result_extension": ".nii.gz"})
    one, other = SimpleITK.ReadImage(path), SimpleITK.ReadImage(same)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(one), SimpleITK.GetArrayFromImage(other))
    np.testing.assert_allclose(one.GetOrigin(), other.GetOrigin(), atol=1e-3)
    np.testing.assert_allclose(one.GetDirection(), other.GetDirection(), atol=1e-6)


def test_words_are_data(server, client, tmp_path):
    """Text that a config would evaluate does nothing but segment."""
    mark = tmp_path / "evaluated"
    texts = [
        f"$__import__('pathlib').Path({str(mark)!r}).touch()",
        f"__import__('os').system('touch {mark}')",
        "@network_def",
        "%configs/inference.json",
        "{{7*7}} ${HOME} $(touch x) a,b [1, 2] '\"",
    ]
    answer = server.infer("phantom_000", {"prompts": texts}, output="json")
    assert answer.status_code == 200, answer.text
    assert [row["prompt"] for row in answer.json()["prompts"]] == texts
    assert not mark.exists()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"prompt": "  "}, "prompt: found no text, expected words; write what to segment, such as liver."),
        ({"prompt": "a\x07b"}, "prompt: found the control character U+0007 at position 2, expected"),
        ({"prompt": "x" * 2001}, "prompt: found 2001 characters, expected at most 2000; shorten the text."),
        ({"prompt": ["liver"]}, "prompt: found list, expected text; write what to segment in words."),
        ({"prompts": "liver"}, "prompts: found str, expected a list of 1 to 255 texts"),
        ({"prompts": ["liver", "liver"]}, "prompts: found 'liver' twice, expected different texts"),
        (
            {"prompt": "liver", "smooth": "often"},
            "smooth: found 'often', expected true or false.",
        ),
        (
            {"prompt": "liver", "result_extension": ".exe"},
            "result_extension: found '.exe', expected .nii.gz,",
        ),
        ({"prompt": "liver", "label_tag": "../x"}, "label_tag: found '../x', expected a plain name"),
        ([], "params: found no JSON object, expected one such as"),
    ],
)
def test_a_request_that_cannot_be_done_gets_a_sentence(server, params, message):
    answer = server.infer("phantom_000", params)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(message)


def test_the_client_shows_the_sentence(client):
    with pytest.raises(MONAILabelClientException) as caught:
        client.infer(BUNDLE, "phantom_000", {"prompt": ""})
    assert "Status: 422" in caught.value.msg
    assert "prompt: found no text, expected words" in caught.value.msg


def test_studies_and_models_that_are_not_there(server):
    missing = server.infer("phantom_999", {"prompt": "liver"})
    assert (missing.status_code, missing.json()["detail"]) == (404, "Image phantom_999 not found")
    missing = server.infer("phantom_000", {"prompt": "liver"}, model="nothing")
    assert missing.status_code == 404
    assert "There is no model 'nothing' available" in missing.json()["detail"]


def test_a_broken_study_is_said_without_the_servers_paths(server):
    answer = requests.post(
        f"{server.url}/infer/{BUNDLE}",
        files={"params": (None, '{"prompt": "liver"}'), "file": ("mine.nii.gz", b"no image")},
        timeout=120,
    )
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("mine.nii.gz: cannot be read as NIfTI")


def test_only_studies_of_the_folder_are_read(server, studies, phantoms, tmp_path):
    secret = tmp_path / "secret.nii.gz"
    secret.write_bytes(phantoms.images["phantom_000"].read_bytes())
    for image in (str(secret), f"../{secret.parent.name}/secret", "..", "a\\b"):
        answer = server.infer(image, {"prompt": "liver"})
        assert answer.status_code == 422, image
        assert answer.json()["detail"].startswith("image: found "), image
    answer = server.infer(
        "phantom_000", {"prompt": "0.5", "image": str(secret)}, model="threshold", output="json"
    )
    assert answer.status_code == 200  # the field is not read
    link = studies / "linked.nii.gz"
    link.symlink_to(secret)
    try:
        wait_for(lambda: server.infer("linked", {"prompt": "0.5"}, model="threshold").status_code != 404, 30)
        answer = server.infer("linked", {"prompt": "0.5"}, model="threshold")
        assert answer.status_code == 422
        assert "image: secret.nii.gz lies outside the studies folder" in answer.json()["detail"]
    finally:
        link.unlink()


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("PUT", "/datastore/label?image=phantom_000&tag=../../x", 422, "tag: found '../../x'"),
        ("PUT", "/datastore/image?image=../x", 422, "image: found '../x'"),
        ("GET", "/datastore/label?label=phantom_000&tag=..", 422, "tag: found '..'"),
        ("PUT", "/session/?uncompress=true", 422, "uncompress: archives are not unpacked here"),
        ("DELETE", "/session/%2e%2e", 400, "path: found '..'"),
        ("POST", "/reload", 403, "POST /reload: not served here"),
        ("PUT", "/model/medvlm_organ", 403, "PUT /model/medvlm_organ: not served here"),
        ("DELETE", "/model/medvlm_organ", 403, "DELETE /model/medvlm_organ: not served here"),
        ("POST", "/infer/wsi/medvlm_organ", 403, "POST /infer/wsi/medvlm_organ: not served here"),
    ],
)
def test_doors_that_are_closed(server, studies, method, path, status, message):
    before = sorted(studies.parent.rglob("*"))
    address = urlsplit(server.url)
    with socket.create_connection(
        (address.hostname, address.port), timeout=30
    ) as one:  # no tidying of the path
        one.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
        answer = b"".join(iter(lambda: one.recv(65536), b"")).decode()
    assert answer.startswith(f"HTTP/1.1 {status} ")
    assert json.loads(answer.partition("\r\n\r\n")[2])["detail"].startswith(message)
    assert sorted(studies.parent.rglob("*")) == before


def test_a_request_that_is_too_large(server):
    large = b"x" * 21_000_000

    def in_parts():
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.nii.gz"\r\n\r\n'
        for start in range(0, len(large), 1_000_000):
            yield large[start : start + 1_000_000]

    url = f"{server.url}/infer/threshold"
    answer = requests.post(url, files={"file": ("a.nii.gz", large)}, timeout=60)
    assert answer.status_code == 413
    assert answer.json()["detail"].startswith("body: larger than 20 MB; send less")
    answer = requests.post(
        url, data=in_parts(), headers={"content-type": "multipart/form-data; boundary=b"}, timeout=60
    )
    assert answer.status_code == 413


def test_eight_clients_at_once_get_their_own_answers(server, phantoms):
    """Two bundles, three studies, different words: each answer is the one that it is alone."""
    asked = [
        (study, model, prompt)
        for study in phantoms.images
        for model, prompt in ((BUNDLE, "liver"), (BUNDLE, "spleen"), ("threshold", "0.61"))
    ][:8]

    def infer(one: tuple[str, str, str]) -> bytes:
        study, model, prompt = one
        answer = server.infer(study, {"prompt": prompt}, model=model, output="image")
        assert answer.status_code == 200, answer.text
        return answer.content

    alone = [infer(one) for one in asked]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(infer, asked))
    assert together == alone
    assert len(set(alone)) == len(alone)


def test_the_server_answers_others_while_it_segments(server):
    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(server.infer, "phantom_000", {"prompt": "sleep 5"}, model="threshold")
        time.sleep(1)
        assert requests.get(f"{server.url}/info/", timeout=4).ok
        assert not slow.done()
        assert slow.result().status_code == 200


def test_a_client_that_goes_away(server):
    """The one that works is finished, those that wait for nobody are dropped, and nothing is left behind."""
    address = urlsplit(server.url)
    body = b'--b\r\nContent-Disposition: form-data; name="params"\r\n\r\n{"prompt": "sleep 4"}\r\n--b--\r\n'
    head = (
        f"POST /infer/threshold?image=phantom_000 HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    )
    for _ in range(5):
        with socket.create_connection((address.hostname, address.port), timeout=30) as one:
            one.sendall(head.encode() + body)
            time.sleep(0.3)
    begin = time.monotonic()
    answer = server.infer("phantom_000", {"prompt": "0.5"}, model="threshold", output="json")
    assert answer.status_code == 200
    assert time.monotonic() - begin < 15  # and not 5 x 4 s
    assert not [path for path in server.work.iterdir() if path.name.startswith(("mask", "tmp"))]
    assert not list((server.work / "uploads").iterdir())


def test_a_bundle_that_crashes_is_started_again(server):
    answer = server.infer("phantom_000", {"prompt": "crash"}, model="threshold")
    assert answer.status_code == 500
    assert answer.json()["detail"].startswith("threshold: its process ended during the work")
    assert server.infer("phantom_000", {"prompt": "0.5"}, model="threshold", output="json").status_code == 200


def test_a_page_of_another_site_may_not_call(server):
    answer = requests.get(f"{server.url}/info/", headers={"Origin": "http://elsewhere.org"}, timeout=30)
    assert "access-control-allow-origin" not in answer.headers


def test_sessions_hold_an_image_for_several_requests(server, client, phantoms):
    session = client.create_session(str(phantoms.images["phantom_000"]))["session_id"]
    path, _ = client.infer(
        "threshold", "", {"prompt": "0.6", "result_extension": ".nii.gz"}, session_id=session
    )
    same, _ = client.infer("threshold", "phantom_000", {"prompt": "0.6", "result_extension": ".nii.gz"})
    np.testing.assert_array_equal(voxels(path), voxels(same))
    client.remove_session(session)
