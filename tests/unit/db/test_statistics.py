# SPDX-License-Identifier: Apache-2.0
"""What is counted for metrics."""

from __future__ import annotations

import dataclasses
import datetime

import sqlalchemy as sa
from oslo_utils import timeutils

from compute_shim.db import intent, models, queries, statistics
from compute_shim.db.statistics import Statistics
from tests.unit.db.test_states import HOST, SERVERS, STICK, empty_database


def test_devices_and_claims() -> None:
    """A claim that a program without projects has made belongs to none."""
    db = empty_database()
    for host in (HOST, "compute2"):
        sticks = [dataclasses.replace(STICK, identity=f"{host}-{name}") for name in "ABC"]
        queries.sync_host(db, host, "QEMU", "1.3", sticks)
    rows = {row.identity: row.id for row in queries.devices(db)}
    for name, project_id in (("A", "demo"), ("B", "demo"), ("C", "other")):
        assert intent.claim(db, rows[f"{HOST}-{name}"], SERVERS[0], project_id)
    assert intent.claim(db, rows["compute2-A"], SERVERS[1], "none")
    assert intent.release(db, rows[f"{HOST}-B"], SERVERS[0])
    with db.writer() as session:
        session.execute(
            sa.update(models.Device).where(models.Device.project_id == "none").values(project_id=None)
        )
    assert statistics.take(db, 60) == Statistics(
        devices={
            (HOST, "attaching"): 2,
            (HOST, "detaching"): 1,
            ("compute2", "attaching"): 1,
            ("compute2", "available"): 2,
        },
        claims={"attaching": 3, "detaching": 1},
        hosts_up=2,
        hosts_down=0,
        projects={"demo": 2, "other": 1, "": 1},
    )


def test_hosts_that_are_up() -> None:
    """One that was heard of in the future was so before the clock was set back."""
    db = empty_database()
    now = timeutils.utcnow()
    with db.writer() as session:
        for seconds in (-100, -70, -30, 0, 30, 70):
            seen = now + datetime.timedelta(seconds=seconds)
            session.add(models.Host(host=f"{seconds}", hypervisor="", version="", last_seen=seen))
    taken = statistics.take(db, 60)
    assert (taken.hosts_up, taken.hosts_down) == (3, 3)


def test_queues() -> None:
    db = empty_database()
    with db.writer() as session:
        for number, kind in enumerate(["dongle", "dongle", "disk", None]):
            target = {"kind": kind, "device_id": None if kind else "device", "target": f"{number}"}
            session.add(models.QueueEntry(server_id=SERVERS[0], project_id="demo", round=0, **target))
    assert statistics.take(db, 60).queue == {"dongle": 2, "disk": 1, "": 1}
