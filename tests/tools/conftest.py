"""A web server on this machine that serves a folder, with parts of files, and cuts off when it is told to."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest


class Web(ThreadingHTTPServer):
    """Serves `folder`.

    Attributes:
        address: of the folder.
        asked: (path, Range header or None) of every request.
        cut_after: bytes of a body after which the connection is closed; None for never. Once a cut.
        ranges: whether parts of files are sent when asked for.
        page: what is sent with status 200 whatever is asked for, as a network does before one signs in.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.asked = folder, []
        self.cut_after: list[int] = []
        self.ranges = True
        self.page: bytes | None = None
        self.address = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Web

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        path = unquote(self.path.partition("?")[0])
        self.server.asked.append((path, wanted))
        if self.server.page is not None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.server.page)))
            self.end_headers()
            self.wfile.write(self.server.page)
            return
        file = self.server.folder / path.lstrip("/")
        if not file.is_file():
            self.send_error(404)
            return
        body, start = file.read_bytes(), 0
        total = len(body)
        if wanted and self.server.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= total:
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(total - start))
        self.end_headers()
        if self.command == "GET":
            cut = self.server.cut_after.pop(0) if self.server.cut_after and total > 1000 else None
            self.wfile.write(body[start:][:cut])

    do_HEAD = do_GET  # noqa: N815 - the name that the server calls

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Callable[[Path], Web]]:
    """Start servers; they end with the test."""
    servers: list[Web] = []

    def start(folder: Path) -> Web:
        server = Web(folder)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
