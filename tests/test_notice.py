"""A notice arrives as JSON; what cannot be delivered is told without the address, which may hold a secret."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tasks.retraining.notice import post_notice

SECRET = "s3cr3t"


class Mailbox(BaseHTTPRequestHandler):
    """Keeps what it is sent; answers 500 below /broken."""

    received: list[tuple[str, Any]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append((self.path, json.loads(body)))
        self.send_response(500 if self.path.startswith("/broken") else 204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """An address on the loopback, and what was sent there."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    received: list[tuple[str, Any]] = []
    server = HTTPServer(("127.0.0.1", 0), type("Own", (Mailbox,), {"received": received}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_notice_arrives(mailbox: tuple[str, list[tuple[str, Any]]], monkeypatch: pytest.MonkeyPatch) -> None:
    address, received = mailbox
    monkeypatch.setenv("HOOK_TOKEN", SECRET)
    post_notice(f"{address}/hook/$HOOK_TOKEN", {"decision": "promoted", "rules": [{"value": None}]})
    assert received == [(f"/hook/{SECRET}", {"decision": "promoted", "rules": [{"value": None}]})]


@pytest.mark.parametrize("place", ["/broken/s3cr3t", ":1/s3cr3t", ":port/s3cr3t"])
def test_what_cannot_be_delivered_keeps_the_secret(mailbox: tuple[str, list[tuple[str, Any]]], place: str) -> None:
    address = mailbox[0] if place.startswith("/") else "http://127.0.0.1"
    with pytest.raises(OSError, match="the webhook") as failed:
        post_notice(address + place, {})
    assert SECRET not in str(failed.value)
    assert failed.value.__suppress_context__
