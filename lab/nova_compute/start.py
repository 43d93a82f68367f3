# SPDX-License-Identifier: Apache-2.0
"""Starts the real nova-compute in a lab host, where starting Python and importing are slow.

    python -I -S start.py SITE-PACKAGES BUNDLE OPTION...

nova-compute imports 2,400 modules. In a lab host, whose file system is this machine's through 9p on an
emulated processor, finding and reading them one by one takes a minute the first time; reading one file takes
a second.

Three things differ from running the script nova-compute: modules come from one file (see bundle.py); the
daemon for privileged calls is a fork of this process, not a second Python that imports Nova again (we are
root here, so it needs nothing like sudo); qemu-img is not started through one more Python that limits it.
"""

from __future__ import annotations

import gc
import importlib.machinery
import importlib.util
import marshal
import sys
from collections.abc import Sequence
from types import CodeType, ModuleType

_Modules = dict[str, tuple[str, list[str] | None, bytes | None]]


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
        code: CodeType = marshal.loads(self._code)  # noqa: S302 written by bundle.py
        return code


def _say(text: str) -> None:
    with open("/proc/uptime") as uptime:  # noqa: PTH123 pathlib is one more import
        print(f"{text} at {uptime.read().split()[0]} s", flush=True)


def _prepare_privileged_daemon() -> None:
    """Let Nova start the daemon at the moment when it settles how to."""
    import nova.privsep.qemu
    from nova import privsep
    from oslo_privsep import priv_context

    # Each boot asks eight times about images that we made ourselves.
    nova.privsep.qemu.QEMU_IMG_LIMITS = None

    settle = priv_context.init

    def settle_and_fork(root_helper: list[str] | None = None) -> None:
        settle(root_helper)
        # Imported before the fork, so that the daemon has them: all that runs in it, and the driver.
        import nova.privsep.fs
        import nova.privsep.idmapshift
        import nova.privsep.libvirt
        import nova.privsep.linux_net
        import nova.privsep.path
        import nova.privsep.utils
        import nova.virt.libvirt.driver  # noqa: F401

        _say("libvirt driver imported")
        privsep.sys_admin_pctxt.start(priv_context.Method.FORK)
        _say("daemon for privileged calls forked")

    priv_context.init = settle_and_fork


def main() -> None:
    """Run it."""
    _say("Python started")
    site_packages, bundle, *options = sys.argv[1:]
    # Without -S, Python would look through all of it for what packages want to have done at every start.
    sys.path.append(site_packages)
    # A collection looks at everything imported so far, again and again.
    gc.disable()
    with open(bundle, "rb") as file:  # noqa: PTH123 see above
        sys.meta_path.insert(0, _Finder(marshal.load(file)))  # noqa: S302 written by bundle.py

    from nova import monkey_patch

    monkey_patch.patch(backend="threading")
    # This asks where it is imported from, which takes the longer the more modules are there to look through.
    importlib.import_module("vif_plug_ovs.linux_net")
    compute = importlib.import_module("nova.cmd.compute")
    _say("nova-compute imported")
    _prepare_privileged_daemon()
    gc.freeze()
    gc.enable()
    sys.argv = ["nova-compute", *options]
    compute.main()


if __name__ == "__main__":
    main()
