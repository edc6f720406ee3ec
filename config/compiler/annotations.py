"""What annotations of ours say about a policy: how it is enforced, what an error means, until when it holds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from config.compiler.place import Place

PREFIX: Final = "egress-gateway.dev/"
MODE: Final = f"{PREFIX}mode"
ON_ERROR: Final = f"{PREFIX}on-error"
EXPIRES_AT: Final = f"{PREFIX}expires-at"


@dataclass(frozen=True, slots=True)
class Enforcement:
    """How a policy is enforced."""

    shadow: bool = False
    """Evaluated and logged as "would deny", never enforced."""
    ignores_errors: bool = False
    """A Deny that fails does not hold."""
    expires: float = math.inf
    """From this Unix time on the policy is not in force."""
    expires_clearly: bool = True
    """False: the time could not be read, so the policy gives nothing and still denies."""

    def allows(self, now: float) -> bool:
        """Tell whether what the policy allows still holds."""
        return self.expires_clearly and now < self.expires

    def restricts(self, now: float) -> bool:
        """Tell whether everything else of it still holds."""
        return now < self.expires


def enforcement(place: Place) -> Enforcement:
    """Read the annotations of a policy. One that cannot be read is a fault, and the stricter meaning is in force."""
    metadata = place.parsed.model.metadata
    annotations: dict[str, str] = metadata.annotations

    def value(name: str, allowed: tuple[str, ...], message: str) -> str | None:
        given = annotations.get(name)
        if given is not None and given not in allowed:
            place.at("metadata", "annotations", name).error("invalid-annotation", message)
            return None
        return given

    mode = value(MODE, ("enforce", "shadow"), f"{MODE} is enforce or shadow")
    on_error = value(ON_ERROR, ("deny", "ignore"), f"{ON_ERROR} is deny or ignore, on a Deny rule")
    spec = place.parsed.model.spec
    if on_error is not None and not _has_deny(spec):
        here = place.at("metadata", "annotations", ON_ERROR)
        here.error("invalid-annotation", f"{ON_ERROR} is deny or ignore, on a Deny rule")
        on_error = None
    expires, clearly = math.inf, True
    if (text := annotations.get(EXPIRES_AT)) is not None:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            here = place.at("metadata", "annotations", EXPIRES_AT)
            here.error("invalid-annotation", f"{EXPIRES_AT} is a time with its zone, such as 2027-01-31T12:00:00Z")
            clearly = False
        else:
            expires = moment.timestamp()
    return Enforcement(mode == "shadow", on_error == "ignore", expires, clearly)


def _has_deny(spec: object) -> bool:
    traffic, frontend = getattr(spec, "traffic", None), getattr(spec, "frontend", None)
    blocks = (getattr(traffic, "authorization", None), getattr(frontend, "network_authorization", None))
    return any(block is not None and block.action == "Deny" for block in blocks)
