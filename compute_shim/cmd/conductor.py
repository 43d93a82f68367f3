# SPDX-License-Identifier: Apache-2.0
"""``usb-shim-conductor``: runs once or more in a cloud, with access to its database."""

from typing import NoReturn

from compute_shim.cmd import extras

_NAME = "usb-shim-conductor"

with extras.needed_by(_NAME, "service"):
    from compute_shim.cmd import native_threads  # noqa: F401  before all that follow

    # isort: split
    from compute_shim import credentials
    from compute_shim.cmd import program
    from compute_shim.conductor import service
    from compute_shim.conf import database, nova, placement
    from compute_shim.db import readiness


def main() -> NoReturn:
    """Run the conductor until SIGTERM or SIGINT."""
    program.serve(
        _NAME,
        service.run,
        register=(database.register, nova.register, placement.register),
        refusals=(credentials.Unusable, readiness.Refused),
    )


if __name__ == "__main__":
    main()
