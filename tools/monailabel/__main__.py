"""Command line: `tools/label --studies DIR`, in MONAI Label's environment `python -m tools.monailabel`."""

import argparse
import ipaddress
import json
import os
import sys
from pathlib import Path

from common.errors import InputError
from tools.command_line import Parser, says_input_errors

from .settings import Settings

REPOSITORY = Path(__file__).parents[2]
# MONAI Label loads this file and looks in it for an app
MAIN = '''"""What MONAI Label loads."""

from tools.monailabel.torchvision_cpu import make_importable

make_importable()

from tools.monailabel.app import TextApp  # noqa: E402, F401
'''
EPILOG = """tools/label --setup makes the environment and ends. Research use, not for diagnosis.
A login and other settings of MONAI Label are environment variables: see tools/monailabel/README.md."""


@says_input_errors(exit_code=1)
def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted; returns the exit code."""
    options = _parser().parse_args(arguments)
    _check_host(options)
    settings = _settings(options)
    _serve(options, settings)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="tools/label", description="Serve bundles to 3D Slicer, OHIF and scripts.", epilog=EPILOG
    )
    add = parser.add_argument
    add("--studies", required=True, help="folder of NIfTI, NRRD or MHA images, or a DICOMweb server's URL")
    add(
        "--bundles",
        nargs="+",
        default=[str(REPOSITORY / "bundles")],
        help="folders and zips (default: bundles/)",
    )
    add(
        "--work",
        type=Path,
        default=REPOSITORY / "runs" / "label",
        help="for models trained here, cache, logs",
    )
    add("--host", default="127.0.0.1", help="address to listen at (default 127.0.0.1: this computer only)")
    add("--port", type=int, default=8000)
    add("--behind-login", action="store_true", help="allow another --host: something else asks for a login")
    add("--origin", action="append", default=[], help="address that pages calling this server come from")
    add("--device", help="cpu, cuda, cuda:1 or mps (default: each bundle's choice)")
    add("--time-limit", type=float, default=600, help="seconds for one segmentation (default 600)")
    add("--upload-limit", type=int, default=2000, help="MB of one request (default 2000)")
    return parser


def _check_host(options: argparse.Namespace) -> None:
    """Allow another address than this computer's only with a login."""
    try:
        loopback = ipaddress.ip_address(options.host).is_loopback
    except ValueError:
        loopback = options.host == "localhost"
    login = os.environ.get("MONAI_LABEL_AUTH_ENABLE", "").lower() in ("1", "true")
    if not (loopback or login or options.behind_login):
        raise InputError(
            f"--host: found {options.host}, which others can reach, expected 127.0.0.1 or a login; set "
            "MONAI_LABEL_AUTH_ENABLE=true with a realm, or add --behind-login if a proxy asks for one."
        )


def _settings(options: argparse.Namespace) -> Settings:
    studies = options.studies
    if not studies.startswith(("http://", "https://")):
        folder = Path(studies)
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder, expected the one with the images; make it first.")
        studies = str(folder.resolve())
    return Settings(
        bundles=tuple(str(Path(place).resolve()) for place in options.bundles),
        work=str(options.work.resolve()),
        studies=studies,
        device=options.device,
        time_limit_s=options.time_limit,
    )


def _environment(options: argparse.Namespace, settings: Settings, app: Path) -> dict[str, str]:
    """MONAI Label's settings, which its background processes inherit. What is set already stays."""
    values = {
        "MONAI_LABEL_APP_DIR": str(app),
        "MONAI_LABEL_STUDIES": settings.studies,
        "MONAI_LABEL_SERVER_PORT": str(options.port),
        "MONAI_LABEL_SESSION_PATH": str(settings.sessions),
        "PYTHONPATH": str(REPOSITORY),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }
    defaults = {
        "MONAI_LABEL_DATASTORE_FILE_EXT": json.dumps(["*.nii.gz", "*.nii", "*.nrrd", "*.mha"]),
        "MONAI_LABEL_AUTO_UPDATE_SCORING": "false",  # else every submitted label segments all studies again
        "MONAI_LABEL_TRACKING_ENABLED": "false",
    }
    return {**defaults, **os.environ, **values}


def _serve(options: argparse.Namespace, settings: Settings) -> None:
    app = Path(settings.work) / "app"
    empty = Path(settings.work) / "empty"  # MONAI Label takes a study's name for a path where one exists
    for folder in (app / "logs", empty):
        folder.mkdir(parents=True, exist_ok=True)
    (app / "main.py").write_text(MAIN, "utf-8")
    settings.write(app)
    os.environ.update(_environment(options, settings, app))
    os.environ.pop("MONAI_LABEL_CORS_ORIGINS", None)  # --origin instead, see below
    os.chdir(empty)

    from .torchvision_cpu import make_importable  # here, so that --help answers at once

    make_importable()

    import uvicorn
    from monailabel.config import settings as label_settings

    # Without this any web page in the user's browser may call the server. Set in the environment, it would
    # end every background task of MONAI Label 0.8.5, which cannot print it.
    own = [f"http://{name}:{options.port}" for name in ("127.0.0.1", "localhost")]
    label_settings.MONAI_LABEL_CORS_ORIGINS = [*own, *options.origin]

    from monailabel.interfaces.utils.app import app_instance
    from monailabel.utils.others.generic import init_log_config

    from .server import make_app

    log = init_log_config(None, str(app), "app.log", "INFO")
    web = make_app(upload_limit=options.upload_limit * 10**6)
    try:
        uvicorn.run(web, host=options.host, port=options.port, log_config=log, limit_concurrency=64)
    finally:
        app_instance().close()


if __name__ == "__main__":
    sys.exit(main())
