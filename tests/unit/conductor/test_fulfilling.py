# SPDX-License-Identifier: Apache-2.0
"""Servers get what Nova has allocated to them, and nothing else; Placement answers as it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from keystoneauth1 import noauth

from compute_shim import exception, nova
from compute_shim.conductor import metrics
from compute_shim.conductor.fulfilling import Fulfilling
from compute_shim.db import allocations, history, models, queries
from compute_shim.objects import Device, ReasonCode, Server
from compute_shim.placement import Allocations, Provider
from tests.unit.conductor.cloud import Nudger
from tests.unit.db.test_states import STICK, empty_database

DONGLE, OTHER = "CUSTOM_USB_DONGLE", "CUSTOM_USB_STICK"
HERE, THERE = "compute1", "compute2"
PROVIDERS = {host: Provider(f"provider-of-{host}", f"{host}_usb", 1, "node") for host in (HERE, THERE)}
INTERVAL = 5


class LeaseLost(Exception):
    pass


class Cloud:
    """Two hosts with devices, servers, and what is allocated to whom."""

    def __init__(self) -> None:
        self.db = empty_database()
        self.nudger = Nudger()
        self.clock = 0.0
        self.servers: dict[str, nova.Server] = {}
        self.allocated: dict[str, dict[str, dict[str, int]]] = {HERE: {}, THERE: {}}
        # What Placement says when it is asked again, if that is something else.
        self.now: dict[str, dict[str, dict[str, int]]] | None = None
        self.asked: list[str] = []
        self.renewed = 0
        self.is_leader = True
        self.fulfilling = Fulfilling(
            self.db,
            self,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            noauth.NoAuth(),
            self.nudger,
            self._stay_leader,
            lambda: self.clock,
        )

    # Placement, Nova and the lease

    def allocated_to(self, consumer: str) -> list[Mapping[str, int]]:
        self.asked.append(f"allocated to {consumer}")
        hosts = self.allocated if self.now is None else self.now
        return [consumers[consumer] for consumers in hosts.values() if consumer in consumers]

    def allocations(self, provider: str) -> Allocations:
        self.asked.append(provider)
        hosts = self.allocated if self.now is None else self.now
        return hosts[provider.removeprefix("provider-of-")]

    def server(self, auth: Any, server_id: str) -> nova.Server:
        self.asked.append(server_id)
        if server_id not in self.servers:
            raise exception.NotFound("no such server", ReasonCode.SERVER_NOT_FOUND)
        return self.servers[server_id]

    def _stay_leader(self) -> None:
        self.renewed += 1
        if not self.is_leader:
            raise LeaseLost

    # What there is

    def boot(self, name: str, host: str | None = HERE, user: str = "user") -> None:
        host_id = nova.host_id("demo", host) if host else ""
        self.servers[name] = nova.Server(name, "demo", host_id, False, False, user)

    def plug(self, host: str, **kinds: str) -> None:
        """Serial number -> kind of each."""
        sticks = [
            Device(**{**vars(STICK), "identity": serial, "serial": serial, "kind": kind})
            for serial, kind in kinds.items()
        ]
        servers = {name: Server(True) for name in self.servers}
        queries.sync_host(self.db, host, "QEMU", "1.3", sticks, servers=servers)

    def allocate(self, consumer: str, number: int = 1, host: str = HERE, name: str = DONGLE) -> None:
        self.allocated[host].setdefault(consumer, {})[name] = number

    def look(self, seconds: float = INTERVAL, claims: Sequence[models.Device] | None = None) -> None:
        """A pass.

        :param claims: as they were read, if that was before.
        """
        self.clock += seconds
        read = {PROVIDERS[host]: dict(consumers) for host, consumers in self.allocated.items()}
        offers = allocations.offers(self.db, {HERE, THERE})
        self.fulfilling(read, offers, allocations.claims(self.db) if claims is None else claims)

    # What came of it

    def claims(self) -> dict[str, str | None]:
        """Serial number of each that is claimed by an allocation -> its server."""
        claimed = allocations.claims(self.db)
        return {row.serial: row.instance_uuid for row in claimed}

    def released(self) -> list[str]:
        return sorted(row.serial for row in queries.devices(self.db) if row.state == "detaching")


def unfulfilled() -> float:
    [metric] = metrics.unfulfilled_allocations.collect()
    return metric.samples[0].value


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


def test_one_is_claimed_and_its_agent_told(cloud: Cloud) -> None:
    cloud.boot("server")
    cloud.plug(HERE, A="dongle", B="dongle")
    cloud.allocate("server")
    cloud.look()
    assert cloud.claims() == {"A": "server"}
    [row] = allocations.claims(cloud.db)
    event = history.page(cloud.db, history.Filter(), limit=1)[0]
    assert (event.user_id, event.actor_project_id) == ("user", "demo")
    assert cloud.nudger.nudged == [(row.id, {"request_id": event.request_id})]
    assert cloud.renewed == 1
    assert unfulfilled() == 0


def test_a_server_whose_user_is_not_known(cloud: Cloud) -> None:
    cloud.boot("server", user="")
    cloud.plug(HERE, A="dongle")
    cloud.allocate("server")
    cloud.look()
    assert history.page(cloud.db, history.Filter(), limit=1)[0].user_id is None


def test_only_of_the_kinds_of_the_class(cloud: Cloud) -> None:
    cloud.boot("server")
    cloud.plug(HERE, A="stick", B="dongle")
    cloud.allocate("server")
    cloud.look()
    assert cloud.claims() == {"B": "server"}


def test_as_many_as_are_allocated(cloud: Cloud) -> None:
    cloud.boot("server")
    cloud.plug(HERE, A="dongle", B="dongle", C="dongle", D="stick")
    cloud.allocate("server", 2)
    cloud.allocate("server", 1, name=OTHER)
    cloud.allocate("server", 7, name="CUSTOM_GPU")
    cloud.look()
    assert cloud.claims() == {"A": "server", "B": "server", "D": "server"}
    assert unfulfilled() == 0
    cloud.look()
    assert len(cloud.claims()) == 3


def test_nothing_without_the_lease(cloud: Cloud) -> None:
    cloud.boot("server")
    cloud.plug(HERE, A="dongle")
    cloud.allocate("server")
    cloud.is_leader = False
    with pytest.raises(LeaseLost):
        cloud.look()
    assert cloud.claims() == {}


@pytest.mark.parametrize("host", [HERE, THERE])
def test_of_two_hosts_the_one_where_the_server_is(cloud: Cloud, host: str) -> None:
    """So it is while it is evacuated."""
    cloud.boot("server", host)
    cloud.plug(HERE, **{HERE: "dongle"})
    cloud.plug(THERE, **{THERE: "dongle"})
    cloud.allocate("server", 1, HERE)
    cloud.allocate("server", 1, THERE)
    cloud.look()
    assert cloud.claims() == {host: "server"}


@pytest.mark.parametrize("most", [HERE, THERE])
def test_a_server_that_is_on_no_host_yet_goes_where_most_is_allocated(cloud: Cloud, most: str) -> None:
    cloud.boot("server", None)
    for host in (HERE, THERE):
        cloud.plug(host, **{f"{host}-A": "dongle", f"{host}-B": "dongle"})
        cloud.allocate("server", 2 if host == most else 1, host)
    cloud.look()
    assert cloud.claims() == {f"{most}-A": "server", f"{most}-B": "server"}


def test_what_is_missing_is_said_once_and_counted(cloud: Cloud) -> None:
    cloud.boot("server")
    cloud.plug(HERE, A="dongle")
    cloud.allocate("server", 2)
    for _ in range(20):
        cloud.look()
    assert cloud.claims() == {"A": "server"}
    assert unfulfilled() == 1
    code = ReasonCode.ALLOCATION_UNFULFILLED
    said = [it for it in history.page(cloud.db, history.Filter(), limit=100) if it.cause_code == code]
    assert [it.host for it in said] == [HERE]
    assert said[0].state_reason == (
        f"Nova has allocated 2 {DONGLE} of host {HERE} to server server, and no device is free that is shared"
        " with its project and fits its USB ports"
    )
    cloud.plug(HERE, A="dongle", B="dongle")
    cloud.look()
    assert len(cloud.claims()) == 2
    assert unfulfilled() == 0


def test_an_allocation_that_ended_lacks_nothing(cloud: Cloud) -> None:
    cloud.boot("server")
    cloud.allocate("server")
    cloud.look()
    assert unfulfilled() == 1
    del cloud.allocated[HERE]["server"]
    cloud.look()
    assert unfulfilled() == 0


def test_nova_is_asked_less_and_less_often_about_what_is_missing(cloud: Cloud) -> None:
    cloud.boot("server")
    cloud.allocate("server")
    for _ in range(30):
        cloud.look()
    assert 3 < cloud.asked.count("server") < 10
    # One that was not wanted meanwhile is wanted anew.
    consumers = cloud.allocated[HERE].pop("server")
    cloud.look()
    before = cloud.asked.count("server")
    cloud.allocated[HERE]["server"] = consumers
    cloud.look(0)
    assert cloud.asked.count("server") == before + 1


def test_a_consumer_that_is_no_server_gets_nothing(cloud: Cloud) -> None:
    cloud.plug(HERE, A="dongle")
    cloud.allocate("migration")
    cloud.look()
    assert cloud.claims() == {}
    assert unfulfilled() == 0


@pytest.fixture
def served(cloud: Cloud) -> Cloud:
    """A server has two dongles, as was allocated."""
    cloud.boot("server")
    cloud.plug(HERE, A="dongle", B="dongle", C="dongle")
    cloud.allocate("server", 2)
    cloud.look()
    cloud.nudger.nudged.clear()
    cloud.asked.clear()
    cloud.renewed = 0
    return cloud


def test_what_is_allocated_stays(served: Cloud) -> None:
    for _ in range(10):
        served.look()
    assert served.claims() == {"A": "server", "B": "server"}
    assert served.asked == []


def test_one_that_is_not_allocated_any_more_is_given_back(served: Cloud) -> None:
    served.allocate("server", 1)
    served.look()
    assert served.released() == ["A"]
    [row] = queries.devices(served.db, models.Device.serial == "A")
    assert served.nudger.nudged == [(row.id, {})]
    assert served.renewed == 1
    served.look()
    assert served.released() == ["A"]


def test_all_are_given_back_when_nothing_is_allocated(served: Cloud) -> None:
    served.allocated = {HERE: {}, THERE: {}}
    served.look()
    assert served.released() == ["A", "B"]


def test_what_is_allocated_of_another_class_is_no_reason_to_keep_it(served: Cloud) -> None:
    served.allocated[HERE] = {"server": {OTHER: 2}}
    served.look()
    assert served.released() == ["A", "B"]


def test_the_provider_of_the_host_is_gone(served: Cloud) -> None:
    del served.allocated[HERE]
    served.look()
    assert served.released() == ["A", "B"]


def test_a_claim_that_has_changed_since_it_was_read_is_left_alone(served: Cloud) -> None:
    before = allocations.claims(served.db)
    with served.db.writer() as session:
        [row] = session.scalars(sa.select(models.Device).where(models.Device.serial == "A"))
        row.generation += 1
    served.allocated[HERE].clear()
    served.look(claims=before)
    assert served.released() == ["B"]
    assert len(served.nudger.nudged) == 1


def test_nothing_is_given_back_without_the_lease(served: Cloud) -> None:
    served.allocated[HERE].clear()
    served.is_leader = False
    with pytest.raises(LeaseLost):
        served.look()
    assert served.released() == []


def test_placement_is_asked_again_before_one_is_given_back(served: Cloud) -> None:
    """What was read before may be of different moments."""
    served.now = {HERE: {}, THERE: {"server": {DONGLE: 2}}}
    served.allocated[HERE].clear()
    served.look()
    assert served.released() == []
    served.now = {HERE: {"server": {DONGLE: 1}}, THERE: {"server": {DONGLE: 1}}}
    served.look(1000)
    assert len(served.released()) == 1


def test_the_server_itself_still_has_an_allocation_there(
    served: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is allocated to it was read before it got that back from a migration."""
    served.allocated[HERE].clear()
    served.now = {HERE: {"server": {DONGLE: 2}}, THERE: {}}
    monkeypatch.setattr(served, "allocated_to", lambda consumer: [])
    served.look()
    assert served.released() == []


def test_nothing_is_given_back_that_a_migration_may_stand_for(served: Cloud) -> None:
    served.allocated[HERE] = {"migration": {DONGLE: 2}}
    for _ in range(30):
        served.look()
    assert served.released() == []
    # Twice for each of two claims, less and less often.
    assert 4 < served.asked.count("allocated to server") < 20


def test_what_is_allocated_on_a_host_is_kept_there(served: Cloud) -> None:
    """One of three is, when Placement is asked again, and a migration may stand for the other two."""
    served.boot("server", THERE)
    served.plug(THERE, D="dongle")
    served.allocated = {HERE: {}, THERE: {"server": {DONGLE: 3}}}
    served.look()
    served.allocated = {HERE: {}, THERE: {}}
    served.now = {HERE: {"migration": {DONGLE: 2}}, THERE: {"server": {DONGLE: 1}}}
    served.look()
    assert served.released() == []
    served.now[HERE] = {"server": {DONGLE: 1}}
    served.look(1000)
    assert served.released() == ["A"]


def test_a_migration_of_another_class_stands_for_nothing(served: Cloud) -> None:
    served.allocated[HERE] = {"migration": {OTHER: 2, DONGLE: 0}}
    served.look()
    assert served.released() == ["A", "B"]


def test_another_server_stands_for_nothing(served: Cloud) -> None:
    served.boot("another")
    served.allocated[HERE] = {"another": {DONGLE: 1}}
    served.look()
    assert served.released() == ["A", "B"]
    assert served.claims() == {"C": "another"}


def test_what_is_elsewhere_is_given_back_first(served: Cloud) -> None:
    """Where nothing is allocated any more."""
    served.boot("server", THERE)
    served.plug(THERE, D="dongle")
    served.allocated = {HERE: {}, THERE: {"server": {DONGLE: 3}}}
    served.look()
    assert served.claims() == {"A": "server", "B": "server", "D": "server"}
    served.allocated[THERE]["server"] = {DONGLE: 1}
    served.look()
    assert served.released() == ["A", "B"]
    assert served.claims() == {"D": "server"}
