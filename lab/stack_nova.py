# SPDX-License-Identifier: Apache-2.0
"""Replaces Nova where there is no cloud: a file lists the servers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from compute_shim import nova

#: The hosts of a stack.
HOST = "labhost1"
OTHER_HOSTS = ("labhost2", "labhost3")


class FileOfServers:
    """{server id: {"project_id": ..., "host": ...}}. A server that is deleted is not in the file."""

    def __init__(self, path: Path):
        self._path = path

    def service_auth(self) -> str:
        """As `compute_shim.nova.Nova.service_auth`: there are credentials."""
        return "nobody looks at it"

    def server(self, token: Any, server_id: str) -> nova.Server:
        """As `compute_shim.nova.Nova.server`, for a caller who may see all."""
        found = self._servers().get(server_id)
        if found is None:
            raise nova.no_server(server_id)
        return _server(server_id, found)

    def servers_on(self, token: Any, host: str) -> dict[str, nova.Server]:
        """As `compute_shim.nova.Nova.servers_on`."""
        servers = self._servers().items()
        return {server_id: _server(server_id, found) for server_id, found in servers if found["host"] == host}

    def own_servers(self, token: Any) -> list[nova.Server]:
        """As `compute_shim.nova.Nova.own_servers`, for a caller whose servers are all there are."""
        return [_server(server_id, found) for server_id, found in self._servers().items()]

    def is_deleted(self, token: Any, server_id: str) -> bool:
        """As `compute_shim.nova.Nova.is_deleted`; the file is all there ever was."""
        return server_id not in self._servers()

    def compute_hosts(self, token: Any) -> set[str]:
        """As `compute_shim.nova.Nova.compute_hosts`."""
        return {HOST, *OTHER_HOSTS}

    def regions(self, token: Any) -> set[str]:
        """As `compute_shim.nova.Nova.regions`."""
        return {"RegionOne"}

    def sees_all_projects(self, token: Any) -> bool:
        """As `compute_shim.nova.Nova.sees_all_projects`."""
        return True

    def _servers(self) -> dict[str, dict[str, str]]:
        return json.loads(self._path.read_text())


def _server(server_id: str, found: dict[str, str]) -> nova.Server:
    project_id = found["project_id"]
    return nova.Server(server_id, project_id, nova.host_id(project_id, found["host"]), locked=False)


def replace_nova(servers: Path) -> None:
    """Replace Nova by the file; to be called before `nova.Nova` is imported by name."""
    nova.Nova = lambda conf: FileOfServers(servers)  # type: ignore[misc, assignment, return-value]
