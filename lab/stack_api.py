# SPDX-License-Identifier: Apache-2.0
"""The API without a cloud: headers identify the caller, and a file lists the servers.

Usage: python -m lab.stack_api PORT SERVERS_JSON, with OS_USB_SHIM_CONFIG_FILES as for the real one.
"""

from __future__ import annotations

import socketserver
import sys
from pathlib import Path
from typing import Any
from wsgiref import simple_server

from compute_shim.api import auth
from lab import stack_nova


def trust(application: Any, conf: Any) -> Any:
    """Takes the place of keystonemiddleware: the headers that it would set come from the caller."""

    def add_token(environ: dict[str, Any], start_response: Any) -> Any:
        environ["keystone.token_auth"] = None
        return application(environ, start_response)

    return add_token


class Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    """A thread for each request."""

    daemon_threads = True


class Quiet(simple_server.WSGIRequestHandler):
    """Logs no requests."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


def main() -> None:
    """Serve until killed."""
    port, servers = int(sys.argv[1]), Path(sys.argv[2])
    auth.keystone = trust
    stack_nova.replace_nova(servers)
    from compute_shim.wsgi import api

    with simple_server.make_server("127.0.0.1", port, api.application, Server, Quiet) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
