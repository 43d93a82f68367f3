# SPDX-License-Identifier: Apache-2.0
"""Writes all modules that nova-compute imports to one file, for start.py.

    python -I -S bundle.py SITE-PACKAGES FILE

It has the same path of modules as start.py: what the plugin loader (stevedore) notes for that path under
XDG_CACHE_HOME is of use there.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import marshal
import sys
from pathlib import Path

# What nova.cmd.compute imports at once, and what it imports only when it starts, boots a server or calls for
# the first time (drivers and plugins, found by name). nova.cmd.compute is first: it keeps eventlet out.
_ROOTS = (
    "nova.cmd.compute",
    "amqp.transport",
    "encodings.idna",
    "futurist",
    "glanceclient.v2.client",
    "keystoneauth1.identity.generic",
    "keystoneauth1.loading._plugins.identity.generic",
    "kombu.transport.pyamqp",
    "lxml.etree",
    "multiprocessing.util",
    "neutronclient.v2_0.client",
    "nova.compute.manager",
    "nova.conductor.manager",
    "nova.image.glance",
    "nova.network.neutron",
    "nova.pci.manager",
    "nova.privsep.fs",
    "nova.privsep.idmapshift",
    "nova.privsep.libvirt",
    "nova.privsep.linux_net",
    "nova.privsep.path",
    "nova.privsep.qemu",
    "nova.privsep.utils",
    "nova.scheduler.client.report",
    "nova.servicegroup.drivers.db",
    "nova.virt.disk.api",
    "nova.virt.libvirt.driver",
    "nova.virt.libvirt.imagebackend",
    "openstack.connection",
    "oslo_concurrency.processutils",
    "oslo_messaging._drivers.impl_rabbit",
    "oslo_messaging.notify.messaging",
    "oslo_messaging.rpc.client",
    "oslo_privsep.daemon",
)


def write(path: Path) -> None:
    """Import everything and write its code to `path`.

    The file is a dict by name of (source file, the package's search path or None, code; None for compiled C).
    """
    for name in _ROOTS:
        importlib.import_module(name)
    # Both import more.
    importlib.import_module("nova.objects").register_all()
    importlib.import_module("os_vif").initialize()
    modules: dict[str, tuple[str, list[str] | None, bytes | None]] = {}
    for name, module in sorted(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if spec is None or spec.origin is None or spec.name != name:
            continue
        if isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            code = spec.loader.get_code(name)
            locations = spec.submodule_search_locations
            modules[name] = (spec.origin, None if locations is None else list(locations), marshal.dumps(code))
        elif isinstance(spec.loader, importlib.machinery.ExtensionFileLoader):
            modules[name] = (spec.origin, None, None)
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as file:
        marshal.dump(modules, file)
    unfinished.rename(path)


if __name__ == "__main__":
    sys.path.append(sys.argv[1])
    write(Path(sys.argv[2]))
