# SPDX-License-Identifier: Apache-2.0
"""usb-shim-relay with a played device, which sends back what it is sent; its node is /dev/null."""

from __future__ import annotations

import os
from pathlib import Path

from compute_shim import usbfs
from compute_shim.cmd import relay
from compute_shim.relay import usbredir
from tests.unit.relay.relays import Echo

usbfs.MAJOR = os.major(Path("/dev/null").stat().st_rdev)
setattr(usbredir, "Libraries", lambda: None)  # noqa: B010  mypy knows the classes
setattr(usbredir, "Redirection", lambda libraries, node, on_end: Echo(on_end))  # noqa: B010

if __name__ == "__main__":
    relay.main()
