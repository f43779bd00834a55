"""MONAI Label's own login: tokens of an OpenID realm, here a small one with a key of its own."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from .conftest import START_S, Server, make_threshold_bundle

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC = KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


class Realm(BaseHTTPRequestHandler):
    """Says its public key, as Keycloak does at the realm's address."""

    def do_GET(self) -> None:
        lines = PUBLIC.decode().strip().splitlines()[1:-1]
        body = json.dumps({"realm": "test", "public_key": "".join(lines)}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def guarded(start_server, studies, tmp_path_factory) -> Iterator[Server]:
    realm = ThreadingHTTPServer(("127.0.0.1", 0), Realm)
    threading.Thread(target=realm.serve_forever, daemon=True).start()
    environment = {
        "MONAI_LABEL_AUTH_ENABLE": "true",
        "MONAI_LABEL_AUTH_REALM_URI": f"http://127.0.0.1:{realm.server_port}/realms/test",
    }
    second = make_threshold_bundle(tmp_path_factory.mktemp("bundles") / "threshold")
    work = tmp_path_factory.mktemp("work")
    yield start_server(studies, work, "--bundles", str(second), environment=environment)
    realm.shutdown()


def token(*roles: str, key: object = KEY, algorithm: str = "RS256", expires: float = 60) -> dict[str, str]:
    content = {
        "preferred_username": "a",
        "realm_access": {"roles": list(roles)},
        "exp": time.time() + expires,
    }
    return {"Authorization": f"Bearer {jwt.encode(content, key, algorithm=algorithm)}"}


def infer(server: Server, headers: dict[str, str]) -> int:
    return requests.post(
        f"{server.url}/infer/threshold",
        params={"image": "phantom_000", "output": "json"},
        files={"params": (None, '{"prompt": "0.5"}')},
        headers=headers,
        timeout=START_S,
    ).status_code


def test_who_may_segment_and_who_may_save(guarded):
    assert infer(guarded, {}) == 401
    assert infer(guarded, token("monailabel-user")) == 200
    assert infer(guarded, token("somebody")) == 403
    label = {"label": ("a.nii.gz", b"x"), "params": (None, "{}")}
    url = f"{guarded.url}/datastore/label?image=phantom_000"
    assert requests.put(url, files=label, headers=token("monailabel-user"), timeout=60).status_code == 403


def test_tokens_that_the_realm_did_not_sign(guarded):
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert infer(guarded, token("monailabel-user", key=other)) == 401
    assert infer(guarded, token("monailabel-user", expires=-60)) == 401
    assert infer(guarded, token("monailabel-user", key="x" * 40, algorithm="HS256")) == 401
    assert infer(guarded, token("monailabel-user", key=None, algorithm="none")) == 401
