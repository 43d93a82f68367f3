# SPDX-License-Identifier: Apache-2.0
"""``usb-shim-agent``: runs on every compute host, beside nova-compute."""

from typing import NoReturn

from compute_shim.cmd import extras

_NAME = "usb-shim-agent"

with extras.needed_by(_NAME, "compute"):
    from compute_shim.cmd import native_threads  # noqa: F401  before all that follow

    # isort: split
    from oslo_config import cfg

    from compute_shim.agent import device_spec, host_view, service
    from compute_shim.cmd import program
    from compute_shim.daemon import Daemon
    from compute_shim.hypervisor.base import UnsafeHost, UnsupportedHypervisor
    from compute_shim.hypervisor.drivers import driver


def main() -> NoReturn:
    """Run the agent until SIGTERM or SIGINT."""
    program.serve(
        _NAME,
        _run,
        refusals=(
            device_spec.InvalidDeviceSpec,
            host_view.CannotSeeHost,
            UnsafeHost,
            UnsupportedHypervisor,
        ),
    )


def _run(conf: cfg.ConfigOpts, daemon: Daemon) -> None:
    hypervisor = driver(conf.libvirt.connection_uri)
    host_view.refuse_blind()
    service.run(conf, hypervisor, daemon)


if __name__ == "__main__":
    main()
