# SPDX-License-Identifier: Apache-2.0
"""The device number of a path, as in ``/sys/dev``: ``char/189:3``, ``block/8:0``."""

from __future__ import annotations

import ctypes
import stat

#: linux/fcntl.h: a path that begins at the root needs no directory.
AT_FDCWD = -100
# linux/fcntl.h. Without it a file on a server that does not answer would hold us up.
_AT_STATX_DONT_SYNC = 0x4000
# linux/stat.h: struct statx, its size and where stx_mode, stx_rdev_major and stx_rdev_minor are in it.
_STATX_SIZE = 256
_MODE = 28
_MAJOR, _MINOR = 128, 132
_TYPES = {stat.S_IFCHR: "char", stat.S_IFBLK: "block"}

_statx = ctypes.CDLL(None).statx
_statx.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)


class NodeNumber:
    """Reads device numbers. For one thread. Does not use ``os.stat``, which can block on network servers."""

    def __init__(self) -> None:
        answer = self._answer = ctypes.create_string_buffer(_STATX_SIZE)
        self._address = ctypes.addressof(answer)
        self._mode = ctypes.c_uint16.from_buffer(answer, _MODE)
        self._major = ctypes.c_uint32.from_buffer(answer, _MAJOR)
        self._minor = ctypes.c_uint32.from_buffer(answer, _MINOR)

    def of(self, directory: int, path: bytes) -> str | None:
        """The number of the device node that a path leads to; None if it is something else, or gone.

        :param directory: an open one that the path begins at, or `AT_FDCWD`.
        """
        if _statx(directory, path, _AT_STATX_DONT_SYNC, 0, self._address):
            return None
        kind = _TYPES.get(stat.S_IFMT(self._mode.value))
        return None if kind is None else f"{kind}/{self._major.value}:{self._minor.value}"
