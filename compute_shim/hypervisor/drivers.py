# SPDX-License-Identifier: Apache-2.0
"""Which driver a connection URI stands for."""

from __future__ import annotations

from compute_shim.hypervisor.base import UnsupportedHypervisor
from compute_shim.hypervisor.libvirt.driver import LibvirtDriver
from compute_shim.hypervisor.libvirt.lxc import Lxc
from compute_shim.hypervisor.libvirt.qemu import Qemu

_DRIVERS: dict[str, type[LibvirtDriver]] = {"qemu": Qemu, "lxc": Lxc}


def driver(uri: str) -> LibvirtDriver:
    """The driver for libvirt's connection URI, ``DRIVER[+TRANSPORT]://...`` (https://libvirt.org/uri.html).

    :raises compute_shim.hypervisor.base.UnsupportedHypervisor: there is none for it
    :raises compute_shim.hypervisor.base.UnsafeHost: libvirt's settings endanger this host's devices
    """
    name = uri.partition(":")[0].partition("+")[0]
    if name not in _DRIVERS:
        raise UnsupportedHypervisor(
            f"[libvirt] connection_uri is {uri!r}: there is a driver for {' and '.join(sorted(_DRIVERS))},"
            " so that it is qemu:///system or lxc:///system."
        )
    return _DRIVERS[name](uri)
