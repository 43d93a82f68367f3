# SPDX-License-Identifier: Apache-2.0
"""Metrics, as Prometheus gets them."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from oslo_db import exception as db_exception
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import exc as sqlalchemy_exception

from compute_shim.agent import metrics as agent_metrics
from compute_shim.conductor import metrics
from compute_shim.db import statistics
from compute_shim.db.api import Database
from compute_shim.objects import ReasonCode
from lab.ports import free_port
from tests.functional.programs import PATIENCE, Program, connection
from tests.functional.world import DEMO_PROJECT, SERVERS, World

Start = Callable[[str, str], Program]
_FAKE_BUS = "[DEFAULT]\ntransport_url = fake:///\n"


def _scrape(port: int) -> dict[tuple[str, ...], float]:
    """Name and values of the labels -> value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _fill(world: World) -> None:
    """Two hosts, of which one is down; three devices, of which a server has one."""
    world.sync("compute1", STICK1={}, STICK2={})
    world.sync("compute2", STICK3={})
    world.silence("compute2")
    assert world.attach("demo", SERVERS["DEMO"].id, world.device_id("STICK1")).status_int == 202


def test_counts(every_world: World) -> None:
    _fill(every_world)
    taken = statistics.take(every_world.db, host_down_time=60)
    assert taken.devices == {
        ("compute1", "attaching"): 1,
        ("compute1", "available"): 1,
        ("compute2", "available"): 1,
    }
    assert taken.claims == {"attaching": 1}
    assert taken.projects == {DEMO_PROJECT: 1}
    assert (taken.hosts_up, taken.hosts_down) == (1, 1)


def test_counts_of_lines(world: World) -> None:
    world.sync("compute1", STICK1={}, STICK2={"kind": "dongle"})
    wants = {"DEMO": {"device_id": world.device_id("STICK1")}, "DEMO2": {"kind": "dongle"}}
    for server, entry in wants.items():
        path = f"/v1/servers/{SERVERS[server].id}/queue"
        assert world.request("demo", "POST", path, {"entry": entry}).status_int == 202
    assert statistics.take(world.db, host_down_time=60).queue == {"": 1, "dongle": 1}


def test_what_a_conductor_serves(world: World) -> None:
    _fill(world)
    wanted = {"entry": {"device_id": world.device_id("STICK2")}}
    path = f"/v1/servers/{SERVERS['DEMO2'].id}/queue"
    assert world.request("demo", "POST", path, wanted).status_int == 202
    whole = metrics.registry(world.conf, world.db)
    for name, labels in (
        ("database_up", {}),
        ("devices", {"host": "compute1", "state": "attaching"}),
        ("devices", {"host": "compute2", "state": "available"}),
        ("claims", {"state": "attaching"}),
        ("queue_entries", {"kind": ""}),
        ("project_devices", {"project": DEMO_PROJECT}),
        ("hosts", {"state": "up"}),
        ("hosts", {"state": "down"}),
    ):
        assert whole.get_sample_value(f"usb_shim_{name}", labels) == 1, name


@pytest.mark.parametrize(
    "error", [TimeoutError(), db_exception.DBConnectionError(), sqlalchemy_exception.TimeoutError()], ids=repr
)
def test_a_database_that_does_not_answer_is_asked_again(
    error: Exception, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    answers: Iterator[Exception | statistics.Statistics] = iter([error, _NONE])

    def take(db: Database, host_down_time: int) -> statistics.Statistics:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(metrics, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(statistics, "take", take)
    collector = metrics.DatabaseCollector(world.db, 60)

    def served() -> dict[str, list[float]]:
        return {family.name: [it.value for it in family.samples] for family in collector.collect()}

    assert served() == served() == {"usb_shim_database_up": [0]}
    now += metrics._FRESH
    assert served()["usb_shim_database_up"] == [1]
    assert served()["usb_shim_hosts"] == [0, 0]


def test_counts_of_nothing(every_world: World) -> None:
    assert statistics.take(every_world.db, host_down_time=60) == statistics.Statistics({}, {}, 0, 0)


def test_a_scrape_of_a_conductor(start: Start, world: World, tmp_path: Path) -> None:
    _fill(world)
    port = free_port()
    database = connection(f"sqlite:///{tmp_path}/usb.sqlite")
    running = start("conductor", f"{_FAKE_BUS}{database}[metrics]\nenabled = true\nport = {port}\n")
    running.logs("Serving agents")
    found = _scrape(port)
    assert found["usb_shim_database_up",] == 1
    assert found["usb_shim_devices", "compute1", "attaching"] == 1
    assert found["usb_shim_devices", "compute2", "available"] == 1
    assert found["usb_shim_claims", "attaching"] == 1
    assert found["usb_shim_hosts", "down"] == 1
    assert found["usb_shim_sync_seconds_count",] == 0
    assert running.terminate() == 0


def test_a_scrape_while_the_database_is_away(start: Start) -> None:
    port = free_port()
    database = connection("mysql+pymysql://usb:s3cret@127.0.0.1:1/usb")
    running = start("conductor", f"{_FAKE_BUS}{database}[metrics]\nenabled = true\nport = {port}\n")
    running.logs("The database does not answer.")
    found = _scrape(port)
    assert found["usb_shim_database_up",] == 0
    assert not [key for key in found if key[0] in ("usb_shim_devices", "usb_shim_claims", "usb_shim_hosts")]
    assert running.terminate() == 0
    assert "s3cret" not in running.log + running.errors
    # Five seconds between two tries.
    assert running.log.count("Next try") <= 1 + PATIENCE / 5


def test_a_scrape_of_an_agent(start: Start) -> None:
    port = free_port()
    running = start("agent", f"{_FAKE_BUS}[metrics]\nenabled = true\nport = {port}\n")
    running.logs("Serving conductor and API")
    found = _scrape(port)
    assert found["usb_shim_attach_seconds_count",] == 0
    assert found["usb_shim_outcomes_queued",] == 0
    assert running.terminate() == 0


def test_nothing_listens_by_default(start: Start, world: World, tmp_path: Path) -> None:
    running = start("conductor", _FAKE_BUS + connection(f"sqlite:///{tmp_path}/usb.sqlite"))
    running.logs("Serving agents")
    inodes = _listening()
    sockets = {str(link.readlink()) for link in Path(f"/proc/{running.process.pid}/fd").iterdir()}
    assert not {f"socket:[{inode}]" for inode in inodes} & sockets
    assert running.terminate() == 0


def _listening() -> set[str]:
    """The inodes of all sockets that listen (proc(5), /proc/net/tcp: the fourth column is the state)."""
    lines = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return {fields[9] for fields in lines if fields[3] == "0A"}


def test_scrapes_in_a_row_ask_the_database_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(statistics, "take", lambda db, host_down_time: asked.append(db) or _NONE)
    collector = metrics.DatabaseCollector(world.db, 60)
    for _ in range(3):
        assert len(list(collector.collect())) == 6
    assert len(asked) == 1


_NONE = statistics.Statistics({}, {}, 0, 0)


def test_syncs_are_counted_by_result(world: World) -> None:
    whole = metrics.registry(world.conf, world.db)

    def counts() -> list[float | None]:
        return [
            whole.get_sample_value("usb_shim_syncs_total", {"result": result})
            for result in ("done", "failed")
        ]

    @metrics.sync()
    def sync(number: int) -> float:
        return 1 / number

    sync(1)
    done, failed = counts()
    with pytest.raises(ZeroDivisionError):
        sync(0)
    assert counts() == [done, (failed or 0) + 1]
    assert whole.get_sample_value("usb_shim_sync_seconds_count") == sum(value or 0 for value in counts())


def test_refusals_are_counted_by_code(world: World) -> None:
    whole = metrics.registry(world.conf, world.db)
    codes = (ReasonCode.DEVICE_GONE, ReasonCode.HYPERVISOR_ERROR, ReasonCode.SERVER_OFF)

    def counts() -> list[float]:
        found = [whole.get_sample_value("usb_shim_refusals_total", {"code": code}) for code in codes]
        return [count or 0 for count in found]

    world.sync(STICK1={})
    stick = world.device_id("STICK1")
    assert world.attach("demo", SERVERS["DEMO"].id, stick).status_int == 202
    before = counts()
    world.report(stick, "waiting", "no", ReasonCode.SERVER_OFF)
    for code in (ReasonCode.DEVICE_GONE, "of_a_newer_agent"):
        world.report(stick, "failed", "no", code)
    assert [now - then for now, then in zip(counts(), before, strict=True)] == [1, 1, 0]


def test_flaps_of_too_many_devices_are_counted_together() -> None:
    flaps = agent_metrics.Flaps(bound=2)
    for device_id in ("one", "two", "three", "four", "one", "three"):
        flaps.inc(device_id)
    samples = {
        sample.labels["device_id"]: sample.value
        for family in flaps.counter.collect()
        for sample in family.samples
        if sample.name == "usb_shim_flaps_total"
    }
    assert samples == {"one": 2, "two": 1, "other": 3}
