# SPDX-License-Identifier: Apache-2.0
"""Nova moves a server to another host, which has an identical stick in the same port, and back.

The stick stays where it is plugged in: it waits for the server, and nothing of the other host is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from lab.cloud import second_host
from lab.cloud.site import COMPUTE_HOST as HOME
from lab.cloud.site import SECOND_HOST as AWAY
from lab.host import Host
from tests.cloud.conftest import Cloud
from tests.cloud.offered import KIND, Offered, offering
from tests.cloud.servers import ATTACHED, ELSEWHERE, Server, running, users

Move = Callable[[Server], None]

# A lab's sticks are plugged in again a few times by other tests.
_MOST_REPLUGS = 30


@pytest.fixture(scope="module")
def server(cloud: Cloud) -> Iterator[Server]:
    """On the first host, there being no other yet."""
    with running(cloud, "moves") as server:
        yield server


@pytest.fixture(scope="module", autouse=True)
def away(cloud: Cloud, server: Server) -> Iterator[Host]:
    """The other host. It ends before the other tests, which know of one host, go on."""
    try:
        second_host.start(cloud.site)
        yield Host(AWAY)
    finally:
        if server.host() == AWAY:
            server.delete()
            server.wait_gone()
        second_host.stop(cloud.site)


@pytest.fixture(scope="module")
def offered(cloud: Cloud, away: Host) -> Iterator[Offered]:
    with offering(cloud) as it:
        it.give_kind(AWAY, KIND)
        it.wait(lambda: it.inventory(AWAY) == (2, 0), "the other host's sticks are not offered")
        yield it


@pytest.fixture
def boot(offered: Offered) -> Iterator[Callable[[str], str]]:
    with offered.booting() as start:
        yield start


def bindings(host: Host) -> int:
    """How often the host's own driver has taken a stick."""
    return host.run("dmesg").stdout.count("USB Mass Storage device detected")


def taken(host: Host) -> list[str]:
    """The processes that have a USB device open."""
    return users(host, "/dev/bus/usb/*")


def give_twin_the_same_number(server: Server, away: Host) -> None:
    """Plug the other host's stick in until its number, which grows each time, is that of the one at home."""

    def address(host: str) -> tuple[int | None, int | None]:
        stick = server.stick(host)
        return stick["bus"], stick["device"]

    for _ in range(_MOST_REPLUGS):
        twin = address(AWAY)
        if twin == address(HOME):
            return
        away.replug("stick2")
        server.wait(lambda twin=twin: address(AWAY) not in (twin, (None, None)), "the stick is not seen")
    raise AssertionError(f"{address(AWAY)} is not {address(HOME)}")


def migrate_live(host: str) -> Move:
    def move(server: Server) -> None:
        server.act("os-migrateLive", {"host": host, "block_migration": True}, admin=True)
        server.wait_status("ACTIVE")

    return move


def resize(server: Server) -> None:
    server.act("resize", {"flavorRef": second_host.LARGER})
    server.wait_status("VERIFY_RESIZE")


def revert(server: Server) -> None:
    server.act("revertResize")
    server.wait_status("ACTIVE")


@pytest.mark.parametrize(
    ("there", "back"),
    [(migrate_live(AWAY), migrate_live(HOME)), (resize, revert)],
    ids=["live migration", "resize and revert"],
)
def test_there_and_back(server: Server, away: Host, there: Move, back: Move) -> None:
    give_twin_the_same_number(server, away)
    server.attach(HOME)
    before = bindings(away)

    there(server)
    assert server.host() == AWAY
    server.wait_stick(ELSEWHERE, HOME)
    server.wait_hostdevs(0, AWAY)
    assert taken(away) == []
    assert bindings(away) == before
    assert server.stick(AWAY)["state"] == "available"
    # A stick of its own on each host.
    server.attach(AWAY)

    back(server)
    assert server.host() == HOME
    server.wait_stick(ATTACHED, HOME)
    assert server.holds_the_stick(HOME)
    server.wait_hostdevs(1, HOME)
    server.wait_stick(ELSEWHERE, AWAY)
    assert taken(away) == []
    assert not server.is_known_to(AWAY)
    server.detach(AWAY)
    assert server.stick(AWAY)["state"] == "available"


def confirmed(server: Server) -> None:
    """Let Nova choose another host for good."""
    server.act("migrate", admin=True)
    server.wait_status("VERIFY_RESIZE")
    server.act("confirmResize")
    server.wait_status("ACTIVE")


def test_a_server_with_a_device_of_its_flavor(
    cloud: Cloud, offered: Offered, boot: Callable[[str], str]
) -> None:
    server_id = boot("moves-with-a-stick")
    assert offered.wait_built(server_id)["status"] == "ACTIVE"
    server = Server(cloud, "moves-with-a-stick")
    away, home = (AWAY, HOME) if server.host() == HOME else (HOME, AWAY)
    for move, host in ((migrate_live(away), away), (migrate_live(home), home), (confirmed, away)):
        offered.wait_free(host)
        move(server)
        assert server.host() == host
        [holder] = offered.holder(offered.wait_attached(server_id, host))
        assert f"-uuid {server_id}" in holder


def test_migrated_for_good_and_evacuated_from_a_host_that_died(
    cloud: Cloud, server: Server, away: Host
) -> None:
    server.attach(HOME)
    before = bindings(away)
    confirmed(server)
    assert server.host() == AWAY
    server.wait_stick(ELSEWHERE, HOME)
    assert not server.is_known_to(HOME)
    assert taken(away) == []
    assert bindings(away) == before

    server.attach(AWAY)
    away.stop()
    second_host.declare_dead(cloud.site)
    try:
        server.act("evacuate", {"host": HOME}, admin=True)
        # It is SHUTOFF a moment before it is here, and would be started on the dead host.
        server.wait_host(HOME)
        server.wait_status("SHUTOFF")
        server.start()
        server.wait_status("ACTIVE")
        server.wait_stick(ATTACHED, HOME)
        assert server.holds_the_stick(HOME)
        assert server.hostdevs(HOME) == 1
        server.wait_stick(ELSEWHERE, AWAY)
    finally:
        # Its agent will never give anything back.
        second_host.stop(cloud.site)
