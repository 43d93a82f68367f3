# SPDX-License-Identifier: Apache-2.0
"""Nobody ever gets another's device: agent and database together, against whatever people do to a host.

The device that is plugged in has a hidden true self, which neither agent nor database can see: they see what
it says of itself, where it is, and whether it was plugged in anew. A server must only ever hold the true self
that was there when it was granted.

What cannot be known, and is left out here:

- Devices without any difference (no serial number, or one that has a twin) that change places while all of
  them are out, so that every socket is filled again. The same holds for one of them that takes the place of
  another when the host has not seen it since it was booted, and for places that change while the agent does
  not look or the host is off.
- A twin whose serial number was never seen beside its twin on this host: to the host it is the same device.
- An administrator who forgets a device although it is plugged in, in the place of another one.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import types
import uuid
from collections.abc import Collection, Iterator
from typing import Any
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from compute_shim import wire
from compute_shim.agent import device_spec, inventory
from compute_shim.agent.discovery import Discovery
from compute_shim.agent.events import ClaimsArrived, DevicesChanged, Resync
from compute_shim.agent.reconciler import Reconciler
from compute_shim.agent.relays import Relays
from compute_shim.agent.wiper import Wiper
from compute_shim.conductor.manager import Manager
from compute_shim.db import intent, models, queries
from compute_shim.hypervisor.base import Domain
from compute_shim.objects import Claim, ClaimStatus, Device, Plugged, ReasonCode, State
from tests.unit.agent.model import FakeDriver
from tests.unit.db.test_states import HOST, PROJECTS, SERVERS, empty_database

SOCKETS = range(3)


@dataclasses.dataclass(frozen=True)
class Self:
    """What a device truly is; the host sees all but the name."""

    name: str
    vendor_id: str
    serial: str = ""


#: Two of a kind without a serial number, two with the same, two with one of their own, and a phone.
SELVES = [
    *(Self("plain1", "aaaa"), Self("plain2", "aaaa"), Self("plain3", "aaaa")),
    *(Self("twin1", "bbbb", "0123"), Self("twin2", "bbbb", "0123")),
    *(Self("unique1", "cccc", "C1"), Self("unique2", "cccc", "C2")),
    Self("phone", "18d1", "P"),
]
#: Who takes part.
CASTS = [
    ["plain1", "plain2", "plain3"],
    ["twin1", "twin2", "plain1"],
    ["unique1", "unique2", "phone"],
    [it.name for it in SELVES],
]
_OFFERED = '"shared": true, "handover": "none"'
_RULES = device_spec.parse([f'{{"vendor_id": "18d1", "follow": "socket", {_OFFERED}}}', f"{{{_OFFERED}}}"])


class Told:
    """Stands in for the reporter: what the agent wants to tell."""

    def __init__(self) -> None:
        self.plugged: list[Device] = []
        self.identified = False
        self.statuses: list[ClaimStatus] = []

    def devices(self, hypervisor: str, devices: list[Device], problems: object, *, identified: bool) -> None:
        self.plugged, self.identified = devices, identified

    def servers(self, domains: object) -> None:
        """Nobody asks for these here."""

    def outcomes(self, outcomes: list[ClaimStatus], request_ids: object) -> None:
        self.statuses = outcomes


class Host(RuleBasedStateMachine):
    """A host with three sockets, its agent and its conductor.

    After every step the agent looks, unless it is said otherwise; the conductor may be away for a while.
    """

    @initialize(cast=st.sampled_from(CASTS), plugged=st.integers(0, 3))
    def begin(self, cast: list[str], plugged: int) -> None:
        self.cast = [it for it in SELVES if it.name in cast]
        self.db = empty_database()
        self.sockets: dict[int, Self] = {}
        self.pluggings: dict[int, Plugged] = {}
        self.boot = self.number = 0
        self.product = "0001"
        self.swapped = False
        self.away = False
        # Which rows are which selves; what was granted to whom.
        self.selves: dict[str, Self] = {}
        self.granted: dict[str, tuple[str, Self]] = {}
        self.twins_met = False
        # Socket, vendor and serial number of what the agent has seen and the conductor has not.
        self.strangers: set[tuple[str | None, str, str]] = set()
        # Ids of the rows in whose place the agent has seen a device, whether the conductor was told or not.
        self.seen: set[str | None] = set()
        self.driver = FakeDriver([Domain(server, server[-2:], True) for server in SERVERS], [])
        ids = itertools.count(1)
        looks = types.SimpleNamespace(scan=self._scan, read=self._read)
        self.patches: list[Any] = [
            # What is drawn depends on them.
            mock.patch.object(uuid, "uuid4", lambda: uuid.UUID(int=next(ids))),
            mock.patch.object(inventory, "Inventory", lambda: looks),
        ]
        for patch in self.patches:
            patch.start()
        self._start_agent()
        self._settle()
        for socket, it in enumerate(self.cast[:plugged]):
            self._put(it, socket)
        for device_id in sorted(self.selves)[: plugged - 1]:
            self._take(device_id, SERVERS[0])

    def teardown(self) -> None:
        for patch in getattr(self, "patches", ()):
            patch.stop()

    # What the host sees.

    def _scan(self) -> list[Plugged]:
        return [self.pluggings[socket] for socket in sorted(self.pluggings)]

    def _read(self, port: str) -> Plugged | None:
        return next((item for item in self.pluggings.values() if item.port == port), None)

    def _enumerate(self, socket: int, half: int) -> None:
        """The kernel finds the device in a socket, on the bus of one of its two halves."""
        self.number += 1
        it = self.sockets[socket]
        controller = socket // 2 if not self.swapped else 1 - socket // 2
        bus = 1 + 2 * controller + half
        self.pluggings[socket] = Plugged(
            *("x", it.vendor_id, self.product if it.name == "phone" else "0001", "", "", it.serial, "08"),
            *("480", f"{bus}-{1 + socket % 2}", bus, self.number),
            socket=f"controller{socket // 2}-{socket % 2}",
            plug_id=f"{self.boot}/{bus}.{self.number}/{self.number}",
        )

    # The agent and the conductor.

    def _start_agent(self) -> None:
        self.strangers.clear()
        self.seen.clear()
        self.told = Told()
        discovery = Discovery(_RULES, lambda ports: {})
        self.agent = Reconciler(
            self.driver,
            discovery,
            self.told,  # type: ignore[arg-type]
            lambda device: None,
            lambda devices: None,
            Wiper(),
            Relays(None),
            list,
        )
        self.agent.observe([Resync()])
        self.agent.reconcile()

    def _sync(self) -> list[Claim]:
        # As the message bus has it.
        plugged = json.loads(json.dumps([wire.encode(device, (1, 4)) for device in self.told.plugged]))
        answer = Manager(self.db).sync(
            {}, HOST, "QEMU", "1.4", plugged, [], [], identified=self.told.identified
        )
        return [Claim(**claim) for claim in answer]

    def _settle(self) -> None:
        """The agent looks, and talks to the conductor until both have nothing new to say."""
        self.driver.addresses = {(item.bus, item.device) for item in self.pluggings.values()}
        self.agent.observe([DevicesChanged()])
        self.agent.reconcile()
        self.seen |= {device.device_id for device in self.told.plugged}
        unknown = [device for device in self.told.plugged if device.device_id is None]
        self.strangers |= {(device.socket, device.vendor_id, device.serial) for device in unknown}
        if self.away:
            return
        said = None
        while said != (said := (self.told.plugged, self.told.identified, self.told.statuses)):
            claims = self._sync()
            self.agent.observe([ClaimsArrived(tuple(claims), complete=True)])
            self.agent.reconcile()
            outcomes = [dataclasses.asdict(status) for status in self.told.statuses]
            Manager(self.db).report({}, HOST, outcomes)
        self.strangers -= {(row.socket, row.vendor_id, row.serial) for row in self._rows()}
        self._learn()

    def _learn(self) -> None:
        """Note which self each row is that is free, or new."""
        for row in self._rows():
            it = self._plugged_as(row)
            if it is not None and row.id not in self.granted and not _in_doubt(row):
                self.selves[row.id] = it

    def _rows(self) -> Collection[models.Device]:
        return queries.devices(self.db)

    def _plugged_as(self, row: models.Device) -> Self | None:
        """What the database says is plugged in as this device."""
        for socket, item in self.pluggings.items():
            if row.present and (row.bus, row.device) == (item.bus, item.device):
                return self.sockets[socket]
        return None

    # What can be known.

    def _identifies(self, it: Self) -> bool:
        return it.name.startswith(("unique", "phone")) or (it.serial != "" and not self.twins_met)

    def _knowable(self, after: dict[int, Self], forgotten: str | None = None) -> bool:
        """Whether everything that is plugged in like this can be told from what it says and where it is.

        :param after: socket -> self.
        :param forgotten: id of a row that is forgotten.
        """
        rows = [row for row in self._rows() if row.id != forgotten]
        return all(
            self._is_clear(it, rows, after)
            for socket, it in after.items()
            if self.sockets.get(socket) != it or forgotten is not None
        )

    def _is_clear(self, it: Self, rows: list[models.Device], after: dict[int, Self]) -> bool:
        kin = [row for row in rows if (row.vendor_id, row.serial) == (it.vendor_id, it.serial)]
        if self._identifies(it):
            others = [self.selves.get(row.id, it) for row in kin if self.selves.get(row.id) != it]
            return it.name.startswith(("unique", "phone")) or all(other in after.values() for other in others)
        filled = {row.id: self._at(row, after) for row in kin}
        missing = [
            row
            for row in kin
            if (filled[row.id] is None or filled[row.id].serial != it.serial)
            and (row.plug_id or "").startswith(f"{self.boot}/")
        ]
        wrong = [
            row
            for row in kin
            if filled[row.id] is not None
            and filled[row.id].vendor_id == it.vendor_id
            and filled[row.id] != self.selves.get(row.id)
            and (row.instance_uuid is not None or not row.enabled)
        ]
        return bool(missing) or not wrong

    def _at(self, row: models.Device, after: dict[int, Self]) -> Self | None:
        for socket, it in after.items():
            if row.socket == f"controller{socket // 2}-{socket % 2}":
                return it if it.vendor_id == row.vendor_id else None
        return None

    def _free(self) -> list[int]:
        return [socket for socket in SOCKETS if socket not in self.sockets]

    def _out(self) -> list[Self]:
        return [it for it in self.cast if it not in self.sockets.values()]

    # What people do.

    def _put(self, it: Self, socket: int, half: int = 0) -> None:
        self.sockets[socket] = it
        self.twins_met |= {"twin1", "twin2"} <= {it.name for it in self.sockets.values()}
        self._enumerate(socket, half)
        self._settle()

    def _pull(self, socket: int) -> None:
        del self.sockets[socket], self.pluggings[socket]
        self._settle()

    def _move(self, old: int, new: int, half: int = 0) -> None:
        self.sockets[new] = self.sockets.pop(old)
        del self.pluggings[old]
        self._enumerate(new, half)
        self._settle()

    def _take(self, device_id: str, server: str) -> None:
        assert intent.claim(self.db, device_id, server, PROJECTS[server])
        # Who takes a device means what was there when the agent told of it last.
        self.granted[device_id] = (server, self.selves[device_id])
        self._settle()

    @precondition(lambda self: self._free() and self._out())
    @rule(data=st.data(), half=st.integers(0, 1))
    def plug(self, data: st.DataObject, half: int) -> None:
        it = data.draw(st.sampled_from(self._out()))
        socket = data.draw(st.sampled_from(self._free()))
        if not self._knowable(self.sockets | {socket: it}):
            return
        self._put(it, socket, half)

    @precondition(lambda self: self.sockets)
    @rule(data=st.data())
    def unplug(self, data: st.DataObject) -> None:
        socket = data.draw(st.sampled_from(sorted(self.sockets)))
        self._pull(socket)

    @precondition(lambda self: self.sockets and self._free())
    @rule(data=st.data(), half=st.integers(0, 1))
    def move(self, data: st.DataObject, half: int) -> None:
        """Out of one socket and into another before the agent looks."""
        old = data.draw(st.sampled_from(sorted(self.sockets)))
        new = data.draw(st.sampled_from(self._free()))
        after = {socket: it for socket, it in self.sockets.items() if socket != old}
        if not self._knowable(after | {new: self.sockets[old]}):
            return
        self._move(old, new, half)

    @precondition(lambda self: self.sockets)
    @rule(data=st.data(), half=st.integers(0, 1), mode=st.booleans())
    def enumerate_again(self, data: st.DataObject, half: int, mode: bool) -> None:
        """A loose contact, or a device comes back at another speed; a phone may change its product id."""
        socket = data.draw(st.sampled_from(sorted(self.sockets)))
        if mode and self.sockets[socket].name == "phone":
            self.product = "0002" if self.product == "0001" else "0001"
        self._enumerate(socket, half)
        self._settle()

    @rule(what=st.sampled_from(["bind", "reboot", "restart", "lose", "away"]))
    def machines_do(self, what: str) -> None:
        """Not while the conductor is away, what makes the agent forget."""
        if what == "away":
            self.away = not self.away
        elif what == "bind":
            self._bind_controllers_in_the_other_order()
        elif what == "lose" and not self.away:
            self._sync()  # and the agent does not get the answer
        elif what == "restart" and not self.away:
            self._start_agent()
        elif what == "reboot" and not self.away and not any(map(_in_doubt, self._rows())):
            self._reboot()
        self._settle()

    def _bind_controllers_in_the_other_order(self) -> None:
        self.swapped = not self.swapped
        for socket in self.sockets:
            self._enumerate(socket, 0)

    def _reboot(self) -> None:
        self.boot += 1
        self._bind_controllers_in_the_other_order()
        for server, domain in self.driver.state.items():
            self.driver.state[server] = dataclasses.replace(domain, live=())
        self.driver.addresses = {(item.bus, item.device) for item in self.pluggings.values()}
        self._start_agent()

    @rule(data=st.data(), server=st.sampled_from(SERVERS))
    def claim(self, data: st.DataObject, server: str) -> None:
        free = sorted(row.id for row in self._rows() if row.state == State.AVAILABLE)
        if free:
            self._take(data.draw(st.sampled_from(free)), server)

    @rule(data=st.data(), what=st.sampled_from(["give back", "disable", "enable", "forget"]))
    def people_do(self, data: st.DataObject, what: str) -> None:
        ids = sorted(row.id for row in self._rows())
        if not ids:
            return
        device_id = data.draw(st.sampled_from(ids))
        if what == "give back" and device_id in self.granted:
            server, _ = self.granted.pop(device_id)
            assert intent.release(self.db, device_id, server)
        elif what in ("disable", "enable"):
            queries.set_device(self.db, device_id, enabled=what == "enable")
        elif what == "forget" and not self.away and self._knowable(self.sockets, device_id):
            queries.forget(self.db, device_id)
        self._settle()

    # What must hold.

    def _held(self) -> Iterator[tuple[str, str, Self | None]]:
        """Device id, server, and what it holds for it; None: something that is gone."""
        at = {(item.bus, item.device): self.sockets[socket] for socket, item in self.pluggings.items()}
        for domain in self.driver.state.values():
            for hostdev in domain.live:
                yield hostdev.device_id or "", domain.uuid, at.get((hostdev.bus or 0, hostdev.device or 0))

    @invariant()
    def nobody_holds_anything_but_what_was_granted(self) -> None:
        for device_id, server, it in self._held():
            if device_id in self.granted:
                assert (server, it) == self.granted[device_id]
            else:
                assert self.away, "given back, and held"

    @invariant()
    def no_row_changes_its_owner_without_a_call(self) -> None:
        if self.away:
            return
        owners = {row.id: row.instance_uuid for row in self._rows() if row.instance_uuid is not None}
        assert owners == {device_id: server for device_id, (server, _) in self.granted.items()}

    @invariant()
    def every_device_has_one_row(self) -> None:
        if not self.away:
            present = [row for row in self._rows() if row.present]
            assert len(present) == len(self.sockets)
            assert len({(row.bus, row.device) for row in present}) == len(present)

    @invariant()
    def what_was_granted_and_is_back_in_reach_is_attached(self) -> None:
        if self.away:
            return
        held = {(device_id, server) for device_id, server, _ in self._held()}
        for row in self._rows():
            if row.id in self.granted and self._in_reach(row):
                assert (row.id, row.instance_uuid) in held, (row.state, row.reason_code, row.state_reason)
                assert row.state == State.ATTACHED

    def _in_reach(self, row: models.Device) -> bool:
        it = self.granted[row.id][1]
        if self._at(row, self.sockets) == it:
            kin = [
                other
                for other in self._rows()
                if other.vendor_id == row.vendor_id and other.serial == row.serial
            ]
            accounted = all(
                self._at(other, self.sockets) is not None
                or not (other.id in self.seen or (other.plug_id or "").startswith(f"{self.boot}/"))
                for other in kin
            )
            filled = {
                (f"controller{socket // 2}-{socket % 2}", other.vendor_id, other.serial)
                for socket, other in self.sockets.items()
            }
            accounted &= all(
                stranger in filled for stranger in self.strangers if stranger[1:] == (it.vendor_id, it.serial)
            )
            return it.name.startswith(("unique", "phone")) or accounted
        return it.name.startswith("unique") and it in self.sockets.values()


def _in_doubt(row: models.Device) -> bool:
    return row.present and row.blocked_code == ReasonCode.IDENTITY_IN_DOUBT


TestHost = Host.TestCase
TestHost.settings = settings(max_examples=30, stateful_step_count=30)


@pytest.mark.parametrize("known_in_both_modes", [False, True])
def test_a_phone_is_granted_that_has_changed_its_mode_since_the_conductor_was_told(
    known_in_both_modes: bool,
) -> None:
    host = Host()
    host.begin(["phone"], plugged=1)
    [row] = host._rows()
    changes = 3 if known_in_both_modes else 1
    for change in range(changes):
        host.away = change == changes - 1
        host.product = "0002" if host.product == "0001" else "0001"
        host._enumerate(0, 0)
        host._settle()
    host._take(row.id, SERVERS[0])
    host.away = False
    host._settle()
    assert [(device_id, server) for device_id, server, _ in host._held()] == [(row.id, SERVERS[0])]
    host.nobody_holds_anything_but_what_was_granted()
    host.every_device_has_one_row()
    host.what_was_granted_and_is_back_in_reach_is_attached()
    host.teardown()


@pytest.mark.parametrize("claimed", ["plain1", "plain2"])
def test_a_device_is_granted_that_takes_the_place_of_another_before_the_conductor_is_told(
    claimed: str,
) -> None:
    """Nothing depends on which one it is, as far as the agent knows."""
    host = Host()
    host.begin(["plain1", "plain2"], plugged=0)
    plain1, plain2 = host.cast
    host._put(plain1, 0)
    host._put(plain2, 1)
    host.away = True
    host._pull(1)
    ids = {it.name: device_id for device_id, it in host.selves.items()}
    host._take(ids[claimed], SERVERS[0])
    host._move(0, 1)
    host.away = False
    host._settle()
    assert list(host._held()) == []
    row = next(row for row in host._rows() if row.id == ids["plain2"])
    assert row.blocked_code == ReasonCode.IDENTITY_IN_DOUBT
    host._move(1, 0)
    host._put(plain2, 1)
    assert [(device_id, it) for device_id, _, it in host._held()] == [
        (ids[claimed], {"plain1": plain1, "plain2": plain2}[claimed])
    ]
    host.teardown()


def test_what_was_guessed_is_known_when_the_conductor_has_recorded_it() -> None:
    host = Host()
    host.begin(["plain1", "plain2"], plugged=0)
    plain1, plain2 = host.cast
    host._put(plain1, 0)
    host._put(plain2, 1)
    ids = {it.name: device_id for device_id, it in host.selves.items()}
    host.away = True
    host._pull(1)
    host._move(0, 1)
    assert [(device.device_id, device.guessed) for device in host.told.plugged] == [(ids["plain2"], True)]
    host.away = False
    host._settle()
    assert [(device.device_id, device.guessed) for device in host.told.plugged] == [(ids["plain2"], None)]
    # Nobody plugs the other one in again.
    host._take(ids["plain2"], SERVERS[0])
    assert list(host._held()) == [(ids["plain2"], SERVERS[0], plain1)]
    host.teardown()
