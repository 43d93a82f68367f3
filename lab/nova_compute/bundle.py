# SPDX-License-Identifier: Apache-2.0
"""All modules that nova-compute imports, in one file.

nova-compute imports 2,400 modules. In a lab host, whose file system is this machine's through 9p on an
emulated processor, finding and reading them one by one takes a minute the first time; reading one file takes
a second.

    python -m lab.nova_compute.bundle FILE    write the bundle
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import marshal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType

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
    "vif_plug_noop.noop",
    "vif_plug_ovs.ovs",
)

# Name: the file, the package's search path (None: no package), and the code (None: compiled C).
_Modules = dict[str, tuple[str, list[str] | None, bytes | None]]


def write(path: Path) -> None:
    """Import everything and write its code to `path`."""
    for name in _ROOTS:
        importlib.import_module(name)
    modules: _Modules = {}
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


def install(path: Path) -> None:
    """Import from the bundle what it has, ahead of all other places."""
    modules: _Modules = marshal.loads(path.read_bytes())  # noqa: S302 written by this module
    sys.meta_path.insert(0, _Finder(modules))


class _Finder:
    def __init__(self, modules: _Modules):
        self._modules = modules

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in self._modules:
            return None
        origin, locations, code = self._modules.pop(name)
        if code is None:
            return importlib.util.spec_from_file_location(name, origin)
        return importlib.util.spec_from_file_location(
            name, origin, loader=_Loader(name, origin, code), submodule_search_locations=locations
        )


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, origin: str, code: bytes):
        super().__init__(name, origin)
        self._code = code

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = marshal.loads(self._code)  # noqa: S302 written by this module
        return code


if __name__ == "__main__":
    write(Path(sys.argv[1]))
