# SPDX-License-Identifier: Apache-2.0
"""Loads the driver for a connection URI.

A driver is an entry point of the group `GROUP`: its name is the URI's scheme, its object is called with the
URI and returns a `compute_shim.hypervisor.base.Driver`. Other distributions add drivers as entry points; the
drivers of this one need no installed metadata, and cannot be replaced.
"""

from __future__ import annotations

from importlib import metadata

from compute_shim.hypervisor.base import Driver, UnsupportedHypervisor

GROUP = "usb_shim.hypervisor"

_BUILT_IN = (
    metadata.EntryPoint("qemu", "compute_shim.hypervisor.libvirt.qemu:Qemu", GROUP),
    metadata.EntryPoint("lxc", "compute_shim.hypervisor.libvirt.lxc:Lxc", GROUP),
)


def driver(uri: str) -> Driver:
    """The driver for a connection URI, ``DRIVER[+TRANSPORT]://...`` (https://libvirt.org/uri.html).

    :raises compute_shim.hypervisor.base.UnsupportedHypervisor: there is none for it, or it cannot be loaded
    :raises compute_shim.hypervisor.base.UnsafeHost: the hypervisor's settings endanger this host's devices
    """
    name = uri.partition(":")[0].partition("+")[0]
    drivers = {entry.name: entry for entry in (*metadata.entry_points(group=GROUP), *_BUILT_IN)}
    if name not in drivers:
        raise UnsupportedHypervisor(
            f"[libvirt] connection_uri is {uri!r}: there is no driver for it. Set it to qemu:///system or"
            f" lxc:///system, or install a driver. Drivers on this host: {', '.join(sorted(drivers))}."
        )
    try:
        make = drivers[name].load()
    except ImportError as error:
        raise UnsupportedHypervisor(
            f"[libvirt] connection_uri is {uri!r}, whose driver cannot be loaded: {error}. Install it with:"
            " pip install openstack-usb-passthrough[compute]"
        ) from error
    return make(uri)
