# SPDX-License-Identifier: Apache-2.0
"""A kernel that halts the processor, for servers whose guest is not needed.

Without it they would stay in their firmware, which wakes up all the time; on an emulated processor that costs
as much as an idle Linux.
"""

import struct
from pathlib import Path

from lab.paths import CACHE

# Multiboot Specification 0.6.96, 3.1: magic, flags, a checksum that makes their sum 0, and as bit 16 of the
# flags is set: where in memory the header goes, where the start of the file goes, the end of the data and of
# what is zeroed (0 for neither), and where the program begins.
_MAGIC, _FLAGS = 0x1BADB002, 1 << 16
_ADDRESS = 0x100000
_HEADER = struct.Struct("<IIiIIIII")
# The firmware has set the timer to tick 18 times a second, which would wake QEMU each time. Intel 8254, "Mode
# definitions": in mode 0 counter 0 counts down once.
_PROGRAM = bytes.fromhex(
    "fa"  # cli
    "b030 e643"  # mov al, 30h; out 43h, al: counter 0, both bytes, mode 0
    "30c0 e640 e640"  # xor al, al; out 40h, al; out 40h, al
    "f4"  # again: hlt
    "ebfd"  # jmp again
)


def kernel() -> bytes:
    """Return the kernel, as QEMU's -kernel takes it."""
    entry = _ADDRESS + _HEADER.size
    return _HEADER.pack(_MAGIC, _FLAGS, -_MAGIC - _FLAGS, _ADDRESS, _ADDRESS, 0, 0, entry) + _PROGRAM


def build() -> Path:
    """Make the kernel under lab/cache and return where it is."""
    path = CACHE / "halting-kernel"
    # Somebody else may be booting it.
    whole = path.with_suffix(".new")
    whole.write_bytes(kernel())
    return whole.replace(path)
