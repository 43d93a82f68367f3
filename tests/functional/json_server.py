# SPDX-License-Identifier: Apache-2.0
"""A server of fixed JSON answers, in place of another service of OpenStack."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

#: Method, path without its query, the address of the server itself, and what was sent -> status and body.
Answer = Callable[[str, str, str, Any], tuple[int, Any]]


@contextlib.contextmanager
def serve(answer: Answer) -> Iterator[str]:
    """The address of a server that answers so, while it runs; Keystone's tokens have an id."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or "null")
            path = self.path.partition("?")[0]
            status, content = answer(self.command, path, f"http://{self.headers['Host']}", sent)
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Subject-Token", "a-token")
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
