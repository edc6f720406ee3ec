"""The gateway's own environment: what an expression may read of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from config.cel.environment import Environment, Field, Record
from config.cel.errors import EvaluationError, NoSuchKeyError, RepeatedHeaderError
from config.cel.values import NONE, Optional, Timestamp

if TYPE_CHECKING:
    from config.attributes import RequestAttributes, ResponseAttributes

    Message = RequestAttributes | ResponseAttributes


def _headers_of(attributes: Message) -> dict[str, Any]:
    """Return the headers by lower-cased name, made once for a request: a string, or a list of several."""
    found = attributes.header_values
    if found is None:
        found = {}
        for raw_name, raw_value in attributes.headers:
            name, value = raw_name.decode("latin-1"), raw_value.decode("utf-8", "replace")
            earlier = found.get(name)
            if earlier is None:
                found[name] = value
            elif type(earlier) is list:
                earlier.append(value)
            else:
                found[name] = [earlier, value]
        attributes.header_values = found
    return found


def _lookup(attributes: Message, name: Any) -> Any:
    if type(name) is not str:
        raise EvaluationError("a header is looked up by a string")
    return _headers_of(attributes).get(name.lower())


def _header(attributes: Message, name: Any) -> Any:
    value = _lookup(attributes, name)
    if value is None:
        raise NoSuchKeyError("no such header")
    return list(value) if type(value) is list else value


def _strict_header(attributes: Message, name: Any) -> Any:
    value = _lookup(attributes, name)
    if value is None:
        raise NoSuchKeyError("no such header")
    if type(value) is list:
        raise RepeatedHeaderError("the header occurs several times")
    return value


def _has_header(attributes: Message, name: Any) -> bool:
    return _lookup(attributes, name) is not None


def _optional_header(attributes: Message, name: Any) -> Optional:
    value = _lookup(attributes, name)
    return NONE if value is None else Optional(present=True, content=value)


def _strict_optional_header(attributes: Message, name: Any) -> Optional:
    value = _lookup(attributes, name)
    if type(value) is list:
        raise RepeatedHeaderError("the header occurs several times")
    return NONE if value is None else Optional(present=True, content=value)


def _strict_headers_map(attributes: Message) -> dict[str, Any]:
    found = _headers_of(attributes)
    if any(type(value) is list for value in found.values()):
        raise RepeatedHeaderError("a header occurs several times")
    return found


def _uri(attributes: RequestAttributes) -> str:
    return f"{attributes.downstream.scheme}://{attributes.host}{attributes.path_and_query}"


def _body(attributes: Message) -> bytes:
    if not attributes.body_is_whole:
        raise EvaluationError("the body is larger than what is read of one")
    return _body_prefix(attributes)


def _body_prefix(attributes: Message) -> bytes:
    if attributes.body is None:
        raise EvaluationError("the body was not read")
    return attributes.body


def _grpc_status(response: ResponseAttributes) -> int | None:
    """Return the status of a gRPC answer that has no body: others tell theirs in a trailer."""
    value = _headers_of(response).get("grpc-status")
    return int(value) if type(value) is str and value.isascii() and value.isdigit() else None


def _timestamp(seconds: float) -> Timestamp:
    return Timestamp(int(seconds * 1_000_000) * 1000)


IDENTITY: Final = Record(
    "source.identity",
    {
        "trustDomain": Field("string", "{0}.trust_domain"),
        "namespace": Field("string", "{0}.namespace"),
        "serviceAccount": Field("string", "{0}.service_account"),
    },
    nullable=True,
)
SOURCE: Final = Record(
    "source",
    {
        "address": Field("string", "{0}.downstream.address"),
        "rawAddress": Field("string", "{0}.downstream.address"),
        "port": Field("int", "{0}.downstream.port"),
        "identity": Field("record", "{0}.peer.identity", IDENTITY),
        "spiffeId": Field("string", "{0}.peer.uri"),
        "subjectAltNames": Field("list", "list({0}.peer.subject_alt_names)", element="string"),
        "issuer": Field("string", "{0}.peer.issuer"),
        "subject": Field("string", "{0}.peer.subject"),
        "certificate": Field("string", "{0}.peer.certificate"),
        "unverifiedWorkload": Field("dyn", "None"),
        "connectHeaders": Field("dyn", "None"),
    },
)
REQUEST: Final = Record(
    "request",
    {
        "method": Field("string", "{0}.method"),
        "uri": Field("string", "uri({0})"),
        "host": Field("string", "{0}.host"),
        "rawHost": Field("string", "{0}.raw_host"),
        "scheme": Field("string", "{0}.downstream.scheme"),
        "path": Field("string", "{0}.path"),
        "pathAndQuery": Field("string", "{0}.path_and_query"),
        "version": Field("string", "('HTTP/' + {0}.version)"),
        "headers": Field("headers", "{0}"),
        "startTime": Field("timestamp", "timestamp({0}.start_time)"),
        "endTime": Field("dyn", "None"),
        "body": Field("bytes", "body({0})", total=False, in_map=False),
        "bodyPrefix": Field("bytes", "body_prefix({0})", total=False, in_map=False),
    },
)
DESTINATION: Final = Record(
    "destination",
    {
        "address": Field("string", "{0}.downstream.local_address"),
        "port": Field("int", "{0}.downstream.local_port"),
        "hostname": Field("string", "{0}.host"),
    },
)
BACKEND: Final = Record(
    "backend",
    {
        "name": Field("string", "{0}.backend"),
        "type": Field("string", "'static'"),
        "protocol": Field("string", "'http'"),
    },
)
PROXY: Final = Record(
    "proxy",
    {
        "gateway": Field("string", "{0}.gateway"),
        "listener": Field("dyn", "None"),
        "route": Field("string", "{0}.route"),
    },
)

RESPONSE: Final = Record(
    "response",
    {
        "code": Field("int", "{0}.status"),
        "grpcStatus": Field("dyn", "grpc_status({0})"),
        "headers": Field("headers", "{0}"),
        "body": Field("bytes", "body({0})", total=False, in_map=False),
        "bodyPrefix": Field("bytes", "body_prefix({0})", total=False, in_map=False),
    },
    nullable=True,
)

NULL_VARIABLES: Final = frozenset({"env", "extauthz", "extproc"})
"""Variables that exist and have no value here: null."""

_VARIABLES: Final = {
    **{record.name: Field("record", "{0}", record) for record in (REQUEST, SOURCE, DESTINATION, BACKEND, PROXY)},
    "response": Field("record", "{0}.response", RESPONSE),
    "jwt": Field("dyn", "{0}.jwt"),
    "apiKey": Field("dyn", "{0}.api_key"),
    "basicAuth": Field("dyn", "{0}.basic_auth"),
    "metadata": Field("dyn", "{0}.metadata"),
    **{name: Field("dyn", "None") for name in NULL_VARIABLES},
}
_RUNTIME: Final = {
    "body": _body,
    "body_prefix": _body_prefix,
    "grpc_status": _grpc_status,
    "has_header": _has_header,
    "header": _header,
    "headers_map": _headers_of,
    "optional_header": _optional_header,
    "timestamp": _timestamp,
    "uri": _uri,
}

LENIENT: Final = Environment(_VARIABLES, _RUNTIME)
"""For values: a header that occurs several times is a list."""
STRICT: Final = Environment(
    _VARIABLES,
    {
        **_RUNTIME,
        "header": _strict_header,
        "headers_map": _strict_headers_map,
        "optional_header": _strict_optional_header,
    },
)
"""For authorization rules: a header that occurs several times is an evaluation error. Otherwise sending a header twice
would turn the string that a Deny compares into a list, and slip it."""
