# SPDX-License-Identifier: Apache-2.0
"""Virtual compute hosts with USB devices, under QEMU's software emulation.

A host boots from this machine's own file system (9p, read-only, with an overlay in memory), so there is
no image to build. In it run udev, libvirtd and nested QEMU guests; its USB devices are emulated, but real to
its kernel.
"""

from lab.host.errors import HostError
from lab.host.host import DEFAULT_NAME, Host, Plugged

__all__ = ["DEFAULT_NAME", "Host", "HostError", "Plugged"]
