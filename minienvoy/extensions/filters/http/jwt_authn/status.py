"""What can be wrong with a token, or with keys: a number for metadata, and a text for the client.

Envoy: `JwtVerify::Status`, `JwtVerify::getStatusString`.
"""

from __future__ import annotations

from enum import Enum


class Status(Enum):
    """`code` is Envoy's number."""

    def __new__(cls, text: str) -> Status:
        made = object.__new__(cls)
        made._value_ = len(cls.__members__)
        made.text = text
        return made

    text: str

    @property
    def code(self) -> int:
        return int(self.value)

    OK = "OK"
    MISSED = "Jwt is missing"
    NOT_YET_VALID = "Jwt not yet valid"
    EXPIRED = "Jwt is expired"
    BAD_FORMAT = "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"
    HEADER_BAD_BASE64 = "Jwt header is an invalid Base64url encoded"
    HEADER_BAD_JSON = "Jwt header is an invalid JSON"
    HEADER_BAD_ALG = "Jwt header [alg] field is required and must be a string"
    HEADER_NOT_IMPLEMENTED_ALG = "Jwt header [alg] is not supported"
    HEADER_BAD_KID = "Jwt header [kid] field is not a string"
    PAYLOAD_BAD_BASE64 = "Jwt payload is an invalid Base64url encoded"
    PAYLOAD_BAD_JSON = "Jwt payload is an invalid JSON"
    ISS_NOT_STRING = "Jwt payload [iss] field is not a string"
    SUB_NOT_STRING = "Jwt payload [sub] field is not a string"
    IAT_NOT_INTEGER = "Jwt payload [iat] field is not an integer"
    IAT_OUT_OF_RANGE = "Jwt payload [iat] field is not a positive 64 bit integer"
    NBF_NOT_INTEGER = "Jwt payload [nbf] field is not an integer"
    NBF_OUT_OF_RANGE = "Jwt payload [nbf] field is not a positive 64 bit integer"
    EXP_NOT_INTEGER = "Jwt payload [exp] field is not an integer"
    EXP_OUT_OF_RANGE = "Jwt payload [exp] field is not a positive 64 bit integer"
    JTI_NOT_STRING = "Jwt payload [jti] field is not a string"
    AUD_NOT_STRING = "Jwt payload [aud] field is not a string or string list"
    SIGNATURE_BAD_BASE64 = "Jwt signature is an invalid Base64url encoded"
    ED25519_SIGNATURE_WRONG_LENGTH = "Jwt ED25519 signature is wrong length"
    UNKNOWN_ISSUER = "Jwt issuer is not configured"
    AUDIENCE_NOT_ALLOWED = "Audiences in Jwt are not allowed"
    VERIFICATION_FAIL = "Jwt verification fails"
    MULTIPLE_TOKENS = "Found multiple Jwt tokens"
    KEYS_BAD_JSON = "Jwks is an invalid JSON"
    NO_KEYS = "Jwks does not have [keys] field"
    BAD_KEYS = "[keys] in Jwks is not an array"
    NO_VALID_KEYS = "Jwks doesn't have any valid public key"
    KID_ALG_MISMATCH = "Jwks doesn't have key to match kid or alg from Jwt"
    RSA_PARSE_ERROR = "Jwks RSA [n] or [e] field is missing or has a parse error"
    EC_CREATE_KEY_FAIL = "Jwks EC create key fail"
    EC_BAD_BASE64 = "Jwks EC [x] or [y] field is an invalid Base64."
    EC_PARSE_ERROR = "Jwks EC [x] and [y] fields have a parse error."
    OCT_BAD_BASE64 = "Jwks Oct key is an invalid Base64"
    OKP_BAD_BASE64 = "Jwks OKP [x] field is an invalid Base64."
    OKP_WRONG_LENGTH = "Jwks OKP [x] field is wrong length."
    FETCH_FAIL = "Jwks remote fetch is failed"
    MISSING_KTY = "[kty] is missing in [keys]"
    BAD_KTY = "[kty] is bad in [keys]"
    NOT_IMPLEMENTED_KTY = "[kty] is not supported in [keys]"
    RSA_BAD_ALG = "[alg] is not started with [RS] or [PS] for an RSA key"
    RSA_MISSING_N = "[n] field is missing for a RSA key"
    RSA_BAD_N = "[n] field is not string for a RSA key"
    RSA_MISSING_E = "[e] field is missing for a RSA key"
    RSA_BAD_E = "[e] field is not string for a RSA key"
    EC_BAD_ALG = "[alg] is not started with [ES] for an EC key"
    EC_BAD_CRV = "[crv] field is not string for an EC key"
    EC_UNSUPPORTED = "[crv] or [alg] field is not supported for an EC key"
    EC_INCOMPATIBLE = "[crv] field specified is not compatible with [alg] for an EC key"
    EC_MISSING_X = "[x] field is missing for an EC key"
    EC_BAD_X = "[x] field is not string for an EC key"
    EC_MISSING_Y = "[y] field is missing for an EC key"
    EC_BAD_Y = "[y] field is not string for an EC key"
    HMAC_BAD_ALG = "[alg] does not start with [HS] for an HMAC key"
    HMAC_MISSING_K = "[k] field is missing for an HMAC key"
    HMAC_BAD_K = "[k] field is not string for an HMAC key"
    OKP_BAD_ALG = "[alg] is not [EdDSA] for an OKP key"
    OKP_MISSING_CRV = "[crv] field is missing for an OKP key"
    OKP_BAD_CRV = "[crv] field is not string for an OKP key"
    OKP_UNSUPPORTED = "[crv] field is not supported for an OKP key"
    OKP_MISSING_X = "[x] field is missing for an OKP key"
    OKP_BAD_X = "[x] field is not string for an OKP key"
    X509_WRITE_ERROR = "X509 parse pubkey internal fails: memory allocation"
    X509_PARSE_ERROR = "X509 parse pubkey fails"
    X509_NO_KEY = "X509 parse pubkey internal fails: get pubkey"


class Refusal(Exception):
    """A token or a set of keys can not be used."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.text)
        self.status = status
