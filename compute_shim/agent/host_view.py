# SPDX-License-Identifier: Apache-2.0
"""Checks that the agent can see all host use. Otherwise it would offer devices that the host uses.

``doc/source/security/agent-needs.rst`` documents the requirements.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pyudev

from compute_shim.agent import block_use

# The first namespaces of the kernel (Linux, include/linux/proc_ns.h: PROC_PID_INIT_INO, PROC_USER_INIT_INO).
_FIRST = {"pid": 0xEFFFFFFC, "user": 0xEFFFFFFD}
_OPTIONS = {"pid": "--pid=host", "user": "--userns=host", "net": "--network=host"}
# linux/capability.h: one of each is needed, and what for.
_CAPABILITIES = (
    ({"CAP_DAC_READ_SEARCH": 2, "CAP_DAC_OVERRIDE": 1}, "list the open files of other users' processes"),
    ({"CAP_SYS_PTRACE": 19}, "see the open files of other processes"),
    ({"CAP_CHECKPOINT_RESTORE": 40, "CAP_SYS_ADMIN": 21}, "see what other processes have mapped"),
    ({"CAP_MKNOD": 27}, "ask the kernel whether a disk is in use"),
)
# Majors of what is on USB: SCSI disks, and partitions beyond the 15th (Documentation/admin-guide/devices.txt
# of Linux), each with a minor that no disk has.
_NO_DISKS = ("block/8:1048575", "block/259:1048575")


class CannotSeeHost(Exception):
    """The agent cannot see all host use; the text says what is missing and what to change."""


def refuse_blind(
    proc: Path = Path("/proc"),
    sys: Path = Path("/sys"),
    dev: Path = Path("/dev"),
    udev: Path = Path("/run/udev"),
) -> None:
    """Check that all host use can be detected.

    :raises CannotSeeHost: it cannot be detected
    """
    missing = [
        *_namespaces(proc),
        *(_capabilities(proc) or _refused(proc, dev)),
        *_paths(proc, sys, udev),
        *_libudev(),
    ]
    if missing:
        raise CannotSeeHost(
            f"The agent cannot see what this host uses: {'; '.join(missing)}."
            " See What the agent needs, in the security guide."
        )


def _namespaces(proc: Path) -> Iterator[str]:
    for kind, option in _OPTIONS.items():
        try:
            own = (proc / "self/ns" / kind).stat().st_ino
            # Those of network cannot be told by their number.
            first = _FIRST.get(kind) or (proc / "1/ns" / kind).stat().st_ino
        except OSError:
            continue  # one of the capabilities is missing
        if own != first:
            yield f"it is in a {kind} namespace of its own (container: use {option})"


def _capabilities(proc: Path) -> list[str]:
    """The missing capabilities. They are checked first, because the other checks fail without them."""
    has = _effective(proc)
    return [
        f"{' or '.join(one_of)} is missing, to {purpose} (container: use --cap-add)"
        for one_of, purpose in _CAPABILITIES
        if not any(has >> number & 1 for number in one_of.values())
    ]


def _effective(proc: Path) -> int:
    """The effective capabilities of this process, as bits (proc(5))."""
    for line in (proc / "self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def _refused(proc: Path, dev: Path) -> Iterator[str]:
    """The operations that fail despite the capabilities: due to AppArmor, SELinux or a control group."""
    try:
        for name in os.listdir(f"{proc}/1/fd"):  # noqa: PTH208
            os.readlink(f"{proc}/1/fd/{name}")  # noqa: PTH115
    except PermissionError:
        yield "open files of process 1 are hidden (container: use --security-opt apparmor=unconfined)"
    except FileNotFoundError:
        pass  # a file that was closed meanwhile
    for node in _NO_DISKS:
        try:
            block_use.claim(node, dev)
        except OSError as error:
            if error.errno not in (errno.ENXIO, errno.ENODEV):
                why = os.strerror(error.errno or 0)
                yield (
                    f"a disk cannot be opened by a node made in {dev}: {why} (container: mount the host's"
                    f" {dev}, and use --device-cgroup-rule='b *:* rm')"
                )
                return


def _paths(proc: Path, sys: Path, udev: Path) -> Iterator[str]:
    if not (proc / "swaps").exists():
        yield f"{proc} is not complete (container: mount the host's {proc})"
    if not (sys / "dev/char").is_dir():
        yield f"there is no sysfs at {sys} (container: mount the host's {sys})"
    if not udev.is_dir():
        yield f"{udev} is missing: udevd does not run, or is not shown (container: mount the host's {udev})"


def _libudev() -> Iterator[str]:
    try:
        pyudev.Context()
    except ImportError:
        yield "libudev cannot be loaded (Debian: install libudev1, and run ldconfig)"
