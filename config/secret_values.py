"""Secret material: readable only by whoever asks for it by name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SecretValue:
    """A credential, key or password. Its repr and str are masked, so that no log, trace, dump or error can show it."""

    _value: bytes = field(repr=False)
    digest: str = field(init=False, repr=False, compare=False)
    """SHA-256 of the value: tells two secrets apart where neither may be shown. Not to be shown itself."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", hashlib.sha256(self._value).hexdigest())

    def __repr__(self) -> str:
        return "SecretValue(****)"

    __str__ = __repr__

    def reveal(self) -> bytes:
        """Return the value, for the one place that sends or loads it."""
        return self._value
