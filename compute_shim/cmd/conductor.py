# SPDX-License-Identifier: Apache-2.0
"""``usb-shim-conductor``: runs once or more in a cloud, with access to its database."""

import sys

from compute_shim.cmd import native_threads  # noqa: F401  before all that follow

# isort: split
from keystoneauth1 import exceptions as ks_exceptions
from oslo_config import cfg
from oslo_log import log

from compute_shim import conf as configuration
from compute_shim.cmd import signals
from compute_shim.conductor import service
from compute_shim.conf import database, nova


def main() -> int:
    """Run the conductor until SIGTERM or SIGINT."""
    stop = signals.stop_event()
    try:
        conf = configuration.load()
        database.register(conf)
        nova.register(conf)
        log.setup(conf, configuration.PROJECT)
        service.run(conf, stop)
    except (cfg.Error, ks_exceptions.AuthPluginException) as error:
        print(f"usb-shim-conductor: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
