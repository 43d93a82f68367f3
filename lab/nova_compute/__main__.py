# SPDX-License-Identifier: Apache-2.0
"""Starts the real nova-compute in a lab host, where starting Python and importing are slow.

    python -m lab.nova_compute BUNDLE NOVA-COMPUTE OPTION...

Two things differ from running the script NOVA-COMPUTE: modules come from one file (see bundle.py), and the
daemon for privileged calls is a fork of this process, not a second Python that imports Nova again. We are
root here, so it needs nothing like sudo.
"""

import gc
import runpy
import sys
from pathlib import Path

from lab.nova_compute import bundle


def _say(text: str) -> None:
    uptime = Path("/proc/uptime").read_text().split()[0]
    print(f"{text} at {uptime} s", flush=True)


def _fork_privileged_daemon() -> None:
    """Let Nova start the daemon at the moment when it settles how to."""
    from nova import privsep
    from oslo_privsep import priv_context

    settle = priv_context.init

    def settle_and_fork(root_helper: list[str] | None = None) -> None:
        settle(root_helper)
        # Imported before the fork, so that the daemon has them: all that runs in it, and the driver.
        import nova.privsep.fs
        import nova.privsep.idmapshift
        import nova.privsep.libvirt
        import nova.privsep.linux_net
        import nova.privsep.path
        import nova.privsep.qemu
        import nova.privsep.utils
        import nova.virt.libvirt.driver  # noqa: F401

        _say("libvirt driver imported")
        privsep.sys_admin_pctxt.start(priv_context.Method.FORK)
        _say("daemon for privileged calls forked")

    priv_context.init = settle_and_fork


def main() -> None:
    """Run it."""
    _say("Python started")
    modules, sys.argv = sys.argv[1], sys.argv[2:]
    # A collection looks at everything imported so far, again and again.
    gc.disable()
    bundle.install(Path(modules))
    import nova.cmd.compute  # noqa: F401

    _say("nova-compute imported")
    _fork_privileged_daemon()
    gc.freeze()
    gc.enable()
    runpy.run_path(sys.argv[0], run_name="__main__")


main()
