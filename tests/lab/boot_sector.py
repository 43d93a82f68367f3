# SPDX-License-Identifier: Apache-2.0
"""A stick from which a server boots a program that reads it for ever: a guest that is busy without an OS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lab.host import Host, usb
from tests.lab.world import until

_SIZE = 512
_SIGNATURE = b"\x55\xaa"  # at the end of a sector from which a PC boots

# Ralf Brown's Interrupt List, INT 13h function 02h: AL sectors to ES:BX, from cylinder CH, sector CL, head DH
# of drive DL, which the firmware has set.
_PROGRAM = bytes.fromhex(
    "31c0 8ec0"  # xor ax, ax; mov es, ax
    "b80802 bb007e b90200 b600 cd13"  # again: mov ax, 0208h; mov bx, 7e00h; mov cx, 2; mov dh, 0; int 13h
    "ebf1"  # jmp again
)


@contextmanager
def bootable(host: Host, name: str) -> Iterator[None]:
    """Meanwhile a server that is given the stick boots from it."""
    with usb.image_path(usb.DEVICES[name], host.directory).open("r+b", buffering=0) as image:
        before = image.read(_SIZE)
        image.seek(0)
        image.write(_PROGRAM.ljust(_SIZE - len(_SIGNATURE), b"\0") + _SIGNATURE)
        try:
            yield
        finally:
            image.seek(0)
            image.write(before)


def wait_reading(host: Host, name: str) -> None:
    """Until the stick is read, and read again."""
    before = host.reads(name)
    until(lambda: host.reads(name) > before + 50, f"nobody reads {name}")
