# SPDX-License-Identifier: Apache-2.0
"""Who asks while APIs are killed knows what became of a request."""

from __future__ import annotations

import json
import random
import socketserver
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.storm.asking import Asker, Tally, Unexpected

Ask = Callable[..., tuple[Asker, Tally]]


def whole(status: str, body: object = None) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    return f"HTTP/1.0 {status}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


TAKEN = whole("409 Conflict", {"error": {"reason_code": "device_taken"}})
AWAY = whole("503 Service Unavailable", {"error": {"reason_code": "database_unavailable"}})
BROKEN = whole("500 Internal Server Error", {"error": {"reason_code": "internal_error"}})


@pytest.fixture
def asker() -> Iterator[Ask]:
    """Makes a user of an API that gives these answers, one after the other."""
    left: list[bytes] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            self.wfile.write(left.pop(0))

    def make(*answers: bytes) -> tuple[Asker, Tally]:
        left.extend(answers)
        tally = Tally()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        return Asker("project", ["member"], [url], tally, random.Random(0)), tally

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield make
        server.shutdown()


def test_the_first_answer_counts(asker: Ask) -> None:
    user, tally = asker(TAKEN)
    answer = user.ask("list", "GET", "/")
    assert (answer.status, answer.reason_code, answer.repeated) == (409, "device_taken", False)
    assert "409 device_taken" in str(tally)


@pytest.mark.parametrize(
    "lost",
    [
        pytest.param(AWAY, id="503"),
        pytest.param(b"", id="nothing"),
        pytest.param(TAKEN[: TAKEN.index(b"\n") + 1], id="cut off in the headers"),
        pytest.param(TAKEN[:-5], id="cut off in the body"),
    ],
)
def test_what_says_nothing_is_asked_again(asker: Ask, lost: bytes) -> None:
    user, _ = asker(lost, lost, whole("202 Accepted"))
    answer = user.ask("detach", "DELETE", "/")
    assert (answer.status, answer.body, answer.repeated) == (202, None, True)


def test_an_error_of_the_service(asker: Ask) -> None:
    user, _ = asker(BROKEN)
    with pytest.raises(Unexpected, match="500"):
        user.ask("list", "GET", "/")
