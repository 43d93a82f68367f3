# SPDX-License-Identifier: Apache-2.0
"""The tiny guest for servers in the lab: Debian's kernel, busybox, and a list of its USB devices."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class GuestImage:
    """What Nova boots a server from: kernel and initramfs, and the kernel's command line."""

    kernel: Path
    initrd: Path
    cmdline: str
