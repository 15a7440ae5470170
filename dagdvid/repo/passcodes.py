"""Passcodes of repos, as DVID has them: said to rename or delete. Kept scrambled, on this server alone."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from dagdvid.errors import Forbidden
from dagdvid.objects.local.database import Database

__all__ = ["check", "scrambled"]

_SALT = 16


def scrambled(passcode: str, salt: bytes = b"") -> tuple[bytes, bytes]:
    """Salt and hash of a passcode."""
    salt = salt or secrets.token_bytes(_SALT)
    return salt, hashlib.scrypt(passcode.encode(), salt=salt, n=2**14, r=8, p=1)


def check(database: Database, repo: int, passcode: str) -> None:
    """Raises Forbidden: the repo has a passcode, and it is not this."""
    for salt, stored in database.rows("SELECT salt, hash FROM passcodes WHERE repo = ?", (repo,)):
        if not hmac.compare_digest(scrambled(passcode, salt)[1], stored):
            raise Forbidden("this needs the passcode of the repo, which was set when it was made")
