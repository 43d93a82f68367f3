# SPDX-License-Identifier: Apache-2.0
"""The conductor without a cloud: a file lists the servers.

Usage: python -m lab.stack_conductor SERVERS_JSON OPTIONS..., the options being those of usb-shim-conductor.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

from compute_shim.cmd import native_threads  # noqa: F401  before all that follow

# isort: split
from lab import stack_nova


def main() -> NoReturn:
    """As usb-shim-conductor."""
    stack_nova.replace_nova(Path(sys.argv.pop(1)))
    from compute_shim.cmd import conductor

    conductor.main()


if __name__ == "__main__":
    main()
