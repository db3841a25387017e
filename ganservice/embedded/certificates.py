"""The certificate by which the parts of one embedded store know each other, and no other user of the machine."""

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ganservice.embedded.home import HOST
from ganservice.files import write_private

# Valid at all times: whether a stack comes up shall not depend on the machine's clock.
FIRST_DAY = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
LAST_DAY = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)


def own_certificate(folder: Path) -> tuple[Path, Path]:
    """Paths of a certificate of `folder`'s own, which is its own authority, and of its key; made at the first call."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    if not (certificate.exists() and key.exists()):
        secret = ec.generate_private_key(ec.SECP256R1())
        # The key first: one that lacks its certificate is made anew.
        write_private(key, secret.private_bytes(*_PEM, serialization.NoEncryption()).decode())
        write_private(certificate, _certificate(secret).public_bytes(serialization.Encoding.PEM).decode())
    return certificate, key


_PEM = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)


def _certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ganservice embedded store")])
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    return (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), FIRST_DAY, LAST_DAY)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=False)
        .sign(key, hashes.SHA256())
    )
