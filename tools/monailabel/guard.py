"""What is refused before MONAI Label sees a request, as plain ASGI: bodies are counted, not read."""

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, unquote

from common.errors import InputError

from .client_request import check_plain_name

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

NAMES = ("image", "id", "label", "tag", "session_id")  # query fields that become parts of paths
# What MONAI Label 0.8.5 offers and this server does not: methods, path, and what to do instead.
NOT_SERVED = (
    ("POST", r"/reload/?", "restart the server to read its settings again"),
    (
        "PUT|DELETE",
        r"/model/.*",
        "weights change by training here, or by starting the server with other bundles",
    ),
    ("POST", r"/infer/wsi.*", "volumes are segmented by POST /infer/<model>"),
)


class Guard:
    """Middleware that refuses paths and names that lead elsewhere, and bodies that are too large.

    Args:
        app: what is guarded.
        upload_limit: bytes of a request's body.
    """

    def __init__(self, app: App, *, upload_limit: int) -> None:
        self.app = app
        self.upload_limit = upload_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        fault = self._fault(scope)
        if fault is not None:
            await _refuse(send, *fault)
            return
        await self._limited(scope, receive, send)

    def _fault(self, scope: Scope) -> tuple[int, str] | None:
        method, path = scope["method"], unquote(scope["path"])
        for methods, pattern, instead in NOT_SERVED:
            if re.fullmatch(methods, method) and re.fullmatch(pattern, path):
                return 403, f"{method} {path[:60]}: not served here; {instead}."
        if ".." in path.replace("\\", "/").split("/"):
            return 400, "path: found '..', expected an address without it."
        for field, value in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True):
            if field in NAMES and value:
                try:
                    check_plain_name(value, field)
                except InputError as error:
                    return 422, str(error)
            if field == "uncompress" and value.lower() not in ("", "0", "false"):
                return (
                    422,
                    "uncompress: archives are not unpacked here; send an image, or a DICOM series as .zip.",
                )
        length = dict(scope["headers"]).get(b"content-length", b"0")
        return self._too_large() if length.isdigit() and int(length) > self.upload_limit else None

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the body as it comes: its length may not be announced."""
        received, answered, exceeded = 0, False, False

        async def counted() -> Message:
            nonlocal received, exceeded
            message = await receive()
            received += len(message.get("body", b""))
            exceeded = received > self.upload_limit
            if exceeded:
                raise _TooLargeError
            return message

        async def noted(message: Message) -> None:
            nonlocal answered
            if answered or not exceeded:  # else the app answers what it took for a broken body
                answered = True
                await send(message)

        with suppress(_TooLargeError):
            await self.app(scope, counted, noted)
        if exceeded and not answered:
            await _refuse(send, *self._too_large())

    def _too_large(self) -> tuple[int, str]:
        return 413, (
            f"body: larger than {self.upload_limit / 1e6:.0f} MB; send less, or start the server with a "
            "larger --upload-limit."
        )


class _TooLargeError(Exception):
    pass


async def _refuse(send: Send, status: int, detail: str) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
