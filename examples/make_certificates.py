"""Make an authority, and certificates for a server and a client, to try TLS with.

    python make_certificates.py [--folder .] [--name example.test ...] [--days 30] [--password secret]

Writes, as PEM: ca.pem and ca-key.pem, the authority; cert.pem, key.pem and server.csr, the server's; client.pem and
client-key.pem; self-signed.pem, which nobody has signed but itself; and server.p12, cert.pem and key.pem as PKCS#12. Keys are
encrypted where there is a password. Needs the library "cryptography" (pip install cryptography); where one certificate for
localhost will do, the openssl command in README.md makes it under the same names.
"""

from __future__ import annotations

import argparse
import datetime
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PEM = serialization.Encoding.PEM
Key = ec.EllipticCurvePrivateKey
MOST_DAYS = 36500


def name_of(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def alternatives(names: list[str]) -> x509.SubjectAlternativeName:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return x509.SubjectAlternativeName(found)


def request_for(key: Key, names: list[str]) -> x509.CertificateSigningRequest:
    """What a server sends to an authority: its name and its key, and the proof that it has that."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(name_of(names[0]))
    return builder.add_extension(alternatives(names), critical=False).sign(key, hashes.SHA256())


class Authority:
    """Signs what it is asked to."""

    def __init__(self, days: int) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.days = days
        self.subject = name_of("an authority for tests")
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = self._builder(self.subject, self.key.public_key()).issuer_name(self.subject)
        builder = builder.add_extension(x509.BasicConstraints(True, 0), critical=True).add_extension(usage, critical=True)
        self.certificate = builder.sign(self.key, hashes.SHA256())

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).public_key(key).serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(
            now + datetime.timedelta(days=self.days)
        )

    def sign(self, request: x509.CertificateSigningRequest, use: x509.ObjectIdentifier) -> x509.Certificate:
        public = request.public_key()
        if not request.is_signature_valid or not isinstance(public, ec.EllipticCurvePublicKey):
            raise ValueError("whoever asks doesn't have that key")
        builder = self._builder(request.subject, public).issuer_name(self.subject)
        for extension in request.extensions:
            builder = builder.add_extension(extension.value, critical=extension.critical)
        builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
        return builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False).sign(self.key, hashes.SHA256())


def self_signed(key: Key, names: list[str], days: int) -> x509.Certificate:
    """One that is its own authority: clients must have it as such."""
    now = datetime.datetime.now(datetime.UTC)
    subject = name_of(names[0])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=days)).add_extension(alternatives(names), critical=False)
    return builder.sign(key, hashes.SHA256())


def save_secret(path: Path, data: bytes) -> None:
    """Nobody but its owner may read it, from the beginning."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)


def make(folder: Path, names: list[str], days: int, password: str | None) -> None:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password.encode())
    folder.mkdir(parents=True, exist_ok=True)

    authority = Authority(days)
    server_key, client_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    request = request_for(server_key, names)
    server = authority.sign(request, ExtendedKeyUsageOID.SERVER_AUTH)
    client = authority.sign(request_for(client_key, ["a client"]), ExtendedKeyUsageOID.CLIENT_AUTH)
    for file, key in (("ca-key", authority.key), ("key", server_key), ("client-key", client_key)):
        data = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, encryption)
        save_secret(folder / f"{file}.pem", data)
    own = self_signed(server_key, names, days)
    for file, certificate in (("ca", authority.certificate), ("cert", server), ("client", client), ("self-signed", own)):
        (folder / f"{file}.pem").write_bytes(certificate.public_bytes(PEM))
    (folder / "server.csr").write_bytes(request.public_bytes(PEM))
    store = pkcs12.serialize_key_and_certificates(b"server", server_key, server, [authority.certificate], encryption)
    save_secret(folder / "server.p12", store)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make certificates to try TLS with.")
    parser.add_argument("--folder", type=Path, default=Path("."), help="where to write them")
    parser.add_argument("--name", action="append", help="what the server is called; may be given again (*.example.test)")
    parser.add_argument("--days", type=int, default=30, help="how long they are valid")
    parser.add_argument("--password", help="what keys are encrypted with; none: they aren't")
    options = parser.parse_args()
    if not 1 <= options.days <= MOST_DAYS:
        parser.error(f"--days must be from 1 to {MOST_DAYS}, not {options.days}")
    names = options.name or ["example.test", "*.example.test", "localhost", "127.0.0.1", "::1"]
    try:
        make(options.folder, names, options.days, options.password)
    except (OSError, ValueError) as error:
        raise SystemExit(f"can't make certificates for {', '.join(names)} in {options.folder}: {error}") from None
    print(f"wrote certificates for {', '.join(names)} to {options.folder}/")


if __name__ == "__main__":
    main()
