# SPDX-License-Identifier: Apache-2.0
"""The check that the agents run on compute hosts of the Nova in [nova]."""

from __future__ import annotations

import datetime
from typing import Any, cast

import pytest
import sqlalchemy as sa
from oslo_utils import timeutils

from compute_shim import exception, liveness, nova
from compute_shim.conductor import nova_checks
from compute_shim.conductor.nova_checks import Found
from compute_shim.db import models, queries
from compute_shim.db.api import Database
from compute_shim.objects import Device
from tests.unit.db.test_states import STICK, empty_database


class Nova:
    """Stands in for `compute_shim.nova.Nova`."""

    def __init__(self) -> None:
        self.hosts: set[str] = set()
        self.down: set[str] = set()
        self.of_regions = {"one"}
        self.auth: Any = "somebody's"
        self.error: Exception | None = None

    def service_auth(self) -> Any:
        return self.auth

    def regions(self, auth: Any) -> set[str]:
        return self.of_regions

    def compute_services(self, auth: Any) -> dict[str, bool]:
        if self.error is not None:
            raise self.error
        return {host: host not in self.down for host in self.hosts}


@pytest.fixture
def compute(monkeypatch: pytest.MonkeyPatch) -> Nova:
    """A Nova of one region that knows no host."""
    compute = Nova()
    monkeypatch.setattr(nova, "Nova", lambda conf: compute)
    span = datetime.timedelta(seconds=60)
    now = timeutils.utcnow()
    monkeypatch.setattr(liveness.Window, "now", lambda conf: liveness.Window(now - span, now + span))
    return compute


@pytest.fixture
def db() -> Database:
    """No agent yet."""
    return empty_database()


def agent(db: Database, host: str, serials: str, up: bool = True) -> None:
    sticks = [
        Device(**{**vars(STICK), "identity": f"0781:5567:{serial}", "serial": serial}) for serial in serials
    ]
    queries.sync_host(db, host, "QEMU", "1.1", sticks)
    if not up:
        with db.writer() as session:
            past = timeutils.utcnow() - datetime.timedelta(days=1)
            session.execute(sa.update(models.Host).where(models.Host.host == host).values(last_seen=past))


def check(db: Database) -> Found:
    return nova_checks.check(None, db)


def test_nova_knows_all_hosts(compute: Nova, db: Database) -> None:
    compute.hosts = {"compute1", "compute2"}
    agent(db, "compute1", "a")
    agent(db, "compute2", "b", up=False)
    assert check(db) == Found()


def test_several_regions_and_none_is_chosen(compute: Nova, db: Database) -> None:
    compute.of_regions = {"two", "one"}
    found = check(db)
    assert found.error is not None
    assert found.error.startswith("The catalog has the regions one, two. Set [nova] region_name")
    assert nova_checks.region_obstacle(cast(Any, compute), None) is not None


def test_a_catalog_that_cannot_be_read_is_an_obstacle(compute: Nova, monkeypatch: pytest.MonkeyPatch) -> None:
    def regions(auth: Any) -> set[str]:
        raise exception.Unavailable("Keystone is away.")

    monkeypatch.setattr(compute, "regions", regions)
    assert "Keystone is away" in (nova_checks.region_obstacle(cast(Any, compute), None) or "")


def test_one_region_is_no_obstacle(compute: Nova) -> None:
    assert nova_checks.region_obstacle(cast(Any, compute), None) is None


def test_hosts_that_nova_does_not_know(compute: Nova, db: Database) -> None:
    compute.hosts = {"compute1"}
    for name in ("compute1", "compute2", "compute3"):
        agent(db, name, name[-1])
    [warning] = check(db).warnings
    assert warning.startswith("Nova has no nova-compute on compute2, compute3: a renamed host, or another")


def test_of_a_host_that_is_down_nova_need_not_know(compute: Nova, db: Database) -> None:
    compute.hosts = {"compute1"}
    agent(db, "compute1", "a")
    agent(db, "compute2", "b", up=False)
    assert check(db) == Found()


def test_a_host_whose_agent_was_renamed(compute: Nova, db: Database) -> None:
    compute.hosts = {"old"}
    agent(db, "old", "abc", up=False)
    agent(db, "new", "bcd")
    unknown, renamed = check(db).warnings
    assert "on new:" in unknown
    assert renamed == (
        "Host old is down and host new has 2 of its USB devices: probably it was renamed. Nova knows it as"
        " old: set [DEFAULT] host to that for usb-shim-agent on new."
    )


@pytest.mark.parametrize("credentials", [True, False])
def test_a_host_that_was_renamed_everywhere(compute: Nova, db: Database, credentials: bool) -> None:
    compute.hosts = {"new", "old"}
    compute.auth = compute.auth if credentials else None
    agent(db, "old", "a", up=False)
    agent(db, "new", "a")
    *others, renamed = check(db).warnings
    assert len(others) == (0 if credentials else 1)
    assert renamed.endswith("Then delete the old one: usb-shim-manage host delete old")


def test_what_looks_alike_everywhere_is_no_sign(compute: Nova, db: Database) -> None:
    compute.hosts = {"old", "new"}
    keyboard = Device(**{**vars(STICK), "identity": "0627:0001@1-1", "serial": ""})
    for name in ("old", "new"):
        queries.sync_host(db, name, "QEMU", "1.1", [keyboard])
    agent(db, "old", "", up=False)
    assert check(db) == Found()


def test_a_nova_that_does_not_answer(compute: Nova, db: Database) -> None:
    compute.error = exception.Unavailable("Try again later.")
    compute.error.__cause__ = ConnectionRefusedError("Connection refused")
    error = check(db).error or ""
    assert error.startswith("Nova does not answer: Connection refused. Check")


def test_a_nova_that_does_not_let_us_list_its_hosts(compute: Nova, db: Database) -> None:
    compute.error = exception.Forbidden("Not for you.")
    error = check(db).error or ""
    assert error.startswith("Not for you. Grant it the role admin: openstack role add ")


def test_a_compute_service_that_is_down(compute: Nova, db: Database) -> None:
    compute.hosts = compute.down = {"compute1", "compute2"}
    agent(db, "compute1", "a")
    assert check(db) == Found(warnings=("nova-compute is down on compute1. Start it.",))


def test_without_a_database_nova_is_asked_all_the_same(compute: Nova) -> None:
    compute.error = exception.Unavailable("Try again later.")
    assert nova_checks.check(None, None).error is not None
    compute.error = None
    assert nova_checks.check(None, None) == Found()
