# SPDX-License-Identifier: Apache-2.0
"""Devices are offered to Nova's scheduler, and servers get what it has allocated: with the real Placement."""

from __future__ import annotations

import datetime
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import requests
import requests_mock
import sqlalchemy as sa
from keystoneauth1 import noauth, token_endpoint
from oslo_config import cfg
from oslo_utils import timeutils

from compute_shim import conf as configuration
from compute_shim import exception, nova, placement
from compute_shim.conductor import metrics
from compute_shim.conductor.placement_sync import INTERVAL, PlacementSync
from compute_shim.conductor.serving import Serving
from compute_shim.conf import database
from compute_shim.conf import placement as placement_conf
from compute_shim.db import allocations, history, intent, models, moves, queries
from compute_shim.db.api import Database
from compute_shim.db.events import Actor
from compute_shim.db.leases import Lease
from compute_shim.liveness import Window
from compute_shim.objects import ClaimStatus, Device, ReasonCode, Server, State
from tests.functional.placement_api import PlacementAPI
from tests.functional.programs import connection, create_schema
from tests.functional.world import SERVERS, World
from tests.unit.conductor.cloud import Nudger
from tests.unit.db.test_states import STICK, empty_database

DONGLE = "CUSTOM_USB_HASP_DONGLE"
KIND = "hasp-dongle"
HERE, THERE = "compute1", "compute2"
NODES = {HERE: "node1.example", THERE: "node2.example"}
OURS = {host: f"{host}_usb" for host in NODES}


def server_id() -> str:
    return str(uuid.uuid4())


class Compute:
    """Nova: which compute nodes and servers there are."""

    def __init__(self) -> None:
        self.nodes: dict[str, str] = {}
        self.servers: dict[str, nova.Server] = {}
        self.away = False
        self.asked: list[str] = []

    def boot(self, host: str = HERE, project: str = "demo") -> str:
        name = server_id()
        self.servers[name] = nova.Server(name, project, nova.host_id(project, host), False, False, "somebody")
        return name

    def compute_nodes(self, auth: Any) -> Mapping[str, str]:
        self._ask("nodes")
        return self.nodes

    def server(self, auth: Any, name: str) -> nova.Server:
        self._ask(name)
        if name not in self.servers:
            raise nova.no_server(name)
        return self.servers[name]

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.away:
            raise exception.Unavailable("Nova is away")


class Cloud:
    """Two hosts, Nova, Placement and a conductor."""

    def __init__(self, api: PlacementAPI, db: Database | None = None) -> None:
        self.api = api
        self.db = db or empty_database()
        self.nova = Compute()
        self.nodes = {host: api.compute_node(name) for host, name in NODES.items()}
        self.nova.nodes = dict(self.nodes)
        self.nudger = Nudger()
        self.clock = 0.0
        self.up = set(NODES)
        self.conductor = self.new_conductor()

    def placement(self) -> placement.Placement:
        conf = cfg.ConfigOpts()
        placement_conf.register(conf)
        conf([], default_config_files=[])
        conf.set_override("endpoint_override", self.api.url, group="placement")
        return placement.Placement(conf, token_endpoint.Token(self.api.url, "admin"))

    def new_conductor(self, name: str = "one") -> PlacementSync:
        return PlacementSync(
            self.db,
            self.placement(),
            self.nova,  # type: ignore[arg-type]
            noauth.NoAuth(),
            self.nudger,
            Lease(self.db, "placement", name, 600),
            self.window,
            lambda: self.clock,
        )

    def window(self) -> Window:
        """Those in `up` have just synced."""
        now = timeutils.utcnow()
        with self.db.writer() as session:
            for host in session.scalars(sa.select(models.Host)):
                host.last_seen = now if host.host in self.up else now - datetime.timedelta(days=1)
        minute = datetime.timedelta(minutes=1)
        return Window(now - minute, now + minute)

    def plug(self, host: str, *serials: str, servers: Sequence[str] = (), **device: Any) -> None:
        """These dongles are plugged into a host, which has these servers."""
        sticks = [
            Device(**{**vars(STICK), "kind": KIND, "identity": serial, "serial": serial, **device})
            for serial in serials
        ]
        queries.sync_host(
            self.db, host, "QEMU", "1.3", sticks, servers={name: Server(True) for name in servers}
        )

    def look(self, seconds: float = INTERVAL) -> None:
        """A pass."""
        self.clock += seconds
        self.conductor()

    def look_often(self) -> None:
        """Many passes, one soon after the other."""
        for _ in range(30):
            self.look()

    def look_long(self) -> None:
        """A few passes, long after each other: nothing waits for its turn any more."""
        for _ in range(3):
            self.look(1000)

    def serve(self) -> None:
        """Servers that have moved get another device."""
        Serving(self.db, self.nudger, lambda project_id: {}, None, self.window, lambda *_: True).serve()

    def rows(self, host: str = HERE) -> list[models.Device]:
        return list(queries.devices(self.db, models.Device.host == host))

    def claims(self) -> list[tuple[str, str | None]]:
        """Host and server of all claims."""
        claimed = queries.devices(self.db, models.Device.state.in_(["attaching", "attached", "waiting"]))
        return [(row.host, row.instance_uuid) for row in claimed]

    def report(self, row: models.Device, state: State, code: ReasonCode | None = None) -> None:
        current = queries.device(self.db, row.id)
        assert current is not None
        outcome = ClaimStatus(row.id, current.generation, state, reason_code=code)
        queries.record_statuses(self.db, row.host, [outcome])


def unfulfilled() -> float:
    """How many servers got less than was allocated to them."""
    [metric] = metrics.unfulfilled_allocations.collect()
    return metric.samples[0].value


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlacementAPI]:
    running = PlacementAPI(tmp_path_factory.mktemp("placement"))
    yield running
    running.stop()


@pytest.fixture
def cloud(api: PlacementAPI) -> Cloud:
    api.clear()
    return Cloud(api)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Placement is asked from now on."""
    found: list[str] = []
    send = requests.Session.send

    def record(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> Any:
        found.append(f"{request.method} {request.path_url}")
        return send(session, request, **options)

    monkeypatch.setattr(requests.Session, "send", record)
    return found


def test_a_host_offers_its_kinds(cloud: Cloud) -> None:
    cloud.plug(HERE, "A", "B")
    cloud.plug(THERE)
    cloud.look()
    assert cloud.api.inventories(OURS[HERE]) == {DONGLE: (2, 0)}
    provider = cloud.api.provider(OURS[HERE])
    assert provider is not None
    assert provider["parent_provider_uuid"] == cloud.nodes[HERE]
    assert cloud.api.traits(OURS[HERE]) == {placement.MARK, "CUSTOM_USB_ID_0781_5567"}
    assert cloud.api.provider(OURS[THERE]) is None
    assert cloud.api.candidates(**{DONGLE: 2}) == {NODES[HERE]}
    assert cloud.api.candidates(**{DONGLE: 3}) == set()


def test_nothing_changed_costs_one_call(cloud: Cloud, asked: list[str]) -> None:
    cloud.plug(HERE, "A", "B")
    cloud.plug(THERE, "C")
    cloud.look()
    cloud.look()
    asked.clear()
    cloud.nova.asked.clear()
    cloud.look()
    assert asked == [f"GET /resource_providers?required={placement.MARK}"]
    assert cloud.nova.asked == []


def test_an_allocation_costs_little(cloud: Cloud, asked: list[str]) -> None:
    cloud.plug(HERE, "A")
    cloud.look()
    cloud.api.allocate(cloud.nova.boot(), {OURS[HERE]: {DONGLE: 1}})
    cloud.look()
    asked.clear()
    cloud.nova.asked.clear()
    cloud.look_often()
    assert len(asked) <= 30 + 5
    assert cloud.nova.asked == []


def test_what_was_claimed_by_hand_is_reserved(cloud: Cloud) -> None:
    cloud.plug(HERE, "A", "B")
    cloud.look()
    row = cloud.rows()[0]
    assert intent.claim(cloud.db, row.id, "by-hand", "demo")
    cloud.look()
    assert cloud.api.inventories(OURS[HERE]) == {DONGLE: (2, 1)}
    assert cloud.api.candidates(**{DONGLE: 2}) == set()
    assert intent.claim(cloud.db, cloud.rows()[1].id, "by-hand", "demo", kind=KIND)
    cloud.look()
    assert cloud.api.inventories(OURS[HERE]) == {DONGLE: (2, 2)}
    intent.release(cloud.db, row.id, "by-hand")
    cloud.look()
    # It is not out of the server yet.
    assert cloud.api.inventories(OURS[HERE]) == {DONGLE: (2, 2)}
    cloud.report(row, State.AVAILABLE)
    cloud.look()
    assert cloud.api.inventories(OURS[HERE]) == {DONGLE: (2, 1)}


@pytest.mark.parametrize(
    "device",
    [
        {"blocked_code": "host_mount", "blocked_reason": "used by the host: mounted at /srv"},
        {"shared": False},
        {"kind": ""},
    ],
    ids=str,
)
def test_what_nobody_could_have_is_not_offered(cloud: Cloud, device: dict[str, Any]) -> None:
    cloud.plug(HERE, "A")
    cloud.look()
    cloud.plug(HERE, "A", **device)
    cloud.look()
    assert cloud.api.inventories(OURS[HERE]) == {}
    assert cloud.api.candidates(**{DONGLE: 1}) == set()
    cloud.plug(HERE, "A")
    cloud.look()
    assert cloud.api.inventories(OURS[HERE]) == {DONGLE: (1, 0)}


def test_absent_and_disabled_devices_and_those_of_a_host_that_is_down(cloud: Cloud) -> None:
    cloud.plug(HERE, "A", "B")
    cloud.look()
    cloud.plug(HERE, "A")
    cloud.look()
    assert cloud.api.inventories(OURS[HERE]) == {DONGLE: (1, 0)}
    [there] = [row for row in cloud.rows() if row.present]
    queries.set_device(cloud.db, there.id, enabled=False)
    cloud.look()
    assert cloud.api.inventories(OURS[HERE]) == {}
    queries.set_device(cloud.db, there.id, enabled=True)
    cloud.up.clear()
    cloud.look()
    assert cloud.api.inventories(OURS[HERE]) == {}
    cloud.up.add(HERE)
    cloud.look()
    assert cloud.api.inventories(OURS[HERE]) == {DONGLE: (1, 0)}


def test_kinds_whose_names_nova_takes_for_the_same(cloud: Cloud) -> None:
    cloud.plug(HERE, "A", "B")
    queries.set_device(cloud.db, cloud.rows()[0].id, kind="hasp_dongle")
    cloud.look()
    assert cloud.api.inventories(OURS[HERE]) == {DONGLE: (2, 0)}
    server = cloud.nova.boot()
    cloud.api.allocate(server, {OURS[HERE]: {DONGLE: 2}})
    cloud.look()
    assert cloud.claims() == [(HERE, server)] * 2


def test_a_server_gets_what_was_allocated_to_it(cloud: Cloud) -> None:
    cloud.plug(HERE, "A", "B", "C")
    cloud.plug(THERE, "D")
    cloud.look()
    server = cloud.nova.boot()
    cloud.api.allocate(server, {OURS[HERE]: {DONGLE: 2}})
    cloud.look()
    assert cloud.claims() == [(HERE, server)] * 2
    claimed = [row for row in cloud.rows() if row.instance_uuid]
    assert {(row.project_id, row.user_id, row.claimed_kind, row.state) for row in claimed} == {
        ("demo", "somebody", KIND, State.ATTACHING)
    }
    assert sorted(device_id for device_id, _ in cloud.nudger.nudged) == sorted(row.id for row in claimed)
    event = history.page(cloud.db, history.Filter(claimed[0].id))[0]
    assert (event.cause_code, event.instance_uuid) == (ReasonCode.ALLOCATED, server)
    cloud.look()
    cloud.look()
    assert cloud.claims() == [(HERE, server)] * 2
    # They are used by the allocation, so they are not reserved as well.
    assert cloud.api.inventories(OURS[HERE]) == {DONGLE: (3, 0)}
    assert cloud.api.candidates(**{DONGLE: 1}) == set(NODES.values())
    assert cloud.api.candidates(**{DONGLE: 2}) == set()


def test_it_is_given_back_when_the_server_is_deleted(cloud: Cloud) -> None:
    cloud.plug(HERE, "A")
    cloud.look()
    server = cloud.nova.boot()
    cloud.api.allocate(server, {OURS[HERE]: {DONGLE: 1}})
    cloud.look()
    [row] = cloud.rows()
    cloud.report(row, State.ATTACHED)
    cloud.look()
    del cloud.nova.servers[server]
    cloud.api.delete_allocations(server)
    # The domain is gone.
    cloud.report(row, State.WAITING, ReasonCode.DOMAIN_ABSENT)
    cloud.look()
    assert (cloud.rows()[0].state, cloud.rows()[0].instance_uuid) == (State.DETACHING, server)
    assert history.page(cloud.db, history.Filter(row.id))[0].cause_code == ReasonCode.ALLOCATION_ENDED
    cloud.report(row, State.AVAILABLE)
    assert (cloud.rows()[0].state, cloud.rows()[0].allocated) == (State.AVAILABLE, None)
    cloud.look()
    assert cloud.api.candidates(**{DONGLE: 1}) == {NODES[HERE]}


def test_an_end_of_which_nobody_tells_is_found(cloud: Cloud) -> None:
    """Resized in place to a flavor without the device: no agent sees a difference."""
    cloud.plug(HERE, "A")
    cloud.look()
    server = cloud.nova.boot()
    cloud.api.allocate(server, {OURS[HERE]: {DONGLE: 1}})
    cloud.look()
    cloud.api.delete_allocations(server)
    cloud.look_long()
    assert cloud.rows()[0].state == State.DETACHING


def test_nobody_knows_the_consumer(cloud: Cloud) -> None:
    cloud.plug(HERE, "A")
    cloud.look()
    cloud.api.allocate(server_id(), {OURS[HERE]: {DONGLE: 1}})
    cloud.look_often()
    assert cloud.claims() == []
    # So often Nova was asked what it is: not in each pass.
    assert 0 < len(cloud.nova.asked) < 10


def test_live_migration(cloud: Cloud) -> None:
    cloud.plug(HERE, "A")
    cloud.plug(THERE, "B")
    cloud.look()
    server, migration = cloud.nova.boot(), server_id()
    cloud.api.allocate(server, {OURS[HERE]: {DONGLE: 1}})
    cloud.look()
    [home], [away] = cloud.rows(HERE), cloud.rows(THERE)
    cloud.plug(HERE, "A", servers=[server])
    cloud.report(home, State.ATTACHED)
    # Nova keeps the source for the migration, and then gives the server the destination.
    cloud.api.move({server: {}, migration: {OURS[HERE]: {DONGLE: 1}}})
    cloud.look_long()
    assert cloud.claims() == [(HERE, server)]
    cloud.api.allocate(server, {OURS[THERE]: {DONGLE: 1}})
    cloud.look_long()
    assert cloud.claims() == [(HERE, server)]
    cloud.plug(HERE, "A")
    cloud.plug(THERE, "B", servers=[server])
    cloud.report(home, State.WAITING, ReasonCode.DOMAIN_ABSENT)
    cloud.serve()
    cloud.report(home, State.AVAILABLE)
    cloud.look()
    assert cloud.claims() == [(THERE, server)]
    assert cloud.rows(THERE)[0].allocated
    cloud.api.delete_allocations(migration)
    cloud.look_long()
    assert cloud.claims() == [(THERE, server)]
    assert away.id == cloud.rows(THERE)[0].id
    assert cloud.api.candidates(**{DONGLE: 1}) == {NODES[HERE]}


def test_a_resize_that_is_confirmed_and_one_that_is_reverted(cloud: Cloud) -> None:
    """To a flavor without the device; until Nova knows that it stays, the device does."""
    cloud.plug(HERE, "A")
    cloud.look()
    server, migration = cloud.nova.boot(), server_id()
    cloud.api.allocate(server, {OURS[HERE]: {DONGLE: 1}})
    cloud.look()
    for confirmed in (False, True):
        cloud.api.move({server: {}, migration: {OURS[HERE]: {DONGLE: 1}}})
        cloud.look_long()
        assert cloud.claims() == [(HERE, server)]
        if confirmed:
            cloud.api.delete_allocations(migration)
        else:
            cloud.api.move({migration: {}, server: {OURS[HERE]: {DONGLE: 1}}})
        cloud.look_long()
        assert cloud.claims() == ([] if confirmed else [(HERE, server)])


def test_evacuated(cloud: Cloud) -> None:
    """The allocation on the dead host stays: it is the same device twice."""
    cloud.plug(HERE, "A")
    cloud.plug(THERE, "B")
    cloud.look()
    server = cloud.nova.boot()
    cloud.api.allocate(server, {OURS[HERE]: {DONGLE: 1}})
    cloud.look()
    cloud.up = {THERE}
    cloud.api.allocate(server, {OURS[HERE]: {DONGLE: 1}, OURS[THERE]: {DONGLE: 1}})
    cloud.look_long()
    assert cloud.claims() == [(HERE, server)]
    cloud.plug(THERE, "B", servers=[server])
    intent.wait_for_server(cloud.db, cloud.rows(HERE)[0], ReasonCode.SERVER_ON_OTHER_HOST)
    cloud.serve()
    cloud.look_long()
    assert cloud.claims() == [(THERE, server)]


def test_nova_gives_away_what_somebody_has_just_taken(cloud: Cloud) -> None:
    """Between a claim by hand and the next pass."""
    cloud.plug(HERE, "A")
    cloud.look()
    [row] = cloud.rows()
    assert intent.claim(cloud.db, row.id, "by-hand", "demo")
    server = cloud.nova.boot()
    cloud.api.allocate(server, {OURS[HERE]: {DONGLE: 1}})
    cloud.look()
    cloud.look_long()
    assert cloud.claims() == [(HERE, "by-hand")]
    assert cloud.api.inventories(OURS[HERE]) == {DONGLE: (1, 1)}
    assert unfulfilled() == 1
    with cloud.db.reader() as session:
        of_it = models.Event.cause_code == ReasonCode.ALLOCATION_UNFULFILLED
        [event] = session.scalars(sa.select(models.Event).where(of_it)).all()
        assert server in (event.state_reason or "")
    intent.release(cloud.db, row.id, "by-hand")
    cloud.report(row, State.AVAILABLE)
    cloud.look()
    assert cloud.claims() == [(HERE, server)]
    assert unfulfilled() == 0


def test_not_a_device_that_the_project_must_not_have(cloud: Cloud) -> None:
    cloud.plug(HERE, "A", shared=False, projects=("other",))
    cloud.look()
    server = cloud.nova.boot(project="demo")
    cloud.api.allocate(server, {OURS[HERE]: {DONGLE: 1}})
    cloud.look()
    assert cloud.claims() == []
    cloud.plug(HERE, "A", shared=False, projects=("demo",))
    cloud.look_long()
    assert cloud.claims() == [(HERE, server)]


def test_a_class_that_is_in_use_stays_and_has_nothing_to_give(cloud: Cloud) -> None:
    """The device was unplugged before it was claimed, or its migration is not confirmed."""
    cloud.plug(HERE, "A", "B")
    cloud.look()
    cloud.api.allocate(server_id(), {OURS[HERE]: {DONGLE: 1}})
    cloud.plug(HERE)
    cloud.look()
    assert cloud.api.inventories(OURS[HERE]) == {DONGLE: (1, 1)}
    assert cloud.api.candidates(**{DONGLE: 1}) == set()


def test_a_change_by_somebody_else_is_put_right(cloud: Cloud) -> None:
    cloud.plug(HERE, "A")
    cloud.look()
    provider = cloud.api.provider(OURS[HERE])
    assert provider is not None
    path = f"/resource_providers/{provider['uuid']}/inventories"
    body = {
        "resource_provider_generation": provider["generation"],
        "inventories": {DONGLE: {"total": 9}},
    }
    cloud.api.call("PUT", path, body)
    cloud.look()
    assert cloud.api.inventories(OURS[HERE]) == {DONGLE: (1, 0)}


def test_a_change_between_reading_and_writing(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.plug(HERE, "A", "B")
    cloud.look()
    write = placement.Placement.set_inventories
    others: list[str] = []

    def meanwhile(self: placement.Placement, *arguments: Any) -> int:
        if not others:
            others.append(cloud.nova.boot())
            cloud.api.allocate(others[0], {OURS[HERE]: {DONGLE: 1}})
        return write(self, *arguments)

    monkeypatch.setattr(placement.Placement, "set_inventories", meanwhile)
    cloud.plug(HERE, "A")
    cloud.look()
    assert cloud.api.inventories(OURS[HERE]) == {DONGLE: (1, 0)}
    cloud.look()
    assert cloud.claims() == [(HERE, others[0])]


def test_placement_is_away_and_comes_back(cloud: Cloud) -> None:
    cloud.plug(HERE, "A")
    cloud.look()
    server = cloud.nova.boot()
    cloud.api.allocate(server, {OURS[HERE]: {DONGLE: 1}})
    with requests_mock.Mocker() as mocker:
        mocker.register_uri(requests_mock.ANY, requests_mock.ANY, status_code=503)
        cloud.look_often()
        assert 0 < mocker.call_count < 10
    assert cloud.claims() == []
    cloud.look_long()
    assert cloud.claims() == [(HERE, server)]


def test_placement_loses_an_allocation_only_where_it_says_so(cloud: Cloud) -> None:
    """Not where it does not answer, and not where Nova does not."""
    cloud.plug(HERE, "A")
    cloud.look()
    server, other = cloud.nova.boot(), cloud.nova.boot()
    cloud.api.allocate(server, {OURS[HERE]: {DONGLE: 1}})
    cloud.look()
    with requests_mock.Mocker() as mocker:
        mocker.register_uri(requests_mock.ANY, requests_mock.ANY, status_code=500)
        cloud.look_long()
    assert cloud.claims() == [(HERE, server)]
    cloud.api.move({server: {}, other: {OURS[HERE]: {DONGLE: 1}}})
    cloud.nova.away = True
    cloud.look_long()
    assert cloud.claims() == [(HERE, server)]
    cloud.nova.away = False
    cloud.look_long()
    assert (cloud.rows()[0].state, cloud.rows()[0].instance_uuid) == (State.DETACHING, server)


def test_a_new_conductor_goes_on(cloud: Cloud) -> None:
    cloud.plug(HERE, "A", "B")
    cloud.look()
    server = cloud.nova.boot()
    cloud.api.allocate(server, {OURS[HERE]: {DONGLE: 1}})
    cloud.look()
    with cloud.db.writer() as session:
        session.execute(sa.delete(models.Lease))
    cloud.conductor = cloud.new_conductor("two")
    cloud.look()
    cloud.look()
    assert cloud.claims() == [(HERE, server)]
    assert cloud.api.inventories(OURS[HERE]) == {DONGLE: (2, 0)}


def test_one_conductor_at_a_time(cloud: Cloud, asked: list[str]) -> None:
    cloud.plug(HERE, "A")
    cloud.look()
    asked.clear()
    cloud.conductor = cloud.new_conductor("two")
    cloud.look_long()
    assert asked == []


def test_a_provider_that_was_left_half_made(cloud: Cloud) -> None:
    body = {"name": OURS[HERE], "parent_provider_uuid": cloud.nodes[HERE]}
    cloud.api.call("POST", "/resource_providers", body)
    cloud.plug(HERE, "A")
    cloud.look()
    cloud.look()
    assert cloud.api.inventories(OURS[HERE]) == {DONGLE: (1, 0)}


def test_a_name_that_is_somebody_elses(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    cloud.api.call("POST", "/resource_providers", {"name": OURS[HERE]})
    cloud.plug(HERE, "A")
    cloud.plug(THERE, "B")
    cloud.look_often()
    assert cloud.api.inventories(OURS[HERE]) == {}
    assert cloud.api.inventories(OURS[THERE]) == {DONGLE: (1, 0)}
    said = [record for record in caplog.records if OURS[HERE] in record.getMessage()]
    assert 0 < len(said) < 10


def test_a_host_without_nova_compute(cloud: Cloud) -> None:
    """Until it has one."""
    del cloud.nova.nodes[HERE]
    cloud.plug(HERE, "A")
    cloud.look_often()
    assert cloud.api.provider(OURS[HERE]) is None
    assert len(cloud.nova.asked) < 10
    cloud.nova.nodes[HERE] = cloud.nodes[HERE]
    cloud.look_long()
    assert cloud.api.inventories(OURS[HERE]) == {DONGLE: (1, 0)}


def test_a_host_that_was_deleted(cloud: Cloud) -> None:
    cloud.plug(HERE, "A")
    cloud.look()
    with cloud.db.writer() as session:
        session.execute(sa.delete(models.Host))
        session.execute(sa.delete(models.Device))
    cloud.look()
    assert cloud.api.provider(OURS[HERE]) is None


def test_novas_compute_service_was_deleted_and_made_anew(cloud: Cloud) -> None:
    """Nova deletes our provider with its own."""
    cloud.plug(HERE, "A")
    cloud.look()
    provider = cloud.api.provider(OURS[HERE])
    assert provider is not None
    for uuid_ in (provider["uuid"], cloud.nodes[HERE]):
        cloud.api.call("DELETE", f"/resource_providers/{uuid_}")
    cloud.nova.nodes[HERE] = cloud.api.compute_node("node1.new")
    cloud.look()
    assert cloud.api.candidates(**{DONGLE: 1}) == {"node1.new"}


def test_everything_is_removed(api: PlacementAPI, tmp_path: Path) -> None:
    """What is in use stays until it is not."""
    api.clear()
    file = tmp_path / "usb-shim.conf"
    create_schema(tmp_path, f"sqlite:///{tmp_path}/usb.sqlite")
    sections = (
        f"{connection(f'sqlite:///{tmp_path}/usb.sqlite')}\n"
        f"[placement]\nauth_type = admin_token\nendpoint = {api.url}\ntoken = admin\n"
    )
    file.write_text(sections)
    conf = configuration.load([f"--config-file={file}"])
    database.register(conf)
    cloud = Cloud(api, Database(conf))
    cloud.plug(HERE, "A")
    cloud.plug(THERE, "B")
    cloud.look()
    server = cloud.nova.boot()
    api.allocate(server, {OURS[HERE]: {DONGLE: 1}})
    cloud.look()

    def clean(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "compute_shim.cmd.manage", f"--config-file={file}"]
        command += ["placement", "clean", *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    file.write_text(f"{sections}enabled = true\n")
    done = clean("--yes")
    assert (done.returncode, done.stdout) == (1, "")
    assert "[placement] enabled is true" in done.stderr
    file.write_text(sections)
    done = clean()
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{OURS[HERE]} " in done.stdout
    assert done.stdout.endswith("2 resource providers. To delete them, add --yes.\n")
    assert set(api.inventories(OURS[HERE])) == {DONGLE}
    done = clean("--yes")
    assert done.returncode == 1
    assert done.stderr.startswith("usb-shim-manage: 1 resource providers are in use. Delete their servers")
    assert done.stdout.endswith("1 resource providers deleted.\n")
    assert cloud.rows()[0].allocated
    api.delete_allocations(server)
    assert clean("--yes").returncode == 0
    assert [it["name"] for it in api.call("GET", "/resource_providers")["resource_providers"]] == [
        *NODES.values()
    ]
    names = [it["name"] for it in api.call("GET", "/resource_classes")["resource_classes"]]
    assert [name for name in names if name.startswith("CUSTOM_")] == []
    assert api.call("GET", "/traits?name=startswith:CUSTOM_")["traits"] == []
    # The server keeps it, and may give it back now.
    assert (cloud.claims(), cloud.rows()[0].allocated) == ([(HERE, server)], None)
    assert clean("--yes").stdout == "0 resource providers deleted.\n"


def test_it_is_not_detached_while_it_is_in_the_flavor(world: World) -> None:
    world.sync(STICK1={"kind": "dongle"})
    device_id = world.device_id("STICK1")
    server = SERVERS["DEMO"]
    actor = Actor(None, "req-1")
    assert allocations.claim(world.db, server, "compute1", ["dongle"], 1, actor) == device_id
    path = f"/v1/servers/{server.id}/attachments/{device_id}"
    for refused in (
        world.request("demo", "DELETE", path),
        world.request("demo", "PATCH", path, {"attachment": {"lease": 60}}),
    ):
        assert refused.status_int == 409
        assert refused.json["error"]["reason_code"] == "device_allocated"
        assert "Resize the server" in refused.json["error"]["message"]
    assert queries.device(world.db, device_id).state == State.ATTACHING
    allocations.forget(world.db, besides=())
    assert world.request("demo", "DELETE", path).status_int == 202


def test_it_is_no_error_to_detach_what_is_being_detached(world: World) -> None:
    """The allocation has ended before the agent told that the device is free."""
    world.sync(STICK1={"kind": "dongle"})
    device_id = world.device_id("STICK1")
    server = SERVERS["DEMO"]
    assert allocations.claim(world.db, server, "compute1", ["dongle"], 1, Actor(None, "req-1")) == device_id
    assert intent.release(world.db, device_id, server.id)
    row = queries.device(world.db, device_id)
    assert row is not None
    assert (row.state, row.allocated) == (State.DETACHING, True)
    assert world.detach("demo", server.id, device_id).status_int == 202


def test_a_server_without_a_free_port_is_not_given_more(cloud: Cloud) -> None:
    cloud.plug(HERE, "A", "B")
    server = cloud.nova.boot()
    queries.sync_host(cloud.db, HERE, "QEMU", "1.3", None, servers={server: Server(True, usb_ports=1)})
    cloud.look()
    cloud.api.allocate(server, {OURS[HERE]: {DONGLE: 2}})
    cloud.look()
    assert cloud.claims() == [(HERE, server)]
    assert unfulfilled() == 1


def test_a_class_that_somebody_has_deleted_is_created_again(cloud: Cloud) -> None:
    cloud.plug(HERE, "A")
    cloud.look()
    cloud.plug(HERE)
    cloud.look()
    cloud.api.call("DELETE", f"/resource_classes/{DONGLE}")
    cloud.plug(HERE, "A")
    cloud.look()
    cloud.look()
    assert cloud.api.inventories(OURS[HERE]) == {DONGLE: (1, 0)}


def test_without_nova_what_is_there_is_kept_up_to_date(cloud: Cloud) -> None:
    cloud.plug(HERE, "A")
    cloud.look()
    cloud.nova.away = True
    cloud.plug(HERE, "A", "B")
    cloud.plug(THERE, "C")
    cloud.look()
    assert cloud.api.inventories(OURS[HERE]) == {DONGLE: (2, 0)}
    assert cloud.api.provider(OURS[THERE]) is None
    cloud.nova.away = False
    cloud.look_long()
    assert cloud.api.inventories(OURS[THERE]) == {DONGLE: (1, 0)}


def test_the_statements_on_every_database(database_url: str, tmp_path: Path) -> None:
    world = World(database_url, tmp_path)
    kind = {"kind": "dongle"}
    world.sync(STICK1=kind, STICK2={**kind, "handover": "hold"}, STICK3={**kind, "shared": False})
    server = SERVERS["DEMO"]
    offered = {world.device_id("STICK1"), world.device_id("STICK2")}

    def offer(*up: str) -> tuple[int, int, int]:
        found = allocations.offers(world.db, up)["compute1"]["dongle"]
        return found.total, found.reserved, found.free

    assert offer("compute1") == (2, 0, 2)
    first = allocations.claim(world.db, server, "compute1", ["dongle"], 1, Actor(None, "req-1"))
    assert first in offered
    assert allocations.claim(world.db, server, "compute1", ["dongle"], 1, Actor(None, "req-1")) is None
    assert offer("compute1") == (2, 0, 1)
    assert offer() == (1, 0, 0)
    [second] = offered - {first}
    assert intent.claim(world.db, second, server.id, server.project_id)
    assert offer("compute1") == (2, 1, 0)
    [claim] = allocations.claims(world.db)
    assert claim.id == first
    world.report(first, "waiting", reason_code="domain_absent")
    world.sync("compute2", STICK4=kind)
    queries.sync_host(world.db, "compute2", "QEMU", "1.3", None, servers={server.id: Server(True)})
    now = timeutils.utcnow()
    minute = datetime.timedelta(minutes=1)
    [move] = moves.pending(world.db, Window(now - minute, now + minute))
    assert (move.claim.id, move.host, move.may_be_replaced) == (first, "compute2", True)
    assert intent.replace(world.db, move.claim, "compute2") == world.device_id("STICK4")
    [claim] = allocations.claims(world.db)
    assert allocations.release(world.db, claim)
    assert not allocations.release(world.db, claim)


def test_a_server_that_moves_while_placement_is_read(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new host was read before it had the allocation, the old one when it had it no more."""
    cloud.plug(HERE, "A")
    cloud.plug(THERE, "B")
    cloud.look()
    server = cloud.nova.boot()
    cloud.api.allocate(server, {OURS[HERE]: {DONGLE: 1}})
    cloud.look()
    cloud.look_long()
    read = placement.Placement.allocations

    def move_first(self: placement.Placement, uuid_: str) -> placement.Allocations:
        cloud.api.allocate(server, {OURS[THERE]: {DONGLE: 1}})
        return read(self, uuid_)

    monkeypatch.setattr(placement.Placement, "allocations", move_first)
    cloud.report(cloud.rows(HERE)[0], State.WAITING, ReasonCode.DOMAIN_ABSENT)
    cloud.look(0)
    assert cloud.claims() == [(HERE, server)]


def test_a_resize_that_is_reverted_while_placement_is_read(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.plug(HERE, "A")
    cloud.look()
    server, migration = cloud.nova.boot(), server_id()
    cloud.api.allocate(server, {OURS[HERE]: {DONGLE: 1}})
    cloud.look()
    cloud.api.move({server: {}, migration: {OURS[HERE]: {DONGLE: 1}}})
    read = placement.Placement.allocated_to

    def revert_then(self: placement.Placement, consumer: str) -> list[Mapping[str, int]]:
        found = list(read(self, consumer))
        cloud.api.move({migration: {}, server: {OURS[HERE]: {DONGLE: 1}}})
        return found

    monkeypatch.setattr(placement.Placement, "allocated_to", revert_then)
    cloud.look(1000)
    assert cloud.claims() == [(HERE, server)]
