"""A certificate of ours, with its key and what belongs to it.

Envoy: `Ssl::TlsCertificateConfigImpl` (`source/common/ssl/tls_certificate_config_impl.cc`);
`envoy.extensions.transport_sockets.tls.v3.TlsCertificate`.

Keys are handed to OpenSSL through a file in memory, never through one on a disk, and are shown to nobody.
"""

from __future__ import annotations

import ssl
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from ....config.data_source import read_data_source
from ....config.fields import honours
from ....errors import ConfigError
from ....network.memory_file import MemoryFile
from ....network.x509 import DNS, Certificate, certificates_of

if TYPE_CHECKING:
    from .ocsp import OcspResponse

_TYPE: Final = "envoy.extensions.transport_sockets.tls.v3.TlsCertificate"
_ECDSA: Final = "1.2.840.10045.2.1"
_CURVES: Final = ("1.2.840.10045.3.1.7", "1.3.132.0.34", "1.3.132.0.35")
"""P-256, P-384 and P-521."""
_LEAST_BITS: Final = 2048
_DIGITAL_SIGNATURE: Final = 0x80

honours(
    _TYPE,
    "certificate_chain",
    "private_key",
    "pkcs12",
    "password",
    "ocsp_staple",
    "watched_directory",
    "tls_params",
    ignored={"signed_certificate_timestamp": "Envoy does not read them either"},
)
honours("envoy.config.core.v3.WatchedDirectory", "path")


class TlsCertificate:
    """A certificate with its chain, and what proves that it is ours.

    Attributes:
        chain: PEM.
        certificate: the first of it.
        staple: an OCSP response for clients that ask for one; None if there is none.
        own_parameters: a `TlsParameters` message; what it says comes before what the context says, for a server.
    """

    def __init__(self, config: Any, path: str) -> None:
        self.path = path
        self.staple: OcspResponse | None = None
        self.own_parameters = config.tls_params if config.HasField("tls_params") else None
        self._password: bytes | None = None
        if config.HasField("pkcs12"):
            self._read_password(config)
            self._read_pkcs12(config)
        else:
            self.source = config.certificate_chain.filename or "<inline>"
            self._key_source = config.private_key.filename or "<inline>"
            self.chain = read_data_source(config.certificate_chain, f"{path}.certificate_chain")
            if not self.chain:
                raise ConfigError(
                    f"Failed to load incomplete certificate from {config.certificate_chain.filename}: "
                    "certificate chain not set",
                    f"{path}.certificate_chain",
                )
            self._key = read_data_source(config.private_key, f"{path}.private_key")
            if not self._key:
                raise ConfigError(
                    f"Failed to load incomplete private key from path: {config.private_key.filename}",
                    f"{path}.private_key",
                )
            self._read_password(config)
        try:
            self.certificate: Certificate = certificates_of(self.chain)[0]
        except (ValueError, IndexError):
            raise ConfigError(
                f"Failed to load certificate chain from {self.source}", f"{path}.certificate_chain"
            ) from None
        self._check_key()
        if config.HasField("ocsp_staple"):
            self._read_staple(config.ocsp_staple)

    def __repr__(self) -> str:
        return f"<TlsCertificate {self.certificate.subject}>"  # never the key

    @cached_property
    def key_kind(self) -> str:
        """OID of the algorithm that its key is for."""
        return self.certificate.algorithm.partition(" ")[0]

    @cached_property
    def curve(self) -> str:
        """OID of the curve of an ECDSA key; empty for other keys."""
        kind, _, curve = self.certificate.algorithm.partition(" ")
        return curve if kind == _ECDSA else ""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The server names that it is for."""
        certificate = self.certificate
        if certificate.has_subject_alt_names:
            return certificate.names(DNS)
        return tuple(filter(None, (certificate.common_name,)))

    def load_into(self, context: ssl.SSLContext) -> None:
        """Raises ConfigError."""
        with MemoryFile(self.chain.rstrip() + b"\n" + self._key) as name:
            try:
                # Without a password OpenSSL would ask at the terminal.
                context.load_cert_chain(name, password=lambda: self._password or b"\0")
            except (ssl.SSLError, ValueError) as error:
                if "MISMATCH" in (getattr(error, "reason", "") or ""):
                    raise self.mismatch() from None
                raise self._unusable_key() from None

    def private_key(self) -> Any:
        """As `cryptography` has it.

        Raises:
            ConfigError: it can not be read.
        """
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            return load_pem_private_key(self._key, self._password if b"ENCRYPTED" in self._key else None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise self._unusable_key() from None

    def mismatch(self) -> ConfigError:
        return ConfigError(
            f"Failed to load private key from {self._key_source}, Cause: key values mismatch",
            f"{self.path}.private_key",
        )

    # -- inside

    def _unusable_key(self) -> ConfigError:
        encrypted = b"ENCRYPTED" in self._key
        cause = "" if not encrypted else ", Cause: wrong password" if self._password else ", Cause: no password"
        return ConfigError(f"Failed to load private key from {self._key_source}{cause}", f"{self.path}.private_key")

    def _check_key(self) -> None:
        """What Envoy takes, whatever OpenSSL would."""
        problem = f"Failed to load certificate chain from {self.source}"
        path = f"{self.path}.certificate_chain"
        if 0 < self.certificate.rsa_bits < _LEAST_BITS:
            raise ConfigError(
                f"{problem}, only RSA certificates with {_LEAST_BITS}-bit or larger keys are supported", path
            )
        usage = self.certificate.key_usage
        if self.key_kind == _ECDSA and (
            self.curve not in _CURVES or (usage is not None and not usage & _DIGITAL_SIGNATURE)
        ):
            raise ConfigError(problem, path)

    def _read_password(self, config: Any) -> None:
        if config.HasField("password"):
            self._password = read_data_source(config.password, f"{self.path}.password")

    def _read_pkcs12(self, config: Any) -> None:
        for other in ("private_key_provider", "private_key", "certificate_chain"):
            if config.HasField(other):
                raise ConfigError(f"Certificate configuration can't have both pkcs12 and {other}", self.path)
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

        self.source = self._key_source = config.pkcs12.filename or "<inline>"
        data = read_data_source(config.pkcs12, f"{self.path}.pkcs12", allow_empty=False)
        try:
            key, own, others = pkcs12.load_key_and_certificates(data, self._password or b"")
        except ValueError:
            key = own = None
            others = []
        if key is None or own is None:
            raise ConfigError(f"Failed to load pkcs12 from {self.source}", f"{self.path}.pkcs12")
        self.chain = b"".join(each.public_bytes(Encoding.PEM) for each in (own, *others))
        self._key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self._password = None

    def _read_staple(self, source: Any) -> None:
        from .ocsp import OcspResponse

        path = f"{self.path}.ocsp_staple"
        if source.WhichOneof("specifier") == "inline_string":
            raise ConfigError("OCSP staple cannot be provided via inline_string", path)
        data = read_data_source(source, path)
        if data:
            self.staple = OcspResponse(data, path)
            if self.staple.serial_number != self.certificate.serial_number:
                raise ConfigError("OCSP response does not match its TLS certificate", path)


def read_certificates(config: Any, path: str) -> list[TlsCertificate]:
    """Those of a `CommonTlsContext`."""
    return [TlsCertificate(each, f"{path}.tls_certificates[{at}]") for at, each in enumerate(config.tls_certificates)]
