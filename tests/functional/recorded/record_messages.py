# SPDX-License-Identifier: Apache-2.0
"""What agent, API and conductor of RPC 1.0 tell each other; see `tests.functional.recorded.record`."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import oslo_messaging
from compute_shim.conductor.absent_servers import AbsentServers
from oslo_utils import timeutils

from compute_shim import rpc
from compute_shim.db import states
from compute_shim.objects import NOT_ALLOWED, Claim, Device, Outcome, State, Waiting
from tests.functional.recorded import record_texts as texts
from tests.functional.world import SERVERS, STICKS, World

HYPERVISOR = "QEMU 7.2.22"


def _sticks(prefix: str, count: int) -> list[Device]:
    return [
        dataclasses.replace(
            STICKS["STICK1"],
            identity=f"0781:5567:{prefix}{number}",
            serial=f"{prefix}{number}",
            port=f"2-{number}",
            device=number + 1,
        )
        for number in range(1, count + 1)
    ]


class _Talk:
    """One agent that talks to the conductor.

    :ivar claims: what the conductor answered last.
    """

    def __init__(self, world: World, bus: Any, host: str) -> None:
        self._world = world
        self._bus = bus
        self._client = rpc.ConductorClient(bus.transport, host)
        self.claims: list[Claim] = []

    def sync(self, what: str | None, devices: Iterable[Device], problems: Iterable[str] = ()) -> list[Claim]:
        timeutils.advance_time_seconds(1)
        devices = list(devices)
        self._bus.what = what
        self.claims = self._client.sync(HYPERVISOR, rpc.VERSION, devices, problems)
        self._bus.what = None
        return self.claims

    def report(self, what: str | None, judgements: dict[str, texts.Judgement]) -> None:
        """Tell of devices, by identity."""
        timeutils.advance_time_seconds(1)
        self._bus.what = what
        self._client.report(
            Outcome(claim.device_id, claim.generation, *judgements[claim.identity])
            for claim in self.claims
            if claim.identity in judgements
        )
        self._bus.what = None

    def device_id(self, device: Device) -> str:
        return next(claim.device_id for claim in self.claims if claim.identity == device.identity)

    def attach(self, device: Device, server_id: str = SERVERS["DEMO"].id) -> None:
        answer = self._world.attach("demo", server_id, self.device_id(device))
        assert answer.status_int == 202, answer.text

    def detach(self, device: Device, server_id: str = SERVERS["DEMO"].id) -> None:
        answer = self._world.detach("demo", server_id, self.device_id(device))
        assert answer.status_int == 202, answer.text


def agent(world: World, bus: Any, directory: Path) -> dict[str, Any]:
    """All that an agent sends and gets, and what it is told."""
    blocked = _devices(world, bus, directory)
    attached = _attaches(world, bus, blocked)
    ended = _detaches(world, bus, directory, blocked)
    _absent(world, bus)
    _nudges(world, bus)
    nudges = [message for message in bus.messages if message["topic"] == rpc.AGENT_TOPIC]
    messages = [message for message in bus.messages if message["topic"] == rpc.CONDUCTOR_TOPIC]
    bus.messages.clear()
    return {"texts": _catalogue(directory, blocked, attached, ended), "messages": messages, "nudges": nudges}


def _devices(world: World, bus: Any, directory: Path) -> list[str]:
    talk = _Talk(world, bus, "compute1")
    bus.keep("sync without problems, as agents before revision 0003 send it", lambda: _older_sync(bus))
    talk.sync("sync of no devices", [])

    def known(devices: list[Device]) -> list[Claim]:
        return talk.sync("sync of devices that the host does not use, or uses", devices)

    (directory / "survey").mkdir()
    (directory / "hook").mkdir()
    devices = texts.surveyed(directory / "survey", known)
    talk.sync("sync after a rule became stricter, with problems", devices, texts.problems(directory / "hook"))
    free = next(device for device in devices if device.blocked_reason is None)
    answer = world.request(
        "admin", "PATCH", f"/v1/devices/{talk.device_id(free)}", {"device": {"enabled": False}}
    )
    assert answer.status_int == 200, answer.text
    talk.sync("sync with a disabled device, the others unplugged", [free])
    return [device.blocked_reason for device in devices if device.blocked_reason is not None]


def _older_sync(bus: Any) -> None:
    target = oslo_messaging.Target(topic=rpc.CONDUCTOR_TOPIC, version=rpc.VERSION)
    client = oslo_messaging.get_rpc_client(bus.transport, target, timeout=20)
    devices = [dataclasses.asdict(device) for device in _sticks("OLDER", 1)]
    client.call({}, "sync", host="compute2", hypervisor=HYPERVISOR, version=rpc.VERSION, devices=devices)


def _attaches(world: World, bus: Any, blocked: list[str]) -> list[texts.Judgement]:
    """Every outcome of a claim with a server."""
    judgements = texts.planner_judgements(blocked)
    refused = (
        texts.executor_refusals() + texts.qemu_refusals() + texts.lxc_refusals() + texts.libvirt_refusals()
    )
    judgements += [texts.judged(refusal=text) for text in dict.fromkeys(refused)]
    devices = _sticks("CLAIM", len(judgements))
    talk = _Talk(world, bus, "compute1")
    talk.sync(None, devices)
    for device in devices:
        talk.attach(device)
    talk.sync("sync with claims that are attaching", devices)
    by_identity = dict(zip((device.identity for device in devices), judgements, strict=True))
    talk.report("report of every outcome of a claim with a server", by_identity)
    talk.sync("sync with claims in every state with every reason", devices)
    return judgements


def _detaches(world: World, bus: Any, directory: Path, blocked: list[str]) -> list[texts.Judgement]:
    """Every outcome of a device that was given back."""
    (directory / "reset").mkdir()
    notes = texts.reset_notes(directory / "reset", blocked[0])
    detaching = texts.detaching_judgements(
        [texts.qemu_refusals()[1], texts.lxc_refusals()[1], Waiting.BUSY, texts.libvirt_refusals()[-1]]
    )
    devices = _sticks("END", len(detaching) + len(notes) + 1)
    kept, freed = devices[: len(detaching)], devices[len(detaching) :]
    talk = _Talk(world, bus, "compute1")
    talk.sync(None, devices)
    for device in devices:
        talk.attach(device)
        talk.detach(device)
    talk.sync("sync with devices that are given back", devices)
    available: list[texts.Judgement] = [(State.AVAILABLE, note) for note in (*notes, None)]
    for what, group, judgements in (
        ("report of devices that are not out yet", kept, detaching),
        ("report of devices that are free again", freed, available),
    ):
        talk.report(what, dict(zip((device.identity for device in group), judgements, strict=True)))
    talk.sync("sync with devices that are not out yet, and free ones", devices)
    return detaching + available


def _absent(world: World, bus: Any) -> None:
    """What the conductor finds out from Nova about servers that are off, as far as the agent sees."""
    devices = _sticks("ABSENT", 3)
    talk = _Talk(world, bus, "compute2")
    servers = [
        dataclasses.replace(SERVERS["FAR"], id=f"00000000-0000-0000-0000-{number:012}")
        for number in (11, 12, 13)
    ]
    world.nova.servers |= {server.id: server for server in servers}
    talk.sync(None, devices)
    for device, server in zip(devices, servers, strict=True):
        talk.attach(device, server.id)
    talk.sync(None, devices)
    talk.report(None, {device.identity: (State.WAITING, Waiting.SERVER_OFF) for device in devices})
    del world.nova.servers[servers[0].id]
    world.nova.servers[servers[1].id] = dataclasses.replace(servers[1], host_id="")
    world.nova.servers[servers[2].id] = dataclasses.replace(servers[2], host_id=SERVERS["DEMO"].host_id)
    _look_for_absent_servers(world, bus)
    talk.sync("sync with claims of servers that are deleted, shelved, moved", devices)


def _look_for_absent_servers(world: World, bus: Any) -> None:
    timeutils.advance_time_seconds(60)
    world.nova.open = True
    world.nova.sees_all_projects = lambda auth: True
    agents = rpc.AgentClient(bus.transport)
    look = AbsentServers(world.db, world.nova, None, agents, lambda: {"compute1", "compute2"}, 1)
    bus.keep("server deleted", look)
    world.nova.open = False


def _nudges(world: World, bus: Any) -> None:
    """What an agent is told at once."""
    [device] = _sticks("NUDGE", 1)
    talk = _Talk(world, bus, "compute1")
    talk.sync(None, [device])
    bus.keep("attach", lambda: talk.attach(device))
    talk.sync(None, [device])
    talk.report(None, {device.identity: (State.FAILED, texts.libvirt_refusals()[0])})
    bus.keep("retry", lambda: talk.attach(device))
    bus.keep("detach", lambda: talk.detach(device))


def _catalogue(
    directory: Path, blocked: list[str], attached: list[texts.Judgement], ended: list[texts.Judgement]
) -> dict[str, Any]:
    """Every reason there is, by who says it."""
    known = {
        "waiting": [text.value for text in Waiting],
        "blocked": blocked,
        "database": [states.DISABLED],
        "executor": texts.executor_refusals(),
        "qemu": texts.qemu_refusals(),
        "lxc": texts.lxc_refusals(),
        "libvirt": texts.libvirt_refusals(),
    }
    said = set(itertools.chain.from_iterable(known.values()))
    planner = [reason for _, reason in attached if reason is not None and reason not in said]
    resets = [reason for state, reason in ended if state == State.AVAILABLE and reason is not None]
    assert NOT_ALLOWED in blocked
    return {**known, "planner": planner, "resets": resets}


def conductor(bus: Any) -> dict[str, Any]:
    """What the conductor makes of messages that are not of its version."""
    target = oslo_messaging.Target(topic=rpc.CONDUCTOR_TOPIC, version=rpc.VERSION)
    client = oslo_messaging.get_rpc_client(bus.transport, target, timeout=20)
    device = dataclasses.asdict(_sticks("NEWER", 1)[0])
    short = {name: value for name, value in device.items() if name != "speed"}
    sync = {"host": "compute3", "hypervisor": HYPERVISOR, "version": "1.1", "problems": []}

    def call(what: str, method: str, rpc_version: str = rpc.VERSION, **arguments: Any) -> Any:
        with contextlib.suppress(Exception):  # it is in the recording
            return bus.keep(what, lambda: client.prepare(version=rpc_version).call({}, method, **arguments))

    [claim] = call(
        "unknown key of a device", "sync", **sync, devices=[device | {"socket": "pci-0000:00:14.0"}]
    )
    call("device without a key", "sync", **sync, devices=[short])
    outcome = {"device_id": claim["device_id"], "generation": 0, "state": "attached", "reason": None}
    call("unknown key of an outcome", "report", host="compute3", outcomes=[outcome | {"reason_code": "x"}])
    call("outcome in an unknown state", "report", host="compute3", outcomes=[outcome | {"state": "new"}])
    call("unknown argument of sync", "sync", **sync, devices=[device], region="one")
    call("unknown argument of report", "report", host="compute3", outcomes=[outcome], region="one")
    call("version 1.1 of sync", "sync", rpc_version="1.1", **sync, devices=[device])
    call("version 1.1 of report", "report", rpc_version="1.1", host="compute3", outcomes=[outcome])
    call("version 2.0 of sync", "sync", rpc_version="2.0", **sync, devices=[device])
    call("unknown method", "explain", host="compute3")
    call("not the name of a host", "sync", **{**sync, "host": " "}, devices=[])
    answered = [message for message in bus.messages if "raises" not in message]
    return {"answered": answered, "refused": [message for message in bus.messages if "raises" in message]}
