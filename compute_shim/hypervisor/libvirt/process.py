# SPDX-License-Identifier: Apache-2.0
"""What the process of a domain really has open.

Neither libvirt's XML nor QEMU's own list tells: after a resume both go on showing a device that QEMU has
let go of.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

# Node of a USB device: bus and device number in three digits each
# (Documentation/driver-api/usb/usb.rst of Linux, "/dev/bus/usb").
_NODE = re.compile(r"/dev/bus/usb/([0-9]{3})/([0-9]{3})")


def open_devices(
    domain: str, run: Path = Path("/run/libvirt/qemu"), proc: Path = Path("/proc")
) -> set[tuple[int, int]] | None:
    """(bus, device) of each USB device that a domain's process has open; None if that cannot be told.

    :param domain: its name.
    :param run: where libvirt keeps the process id of each domain (libvirt, src/qemu/qemu_conf.c: stateDir).
    """
    try:
        pid = int((run / f"{domain}.pid").read_text())
        nodes = [_NODE.fullmatch(path) for path in open_paths(pid, proc)]
    except (OSError, ValueError):
        return None
    return {(int(node[1]), int(node[2])) for node in nodes if node}


def open_paths(pid: int, proc: Path = Path("/proc")) -> list[str]:
    """What a process has open.

    :raises OSError: it has ended
    """
    found = []
    for descriptor in os.listdir(f"{proc}/{pid}/fd"):  # noqa: PTH208  names, without a Path for each
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"{proc}/{pid}/fd/{descriptor}"))  # noqa: PTH115
    return found
