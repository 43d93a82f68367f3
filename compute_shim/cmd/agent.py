# SPDX-License-Identifier: Apache-2.0
"""``usb-shim-agent``: runs on every compute host, beside nova-compute."""

# oslo.messaging imports oslo.service, whose default is eventlet: say first that we use native threads.
from oslo_service import backend

backend.init_backend(backend.BackendType.THREADING)

import signal  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402

from oslo_config import cfg  # noqa: E402
from oslo_log import log  # noqa: E402

from compute_shim import conf as configuration  # noqa: E402
from compute_shim.agent import device_spec, service  # noqa: E402
from compute_shim.hypervisor.libvirt.host import Host  # noqa: E402


def main() -> int:
    """Run the agent until SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, frame: stop.set())
    try:
        conf = configuration.load()
        log.setup(conf, configuration.PROJECT)
        service.run(conf, Host(conf.libvirt.connection_uri), stop)
    except (cfg.Error, device_spec.InvalidDeviceSpec) as error:
        print(f"usb-shim-agent: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
