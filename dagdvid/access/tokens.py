"""JSON web tokens (RFC 7519), signed with a secret (HMAC): those that DVID takes (server/auth.go), and no others."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from typing import Any

from dagdvid.errors import Forbidden

__all__ = ["HASHES", "sign", "user_of"]

HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}
_LONGEST = 8192


def sign(user: str, secret: str, seconds: float | None = None) -> str:
    """A token for a user; it holds for so many seconds, or for ever."""
    now = int(time.time())
    claims: dict[str, Any] = {"user": user, "iat": now}
    if seconds is not None:
        claims["exp"] = now + int(seconds)
    head = _encode({"alg": "HS256", "typ": "JWT"}) + "." + _encode(claims)
    return head + "." + _base64(hmac.digest(secret.encode(), head.encode(), "sha256"))


def user_of(token: str, secret: str) -> str:
    """The user that a token names.

    Raises:
        Forbidden: it is malformed, signed by somebody else, or does not hold now. (400, as DVID has it.)
    """
    if token.count(".") != 2 or len(token) > _LONGEST:
        raise Forbidden("error parsing JWT: token contains an invalid number of segments")
    head, _, signature = token.rpartition(".")
    fields = _decode(head.partition(".")[0])
    hashing = HASHES.get(str(fields.get("alg")))
    if hashing is None:
        raise Forbidden(f"error parsing JWT: it must be signed with {', '.join(HASHES)}")
    if not secret or not hmac.compare_digest(hmac.digest(secret.encode(), head.encode(), hashing), _bytes(signature)):
        raise Forbidden("error parsing JWT: signature is invalid")
    claims = _decode(head.partition(".")[2])
    now = time.time()
    if _time(claims, "exp", now + 1) <= now:
        raise Forbidden("error parsing JWT: Token is expired")
    if _time(claims, "iat", now) > now:
        raise Forbidden("error parsing JWT: Token used before issued")
    if _time(claims, "nbf", now) > now:
        raise Forbidden("error parsing JWT: Token is not valid yet")
    user = claims.get("user")
    if not isinstance(user, str):
        raise Forbidden("error parsing JWT: its claim 'user' is not a simple string")
    return user


def _time(claims: dict[str, Any], name: str, default: float) -> float:
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Forbidden(f"error parsing JWT: its claim {name!r} is not a time")
    return value


def _encode(fields: dict[str, Any]) -> str:
    return _base64(json.dumps(fields, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(part: str) -> dict[str, Any]:
    try:
        fields = json.loads(_bytes(part))
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise Forbidden("error parsing JWT: a segment is not JSON")
    return fields


def _bytes(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise Forbidden("error parsing JWT: illegal base64 data") from None
