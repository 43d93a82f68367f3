# SPDX-License-Identifier: Apache-2.0
"""A hostile host that has the server: it is let in, and sends what is not, or almost, usbredir.

In the host, with Debian's Python:  relay_fuzz.py HOST PORT CLAIM GENERATION SEED CONNECTIONS

Prints how many connections were let in, and how many bytes were sent.
"""

import contextlib
import pathlib
import random
import socket
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from compute_shim.relay import credentials, greeting

host, port, claim, generation, seed, connections = sys.argv[1:]
chance = random.Random(int(seed))
PKI = pathlib.Path("/run/pki")
OWN = credentials.Credentials(*(str(PKI / f"{name}.pem") for name in ("cert", "key", "ca")))
# usbredirproto.h (usbredir 0.13): packets that a guest sends, and how long they are without header and data.
RESET, SET_CONFIGURATION, GET_CONFIGURATION, SET_ALT, GET_ALT = 3, 6, 7, 9, 10
START_ISO, STOP_ISO, START_INTERRUPT, STOP_INTERRUPT, ALLOC_STREAMS, FREE_STREAMS = 12, 13, 15, 16, 18, 19
CANCEL, FILTER_REJECT, FILTER, DISCONNECT_ACK, START_BULK, STOP_BULK = 21, 22, 23, 24, 25, 26
CONTROL, BULK, ISO, INTERRUPT = 100, 101, 102, 103
PACKETS = dict.fromkeys((RESET, GET_CONFIGURATION, CANCEL, FILTER_REJECT, FILTER, DISCONNECT_ACK), 0)
PACKETS |= dict.fromkeys((SET_CONFIGURATION, GET_ALT, STOP_ISO, START_INTERRUPT, STOP_INTERRUPT), 1)
PACKETS |= {SET_ALT: 2, START_ISO: 3, ALLOC_STREAMS: 8, FREE_STREAMS: 4, START_BULK: 10, STOP_BULK: 5}
PACKETS |= {CONTROL: 10, BULK: 10, ISO: 4, INTERRUPT: 4}
HELLO_VERSION = b"hostile".ljust(64, b"\0")
# usb_redir_cap_*: all of them, and those that there are not.
CAPABILITIES = (0xFF, 0xFFFF, 0xFFFFFFFF, 0)


def packet(kind: int, content: bytes, length: int | None = None) -> bytes:
    """A packet, with a wrong length if one is given."""
    number = chance.choice((0, 1, chance.getrandbits(64)))
    return struct.pack("<IIQ", kind, len(content) if length is None else length, number) + content


def hello() -> bytes:
    """The first packet, whose id has 32 bits."""
    content = HELLO_VERSION + struct.pack("<I", chance.choice(CAPABILITIES))
    return struct.pack("<III", 0, len(content), 0) + content


def hostile() -> bytes:
    """One packet."""
    kind = chance.choice(list(PACKETS))
    content = chance.randbytes(PACKETS[kind])
    match chance.randrange(8):
        case 0:
            return chance.randbytes(chance.randrange(1, 4096))
        case 1:
            return packet(chance.getrandbits(32), content)
        case 2:
            return packet(kind, content, chance.getrandbits(32))
        case 3:
            # As much as is allowed, and never sent.
            return packet(BULK, content, 128 << 20)
        case 4:
            return packet(kind, content + chance.randbytes(chance.randrange(1 << 16)))
        case _:
            # Endpoints that there are.
            return packet(
                kind, bytes([chance.choice((0, 1, 0x81, 2, 0x82, 0xFF)), *content[1:]])[: len(content)]
            )


def attack() -> int:
    """One connection; how much was sent."""
    sent = 0
    with (
        socket.create_connection((host, int(port)), timeout=30) as plain,
        OWN.client_context().wrap_socket(plain) as tls,
    ):
        tls.sendall(greeting.Claim(claim, int(generation)).hello())
        greeting.check_answer(tls.recv(128).rstrip(b"\n"))
        # Answers are not read: they may block the relay, and nothing else.
        tls.settimeout(1)
        with contextlib.suppress(OSError):
            for part in (hello(), *(hostile() for _ in range(chance.randrange(1, 200)))):
                tls.sendall(part)
                sent += len(part)
    return sent


admitted = total = 0
while admitted < int(connections):
    # While the relay takes the device anew for the next connection, it is busy.
    with contextlib.suppress(greeting.Refused, OSError):
        total += attack()
        admitted += 1
print(admitted, total)
