"""Where a caller's own credential is read, and how every copy of it is taken off the request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from config.cel import EvaluationError
from config.policy.headers import fold_name, without_fields
from config.policy.locations import (
    AUTHORIZATION,
    is_cookie,
    parameter_name,
    parameters,
    without_cookies,
    without_parameters,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from config.attributes import RawHeaders, RequestAttributes
    from config.cel import Expression


class SeveralCredentialsError(Exception):
    """The request carries the credential more than once, or in a spelling that not everybody takes for it.

    Which one counts differs from server to server, so none does.
    """


@dataclass(frozen=True, slots=True)
class HeaderExtraction:
    """A header field."""

    name: bytes
    """Lower-cased."""
    prefix: bytes = b""
    """What stands before the credential, compared without case (RFC 9110 section 11.1). A field without it holds
    another kind of credential, which is none here."""

    def read(self, attributes: RequestAttributes) -> bytes | None:
        """Return the credential; none where the field is missing or has another prefix.

        Raises:
            SeveralCredentialsError: the field stands twice, or is written with `_` for `-`.

        """
        folded = fold_name(self.name)
        copies = [pair for pair in attributes.headers if fold_name(pair[0]) == folded]
        if not copies:
            return None
        if len(copies) > 1 or copies[0][0] != self.name:
            raise SeveralCredentialsError
        value, length = copies[0][1], len(self.prefix)
        return value[length:].lstrip(b" ") if value[:length].lower() == self.prefix.lower() else None

    def without(self, headers: Sequence[tuple[bytes, bytes]]) -> RawHeaders:
        """Return header fields without the credential, in whichever spelling of the name."""
        folded = fold_name(self.name)
        return without_fields(headers, (folded,))

    def without_query(self, query: str | None) -> str | None:
        """Return the query as it is."""
        return query


@dataclass(frozen=True, slots=True)
class QueryExtraction:
    """A parameter of the query."""

    name: bytes

    def read(self, attributes: RequestAttributes) -> bytes | None:
        """Return the credential, decoded as a form's; none where there is no such parameter.

        Raises:
            SeveralCredentialsError: it stands twice.

        """
        copies = [part for part in parameters(attributes.query or "") if parameter_name(part) == self.name]
        if len(copies) > 1:
            raise SeveralCredentialsError
        return unquote_to_bytes(copies[0].partition("=")[2].replace("+", " ")) if copies else None

    def without(self, headers: Sequence[tuple[bytes, bytes]]) -> RawHeaders:
        """Return the header fields as they are."""
        return list(headers)

    def without_query(self, query: str | None) -> str | None:
        """Return a query without the parameter, all else byte for byte; none if nothing is left."""
        return (without_parameters(query, (self.name,)) or None) if query else query


@dataclass(frozen=True, slots=True)
class CookieExtraction:
    """A cookie."""

    name: bytes

    def read(self, attributes: RequestAttributes) -> bytes | None:
        """Return the cookie's value, without the quotes around it; none where there is no such cookie.

        Raises:
            SeveralCredentialsError: it stands twice, in one field or in several.

        """
        cookies = [part for name, value in attributes.headers if name == b"cookie" for part in value.split(b";")]
        copies = [part for part in cookies if is_cookie(part, (self.name,))]
        if len(copies) > 1:
            raise SeveralCredentialsError
        if not copies:
            return None
        value = copies[0].partition(b"=")[2].strip(b" \t")
        quoted = len(value) > 1 and value[:1] == value[-1:] == b'"'  # RFC 6265 section 4.1.1
        return value[1:-1] if quoted else value

    def without(self, headers: Sequence[tuple[bytes, bytes]]) -> RawHeaders:
        """Return header fields without the cookie; a field that held nothing else is left out."""
        result: RawHeaders = []
        for name, value in headers:
            rest = without_cookies(value, (self.name,)) if name == b"cookie" else value
            if rest or not value:
                result.append((name, rest))
        return result

    def without_query(self, query: str | None) -> str | None:
        """Return the query as it is."""
        return query


@dataclass(frozen=True, slots=True)
class ExpressionExtraction:
    """What an expression gives. Nothing is taken off the request, as nobody can tell what it was made from."""

    expression: Expression

    def read(self, attributes: RequestAttributes) -> bytes | None:
        """Return the string; none where the expression fails or gives anything else."""
        try:
            value = self.expression.evaluate(attributes)
            return value.encode() if isinstance(value, str) else None
        except (EvaluationError, UnicodeEncodeError):
            return None

    def without(self, headers: Sequence[tuple[bytes, bytes]]) -> RawHeaders:
        """Return the header fields as they are."""
        return list(headers)

    def without_query(self, query: str | None) -> str | None:
        """Return the query as it is."""
        return query


Extraction = HeaderExtraction | QueryExtraction | CookieExtraction | ExpressionExtraction

BEARER = HeaderExtraction(AUTHORIZATION, b"Bearer ")
"""Where a token or key is read unless the manifest says otherwise (RFC 6750 section 2.1)."""
BASIC = HeaderExtraction(AUTHORIZATION, b"Basic ")
"""RFC 7617 section 2."""
