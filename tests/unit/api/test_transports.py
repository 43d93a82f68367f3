# SPDX-License-Identifier: Apache-2.0
"""By which transport a server can have a device, and what it is told if it cannot."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from compute_shim import exception, nova
from compute_shim.api import transports
from novaclient_usb.reason_codes import ReasonCode, describe
from tests.unit.db.hosts import HERE, SERVER, THERE, THIRD, Hosts

LOCAL, ANY, NETWORK = "local", "any", "network"
ELSEWHERE = ReasonCode.DEVICE_ON_OTHER_HOST
FORBIDDEN = ReasonCode.NETWORK_NOT_ALLOWED
UNABLE = ReasonCode.NO_NETWORK_TRANSPORT


def call(hosts: Hosts) -> Any:
    conf = SimpleNamespace(conductor=SimpleNamespace(host_down_time=60))
    return SimpleNamespace(service=SimpleNamespace(db=hosts.db, conf=conf))


def on(host: str | None) -> nova.Server:
    """A server on a host."""
    return nova.Server(SERVER, "demo", nova.host_id("demo", host) if host else "", False)


def test_a_server_may_have_a_device_of_its_own_host_by_no_transport() -> None:
    assert [transports.stored(name) for name in (LOCAL, ANY, NETWORK)] == [None, ANY, NETWORK]


@pytest.mark.parametrize(
    ("missing", "transport", "host", "why"),
    [
        (None, LOCAL, HERE, None),
        (None, LOCAL, THERE, ELSEWHERE),
        (None, LOCAL, None, ELSEWHERE),
        (None, ANY, HERE, None),
        (None, ANY, THERE, None),
        (None, ANY, None, UNABLE),
        (None, NETWORK, HERE, None),
        (None, NETWORK, THERE, None),
        (None, NETWORK, None, UNABLE),
        ("rule", LOCAL, HERE, None),
        ("rule", LOCAL, THERE, ELSEWHERE),
        ("rule", ANY, HERE, None),
        ("rule", ANY, THERE, FORBIDDEN),
        ("rule", NETWORK, HERE, FORBIDDEN),
        (HERE, LOCAL, HERE, None),
        (HERE, ANY, HERE, None),
        (HERE, ANY, THERE, UNABLE),
        (HERE, NETWORK, HERE, UNABLE),
        (THERE, ANY, HERE, None),
        (THERE, ANY, THERE, UNABLE),
        (THERE, NETWORK, HERE, None),
        (THERE, NETWORK, THERE, UNABLE),
    ],
)
def test_why_a_server_cannot_have_a_device(
    missing: str | None, transport: str, host: str | None, why: ReasonCode | None
) -> None:
    """Over the network only if its rule allows it, and if both hosts take part."""
    hosts = Hosts()
    hosts.lack(missing)
    hosts.sync(HERE)
    hosts.sync(THERE)
    assert transports.obstacle(call(hosts), hosts.row(), host, transport) == why


def test_of_many_devices_those_that_cannot_be_had() -> None:
    hosts = Hosts("A", "B")
    hosts.forbid("B")
    hosts.sync(HERE)
    a, b = hosts.row("A"), hosts.row("B")
    assert transports.obstacles(call(hosts), [a, b], THIRD, ANY) == {b.id: FORBIDDEN}
    assert transports.obstacles(call(hosts), [a, b], THIRD, LOCAL) == {a.id: ELSEWHERE, b.id: ELSEWHERE}
    assert transports.obstacles(call(hosts), [a, b], HERE, ANY) == {}


def test_who_asks_for_the_own_host_alone_costs_no_statement() -> None:
    hosts = Hosts()
    row, statements = hosts.row(), hosts.statements()
    assert transports.obstacle(call(hosts), row, THERE, LOCAL) == ELSEWHERE
    assert statements == []


def test_the_other_host_on_which_a_server_is_to_have_a_device() -> None:
    hosts = Hosts()
    hosts.sync(THERE, SERVER)
    assert transports.server_host(call(hosts), on(THERE), hosts.row(), ANY) == THERE
    hosts.sync(HERE, SERVER)
    assert transports.server_host(call(hosts), on(HERE), hosts.row(), ANY) is None
    assert transports.server_host(call(hosts), on(HERE), hosts.row(), NETWORK) is None


@pytest.mark.parametrize("host", [HERE, THERE])
def test_the_agents_of_both_hosts_have_to_be_up(host: str) -> None:
    hosts = Hosts()
    hosts.silence(host)
    with pytest.raises(exception.Unavailable) as raised:
        transports.server_host(call(hosts), on(THERE), hosts.row(), ANY)
    assert raised.value.reason_code == ReasonCode.HOST_DOWN
    of_what = f"USB device {hosts.row().id}" if host == HERE else f"server {SERVER}"
    assert str(raised.value) == (
        f"The USB agent on the host of {of_what} is down. Contact your cloud administrator."
    )


def test_a_server_on_no_host_has_none() -> None:
    hosts = Hosts()
    with pytest.raises(exception.Conflict) as raised:
        transports.server_host(call(hosts), on(None), hosts.row(), ANY)
    assert raised.value.reason_code == ReasonCode.SERVER_NOT_ON_HOST


@pytest.mark.parametrize(
    ("transport", "code", "text"),
    [
        (LOCAL, ELSEWHERE, "USB device {} is on a different host than server a."),
        (
            ANY,
            FORBIDDEN,
            "USB device {} cannot be used over the network by server a: {}.",
        ),
    ],
)
def test_it_is_refused_with_its_reason(transport: str, code: ReasonCode, text: str) -> None:
    hosts = Hosts()
    hosts.forbid()
    hosts.sync(HERE)
    row = hosts.row()
    with pytest.raises(exception.Conflict) as raised:
        transports.server_host(call(hosts), on(THERE), row, transport)
    assert (raised.value.reason_code, str(raised.value)) == (code, text.format(row.id, describe(code)))
    transports.refuse_unusable(call(hosts), on(HERE), row, HERE, transport)
