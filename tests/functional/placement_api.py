# SPDX-License-Identifier: Apache-2.0
"""The real placement API in a process of its own, with SQLite and without Keystone, and what Nova does."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from wsgiref import simple_server

import requests

_SERVER = "import sys; from tests.functional import placement_api; placement_api.serve(sys.argv[1])"
_FILE = "placement.sqlite"
# In this order: some refer to others.
_CLEAR = """
DELETE FROM allocations;
DELETE FROM consumers;
DELETE FROM inventories;
DELETE FROM resource_provider_traits;
DELETE FROM resource_providers;
"""


class _Quiet(simple_server.WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


def serve(directory: str) -> None:
    """Print the port, and serve until the process is killed."""
    from oslo_config import cfg
    from placement import conf, db_api, deploy
    from placement.db.sqlalchemy import migration

    config = cfg.ConfigOpts()
    conf.register_opts(config)
    config.set_override("connection", f"sqlite:///{directory}/{_FILE}", group="placement_database")
    config([], project="placement", default_config_files=[])
    config.set_override("auth_strategy", "noauth2", group="api")
    db_api.configure(config)
    migration.create_schema()
    application = deploy.loadapp(config)
    server = simple_server.make_server("127.0.0.1", 0, application, handler_class=_Quiet)
    print(server.server_port, flush=True)
    server.serve_forever()


class PlacementAPI:
    """Placement, as an operator and Nova see it.

    :ivar url: its address.
    """

    def __init__(self, directory: Path) -> None:
        self._file = directory / _FILE
        log = (directory / "placement.log").open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER, str(directory)], stdout=subprocess.PIPE, stderr=log, text=True
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def clear(self) -> None:
        """Delete all providers, whatever is allocated; classes and traits stay."""
        with sqlite3.connect(self._file, timeout=30) as connection:
            connection.executescript(_CLEAR)

    def call(self, method: str, path: str, body: Any = None, version: str = "1.36") -> Any:
        """An answer, which must be no error."""
        headers = {"X-Auth-Token": "admin", "OpenStack-API-Version": f"placement {version}"}
        answer = requests.request(method, self.url + path, json=body, headers=headers, timeout=30)
        assert answer.ok, f"{method} {path}: {answer.text}"
        return answer.json() if answer.content else None

    def compute_node(self, name: str) -> str:
        """A compute node that nova-compute has created, with some processors."""
        node = str(uuid.uuid4())
        self.call("POST", "/resource_providers", {"name": name, "uuid": node})
        body = {"resource_provider_generation": 0, "inventories": {"VCPU": {"total": 64}}}
        self.call("PUT", f"/resource_providers/{node}/inventories", body)
        return node

    def provider(self, name: str) -> dict[str, Any] | None:
        """A provider by its name."""
        found = self.call("GET", f"/resource_providers?name={name}")["resource_providers"]
        return found[0] if found else None

    def inventories(self, name: str) -> dict[str, tuple[int, int]]:
        """Resource class -> total and reserved, of a provider."""
        provider = self.provider(name)
        assert provider is not None
        shown = self.call("GET", f"/resource_providers/{provider['uuid']}/inventories")["inventories"]
        return {key: (value["total"], value["reserved"]) for key, value in shown.items()}

    def traits(self, name: str) -> set[str]:
        """The traits of a provider."""
        provider = self.provider(name)
        assert provider is not None
        return set(self.call("GET", f"/resource_providers/{provider['uuid']}/traits")["traits"])

    def candidates(self, **resources: int) -> set[str]:
        """The names of the compute nodes on which a server could be started."""
        wanted = ",".join(f"{name}:{count}" for name, count in {"VCPU": 1, **resources}.items())
        found = self.call("GET", f"/allocation_candidates?resources={wanted}")
        providers = self.call("GET", "/resource_providers")["resource_providers"]
        names = {provider["uuid"]: provider["name"] for provider in providers}
        return {
            names[node]
            for node, summary in found["provider_summaries"].items()
            if summary["parent_provider_uuid"] is None
        }

    def allocate(self, consumer: str, allocations: Mapping[str, Mapping[str, int]]) -> None:
        """Replace what a consumer has, as Nova does for a new server.

        :param allocations: name of the provider -> resource class -> how many; empty: nothing any more.
        """
        self.move({consumer: allocations})

    def move(self, consumers: Mapping[str, Mapping[str, Mapping[str, int]]]) -> None:
        """Replace what some consumers have, at once, as Nova does for migrations."""
        body = {}
        for consumer, allocations in consumers.items():
            shown = self.call("GET", f"/allocations/{consumer}")
            by_uuid = {}
            for name, resources in allocations.items():
                provider = self.provider(name)
                assert provider is not None
                by_uuid[provider["uuid"]] = {"resources": dict(resources)}
            body[consumer] = {
                "allocations": by_uuid,
                "project_id": "demo",
                "user_id": "somebody",
                "consumer_generation": shown.get("consumer_generation"),
            }
        self.call("POST", "/allocations", body)

    def delete_allocations(self, consumer: str) -> None:
        """The server or the migration is gone."""
        self.call("DELETE", f"/allocations/{consumer}")
