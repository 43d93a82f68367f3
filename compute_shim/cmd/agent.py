# SPDX-License-Identifier: Apache-2.0
"""``usb-shim-agent``: runs on every compute host, beside nova-compute."""

import sys

from compute_shim.cmd import native_threads  # noqa: F401  before all that follow

# isort: split
from oslo_config import cfg
from oslo_log import log

from compute_shim import conf as configuration
from compute_shim.agent import device_spec, service
from compute_shim.cmd import signals
from compute_shim.hypervisor.base import UnsafeHost, UnsupportedHypervisor
from compute_shim.hypervisor.drivers import driver


def main() -> int:
    """Run the agent until SIGTERM or SIGINT."""
    stop = signals.stop_event()
    try:
        conf = configuration.load()
        log.setup(conf, configuration.PROJECT)
        service.run(conf, driver(conf.libvirt.connection_uri), stop)
    except (cfg.Error, device_spec.InvalidDeviceSpec, UnsafeHost, UnsupportedHypervisor) as error:
        print(f"usb-shim-agent: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
