"""The lines of an htpasswd file: which hashes are taken, and how a password is compared with one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import Final

import bcrypt
from passlib.handlers.md5_crypt import apr_md5_crypt
from passlib.handlers.sha2_crypt import sha256_crypt, sha512_crypt

MAX_PASSWORD_BYTES: Final = 1024
"""The crypt schemes' cost grows with the password's length, which the caller chooses."""
MAX_BCRYPT_COST: Final = 14
"""About a second of one processor."""
MAX_ROUNDS: Final = 1_000_000
"""Of SHA-crypt: about half a second."""

_BCRYPT_PASSWORD_BYTES: Final = 72
"""bcrypt reads no further: a longer password would have many that pass for it."""
_SALTED = r"[./0-9A-Za-z]"
_SCHEMES: Final = {
    "bcrypt": re.compile(rf"\$2[aby]\$(?P<cost>\d\d)\${_SALTED}{{53}}"),
    "apr1": re.compile(rf"\$apr1\${_SALTED}{{1,8}}\${_SALTED}{{22}}"),
    "sha1": re.compile(r"\{SHA\}[A-Za-z0-9+/]{27}="),
    "sha256-crypt": re.compile(rf"\$5\$(?:rounds=(?P<rounds>\d{{4,9}})\$)?{_SALTED}{{0,16}}\${_SALTED}{{43}}"),
    "sha512-crypt": re.compile(rf"\$6\$(?:rounds=(?P<rounds>\d{{4,9}})\$)?{_SALTED}{{0,16}}\${_SALTED}{{86}}"),
}
_HANDLERS: Final = {"apr1": apr_md5_crypt, "sha256-crypt": sha256_crypt, "sha512-crypt": sha512_crypt}


class UnusableHashError(Exception):
    """A hash cannot be used. The message quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """A stored password."""

    scheme: str
    _text: str = field(repr=False)

    def identify(self, key: bytes, password: bytes) -> bytes:
        """Return what this hash and a password are remembered by: nothing can be told from it without the key."""
        return hmac.digest(key, self._text.encode() + b"\0" + password, "sha256")

    def verify(self, password: bytes) -> bool:
        """Tell whether this is the password. It is slow on purpose: call it in a thread."""
        if len(password) > MAX_PASSWORD_BYTES or b"\0" in password:
            return False
        if self.scheme == "bcrypt":
            try:
                return len(password) <= _BCRYPT_PASSWORD_BYTES and bcrypt.checkpw(password, self._text.encode())
            except ValueError:  # a salt whose last character has bits that no salt has
                return False
        if self.scheme == "sha1":
            digest = hashlib.sha1(password, usedforsecurity=False).digest()
            return hmac.compare_digest(digest, base64.b64decode(self._text.removeprefix("{SHA}")))
        return bool(_HANDLERS[self.scheme].verify(password, self._text))


def parse_hash(text: str) -> PasswordHash:
    """Read the part of an htpasswd line that follows the name.

    Raises:
        UnusableHashError: plain text or a scheme that is not taken, or one that would cost too much.

    """
    for scheme, pattern in _SCHEMES.items():
        if (match := pattern.fullmatch(text)) is None:
            continue
        found = match.groupdict()
        if int(found.get("cost") or 0) > MAX_BCRYPT_COST or int(found.get("rounds") or 0) > MAX_ROUNDS:
            raise UnusableHashError(f"a bcrypt cost above {MAX_BCRYPT_COST}, or more than {MAX_ROUNDS} rounds")
        if (handler := _HANDLERS.get(scheme)) is not None:
            try:
                handler.from_string(text)
            except ValueError:  # of what the pattern lets pass, leading zeros in the rounds for example
                break
        return PasswordHash(scheme, text)
    raise UnusableHashError("no hash of the schemes bcrypt, $apr1$, {SHA}, $5$ or $6$")
