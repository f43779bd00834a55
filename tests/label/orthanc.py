"""Orthanc, a DICOMweb server from Debian, in a process of the test."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import requests

PROGRAM = shutil.which("Orthanc", path=f"{os.environ['PATH']}:/usr/sbin")  # no users' folder in Debian
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
ABSENT = (
    "NOT TESTED: DICOMweb and OHIF, as Orthanc and its DICOMweb plug-in are not installed here "
    "(Debian: apt-get install orthanc orthanc-dicomweb)"
)


class Orthanc:
    """Started in a folder, on loopback only."""

    def __init__(self, folder: Path, port: int) -> None:
        if PROGRAM is None or not PLUGIN.is_file():
            pytest.skip(ABSENT)
        self.url = f"http://127.0.0.1:{port}"
        config = {
            **{
                "Name": "test",
                "StorageDirectory": str(folder / "files"),
                "IndexDirectory": str(folder / "files"),
            },
            **{"HttpPort": port, "DicomServerEnabled": False, "RemoteAccessAllowed": False},
            **{"AuthenticationEnabled": False, "Plugins": [str(PLUGIN)]},
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        (folder / "orthanc.json").write_text(json.dumps(config))
        with (folder / "orthanc.log").open("wb") as log:
            self.process = subprocess.Popen([PROGRAM, str(folder / "orthanc.json")], stdout=log, stderr=log)
        for _ in range(60):
            try:
                if requests.get(f"{self.url}/dicom-web/studies", timeout=5).ok:
                    return
            except requests.RequestException:
                time.sleep(1)
        raise AssertionError((folder / "orthanc.log").read_text()[-2000:])

    def add(self, folder: Path) -> None:
        """Upload all files of a folder."""
        for path in sorted(folder.iterdir()):
            requests.post(f"{self.url}/instances", data=path.read_bytes(), timeout=60).raise_for_status()

    def series(self, modality: str) -> list[dict]:
        """Series of a modality, as Orthanc describes them."""
        query = {"Level": "Series", "Query": {"Modality": modality}, "Expand": True}
        return requests.post(f"{self.url}/tools/find", json=query, timeout=60).json()

    def file(self, instance: str) -> bytes:
        """A stored DICOM file."""
        return requests.get(f"{self.url}/instances/{instance}/file", timeout=60).content

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)
