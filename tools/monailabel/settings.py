"""What a server was started with, in a file that its background tasks, which are processes, read too."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "settings.json"


@dataclass(frozen=True)
class Settings:
    """Options of the server.

    Attributes:
        bundles: folders and zips to serve.
        work: folder for everything that the server writes apart from labels.
        studies: folder of images, or the URL of a DICOMweb server.
        device: torch device, or None for each bundle's own choice.
        time_limit_s: for one inference.
    """

    bundles: tuple[str, ...]
    work: str
    studies: str
    device: str | None
    time_limit_s: float

    @property
    def uploads(self) -> Path:
        """Images that a client sent along with a request."""
        return Path(self.work) / "uploads"

    @property
    def sessions(self) -> Path:
        """Images that a client sent for several requests."""
        return Path(self.work) / "sessions"

    @property
    def dicom_cache(self) -> Path:
        """Series fetched from the DICOMweb server."""
        return Path(self.work) / "dicom"

    def models(self, bundle: str) -> Path:
        """Weights trained on this site's labels."""
        return Path(self.work) / "models" / bundle

    @property
    def image_folders(self) -> list[Path]:
        """Where an image to segment may lie."""
        local = [] if self.studies.startswith(("http://", "https://")) else [Path(self.studies)]
        return [path.resolve() for path in (*local, self.uploads, self.sessions, self.dicom_cache)]

    def write(self, folder: Path) -> None:
        """Keep it in a folder."""
        (folder / FILE).write_text(json.dumps(asdict(self), indent=1), "utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Settings":
        """What `write` kept."""
        content = json.loads((folder / FILE).read_text("utf-8"))
        return cls(**{**content, "bundles": tuple(content["bundles"])})
