# SPDX-License-Identifier: Apache-2.0
"""What one project leaves on a stick, the next one does not get: a real disk, real drivers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from keystoneauth1 import exceptions

from lab.host import usb
from novaclient_usb.reason_codes import ReasonCode
from tests.lab.world import World, until

_STICK, _PORT, _SERIAL = "stick2", "2-2", "LABSTICK02"
_SECRET = "nobody-elses-business"
_MIB = 1 << 20


def image(world: World) -> Path:
    """The file that the stick stores everything in."""
    return usb.image_path(usb.DEVICES[_STICK], world.host.directory)


def store(world: World) -> None:
    """Write a secret to the beginning, the middle and the end of the stick."""
    disk = world.disk(_PORT)
    for offset in (0, 7 * _MIB, usb.STICK_SIZE - 512):
        world.shell(f"printf {_SECRET} | dd of={disk} seek={offset} oflag=seek_bytes conv=notrunc,fsync")
    assert image(world).read_bytes().count(_SECRET.encode()) == 3
    # udev looks at a disk that was written: use by the host, which takes a while on a busy machine.
    world.host.run("udevadm settle")


def use(world: World) -> None:
    """A project has the stick, and gives it back."""
    world.attach(_SERIAL)
    world.detach(_SERIAL)


@pytest.fixture
def label(world: World) -> Iterator[None]:
    """The stick is as it was, afterwards."""
    before = image(world).read_bytes()[:_MIB]
    yield
    world.restore()
    world.host.run(f"dd of={world.disk(_PORT)} bs={_MIB} conv=fsync", stdin=before.decode())


@pytest.fixture
def wiped(world: World, label: None) -> Iterator[World]:
    """The rule has the stick wiped."""
    with world.rule_first(f'{{"serial": "{_SERIAL}", "shared": true, "handover": "wipe"}}'):
        wait_handover(world, "wipe")
        # Where a project had it, it is wiped at once.
        world.wait_state(_SERIAL, "available")
        yield world
        world.restore()
    wait_handover(world, "none")


def wait_handover(world: World, handover: str) -> None:
    """Until the agent has told what its rule asks for."""
    until(lambda: world.admin.devices.list(serial=_SERIAL)[0]["handover"] == handover, "the rule is not told")


def causes(world: World) -> list[str]:
    """What has happened to the stick, the latest last."""
    events = world.admin.devices.events(world.device(_SERIAL)["id"], limit=20)
    return [event["cause_code"] for event in reversed(events)]


def test_what_a_project_stored_is_overwritten(wiped: World) -> None:
    store(wiped)
    use(wiped)
    wiped.wait_state(_SERIAL, "available")
    assert not image(wiped).read_bytes().strip(b"\0")
    assert causes(wiped)[-2:] == [ReasonCode.WIPING, ReasonCode.WIPED]
    device = wiped.device(_SERIAL)
    wiped.their_usb.attachments.create(wiped.servers["theirs"].uuid, device["id"])
    wiped.their_usb.attachments.wait_attached(wiped.servers["theirs"].uuid, device["id"])
    assert wiped.held_by(_SERIAL) == ["theirs"]


def test_an_agent_that_is_killed_goes_on(wiped: World) -> None:
    store(wiped)
    use(wiped)
    until(lambda: wiped.device(_SERIAL)["reason_code"] == ReasonCode.WIPING, "it is not wiped")
    wiped.stack.agent.kill()
    assert wiped.device(_SERIAL)["state"] == "unavailable"
    wiped.stack.agent.start()
    wiped.wait_state(_SERIAL, "available")
    assert not image(wiped).read_bytes().strip(b"\0")


def test_what_the_host_has_mounted_is_not_touched(wiped: World) -> None:
    wiped.attach(_SERIAL)
    wiped.stack.agent.kill()
    wiped.virsh("destroy", "one")
    device = wiped.device(_SERIAL)
    wiped.usb.attachments.delete(wiped.servers["one"].uuid, device["id"])
    disk = wiped.disk(_PORT)
    wiped.shell(f"mkfs.ext4 -q -F {disk} && mkdir -p /run/mine && mount {disk} /run/mine")
    wiped.shell(f"echo {_SECRET} > /run/mine/file && sync")
    wiped.stack.agent.start()
    wiped.wait_state(_SERIAL, "unavailable", ReasonCode.HOST_MOUNT)
    assert wiped.shell("cat /run/mine/file").stdout.strip() == _SECRET
    wiped.shell("umount /run/mine")
    wiped.wait_state(_SERIAL, "available")
    assert _SECRET.encode() not in image(wiped).read_bytes()


def test_the_shield_lends_it_the_driver(wiped: World) -> None:
    agent = wiped.stack.agent
    store(wiped)
    agent.stop()
    rule = f'[{{"serial": "{_SERIAL}", "shared": true, "handover": "wipe"}}, {usb.EVERYTHING[1:]}'
    agent.configure(rule, shield=True)
    agent.start()
    driver = f"readlink /sys/bus/usb/devices/{_PORT}:1.0/driver"
    until(lambda: not wiped.host.run(driver, check=False).stdout, "it is not shielded")
    use(wiped)
    wiped.wait_state(_SERIAL, "available")
    assert not image(wiped).read_bytes().strip(b"\0")
    until(lambda: not wiped.host.run(driver, check=False).stdout, "it is not shielded again")
    agent.stop()
    agent.configure(usb.EVERYTHING)
    agent.start()
    wiped.disk(_PORT)


def test_what_is_held_is_released_by_an_operator(world: World, label: None) -> None:
    with world.rule_first(f'{{"serial": "{_SERIAL}", "shared": true}}'):
        wait_handover(world, "hold")
        use(world)
        world.wait_state(_SERIAL, "available")
        device_id = world.device(_SERIAL)["id"]
        seen = world.their_usb.devices.get(device_id)
        assert (seen["state"], seen["reason_code"]) == ("unavailable", ReasonCode.HELD)
        theirs = world.servers["theirs"].uuid
        with pytest.raises(exceptions.Conflict):
            world.their_usb.attachments.create(theirs, device_id)
        world.admin.devices.release(device_id)
        world.their_usb.attachments.create(theirs, device_id)
        world.their_usb.attachments.wait_attached(theirs, device_id)
