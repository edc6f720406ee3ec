"""Secret material: readable only by whoever asks for it by name."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, NoReturn


class SecretValue:
    """A credential, key or password. Its repr and str are masked, so that no log, trace, dump or error can show it.

    It is no dataclass: `dataclasses.asdict` of whatever holds it would lay it open. Nor can it be pickled.
    """

    __slots__ = ("_value", "digest")

    def __init__(self, value: bytes) -> None:
        self._value = value
        self.digest = hashlib.sha256(value).hexdigest()
        """SHA-256 of the value: tells two secrets apart where neither may be shown. Not to be shown itself."""

    def __repr__(self) -> str:
        return "SecretValue(****)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return hmac.compare_digest(self._value, other._value) if isinstance(other, SecretValue) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)

    def __copy__(self) -> SecretValue:
        return self

    def __deepcopy__(self, _: dict[int, Any]) -> SecretValue:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")

    def reveal(self) -> bytes:
        """Return the value, for the one place that sends or loads it."""
        return self._value
