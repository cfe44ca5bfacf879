"""A certificate for one run: whoever has it belongs to the run. Key and certificate are kept in memory only."""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# A clock that is set back during a run must not end it.
_VALID = datetime.timedelta(days=3650)


def certificate() -> tuple[str, str]:
    """(certificate, private key) in PEM, signed by itself. An elliptic curve's key takes a millisecond to make, where
    RSA's takes a tenth of a second."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tiler")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    signed = builder.not_valid_before(now - _VALID).not_valid_after(now + _VALID).sign(key, hashes.SHA256())
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
    return signed.public_bytes(encoding).decode(), private.decode()
