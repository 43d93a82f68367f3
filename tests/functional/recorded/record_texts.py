# SPDX-License-Identifier: Apache-2.0
"""Every text that a program of RPC 1.0 puts into a message, from the functions that make it.

Works on the tree of commit 35da2e8f81ff only; see `tests.functional.recorded.record`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from compute_shim.agent.survey import Survey

from compute_shim.agent import device_spec, executor, host_use, inventory, planner, usb_reset
from compute_shim.hypervisor.base import Domain, Hostdev, HypervisorError
from compute_shim.hypervisor.libvirt import container, hook, lxc, marks, protection, qemu, refusals
from compute_shim.objects import Claim, Device, State, Waiting
from tests.unit.agent.tree import Tree, descriptors
from tests.unit.hypervisor import test_refusals

_SERVER = "00000000-0000-0000-0000-000000000001"
_STICK = Device("SanDisk Corp. Cruzer Blade", "0781", "5567", "", "", "A", "08", "480", "2-1", 2, 3, "x:A")
_ACTION = planner.Attach(_SERVER, "device", _STICK)
_RUNNING = Domain(_SERVER, "instance-00000001", running=True)

# (state, reason) of an outcome.
Judgement = tuple[str, str | None]


# Devices, and why they are blocked.


def _host(directory: Path) -> Tree:
    """One device for each use that a host can make of it, some that it does not use."""
    tree = Tree(directory)
    for number, name in enumerate(("sda", "sdb", "sdc"), start=1):
        serial = f"DISK{number}".encode()
        stick = tree.plug(f"2-{number}", 2, number + 1, serial=serial, product=b"Disk")
        node = tree.node("block", name, stick, dev=f"8:{16 * (number - 1)}")
        (node / "holders").mkdir()
    (tree.sys / "class/block/sdc/holders/dm-0").mkdir()
    (tree.proc / "self/mountinfo").write_text("30 21 8:0 / /srv rw shared:1 - ext4 /dev/sda rw\n")
    (tree.proc / "swaps").write_text("Filename Type Size Used Priority\n/dev/sdb partition 1 0 -2\n")
    tree.node("net", "enx00", tree.plug("1-2", 1, 4, serial=b"NET", product=b"Modem"), flags="0x1003")
    tree.node("tty", "ttyUSB0", tree.plug("1-3", 1, 5, serial=b"TTY", product=b"Serial adapter"))
    (tree.proc / "42/fd").mkdir(parents=True)
    (tree.proc / "42/fd/3").symlink_to("/dev/ttyUSB0")
    unicode = "Grüße & <b>\N{PILE OF POO}</b> 'Å'".encode()
    tree.plug("1-4", 1, 6, manufacturer=unicode, product=b"Tok\xc3\xa9n\xff", serial="Ω-1".encode())
    tree.plug("1-5.2", 1, 7, "dead", "beef", serial=b"SECRET", descriptor=descriptors(0, 3))
    tree.plug("1-6", 1, 8, "08e6", "4433", descriptor=descriptors(0, 11), product=b"Reader")
    return tree


@contextlib.contextmanager
def _looking_at(tree: Tree) -> Iterator[None]:
    plugged, used = inventory.scan(tree.sys, tree.udev), host_use.reasons(tree.sys, tree.proc)
    with (
        mock.patch.object(inventory, "scan", return_value=plugged),
        mock.patch.object(host_use, "reasons", return_value=used),
    ):
        yield


def surveyed(directory: Path, known: Callable[[list[Device]], list[Claim]]) -> list[Device]:
    """The devices of a host whose rules have become stricter.

    :param known: tells the conductor of the devices seen before, and returns its claims.
    """
    with _looking_at(_host(directory)):
        claims = known(Survey(device_spec.parse(["{}"])).look([]))
        rules = device_spec.parse(['{"vendor_id": "46f4"}', '{"vendor_id": "08e6"}'])
        return Survey(rules).look(claims)


def problems(directory: Path) -> list[str]:
    """What `protection.hook_problem` tells, with the paths that a compute host has."""
    file, pid = directory / "50-usb-shim", directory / "libvirtd.pid"
    shipped = Path(hook.__file__)

    def problem() -> str:
        text = protection.hook_problem(file, (pid,), directory / "called")
        assert text is not None
        text = text.replace(str(shipped.parents[3]), "/usr/lib/python3/dist-packages")
        return text.replace(str(directory), "/etc/libvirt/hooks/qemu.d")

    texts = [problem()]
    file.write_bytes(b"#!/bin/sh\n")
    texts.append(problem())
    file.write_bytes(shipped.read_bytes())
    file.chmod(0o755)
    return [*texts, problem()]


# Outcomes of claims with a server.


def judged(
    identity: str = _STICK.identity,
    devices: tuple[Device, ...] = (_STICK,),
    domains: tuple[Domain, ...] = (_RUNNING,),
    refusal: str | None = None,
    server_id: str | None = _SERVER,
    others: tuple[Claim, ...] = (),
) -> Judgement:
    """What the planner says of a claim: by default that the hypervisor did not attach it."""
    claim = Claim("device", identity, _STICK.port, 1, server_id, State.DETACHING if not server_id else None)
    told = planner.judge([claim, *others], devices, domains, {"device": refusal} if refusal else {}, {})
    return told[0].state, told[0].reason


def planner_judgements(blocked: list[str]) -> list[Judgement]:
    """What the planner itself says of a claim with a server."""
    stranger = Hostdev(None, _STICK.bus, _STICK.device)
    ours = Hostdev("ua-usb-device", _STICK.bus, _STICK.device)
    return [
        judged(domains=(dataclasses.replace(_RUNNING, live=(ours,)),)),
        judged(domains=()),
        judged(domains=(dataclasses.replace(_RUNNING, running=False),)),
        judged(devices=()),
        judged(refusal=Waiting.BUSY),
        *(judged(devices=(dataclasses.replace(_STICK, blocked_reason=reason),)) for reason in blocked),
        judged(others=(Claim("another", _STICK.identity, _STICK.port, 1, _SERVER),)),
        judged(domains=(dataclasses.replace(_RUNNING, live=(stranger,)),)),
        judged(identity="0781:5567:ANOTHER"),
        judged(identity="08e6:4433@2-1"),
        judged(),
    ]


def _refusal(refused: Callable[[], Any]) -> str:
    try:
        refused()
    except HypervisorError as error:
        return str(error)
    raise AssertionError("it was not refused")


def executor_refusals() -> list[str]:
    """Why nothing was asked of the hypervisor."""
    return [_refusal(lambda: executor._attach(_ACTION, mock.Mock(), lambda device: None))]


def qemu_refusals() -> list[str]:
    """What the driver of QEMU says by itself."""
    driver = qemu.Qemu.__new__(qemu.Qemu)
    driver._removed, driver._arrived, driver._proven = {}, set(), set()
    with (
        mock.patch.multiple(driver, _connected=mock.MagicMock(), detach=mock.Mock()),
        mock.patch.object(qemu.qemu_process, "held_devices", return_value=set()),
        mock.patch.multiple(qemu, Guest=mock.Mock(), _refuse_if_busy=mock.Mock()),
    ):
        not_opened = _refusal(lambda: driver.attach(_SERVER, "device", _STICK))
    with mock.patch.object(qemu, "threading") as threading:
        threading.Event.return_value.wait.return_value = False
        return [not_opened, _refusal(lambda: driver._remove(mock.Mock(), _SERVER, "device"))]


def lxc_refusals() -> list[str]:
    """What the driver of LXC says by itself."""
    driver = lxc.Lxc.__new__(lxc.Lxc)
    with (
        mock.patch.multiple(driver, _connected=mock.MagicMock(), detach=mock.Mock()),
        mock.patch.object(driver, "_look", return_value=_RUNNING),
        mock.patch.object(lxc, "_mark"),
        mock.patch.object(marks, "read", return_value={"device": (2, 3)}),
        mock.patch.object(lxc.config, "usb_hostdevs", return_value=()),
        mock.patch.multiple(container, node_on_host=mock.MagicMock(), is_open=mock.Mock()),
    ):
        not_there = _refusal(lambda: driver.attach(_SERVER, "device", _STICK))
        return [not_there, _refusal(lambda: lxc._remove(mock.Mock(), "device"))]


def libvirt_refusals() -> list[str]:
    """What people read of the refusals of libvirt that the lab has seen, known ones and others."""
    known = test_refusals.test_known_refusals.pytestmark[0].args[1]
    unknown = test_refusals.test_an_unknown_refusal_stays_without_names_and_paths.pytestmark[0].args[1]
    texts = [refusals.explained(*arguments) for *arguments, _ in known]
    texts += [refusals.explained(text) for text, _ in unknown]
    return list(dict.fromkeys(texts))


# Outcomes of claims without one.


def detaching_judgements(refused: list[str]) -> list[Judgement]:
    """What the planner says of a device that is not free yet."""
    ours = Hostdev("ua-usb-device", _STICK.bus, _STICK.device)
    domains = (dataclasses.replace(_RUNNING, live=(ours,)),)
    return [
        judged(server_id=None),
        *(judged(server_id=None, domains=domains, refusal=text) for text in refused),
    ]


def reset_notes(directory: Path, blocked: str) -> list[str]:
    """What became of the reset of a device."""
    tree = Tree(directory)
    held = tree.plug("2-1", 2, 3) / "2-1:1.0"
    held.mkdir()

    def note(device: Device | None, reset: Callable[[Device], None]) -> str:
        action = planner.Reset("device", _STICK)
        return executor.reset(action, lambda _: device, reset)

    def reset(device: Device) -> None:
        usb_reset.reset(device, tree.sys, directory / "dev")

    def fail(device: Device) -> None:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    texts = [
        note(_STICK, lambda device: None),
        note(None, reset),
        note(dataclasses.replace(_STICK, blocked_reason=blocked), reset),
        note(_STICK, reset),
        note(_STICK, fail),
    ]
    (tree.sys / "bus/usb/devices/2-1:1.0").mkdir()
    (tree.sys / "bus/usb/devices/2-1:1.0/driver").symlink_to("/drivers/usbfs")
    return [*texts, note(_STICK, reset)]
