"""Client authentication on top of the mTLS identity: how it is asked for, basic authentication and API keys."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from config.policy.extraction import BASIC, BEARER, HeaderExtraction
from config.policy.locations import AUTHORIZATION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from config.policy.extraction import Extraction
    from config.policy.passwords import PasswordHash
    from config.secret_values import SecretValue

DEFAULT_REALM: Final = "Restricted"
"""AgentGateway's."""
MASKED: Final = "<redacted>"
"""What policies see in the place of an API key."""


class Mode(StrEnum):
    """What becomes of a request without a valid credential."""

    STRICT = "Strict"
    """Refused."""
    OPTIONAL = "Optional"
    """Refused if it carries an invalid one."""
    PERMISSIVE = "Permissive"
    """Let through, with nothing known of the credential."""


class CredentialRefusedError(Exception):
    """A credential is not valid. The message names the class of the reason and no value."""


@dataclass(frozen=True, slots=True)
class BasicAuthentication:
    """`basicAuthentication`."""

    mode: Mode
    users: Mapping[str, PasswordHash] = field(repr=False)
    """Name to password; empty: nobody is let in."""
    realm: str = DEFAULT_REALM
    location: Extraction | None = BASIC
    """None: the location has a fault, and nobody is let in."""
    _stored: tuple[PasswordHash, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_stored", tuple(self.users.values()))

    @property
    def challenge(self) -> bytes:
        """`WWW-Authenticate` (RFC 7617 section 2)."""
        return f'Basic realm="{self.realm}"'.encode()

    @property
    def rejection(self) -> bytes:
        """The same: RFC 7617 has no word for a wrong password."""
        return self.challenge

    def find(self, name: str) -> tuple[PasswordHash, bool]:
        """Return the password to compare with, and whether the user exists.

        For an unknown name it is somebody's, so that the answer takes as long. The names' hashes differ from process to
        process, so that nobody can tell from outside which one.

        Raises:
            CredentialRefusedError: there is no user at all.

        """
        if (stored := self.users.get(name)) is not None:
            return stored, True
        if not self._stored:
            raise CredentialRefusedError("wrong user or password")
        return self._stored[hash(name) % len(self._stored)], False


@dataclass(frozen=True, slots=True)
class ApiKeyAuthentication:
    """`apiKeyAuthentication`."""

    mode: Mode
    keys: Mapping[str, dict[str, Any]] = field(repr=False)
    """SHA-256 of a key, in hexadecimal digits, to what policies see of it; empty: nobody is let in."""
    location: Extraction | None = BEARER
    """None: the location has a fault, and nobody is let in."""

    @property
    def challenge(self) -> bytes:
        """`WWW-Authenticate`: a 401 needs one (RFC 9110 section 15.5.2), and API keys have no registered scheme."""
        if isinstance(self.location, HeaderExtraction) and self.location.name == AUTHORIZATION:
            return self.location.prefix.split(b" ")[0] or b"ApiKey"
        return b"ApiKey"

    @property
    def rejection(self) -> bytes:
        """The same."""
        return self.challenge

    def find(self, key: SecretValue) -> dict[str, Any]:
        """Return the metadata of a key.

        It is looked up by its digest: what the time of a look-up tells about a digest helps nobody to guess a key.

        Raises:
            CredentialRefusedError: nobody was given this key.

        """
        if (found := self.keys.get(key.digest)) is None:
            raise CredentialRefusedError("unknown key")
        return found


def parse_basic(credential: bytes) -> tuple[str, bytes]:
    """Return user and password of basic credentials (RFC 7617 section 2).

    Raises:
        CredentialRefusedError: not base64 of a name in UTF-8, a colon and a password.

    """
    try:
        name, colon, password = base64.b64decode(credential, validate=True).partition(b":")
        user = name.decode()
    except (binascii.Error, UnicodeDecodeError):
        raise CredentialRefusedError("malformed credentials") from None
    if not colon or not user.isprintable():
        raise CredentialRefusedError("malformed credentials")
    return user, password
