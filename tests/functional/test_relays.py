# SPDX-License-Identifier: Apache-2.0
"""The agent's relays, as processes: they outlive the agent, and it knows them again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from compute_shim.agent.relay_process import Options
from compute_shim.agent.relays import Relays, Running, Wanted
from compute_shim.objects import ReasonCode
from compute_shim.relay.traffic import Traffic
from tests.functional.programs import PATIENCE
from tests.pki import Authority
from tests.unit.agent.model import device

# Nobody listens there.
SERVER = Wanted("b4e6f1d2", 4, "usbhost1", "127.0.0.1:1")


class Clock:
    """Monotonic seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class World:
    """The relays of a host, as long as a test lasts."""

    def __init__(self, directory: Path) -> None:
        own = Authority(directory, "authority").issue("usbhost2", "usbhost2")
        self.run = directory / "run"
        self.options = Options(own.cert, own.key, own.ca, (49300, 49399), 4, None)
        self.clock = Clock()
        self.relays = self.agent(self.options)

    def agent(self, options: Options | None) -> Relays:
        """What an agent that starts knows."""
        relays = Relays(options, self.run, dev=self.run.parent / "dev", clock=self.clock)
        relays.adopt()
        return relays

    def until(self, condition: Callable[[dict[str, Running]], bool]) -> dict[str, Running]:
        """Wait for the relays."""
        limit = time.monotonic() + PATIENCE
        while not condition(found := self.relays.observe()):
            assert time.monotonic() < limit, found
            time.sleep(0.02)
        return found

    def until_state(self, state: str) -> Running:
        """Wait until the relay is in a state."""
        return self.until(lambda found: found[SERVER.device_id].state == state)[SERVER.device_id]

    def until_none(self) -> None:
        """Wait until none runs."""
        self.until(lambda found: not found)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    for running in world.relays.observe().values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.pid, signal.SIGKILL)
    world.until_none()


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A relay that is told to end does not do so meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def qemu(world: World) -> socket.socket:
    """A connection to the unix socket."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(world.relays.socket(SERVER.device_id))
    return connection


def test_a_relay_outlives_the_agent(world: World) -> None:
    world.relays.want([SERVER])
    before = world.until_state("listening")
    assert world.relays.is_relay(before.pid)
    assert not world.relays.is_relay(os.getpid())
    first, world.relays = world.relays, world.agent(world.options)
    world.relays.want([SERVER])
    [after] = world.relays.observe().values()
    assert (after.pid, after.wanted, after.state) == (before.pid, SERVER, "listening")
    with stopped(before.pid):
        world.relays.want([])
        assert world.relays.observe()[SERVER.device_id].ending
    world.until(lambda found: not found and not first.observe())
    assert world.relays.refusals() == {}


def test_another_generation_is_another_relay(world: World) -> None:
    world.relays.want([SERVER])
    old = world.until_state("listening").pid
    next_one = Wanted(SERVER.device_id, 5, SERVER.peer, SERVER.address)
    with stopped(old):
        world.relays.want([next_one])
        assert world.relays.observe()[SERVER.device_id].wanted == SERVER
    world.until_none()
    world.relays.want([next_one])
    new = world.until_state("listening")
    assert new.wanted == next_one
    assert new.pid != old


def test_only_root_and_whom_it_gives_it_to_may_connect(world: World) -> None:
    world.relays.want([SERVER])
    world.until_state("listening")
    assert Path(world.relays.socket(SERVER.device_id)).stat().st_mode & 0o777 == 0o600
    assert world.run.stat().st_mode & 0o777 == 0o771


def test_it_says_when_the_domain_has_lost_its_connection(world: World) -> None:
    world.relays.want([SERVER])
    assert world.until_state("listening").idle
    world.relays.connected(SERVER.device_id)
    assert not world.relays.observe()[SERVER.device_id].idle
    with qemu(world):
        found = world.until(lambda found: bool(found[SERVER.device_id].reason))[SERVER.device_id]
        assert (found.state, found.reason, found.refused) == ("connecting", "Connection refused", False)
    assert world.until_state("listening").idle


def test_a_domain_that_connects_by_itself_is_connected_anew_if_the_device_is_not_reached(
    world: World,
) -> None:
    """It was saved with the device, which its guest is shown."""
    world.relays.want([SERVER])
    world.until_state("listening")
    with qemu(world):
        world.until(lambda found: found[SERVER.device_id].idle and found[SERVER.device_id].reason != "")
    world.until_state("listening")
    world.relays.connected(SERVER.device_id)
    with qemu(world):
        found = world.until(lambda found: bool(found[SERVER.device_id].reason))
        assert not found[SERVER.device_id].idle


def test_one_that_was_killed_is_started_again_later_each_time(world: World) -> None:
    for pause in (1.0, 2.0, 4.0):
        world.relays.want([SERVER])
        os.kill(world.until_state("listening").pid, signal.SIGKILL)
        world.until_none()
        why = world.relays.refusals()[SERVER.device_id]
        assert why.code == ReasonCode.CHANNEL_FAILED
        assert "was killed" in why.text
        world.clock.advance(pause - 0.5)
        world.relays.want([SERVER])
        assert world.relays.observe() == {}
        world.clock.advance(1.0)
    world.relays.want([])
    assert world.relays.refusals() == {}


def test_one_that_does_not_end_is_killed(world: World) -> None:
    world.relays.want([SERVER])
    pid = world.until_state("listening").pid
    os.kill(pid, signal.SIGSTOP)
    world.relays.want([])
    world.relays.want([])
    assert world.relays.observe()[SERVER.device_id].ending
    world.clock.advance(10.0)
    world.relays.want([])
    world.until_none()


def test_what_is_no_usb_device_is_told(world: World, tmp_path: Path) -> None:
    plugged = device(1)
    node = tmp_path / f"dev/bus/usb/{plugged.bus:03}/{plugged.device:03}"
    node.parent.mkdir(parents=True)
    wanted = Wanted("device-1", 1, "usbhost1", device=plugged)
    world.relays.want([wanted])
    assert "No such file" in world.relays.refusals()["device-1"].text
    node.touch()
    world.clock.advance(1.5)
    world.relays.want([wanted])
    world.until_none()
    why = world.relays.refusals()["device-1"]
    assert why.code == ReasonCode.CHANNEL_FAILED
    assert "is not the node of a USB device" in why.text


def test_there_is_a_limit(world: World) -> None:
    wanted = [Wanted(f"device-{number}", 1, "usbhost1", "127.0.0.1:1") for number in range(5)]
    world.relays.want(wanted)
    assert len(world.relays.observe()) == 4
    assert {key: why.code for key, why in world.relays.refusals().items()} == {
        "device-4": ReasonCode.CHANNEL_LIMIT
    }


def test_a_host_that_takes_no_part_ends_what_runs(world: World) -> None:
    world.relays.want([SERVER])
    world.until_state("listening")
    first, world.relays = world.relays, world.agent(None)
    assert not world.relays.takes_part()
    world.relays.want([])
    world.until(lambda found: not found and not first.observe())
    world.relays.want([SERVER])
    assert world.relays.refusals()[SERVER.device_id].code == ReasonCode.NO_NETWORK_TRANSPORT


@pytest.mark.parametrize("kind", ["fifo", "link", "nonsense"])
def test_whatever_is_in_place_of_the_state_file(world: World, kind: str, tmp_path: Path) -> None:
    """A relay that was taken over can put anything there."""
    world.relays.want([SERVER])
    world.until_state("listening")
    file = world.run / f"{SERVER.device_id}.state"
    file.unlink()
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "link":
        (tmp_path / "other").write_text("state connected\n")
        file.symlink_to(tmp_path / "other")
    else:
        file.write_bytes(b"\xff\n" * 5000)
    assert world.relays.observe()[SERVER.device_id].state == ""


@pytest.mark.parametrize(
    ("state", "text", "found"),
    [
        ("connected", "10 20 1500\n", {SERVER.device_id: Traffic(10, 20, 1500)}),
        ("listening", "10 20 1500\n", {}),
        ("connected", "10 20 -1\n", {}),
        ("connected", "1" * 5000, {}),
        ("connected", "", {}),
    ],
)
def test_what_has_passed(world: World, state: str, text: str, found: dict[str, Traffic]) -> None:
    """For relays that are connected, and say it as they do."""
    world.relays.want([SERVER])
    world.until_state("listening")
    (world.run / f"{SERVER.device_id}.state").write_text(f"state {state}\n")
    (world.run / f"{SERVER.device_id}.traffic").write_text(text)
    assert world.relays.traffic() == found
