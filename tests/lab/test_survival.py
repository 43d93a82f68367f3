# SPDX-License-Identifier: Apache-2.0
"""Attachments survive what happens to the server, the stick and libvirt; nothing of ours stops a server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from compute_shim.hypervisor.libvirt import hook
from lab.host import domains
from novaclient_usb.reason_codes import ReasonCode
from tests.lab.boot_sector import bootable, wait_reading
from tests.lab.hooks import HOOKS, RELOAD, install_hook, remove_hook
from tests.lab.world import World, until


@pytest.fixture(params=[False, True], ids=["without hook", "with hook"])
def hooked(world: World, request: pytest.FixtureRequest) -> Iterator[bool]:
    """libvirt as an operator left it, without our hook or with it."""
    if request.param:
        install_hook(world.host)
    yield request.param
    if request.param:
        remove_hook(world.host)


def test_the_operator_is_told_of_a_hook_that_is_missing_or_asleep(world: World) -> None:
    def problems() -> list[str]:
        return list(world.admin.hosts.get(world.host.name)["problems"])

    until(lambda: "is missing" in "".join(problems()), "nobody says that the hook is missing")
    world.host.run(f"install -D -m 755 {hook.__file__} {HOOKS}/50-usb-shim")
    until(lambda: "may not have noticed" in "".join(problems()), "nobody says that libvirt does not know it")
    world.host.run(RELOAD)
    world.virsh("destroy", "two")
    world.virsh("start", "two")
    until(lambda: problems() == [], "there is still something to mend")
    remove_hook(world.host)


def test_the_guest_resets_itself(world: World) -> None:
    world.attach("LABSTICK01")
    world.virsh("reset", "one")
    assert world.held_by("LABSTICK01") == ["one"]
    assert world.device("LABSTICK01")["state"] == "attached"


def test_attach_and_detach_while_paused(world: World) -> None:
    world.virsh("suspend", "one")
    world.attach("LABSTICK01")
    assert world.held_by("LABSTICK01") == ["one"]
    world.virsh("resume", "one")
    assert world.held_by("LABSTICK01") == ["one"]
    world.virsh("suspend", "one")
    world.detach("LABSTICK01")
    assert world.held_by("LABSTICK01") == []
    world.virsh("resume", "one")


def test_a_server_is_suspended_and_resumed(world: World, hooked: bool) -> None:
    world.attach("LABSTICK01")
    world.virsh("managedsave", "one")
    world.wait_state("LABSTICK01", "waiting", ReasonCode.SERVER_OFF)
    assert world.held_by("LABSTICK01") == []
    world.virsh("start", "one")
    until(lambda: world.held_by("LABSTICK01") == ["one"], "the server has lost its stick")
    world.wait_state("LABSTICK01", "attached")
    assert len(world.hostdevs()["one"]) == 1
    assert world.held_by("LABSTICK01") == ["one"]


def test_a_server_with_two_sticks_is_suspended_and_resumed(world: World, hooked: bool) -> None:
    for serial in ("LABSTICK01", "LABSTICK02"):
        world.attach(serial)
    world.virsh("managedsave", "one")
    for serial in ("LABSTICK01", "LABSTICK02"):
        world.wait_state(serial, "waiting", ReasonCode.SERVER_OFF)
    world.virsh("start", "one")
    for serial in ("LABSTICK01", "LABSTICK02"):
        until(lambda serial=serial: world.held_by(serial) == ["one"], "the server has lost its stick")
        world.wait_state(serial, "attached")


def test_a_suspended_server_whose_stick_was_given_to_another(world: World, hooked: bool) -> None:
    world.attach("LABSTICK01")
    world.virsh("managedsave", "one")
    world.wait_state("LABSTICK01", "waiting", ReasonCode.SERVER_OFF)
    world.detach("LABSTICK01")
    world.attach("LABSTICK01", "two")
    if not hooked:
        # libvirt alone refuses, and keeps what was saved.
        with pytest.raises(Exception, match="in use by driver QEMU, domain two"):
            world.virsh("start", "one")
        world.detach("LABSTICK01", "two")
    world.virsh("start", "one")
    assert world.virsh("domstate", "one").strip() == "running"
    until(lambda: world.hostdevs()["one"] == [], "the saved hostdev stays")
    assert world.held_by("LABSTICK01") == (["two"] if hooked else [])


def test_a_suspended_server_whose_stick_is_gone(world: World, hooked: bool) -> None:
    world.attach("LABSTICK01")
    world.virsh("managedsave", "one")
    world.host.unplug("stick1")
    world.wait_state("LABSTICK01", "waiting", ReasonCode.SERVER_OFF)
    world.virsh("start", "one")
    world.wait_state("LABSTICK01", "waiting", ReasonCode.UNPLUGGED)
    until(lambda: world.hostdevs()["one"] == [], "the empty hostdev stays")
    if hooked:
        until(lambda: world.superspeed_ports("one") == [], "the guest sees a stick that is not there")
    world.host.plug("stick1")
    world.wait_state("LABSTICK01", "attached")
    assert world.held_by("LABSTICK01") == ["one"]


def test_a_server_starts_without_its_stick(world: World) -> None:
    world.attach("LABSTICK01")
    world.virsh("destroy", "one")
    world.host.unplug("stick1")
    world.virsh("start", "one")
    world.wait_state("LABSTICK01", "waiting", ReasonCode.UNPLUGGED)
    until(lambda: world.hostdevs()["one"] == [], "the empty hostdev stays")


def test_an_attach_to_a_server_that_is_off(world: World) -> None:
    world.virsh("destroy", "one")
    stick = world.device("LABSTICK01")
    world.usb.attachments.create(world.servers["one"].uuid, stick["id"])
    world.wait_state("LABSTICK01", "waiting", ReasonCode.SERVER_OFF)
    assert world.hostdevs()["one"] == []
    world.virsh("start", "one")
    world.wait_state("LABSTICK01", "attached")
    assert world.held_by("LABSTICK01") == ["one"]


@pytest.fixture
def boots(world: World) -> Iterator[None]:
    """The first server boots from the stick that it is given."""
    server = world.servers["one"]
    domains.define(world.host, domains.bare(server))
    world.virsh("destroy", "one")
    world.virsh("start", "one")
    with bootable(world.host, "stick1"):
        yield
    domains.define(world.host, domains.halted(server))
    world.virsh("destroy", "one")


@pytest.mark.usefixtures("boots")
def test_a_stick_that_is_pulled_out_while_the_guest_reads_it(world: World) -> None:
    """It boots from the stick, and never stops reading it."""
    world.attach("LABSTICK01")
    world.virsh("reset", "one")
    wait_reading(world.host, "stick1")
    world.host.unplug("stick1")
    world.wait_state("LABSTICK01", "waiting", ReasonCode.UNPLUGGED)
    until(lambda: world.hostdevs()["one"] == [], "the empty hostdev stays")
    assert world.virsh("domstate", "one").strip() == "running"
    assert "ua-usb-" not in world.monitor("one", "info usb")
    world.host.plug("stick1")
    world.wait_state("LABSTICK01", "attached")
    world.virsh("reset", "one")
    wait_reading(world.host, "stick1")
    world.detach("LABSTICK01")


def test_a_detach_from_a_server_that_is_off(world: World) -> None:
    """Somebody has written it into the definition; that goes as well."""
    world.attach("LABSTICK01")
    world.shell(
        "virsh dumpxml one | sed -n '/<hostdev/,/<\\/hostdev>/p' > /tmp/one.xml;"
        " virsh attach-device one /tmp/one.xml --config; virsh destroy one"
    )
    world.wait_state("LABSTICK01", "waiting", ReasonCode.SERVER_OFF)
    world.detach("LABSTICK01")
    assert world.hostdevs()["one"] == []
    world.virsh("start", "one")
    assert world.held_by("LABSTICK01") == []


def test_the_history_tells_why(world: World) -> None:
    stick = world.attach("LABSTICK01")
    world.host.unplug("stick1")
    world.wait_state("LABSTICK01", "waiting", ReasonCode.UNPLUGGED)
    world.host.plug("stick1")
    world.wait_state("LABSTICK01", "attached")
    world.virsh("destroy", "one")
    world.wait_state("LABSTICK01", "waiting", ReasonCode.SERVER_OFF)
    world.virsh("start", "one")
    world.wait_state("LABSTICK01", "attached")
    causes = [event["cause_code"] for event in reversed(world.usb.devices.events(stick["id"]))]
    assert causes[-6:] == [
        "requested",
        "requested",
        "unplugged",
        "plugged_in",
        "server_stopped",
        "server_started",
    ]
