# SPDX-License-Identifier: Apache-2.0
"""An installation in which all is well, for tests that plant a mistake in it."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from keystoneauth1 import fixture as keystone_fixture
from oslo_utils import timeutils

from compute_shim import conf as configuration
from compute_shim import rpc
from compute_shim.cmd import status
from compute_shim.conf import database
from compute_shim.db import models, queries
from compute_shim.db.api import Database
from tests.functional.world import STICKS

PASSWORD = "s3cret"
REGION = "RegionOne"


class Cloud:
    """A Keystone, and Nova and Placement below ``/nova``, as `json_server` plays them.

    :ivar endpoints: of the catalog: service type, interface, region.
    :ivar services: of Nova: host -> state.
    :ivar refusal: the status with which both refuse everybody, if it does.
    """

    def __init__(self) -> None:
        self.roles = ["admin", "service"]
        self.endpoints = [
            ("compute", "public", REGION),
            ("compute", "internal", REGION),
            ("usb-passthrough", "public", REGION),
            ("placement", "internal", REGION),
        ]
        self.services = {"compute1": "up"}
        self.refusal: int | None = None

    def answer(self, method: str, path: str, here: str, sent: Any) -> tuple[int, Any]:
        """As `json_server.Answer`."""
        if path == "/v3/auth/tokens":
            return self._token(here, sent["auth"])
        if path.rstrip("/") == "/v3":
            return 200, {"version": keystone_fixture.V3Discovery(f"{here}/v3")}
        if path == "/nova/resource_providers":
            return self.refusal or 200, {"resource_providers": []}
        if path == "/nova/os-services":
            services = [{"host": host, "state": state} for host, state in self.services.items()]
            return self.refusal or 200, {"services": services}
        return 404, {}

    def _token(self, here: str, auth: Any) -> tuple[int, Any]:
        if auth["identity"]["password"]["user"]["password"] != PASSWORD:
            return 401, {
                "error": {"code": 401, "message": "The request you have made requires authentication."}
            }
        token = keystone_fixture.V3Token(user_name="usb-shim")
        if "scope" in auth:
            token.set_project_scope(name="service")
            for role in self.roles:
                token.add_role(name=role)
            for kind, interface, region in self.endpoints:
                token.add_service(kind).add_endpoint(interface, f"{here}/nova", region=region)
        return 201, token


class Installation:
    """A configuration file, a database, and what is around them.

    :ivar sections: of the file: section -> option -> value; None: not set.
    """

    def __init__(
        self, directory: Path, cloud: Cloud, keystone: str, exchange: str, database_url: str
    ) -> None:
        self.cloud = cloud
        self.file = directory / "usb-shim.conf"
        self._db: Database | None = None
        credentials: dict[str, Any] = {
            "auth_type": "password",
            "auth_url": f"{keystone}/v3",
            "username": "usb-shim",
            "password": PASSWORD,
            "user_domain_name": "Default",
            "project_name": "service",
            "project_domain_name": "Default",
        }
        self.sections: dict[str, dict[str, Any]] = {
            "DEFAULT": {"host": "controller", "transport_url": "fake:///", "control_exchange": exchange},
            "database": {"connection": database_url},
            "keystone_authtoken": {**credentials, "www_authenticate_uri": f"{keystone}/v3"},
            "nova": {**credentials, "region_name": REGION},
            "placement": {**credentials, "region_name": REGION, "enabled": True},
        }

    def set(self, section: str, **options: Any) -> None:
        """Set options of the file; None unsets one."""
        self.sections.setdefault(section, {}).update(options)

    @property
    def db(self) -> Database:
        """The database of the file."""
        if self._db is None:
            self.write()
            conf = configuration.load([f"--config-file={self.file}"])
            database.register(conf)
            self._db = Database(conf)
        return self._db

    def agent(
        self, host: str, version: str = rpc.CONDUCTOR_VERSION, age: int = 0, problems: Iterable[str] = ()
    ) -> None:
        """An agent that was heard of so many seconds ago."""
        queries.sync_host(self.db, host, "QEMU", version, [STICKS["STICK1"]], problems)
        with self.db.writer() as session:
            row = session.get(models.Host, host)
            assert row is not None
            row.last_seen = timeutils.utcnow() - datetime.timedelta(seconds=age)

    def check(self, monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
        """Run ``usb-shim-status upgrade check`` here; returns the exit code."""
        self.write()
        argv = ["usb-shim-status", f"--config-file={self.file}", "upgrade", "check", *options]
        monkeypatch.setattr("sys.argv", argv)
        # It takes the handlers of pytest away.
        monkeypatch.setattr("oslo_log.log.setup", lambda conf, name: None)
        return status.main()

    def rows(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> dict[str, tuple[int, str | None]]:
        """What it finds: name of the check -> result and details."""
        self.check(monkeypatch, "--json")
        found = json.loads(capsys.readouterr().out)
        return {row["check"]: (row["result"], row["details"]) for row in found["checks"]}

    def write(self) -> Path:
        """Write the file, and say where it is."""
        lines = []
        for section, options in self.sections.items():
            lines.append(f"[{section}]")
            lines += [f"{name} = {value}" for name, value in options.items() if value is not None]
        self.file.write_text("\n".join(lines) + "\n")
        return self.file
