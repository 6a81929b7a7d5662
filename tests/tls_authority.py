"""An authority that issues whatever it is asked for, wrong certificates above all."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
DAY = datetime.timedelta(days=1)
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
PEM = serialization.Encoding.PEM


@cache
def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def name_of(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Issued:
    """A certificate, its key, and who is above it."""

    def __init__(self, certificate: x509.Certificate, key: Any, issuer: Issued | None) -> None:
        self.certificate, self.key, self.issuer = certificate, key, issuer

    @property
    def chain(self) -> list[x509.Certificate]:
        """From this one up to below the root."""
        chain, at = [], self
        while at.issuer is not None:
            chain.append(at.certificate)
            at = at.issuer
        return chain

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(PEM)

    @property
    def chain_pem(self) -> bytes:
        return b"".join(certificate.public_bytes(PEM) for certificate in self.chain)

    @property
    def key_pem(self) -> bytes:
        return self.encrypted_key(serialization.NoEncryption())

    def encrypted_key(self, encryption: serialization.KeySerializationEncryption) -> bytes:
        return bytes(self.key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, encryption))

    def issue(
        self,
        *names: str,
        common_name: str = "",
        start: datetime.datetime = NOW - DAY,
        end: datetime.datetime = NOW + DAY,
        uses: Iterable[x509.ObjectIdentifier] = (SERVER,),
        is_ca: bool = False,
        constraints: x509.NameConstraints | None = None,
        key: Any = None,
    ) -> Issued:
        key = key or ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name_of(common_name or (names[0] if names else "nobody")), key, start, end)
        builder = builder.issuer_name(self.certificate.subject)
        builder = builder.add_extension(x509.BasicConstraints(is_ca, None), critical=True)
        if is_ca:
            builder = builder.add_extension(_usage(is_ca=True), critical=True)
        elif uses:
            builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([general(name) for name in names]), critical=False)
        if constraints is not None:
            builder = builder.add_extension(constraints, critical=True)
        return Issued(builder.sign(self.key, hashes.SHA256()), key, self)

    def revoke(self, *revoked: Issued, end: datetime.datetime = NOW + DAY) -> bytes:
        """A list of them, as PEM."""
        builder = x509.CertificateRevocationListBuilder()
        builder = builder.issuer_name(self.certificate.subject).last_update(NOW - DAY).next_update(end)
        for one in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number).revocation_date(NOW - DAY)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(PEM)

    def ocsp_response(
        self,
        about: Issued,
        status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
        *,
        end: datetime.datetime = NOW + DAY,
        signer: Issued | None = None,
    ) -> bytes:
        """What it says about one of its certificates, as DER."""
        signer = signer or self
        revoked = status == ocsp.OCSPCertStatus.REVOKED
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=about.certificate,
            issuer=self.certificate,
            algorithm=hashes.SHA1(),
            cert_status=status,
            this_update=NOW - DAY * 2,
            next_update=end,
            revocation_time=NOW - DAY if revoked else None,
            revocation_reason=None,
        )
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.NAME, signer.certificate)
        return builder.sign(signer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def _builder(subject: x509.Name, key: Any, start: datetime.datetime, end: datetime.datetime) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).public_key(key.public_key())
    return builder.serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)


def _usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(not is_ca, False, False, False, False, is_ca, is_ca, False, False)


def authority(name: str = "authority", key: Any = None) -> Issued:
    """A root."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = _builder(name_of(name), key, NOW - DAY * 30, NOW + DAY * 30).issuer_name(name_of(name))
    builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    builder = builder.add_extension(_usage(is_ca=True), critical=True)
    return Issued(builder.sign(key, hashes.SHA256()), key, None)


def self_signed(name: str) -> Issued:
    """One that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(name_of(name), key, NOW - DAY, NOW + DAY).issuer_name(name_of(name))
    builder = builder.add_extension(x509.SubjectAlternativeName([general(name)]), critical=False)
    return Issued(builder.sign(key, hashes.SHA256()), key, None)
