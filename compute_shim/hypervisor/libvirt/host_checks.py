# SPDX-License-Identifier: Apache-2.0
"""Checks that libvirt on this host prevents domains from opening other USB devices."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from compute_shim.hypervisor.base import UnsafeHost
from compute_shim.hypervisor.libvirt import hook

_INSTALLED_HOOK = Path("/etc/libvirt/hooks/qemu.d/50-usb-shim")
_SETTINGS = Path("/etc/libvirt/qemu.conf")
# Each daemon writes its file when it starts. One for all drivers, or one for QEMU alone
# (https://libvirt.org/daemons.html).
_DAEMONS = (Path("/run/libvirtd.pid"), Path("/run/virtqemud.pid"))


def refuse_unsafe(settings: Path = _SETTINGS) -> None:
    """Check that a domain can open only the devices that libvirt attaches to it.

    With an empty USB hostdev, QEMU takes any device that it can open. libvirt has two protections: a private
    /dev for each domain, and the cgroup device controller.

    :raises compute_shim.hypervisor.base.UnsafeHost: both are disabled
    """
    try:
        text = settings.read_text(errors="replace")
    except OSError:
        return  # libvirt's defaults have both
    namespaces, controllers = _list(text, "namespaces"), _list(text, "cgroup_controllers")
    if (
        namespaces is not None
        and "mount" not in namespaces
        and controllers is not None
        and "devices" not in controllers
    ):
        raise UnsafeHost(
            f"{settings} switches off both protections of this host's devices: namespaces and"
            " cgroup_controllers. A server whose USB device is pulled out could take any other. Remove one of"
            " the two settings and restart libvirt's daemon."
        )


def _list(text: str, setting: str) -> list[str] | None:
    """The values of a list in libvirt's configuration, None if it is not set."""
    found = re.findall(rf"^\s*{setting}\s*=\s*\[([^\]]*)\]", text, re.MULTILINE)
    return re.findall(r'"([^"]*)"', found[-1]) if found else None


def hook_problem(
    installed: Path = _INSTALLED_HOOK,
    daemons: tuple[Path, ...] = _DAEMONS,
    called: Path = Path(hook.CALLED),
) -> str | None:
    """The problem that the operator must fix: the hook is missing, different, or not active yet."""
    harm = "A server that migrates to this host, or is resumed here, may take another device for some seconds"
    shipped = Path(hook.__file__)
    install = f"install -D -m 755 {shipped} {installed}"
    try:
        is_shipped = installed.read_bytes() == shipped.read_bytes()
        installed_at = installed.stat()
    except OSError:
        return (
            f"libvirt's hook {installed} is missing. {harm}. Install it: {install}; then reload libvirt's"
            " daemon."
        )
    if installed.is_symlink():
        return (
            f"libvirt's hook {installed} is a link. With AppArmor libvirt may execute only what is in that"
            f" directory, and no server starts. Put the file itself there: {install}"
        )
    if not is_shipped or not installed_at.st_mode & 0o100:
        return (
            f"libvirt's hook {installed} is not the executable file that belongs to this agent. {harm}."
            f" Install it: {install}"
        )
    if _last_noticed(*daemons, called) < installed_at.st_ctime:
        return (
            f"libvirt's daemon may not have noticed the hook {installed} yet. {harm}. Reload the daemon:"
            " systemctl reload libvirtd (this message stays until the next server is started)."
        )
    return None


def _last_noticed(*paths: Path) -> float:
    """The start time of libvirt's daemon, when it reads the hooks, or of the last call of ours, if later."""
    times = [0.0]
    for path in paths:
        with contextlib.suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times)
