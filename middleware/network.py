"""May this caller connect at all? `frontend.networkAuthorization`, before any HTTP is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.attributes import RequestAttributes
from middleware.errors import IdentityRequiredError, NetworkDeniedError
from middleware.identity import identify

if TYPE_CHECKING:
    from config.policy.authorization import Authorization, Shadow
    from middleware.context import Connection


@dataclass(frozen=True, slots=True)
class NetworkGuard:
    """Judges a connection by who opened it, from where and to where."""

    authorization: Authorization | None
    shadow: Shadow | None
    trust_domains: frozenset[str]

    def check(self, connection: Connection) -> tuple[str, ...]:
        """Return the rules in shadow mode that would have refused a connection.

        A caller without an identity is let through to the layer that answers every request of it with 403.

        Raises:
            NetworkDeniedError: the rules refuse it.

        """
        try:
            peer = identify(connection, self.trust_domains)
        except IdentityRequiredError:
            return ()
        attributes = RequestAttributes(peer, "", "", "", downstream=connection)
        if self.authorization is not None:
            decision = self.authorization.decide(attributes)
            if not decision.allowed:
                raise NetworkDeniedError(decision.explanation)
        return self.shadow.would_deny(attributes) if self.shadow is not None else ()
