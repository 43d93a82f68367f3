# SPDX-License-Identifier: Apache-2.0
"""TLS between the two relays of a device: version 1.3, both certificates verified, both names compared."""

from __future__ import annotations

import contextlib
import dataclasses
import ssl
from collections.abc import Iterator
from typing import Any

from compute_shim.relay.connection import explained


class UnusableFile(OSError):
    """A certificate or a key cannot be used; the text names the file and the reason."""


class WrongPeer(Exception):
    """The certificate is valid, but belongs to another host; the text says to which."""


@dataclasses.dataclass(frozen=True)
class Credentials:
    """The certificate of this host, its key, and the authority that signs those of all hosts: PEM files.

    They are read for each connection, so a certificate can be replaced while a connection is in use.
    """

    cert: str
    key: str
    ca: str

    def server_context(self) -> ssl.SSLContext:
        """For the side that listens.

        :raises UnusableFile: a file cannot be read, or is malformed
        """
        context = self._context(ssl.PROTOCOL_TLS_SERVER)
        # A resumed session would be one whose certificate was verified in the past.
        context.num_tickets = 0
        return context

    def client_context(self) -> ssl.SSLContext:
        """For the side that connects; raises as `server_context`."""
        return self._context(ssl.PROTOCOL_TLS_CLIENT)

    def _context(self, protocol: int) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        # `refuse_other` compares the name, the same way on both sides.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        with _named(self.ca):
            context.load_verify_locations(self.ca)
        with _named(f"{self.cert} with {self.key}"):
            # An encrypted key is an error; without a password OpenSSL would ask for it on the terminal.
            context.load_cert_chain(self.cert, self.key, password="")
        return context


@contextlib.contextmanager
def _named(files: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # OpenSSL's "PEM lib", which has no reason.
        malformed = isinstance(error, ssl.SSLError) and not error.reason
        raise UnusableFile(f"{files}: {'not readable as PEM' if malformed else explained(error)}") from None


def refuse_other(certificate: dict[str, Any], name: str) -> None:
    """Compare a verified certificate with the name of a host.

    The whole name has to be one of its DNS names (RFC 5280, 4.2.1.6), regardless of case; wildcards and the
    subject's common name do not count.

    :param certificate: as `ssl.SSLSocket.getpeercert` returns it.
    :raises WrongPeer: it belongs to another host
    """
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    if name.lower() not in (value.lower() for value in names):
        shown = ", ".join(ascii(value[:64]) for value in names[:4]) or "no host"
        raise WrongPeer(f"its certificate is for {shown}, not for {name!r}")
