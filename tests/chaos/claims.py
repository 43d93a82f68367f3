# SPDX-License-Identifier: Apache-2.0
"""What has to be true of several hosts: claims, API, relays and the guests' lists of devices agree."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Set

from compute_shim.objects import ReasonCode, State
from lab.host import Host, domains
from lab.stack import Stack
from tests.chaos import oracle

_RELAY_CLAIM = re.compile(r"compute_shim\.cmd\.relay.* --claim=(\S+)")
_LIST_RELAYS = "pgrep -af '[c]ompute_shim.cmd.relay (device|server)'"

#: The state of a device, and the code of its reason.
Found = tuple[str, str | None]

ATTACHED: Found = (State.ATTACHED, None)
FREE: Found = (State.AVAILABLE, None)
GONE: Found = (State.UNAVAILABLE, ReasonCode.UNPLUGGED)
OFF: Found = (State.WAITING, ReasonCode.SERVER_OFF)
UNPLUGGED: Found = (State.WAITING, ReasonCode.UNPLUGGED)
ELSEWHERE: Found = (State.WAITING, ReasonCode.SERVER_ON_OTHER_HOST)


@dataclasses.dataclass(frozen=True)
class Claim:
    """Of a server on a device, with its transport."""

    server: str
    transport: str


@dataclasses.dataclass(frozen=True)
class View:
    """All that can be seen; servers by their names, devices by their ids.

    :ivar homes: device -> the host that it belongs to.
    :ivar unplugged: devices that are pulled out.
    :ivar shown: device -> what the API shows, and the server.
    :ivar listed: server that is on -> the devices in the list of its guest.
    :ivar relays: host -> the device of each of its relays.
    """

    homes: Mapping[str, str]
    unplugged: Set[str]
    shown: Mapping[str, tuple[Found, str | None]]
    listed: Mapping[str, list[str]]
    relays: Mapping[str, list[str]]


def look(
    stack: Stack,
    hosts: Mapping[str, Host],
    servers: Mapping[str, domains.Server],
    on: Mapping[str, str],
    homes: Mapping[str, str],
    unplugged: Set[str],
) -> View:
    """See everything; nothing is quite at the same moment.

    :param on: the servers that are on, and the host of each.
    :param homes: as `View` has it; so is the next.
    """
    names = {server.uuid: name for name, server in servers.items()}
    return View(
        homes=homes,
        unplugged=unplugged,
        shown={
            device["id"]: ((device["state"], device["reason_code"]), names.get(device["server_id"]))
            for device in stack.admin().devices.list()
            if device["id"] in homes
        },
        listed={name: oracle.listed(hosts[host], name) for name, host in on.items()},
        relays={
            name: _RELAY_CLAIM.findall(host.run(_LIST_RELAYS, check=False).stdout)
            for name, host in hosts.items()
        },
    )


def shared(lists: Mapping[str, list[str]]) -> Iterator[str]:
    """As `tests.chaos.oracle.shared`, of the guests' lists."""
    yield from oracle.shared({name: set(devices) for name, devices in lists.items()})


def disagreements(
    view: View, claims: Mapping[str, Claim], place: Mapping[str, str], running: Set[str]
) -> Iterator[str]:
    """Whatever is not as it has to be when all is quiet.

    :param claims: device -> the claim on it, as the API answered.
    :param place: server -> its host.
    :param running: the servers that are on.
    """
    yield from shared(view.listed)
    given: dict[str, list[str]] = {name: [] for name in running}
    carried: dict[str, list[str]] = {name: [] for name in view.relays}
    for device, home in view.homes.items():
        claim = claims.get(device)
        wanted = expected(view, device, claim, place, running)
        found, owner = view.shown[device]
        if found not in wanted:
            yield f"{device} of {home}: should be one of {wanted}, the API shows {found}"
        if owner != (claim and claim.server):
            yield f"{device} of {home}: claimed by {claim}, the API shows {owner}"
        if claim is not None and wanted == [ATTACHED]:
            given[claim.server].append(device)
            if place[claim.server] != home:
                carried[home].append(device)
                carried[place[claim.server]].append(device)
    for name, devices in given.items():
        if sorted(view.listed[name]) != sorted(devices):
            yield f"{name}: its guest has {sorted(view.listed[name])}, not {sorted(devices)}"
    for host, devices in carried.items():
        # One that waits may have relays.
        waiting = [device for device in view.relays[host] if device not in devices and device in claims]
        if sorted(view.relays[host]) != sorted([*devices, *waiting]):
            yield f"{host}: there are relays for {sorted(view.relays[host])}, not {sorted(devices)}"


def expected(
    view: View, device: str, claim: Claim | None, place: Mapping[str, str], running: Set[str]
) -> list[Found]:
    """The states in which a device may be."""
    is_unplugged = device in view.unplugged
    if claim is None:
        return [GONE] if is_unplugged else [FREE]
    is_at_home = place[claim.server] == view.homes[device]
    if not is_at_home and claim.transport == "local":
        return [ELSEWHERE]
    if claim.server not in running:
        # It may have been moved before its claim was for the network; and both hosts may say why it waits.
        return [OFF] if is_at_home else [OFF, ELSEWHERE, *([UNPLUGGED] if is_unplugged else [])]
    return [UNPLUGGED] if is_unplugged else [ATTACHED]
