# SPDX-License-Identifier: Apache-2.0
"""Writes all that passes through a network interface of a lab host to a file, until it is ended.

In the host, with Debian's Python:  capture.py INTERFACE FILE
"""

import pathlib
import socket
import sys

interface, file = sys.argv[1:]
# packet(7): every protocol is 3, in network order (linux/if_ether.h: ETH_P_ALL).
with (
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as packets,
    pathlib.Path(file).open("wb", buffering=0) as found,
):
    packets.bind((interface, 0))
    while True:
        found.write(packets.recv(1 << 16))
