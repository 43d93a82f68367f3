# SPDX-License-Identifier: Apache-2.0
"""The devices that the process of a domain holds.

libvirt's XML and QEMU's list are not reliable: after a resume, both show a device that QEMU has released. A
host driver can also be bound to a device that QEMU still has open, manually or because its module was loaded;
then the host uses it.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path

from compute_shim import usbfs

# Node of a USB device: bus and device number in three digits each
# (Documentation/driver-api/usb/usb.rst of Linux, "/dev/bus/usb").
_NODE = re.compile(r"/dev/bus/usb/([0-9]{3})/([0-9]{3})")
#: Where libvirt keeps the process id of each domain (libvirt, src/qemu/qemu_conf.c: stateDir).
RUN = Path("/run/libvirt/qemu")
# libvirt, src/qemu/qemu_driver.c: qemuStateInitialize, virPidFileAcquire.
_DAEMON = "driver.pid"
# When the guest changes the configuration, the host's drivers are bound until QEMU takes them off.
_MOMENT_SECONDS = 0.2


def held_devices(
    domain: str,
    run: Path = RUN,
    proc: Path = Path("/proc"),
    sys: Path = Path("/sys"),
) -> set[tuple[int, int]] | None:
    """(bus, device) of each USB device that a domain's process holds exclusively; None if unknown.

    :param domain: its name.
    :param run: where libvirt keeps the process ids.
    """
    try:
        pid = int((run / f"{domain}.pid").read_text())
        nodes = [_NODE.fullmatch(path) for path in open_paths(pid, proc)]
    except (OSError, ValueError):
        return None
    found = {(int(node[1]), int(node[2])) for node in nodes if node}
    return {address for address in found if not _stays_with_the_host(sys, *address)}


def let_in(domain: str, socket: str, run: Path = RUN, proc: Path = Path("/proc")) -> None:
    """Give a unix socket to the user of a domain's process, and nobody else.

    What fails here is told by QEMU, which cannot connect then.

    :param domain: its name.
    :param run: as for `held_devices`.
    """
    with contextlib.suppress(OSError, ValueError):
        pid = int((run / f"{domain}.pid").read_text())
        os.chown(socket, (proc / str(pid)).stat().st_uid, -1)


def can_be_seen() -> bool:
    """Whether the processes of domains can be identified."""
    return RUN.is_dir()


def is_domain(pid: int, run: Path = RUN) -> bool:
    """Whether a process is a libvirt domain.

    :param run: as for `held_devices`.
    """
    return pid in pids(run)


def pids(run: Path) -> set[int]:
    """The processes of all domains.

    :param run: where libvirt keeps a file for each, and one for the daemon itself.
    """
    found = set()
    for file in run.glob("*.pid"):
        if file.name != _DAEMON:
            with contextlib.suppress(OSError, ValueError):
                found.add(int(file.read_text()))
    return found


def open_paths(pid: int, proc: Path = Path("/proc")) -> list[str]:
    """The open files of a process.

    :raises OSError: the process has ended
    """
    found = []
    for descriptor in os.listdir(f"{proc}/{pid}/fd"):  # noqa: PTH208  names, without a Path for each
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"{proc}/{pid}/fd/{descriptor}"))  # noqa: PTH115
    return found


def _stays_with_the_host(sys: Path, bus: int, device: int) -> bool:
    """Whether a host driver stays bound to the device."""
    if not _has_host_driver(sys, bus, device):
        return False
    time.sleep(_MOMENT_SECONDS)
    return _has_host_driver(sys, bus, device)


def _has_host_driver(sys: Path, bus: int, device: int) -> bool:
    """Whether a host driver is bound. Claimed interfaces have usbfs, those of an open device no driver."""
    directory = f"{sys}/dev/char/{usbfs.MAJOR}:{usbfs.minor(bus, device)}"
    try:
        interfaces = [name for name in os.listdir(directory) if ":" in name]  # noqa: PTH208
    except OSError:
        return False  # the device was pulled out meanwhile
    return any(_driver(f"{directory}/{name}") not in (None, "usbfs") for name in interfaces)


def _driver(interface: str) -> str | None:
    """The driver that is bound to an interface; None if there is none, or none any more."""
    try:
        return os.path.basename(os.readlink(f"{interface}/driver"))  # noqa: PTH115, PTH119
    except OSError:
        return None
