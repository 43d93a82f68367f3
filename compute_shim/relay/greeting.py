# SPDX-License-Identifier: Apache-2.0
"""The first line in each direction between two relays, before the bytes of usbredir.

The relay of the server's host says which claim it serves; the relay of the device's host admits it, or
answers with a code of `REFUSALS` and closes the connection.
"""

from __future__ import annotations

import dataclasses
import re

_PROTOCOL = "usb-shim-relay 1"
_WELCOME = f"{_PROTOCOL} welcome"
#: What a claim's id and generation may look like.
CLAIM = re.compile(r"[0-9A-Za-z-]{1,64}")
GENERATION = re.compile(r"[0-9]{1,18}")
_HELLO = re.compile(rf"{_PROTOCOL} claim ({CLAIM.pattern}) ({GENERATION.pattern})")
_REFUSED = re.compile(rf"{_PROTOCOL} refused ([a-z_]{{1,32}})")

#: Codes of refusals, and their meaning.
REFUSALS = {
    "not_understood": "this is not the greeting of a usb-shim-relay of the same protocol version",
    "other_claim": "it serves another claim",
    "other_generation": "it serves another generation of the claim",
    "busy": "the device is in use by another connection",
}


class Refused(Exception):
    """A relay does not admit the other one.

    :ivar code: one of `REFUSALS`.
    """

    def __init__(self, code: str, details: str = "") -> None:
        self.code = code
        super().__init__(f"{REFUSALS[code]}{details and ': '}{details}")


@dataclasses.dataclass(frozen=True)
class Claim:
    """What a pair of relays serves: a claim on a device, and its generation."""

    claim_id: str
    generation: int

    def hello(self) -> bytes:
        """The line of the side that connects."""
        return f"{_PROTOCOL} claim {self.claim_id} {self.generation}\n".encode()

    def admit(self, line: bytes) -> None:
        """Compare the line of the other relay with this claim.

        :raises Refused: it is another claim or generation, or not understood
        """
        hello = _HELLO.fullmatch(line.decode("ascii", "replace"))
        if hello is None:
            raise Refused("not_understood")
        if hello[1] != self.claim_id:
            raise Refused("other_claim", f"{hello[1]}, not {self.claim_id}")
        if int(hello[2]) != self.generation:
            raise Refused("other_generation", f"{int(hello[2])}, not {self.generation}")


def welcome() -> bytes:
    """The answer to a relay that is admitted."""
    return f"{_WELCOME}\n".encode()


def refusal(code: str) -> bytes:
    """The answer to one that is not."""
    return f"{_PROTOCOL} refused {code}\n".encode()


def check_answer(line: bytes) -> None:
    """Read the answer of the side that listens.

    :raises Refused: it is not a welcome
    """
    text = line.decode("ascii", "replace")
    refused = _REFUSED.fullmatch(text)
    if refused is not None and refused[1] in REFUSALS:
        raise Refused(refused[1])
    if text != _WELCOME:
        raise Refused("not_understood")
