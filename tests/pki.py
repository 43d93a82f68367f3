# SPDX-License-Identifier: Apache-2.0
"""Certificates for tests, good ones and bad ones."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from compute_shim.relay.credentials import Credentials

_NOW = datetime.datetime.now(datetime.UTC)
_DAY = datetime.timedelta(days=1)


class Authority:
    """A certificate authority, whose files are in a directory of their own."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory / name
        self._directory.mkdir(parents=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        certificate = (
            self._builder(self._name, self._key, _NOW + 400 * _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self._file = self._write("ca.pem", certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        host: str,
        *names: str,
        common_name: str = "",
        expired: bool = False,
        days: int = 1,
        trusts: Authority | None = None,
    ) -> Credentials:
        """A certificate of a host, with its key.

        :param host: what the files are called.
        :param names: DNS names of the certificate; without any, it has no subjectAltName.
        :param days: how long it is valid.
        :param trusts: the authority whose certificates this host accepts, another one than its own.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        end = _NOW - _DAY if expired else _NOW + days * _DAY
        builder = self._builder(_name(common_name or host), key, end)
        if names:
            alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
            builder = builder.add_extension(alternatives, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Credentials(
            self._write(f"{host}.pem", certificate.public_bytes(serialization.Encoding.PEM)),
            self._write(f"{host}-key.pem", private),
            (trusts or self)._file,
        )

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, end: datetime.datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_NOW - 10 * _DAY)
            .not_valid_after(end)
        )

    def _write(self, name: str, content: bytes) -> str:
        file = self._directory / name
        file.write_bytes(content)
        return str(file)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
