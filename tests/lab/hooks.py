# SPDX-License-Identifier: Apache-2.0
"""libvirt's hook in a lab host."""

from __future__ import annotations

from compute_shim.hypervisor.libvirt import hook
from lab.host import Host

#: Where libvirt looks for hooks.
HOOKS = "/etc/libvirt/hooks/qemu.d"
#: Lets libvirt notice a hook.
RELOAD = "kill -HUP $(cat /run/libvirtd.pid)"


def install_hook(host: Host) -> None:
    """As an operator does."""
    host.run(f"mkdir -p {HOOKS}; install -m 755 {hook.__file__} {HOOKS}/50-usb-shim; {RELOAD}")


def remove_hook(host: Host) -> None:
    """As if it had never been there."""
    host.run(f"rm {HOOKS}/50-usb-shim; {RELOAD}")
