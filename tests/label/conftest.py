"""A real server with real clients, in MONAI Label's own environment: `tools/test --label` runs these."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import requests

pytest.importorskip("monailabel", reason="needs MONAI Label's environment: tools/test --label")

from monailabel.client import MONAILabelClient

from .dicom_files import write_series
from .orthanc import Orthanc
from .threshold import make_threshold_bundle

REPOSITORY = Path(__file__).parents[2]
BUNDLE = "medvlm_organ"
START_S = 300  # of a server or a bundle, on a machine that is busy with other things


@dataclass
class Server:
    """A server process and where it writes."""

    process: subprocess.Popen[bytes]
    url: str
    work: Path
    log: Path

    def client(self, tmp: Path) -> MONAILabelClient:
        # With the default folder a client on the server's machine writes to the path that the server deletes
        tmp.mkdir(parents=True, exist_ok=True)
        return MONAILabelClient(self.url, tmpdir=str(tmp))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()

    def infer(self, study: str, params: dict, *, model: str = BUNDLE, **query: str) -> requests.Response:
        """A request for masks, as scripts send it."""
        return requests.post(
            f"{self.url}/infer/{model}",
            params={"image": study, **query},
            files={"params": (None, json.dumps(params))},
            timeout=START_S,
        )


StartServer = Callable[..., Server]


@pytest.fixture(scope="session")
def start_server() -> Iterator[StartServer]:
    """Start a server with a studies folder or URL and further options; all are stopped at the end."""
    started: list[Server] = []

    def start(
        studies: object, work: Path, *options: str, environment: dict[str, str] | None = None
    ) -> Server:
        port = free_port()
        work.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "tools.monailabel", "--studies", str(studies), "--work", str(work)]
        command += ["--port", str(port), "--device", "cpu", *options]
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        kept |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **(environment or {})}
        log = work / "server.log"
        with log.open("ab") as out:
            process = subprocess.Popen(command, cwd=REPOSITORY, env=kept, stdout=out, stderr=out)
        server = Server(process, f"http://127.0.0.1:{port}", work, log)
        started.append(server)
        wait_for(lambda: _answers(server), START_S, server)
        return server

    yield start
    for server in started:
        server.stop()


def _answers(server: Server) -> bool:
    assert server.process.poll() is None, server.log.read_text()[-3000:]
    try:
        return requests.get(f"{server.url}/favicon.ico", timeout=5).ok
    except requests.RequestException:
        return False


def wait_for(done: Callable[[], bool], limit_s: float, server: Server | None = None) -> None:
    """Ask once a second until something is done."""
    end = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < end, server.log.read_text()[-3000:] if server else "not done in time"
        time.sleep(1)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass(frozen=True)
class Phantoms:
    """CT phantoms with label maps.

    Attributes:
        images, labels: {study: file}.
        values: {organ: its number in the label maps}.
    """

    images: dict[str, Path]
    labels: dict[str, Path]
    values: dict[str, int]

    def truth(self, study: str, organ: str) -> np.ndarray:
        return voxels(self.labels[study]) == self.values[organ]


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Phantoms:
    """Three patients that the bundle was not trained on."""
    folder = tmp_path_factory.mktemp("phantoms")
    command = [sys.executable, "-m", "tools.phantom", "--out", str(folder), "--cases", "3"]
    command += ["--validation", "1", "--test", "1", "--seed", "3"]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    content = json.loads((folder / "datalist.json").read_text())
    items = [item for split in ("training", "validation", "test") for item in content[split]]
    return Phantoms(
        {item["patient"]: folder / item["image"] for item in items},
        {item["patient"]: folder / item["label"] for item in items},
        {name: int(value) for value, name in content["labels"].items()},
    )


@pytest.fixture(scope="session")
def studies(phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's folder of images."""
    folder = tmp_path_factory.mktemp("studies")
    for image in phantoms.images.values():
        shutil.copy(image, folder)
    return folder


@pytest.fixture(scope="session")
def server(start_server: StartServer, studies: Path, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """Serves the repository's bundles and a second one, whose network is a threshold."""
    second = make_threshold_bundle(tmp_path_factory.mktemp("bundles") / "threshold")
    bundles = ["--bundles", str(REPOSITORY / "bundles"), str(second)]
    return start_server(studies, tmp_path_factory.mktemp("work"), *bundles, "--upload-limit", "20")


def voxels(path: str | Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    return 2.0 * np.count_nonzero(mask & truth) / (np.count_nonzero(mask) + np.count_nonzero(truth))


def best_organ(mask: np.ndarray, phantoms: Phantoms, study: str) -> tuple[str, float]:
    """The organ that a mask overlaps most, and its Dice."""
    scores = {organ: dice(mask, phantoms.truth(study, organ)) for organ in phantoms.values}
    best = max(scores, key=scores.__getitem__)
    return best, scores[best]


@dataclass(frozen=True)
class DicomServer:
    """A label server in front of an Orthanc that has a phantom as a CT series.

    Attributes:
        series, study: its UIDs.
        name: the phantom's.
    """

    server: Server
    orthanc: Orthanc
    series: str
    study: str
    name: str


@pytest.fixture(scope="session")
def dicom(
    start_server: StartServer, phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DicomServer]:
    """Serves the bundle from its zip, as a user has it who downloaded one, and the threshold."""
    folder = tmp_path_factory.mktemp("dicom")
    orthanc = Orthanc(folder, free_port())
    try:
        study, series = write_series(phantoms.images["phantom_000"], folder / "series")
        orthanc.add(folder / "series")
        build = [sys.executable, "-m", "tools.build_bundle", BUNDLE, "--out", str(folder), "--allow-dirty"]
        subprocess.run(build, cwd=REPOSITORY, check=True)
        (archive,) = folder.glob("*.zip")
        url = f"{orthanc.url}/dicom-web"
        second = make_threshold_bundle(folder / "threshold")
        server = start_server(url, tmp_path_factory.mktemp("work"), "--bundles", str(archive), str(second))
        yield DicomServer(server, orthanc, series, study, "phantom_000")
    finally:
        orthanc.stop()
