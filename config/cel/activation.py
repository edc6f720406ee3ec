"""Request attributes as the values that an expression reads."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from celpy import celtypes
from celpy.evaluation import CELEvalError

from config.cel.environment import NULL_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from config.attributes import Peer, RequestAttributes


class RepeatedHeaderError(CELEvalError):
    """A header that occurs several times, where only one value can be judged."""


def activation(attributes: RequestAttributes, *, strict_headers: bool) -> dict[str, Any]:
    """Return the variables of one request, built once and kept with its attributes.

    With `strict_headers` a header that occurs several times is an evaluation error when it is read: otherwise sending
    a header twice would turn the string that a Deny rule compares into a list, and slip it.
    """
    if (found := attributes.activations.get(strict_headers)) is None:
        found = _build(attributes, strict_headers=strict_headers)
        attributes.activations[strict_headers] = found
    return found


def _build(attributes: RequestAttributes, *, strict_headers: bool) -> dict[str, Any]:
    start_time = datetime.fromtimestamp(attributes.start_time, UTC)
    request = {
        "method": attributes.method,
        "uri": f"{attributes.scheme}://{attributes.host}{attributes.path_and_query}",
        "host": attributes.host,
        "rawHost": attributes.raw_host,
        "scheme": attributes.scheme,
        "path": attributes.path,
        "pathAndQuery": attributes.path_and_query,
        "version": f"HTTP/{attributes.version}",
        "headers": _headers(attributes.headers, strict=strict_headers),
        "startTime": celtypes.TimestampType(start_time),
    }
    destination = {
        "address": attributes.destination_address,
        "port": attributes.destination_port,
        "hostname": attributes.host,
    }
    values = {
        "request": request,
        "source": _source(attributes),
        "destination": destination,
        "backend": {"name": attributes.backend, "type": "static", "protocol": "http"},
        "proxy": {"gateway": attributes.gateway, "route": attributes.route},
    }
    return {**dict.fromkeys(NULL_VARIABLES), **{name: _cel(value) for name, value in values.items()}}


def _source(attributes: RequestAttributes) -> dict[str, Any]:
    peer: Peer = attributes.peer
    spiffe_id = peer.spiffe_id
    identity = None
    if spiffe_id.namespace is not None:
        identity = {
            "trustDomain": spiffe_id.trust_domain,
            "namespace": spiffe_id.namespace,
            "serviceAccount": spiffe_id.service_account,
        }
    return {
        "address": attributes.source_address,
        "rawAddress": attributes.source_address,
        "port": attributes.source_port,
        "identity": identity,
        "spiffeId": str(spiffe_id),
        "subjectAltNames": list(peer.subject_alt_names),
        "issuer": peer.issuer,
        "subject": peer.subject,
        "certificate": peer.certificate,
    }


def _headers(headers: Sequence[tuple[bytes, bytes]], *, strict: bool) -> dict[str, Any]:
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name.decode("latin-1"), []).append(value.decode("utf-8", "replace"))
    several: Any = RepeatedHeaderError("the header occurs several times") if strict else None
    return {name: found[0] if len(found) == 1 else several or found for name, found in values.items()}


def _cel(value: Any) -> Any:
    match value:
        case celtypes.TimestampType() | CELEvalError() | None:
            return value
        case dict():
            return celtypes.MapType({celtypes.StringType(key): _cel(item) for key, item in value.items()})
        case list():
            return celtypes.ListType([_cel(item) for item in value])
        case int():
            return celtypes.IntType(value)
        case _:
            return celtypes.StringType(value)
