"""MONAI Label's web app with this project's guard, its own door to inference, and errors as sentences."""

import functools
import json
import logging
import os
import shutil
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import anyio
import jwt
import monailabel.app
import monailabel.endpoints.user.auth as label_auth
import requests
from fastapi import Depends, FastAPI, File, Form, Request, UploadFile
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from monailabel.config import settings as label_settings
from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.datastore.utils.convert import nifti_to_dicom_seg
from monailabel.endpoints.infer import ResultType
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.exception import ImageNotFoundException, MONAILabelError, MONAILabelException
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.others.generic import get_mime_type
from requests_toolbelt import MultipartEncoder

from common.errors import InputError

from .app import TextApp
from .bundle_process import BundleError
from .client_request import check_plain_name
from .dicom_names import segments_for
from .guard import Guard
from .infer_task import label_info

POLL_S = 0.5  # how often it is asked whether a client is still there

_log = logging.getLogger(__name__)


def make_app(*, upload_limit: int) -> FastAPI:
    """MONAI Label's app, guarded. Its settings come from the environment, as `__main__` sets it."""
    app: FastAPI = monailabel.app.app
    app.add_api_route(
        "/infer/{model}", infer, methods=["POST"], tags=["Infer"], summary="Segment what words mean"
    )
    _put_last_first(app)  # before MONAI Label's own route of this path
    _serve_ohif_folders(app)
    _check_tokens_with_a_named_algorithm()
    app.add_exception_handler(InputError, _as_422)
    app.add_exception_handler(BundleError, _as_its_status)
    app.add_exception_handler(MONAILabelException, _as_client_error)
    app.add_exception_handler(requests.RequestException, _as_502)
    app.add_middleware(Guard, upload_limit=upload_limit)
    return app


async def infer(
    connection: Request,
    model: str,
    _user: Annotated[User, Depends(RBAC(label_settings.MONAI_LABEL_AUTH_ROLE_USER))],
    image: str = "",
    session_id: str = "",
    params: Annotated[str, Form()] = "{}",
    file: Annotated[UploadFile | None, File()] = None,
    output: ResultType | None = None,
) -> Response:
    """Segment a study, an uploaded file or a session's image with the prompts in `params`.

    MONAI Label's own works on the event loop, so that nobody else is answered meanwhile. Here a thread waits
    for the bundle, and a request whose client went away before its turn is dropped.
    """
    gone = threading.Event()
    task: TextApp = app_instance()
    request = {**_fields(params), "model": model, "wanted": lambda: not gone.is_set()}
    work = functools.partial(_infer, task, request, image, session_id, file, output)
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            while not gone.is_set():
                await anyio.sleep(POLL_S)
                if await connection.is_disconnected():
                    gone.set()

        group.start_soon(watch)
        try:
            answer: Response | Exception = await anyio.to_thread.run_sync(work)
        except Exception as error:  # raised below: a task group would wrap it
            answer = error
        group.cancel_scope.cancel()
    if isinstance(answer, Exception):
        raise answer
    return answer


def _infer(
    app: TextApp,
    request: dict[str, Any],
    image: str,
    session_id: str,
    file: UploadFile | None,
    output: ResultType | None,
) -> Response:
    with tempfile.TemporaryDirectory(dir=app.settings.uploads) as folder:
        request["image"] = _source(app, image, session_id, file, Path(folder))
        result = app.infer(request)
        path, found = Path(result["file"]), result["params"]
        try:
            if output == ResultType.dicom_seg:
                return _dicom_seg(app, image, path, found)
            return _response(path, found, output)
        finally:
            path.unlink(missing_ok=True)


def _fields(params: str) -> dict[str, Any]:
    try:
        fields = json.loads(params or "{}")
    except ValueError as error:
        raise InputError(f"params: found no valid JSON ({error}), expected an object.") from error
    if not isinstance(fields, dict):
        raise InputError('params: found no JSON object, expected one such as {"prompt": "liver"}.')
    names = (
        "prompt",
        "prompts",
        "keep_largest",
        "smooth",
        "presence_threshold",
        "result_extension",
        "save_label",
    )
    chosen = {name: fields[name] for name in names if name in fields}
    if "label_tag" in fields:
        chosen["label_tag"] = check_plain_name(fields["label_tag"], "label_tag")
    return chosen


def _source(app: TextApp, image: str, session_id: str, file: UploadFile | None, folder: Path) -> str:
    """A study's name, or the path of what the client sent."""
    if file is not None:
        name = check_plain_name(Path(file.filename or "image.nii.gz").name, "file")
        with (folder / name).open("wb") as target:
            shutil.copyfileobj(file.file, target)
        return str(folder / name)
    if session_id:
        session = app.sessions().get_session(check_plain_name(session_id, "session_id"))
        if session is None:
            raise ImageNotFoundException(f"Session {session_id} not found")
        return str(session.image)
    if not image:
        raise InputError("image: found none, expected a study's name, a file or a session; name a study.")
    if not isinstance(app.datastore(), DICOMWebDatastore) and image not in app.datastore().list_images():
        raise ImageNotFoundException(f"Image {image} not found")
    return image


def _response(path: Path, found: dict[str, Any], output: ResultType | None) -> Response:
    if output == ResultType.json:
        return JSONResponse(found)
    kind, content = get_mime_type(str(path)), path.read_bytes()
    if output == ResultType.image:
        headers = {"content-disposition": f'attachment; filename="{path.name}"'}
        return Response(content, media_type=kind, headers=headers)
    parts = {"params": (None, json.dumps(found), "application/json"), "image": (path.name, content, kind)}
    encoded = MultipartEncoder(fields=parts)
    return Response(encoded.to_string(), media_type=encoded.content_type)


def _dicom_seg(app: TextApp, image: str, path: Path, found: dict[str, Any]) -> Response:
    store = app.datastore()
    if not isinstance(store, DICOMWebDatastore) or not image:
        raise InputError("output: dicom_seg needs a study of a DICOMweb server; ask for output=image.")
    entries = segments_for(path, label_info(found["label_names"]), algorithm_type="AUTOMATIC")
    series = os.path.join(store._datastore.image_path(), image)
    written = Path(nifti_to_dicom_seg(series, str(path), entries, use_itk=True))
    if not written.is_file():
        raise BundleError("dicom_seg: itkimage2segimage wrote nothing; the server's log says why.")
    try:
        return Response(written.read_bytes(), media_type="application/dicom")
    finally:
        written.unlink()


def _serve_ohif_folders(app: FastAPI) -> None:
    """MONAI Label answers OHIF's files in subfolders with index.html: serve these from their folders."""
    ohif = Path(monailabel.app.static_dir) / "ohif"
    for folder in sorted(path for path in ohif.iterdir() if path.is_dir()):
        app.mount(f"/ohif/{folder.name}", StaticFiles(directory=folder))
        _put_last_first(app)


def _put_last_first(app: FastAPI) -> None:
    app.router.routes.insert(0, app.router.routes.pop())


def _check_tokens_with_a_named_algorithm() -> None:
    """Without a name, as in MONAI Label 0.8.5, PyJWT 2 refuses every token. Realms sign with RS256."""
    label_auth.jwt = SimpleNamespace(decode=functools.partial(jwt.decode, algorithms=["RS256"]))


async def _as_422(_: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, 422)


async def _as_its_status(_: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, getattr(error, "status", 500))


async def _as_client_error(_: Request, error: Exception) -> Response:
    message = str(getattr(error, "msg", error))
    code = getattr(error, "error", None)
    missing = "not found" in message.lower() or "no model" in message
    status = 404 if missing else 422 if code == MONAILabelError.INVALID_INPUT else 500
    return JSONResponse({"detail": message}, status)


async def _as_502(_: Request, error: Exception) -> Response:
    _log.error("the DICOMweb server: %s", error)
    return JSONResponse(
        {"detail": "studies: the DICOMweb server does not answer; the server's log says more."}, 502
    )
