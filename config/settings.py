"""Process settings from `EGRESS_*`. Unknown names are errors: a misspelt setting must not fall back to a default."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from config.errors import ConfigErrors, Finding, nearest
from config.policy.identity import is_trust_domain
from config.policy.normalisation import AmbiguousTargetError, parse_authority

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic_core import ErrorDetails

PREFIX = "EGRESS_"

_SERVICE_LINK = re.compile(
    r"EGRESS(_[A-Z0-9]+)*_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)"
    r"|EGRESS(_[A-Z0-9]+)*_PORT(_[0-9]+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?"
)
"""What Kubernetes injects into every pod for a Service whose name begins with `egress`."""

LATER = frozenset(
    {
        "ACCESS_LOG_FORMAT",
        "ACCESS_LOG_QUERY",
        "ADMIN_LISTEN",
        "ADMIN_TOKEN_FILE",
        "CLIENT_CRL",
        "HBONE_CA",
        "HBONE_CERT",
        "HBONE_KEY",
        "HBONE_LISTEN",
        "HEAD_TIMEOUT",
        "MAX_CONNECTIONS",
        "MAX_HEADERS",
        "MAX_HEAD_BYTES",
        "MAX_IN_FLIGHT",
        "MAX_IN_FLIGHT_PER_CALLER",
        "MAX_TARGET_BYTES",
        "OPA_URL",
        "PROXY_LISTEN",
        "REDIS_URL",
    }
)
"""Settings of the contract that this version does not have: refused unless `off`."""

MIN_SECONDS, MAX_SECONDS = 1, 3600
"""Range of the timeouts."""
_DESTINATIONS = ("stdout", "stderr", "off")
"""Of the access log, when it is no file."""

Address = tuple[str, int]


def _split(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _split_paths(value: Any) -> Any:
    return tuple(part for part in value.split(":") if part) if isinstance(value, str) else value


def _trust_domains(value: Any) -> Any:
    names = _split(value)
    if not names:
        raise ValueError("names no trust domain, so nobody could be let in")
    for name in names:
        if not is_trust_domain(name):
            raise ValueError(f"{name!r} is not a trust domain: a-z, 0-9, '.', '-', '_', at most 255 bytes")
    return frozenset(names)


def _listen(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value == "off":
        return None
    host, colon, port = value.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or not int(port) <= 65535:  # noqa: PLR2004  16 bits
        raise ValueError(f"{value!r} is neither host:port nor off")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _networks(value: Any) -> Any:
    return tuple(map(_network, _split(value))) if isinstance(value, str) else value


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is no network, for example 10.0.0.0/8 or fd00::/8") from None
    raise ValueError(f"{text!r} has host bits set: did you mean {meant}?")


def _destination(value: Any) -> Any:
    """Refuse a file name without `/`: a misspelt `stdout` would make a file of that name."""
    if not isinstance(value, str) or value in _DESTINATIONS or "/" in value:
        return value
    words = "a file name holds a '/'" + (f", as ./{value}" if value else "")
    close = difflib.get_close_matches(value.lower(), _DESTINATIONS, n=1)
    meant = f": did you mean {close[0]}?" if close else ""
    raise ValueError(f"{value!r} is neither stdout, stderr nor off, and {words}{meant}")


def _message(detail: ErrorDetails) -> str:
    """Return what is wrong with a value, in the words of this page."""
    given = detail["input"]
    match detail["type"]:
        case "bool_parsing" | "bool_type":
            return f"{given!r} is neither true nor false"
        case "literal_error":
            return f"{given!r} is neither {' nor '.join(get_args(Settings.model_fields['default_action'].annotation))}"
        case "int_parsing" | "int_parsing_size" | "int_from_float" | "greater_than_equal" | "less_than_equal":
            return f"{given!r} is not a whole number of seconds from {MIN_SECONDS} to {MAX_SECONDS}"
        case "string_pattern_mismatch":
            return f"{given!r} is not namespace/name, for example egress-direct/egress"
        case "value_error":
            return str(detail["ctx"]["error"])
        case _:
            return detail["msg"]


def _resolve(value: Any) -> Any:
    """Read `host:port:address:port`, as `curl --connect-to` writes it; IPv6 addresses in brackets."""
    if not isinstance(value, str):
        return value
    result: dict[Address, Address] = {}
    for entry in _split(value):
        match = re.fullmatch(r"([^:\[\]]+|\[[^\[\]]+\]):([0-9]+):([^:\[\]]+|\[[^\[\]]+\]):([0-9]+)", entry)
        if match is None:
            raise ValueError(f"{entry!r} is not host:port:address:port")
        try:
            host, port = parse_authority(f"{match[1]}:{match[2]}".encode())
            _, dial_port = parse_authority(f"address:{match[4]}".encode())
            address = ipaddress.ip_address(match[3].strip("[]")).compressed
        except (AmbiguousTargetError, ValueError):
            raise ValueError(f"{entry!r} is not host:port:address:port with an IP address") from None
        result[host, port or 0] = (address, dial_port or 0)
    return result


class Settings(BaseModel):
    """The process settings. Each stands in the environment as `EGRESS_` and its name in capitals."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    config: Annotated[tuple[str, ...], BeforeValidator(_split_paths)] = ("/etc/egress-gateway",)
    """Manifest files and directories, `:`-separated; directories are read recursively."""
    gateway: Annotated[str, Field(pattern=r"^[^/]+/[^/]+$")] | None = None
    """`namespace/name` of the Gateway this process is. Default: the only one in the manifests."""
    trust_domains: Annotated[frozenset[str], BeforeValidator(_trust_domains)] = frozenset({"cluster.local"})
    """Accepted SPIFFE trust domains, comma-separated."""
    status_listen: Annotated[Address | None, BeforeValidator(_listen)] = ("0.0.0.0", 15020)  # noqa: S104  probes come from outside the pod
    """`host:port` of `/healthz` and `/readyz`, or `off`."""
    resolve: Annotated[dict[Address, Address], BeforeValidator(_resolve)] = Field(default_factory=dict)
    """Dial overrides `host:port:address:port`, comma-separated. SNI and the verified name stay the host's."""
    dial_allow: Annotated[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...], BeforeValidator(_networks)] = ()
    """CIDRs exempt from the private-address guard, comma-separated."""
    access_log: Annotated[str, BeforeValidator(_destination)] = "stdout"
    """`stdout`, `stderr`, a file name with a `/` in it, or `off`."""
    strict: bool = True
    """`true`: a manifest fault stops the start; `false`: the faulty part fails closed and the rest serves."""
    default_action: Literal["allow", "deny"] = "allow"
    """For a route that no authorization rule covers."""
    body_idle_timeout: Annotated[int, Field(ge=MIN_SECONDS, le=MAX_SECONDS)] = 30
    """How long a caller or an origin may keep the other waiting within a body. Unit: seconds."""
    keepalive_timeout: Annotated[int, Field(ge=MIN_SECONDS, le=MAX_SECONDS)] = 75
    """How long a caller's idle connection is kept. Unit: seconds."""
    drain_timeout: Annotated[int, Field(ge=MIN_SECONDS, le=MAX_SECONDS)] = 30
    """How long requests may go on after SIGTERM. Unit: seconds."""


def settings_from_environ(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings.

    Raises:
        ConfigErrors: an unknown name, a value that cannot be read, or a setting that is not available yet.

    """
    names = {name: value for name, value in environ.items() if name.startswith(PREFIX)}
    findings = list(_unusable(names))
    known = {name.removeprefix(PREFIX).lower(): value for name, value in names.items()}
    try:
        settings = Settings(**{name: value for name, value in known.items() if name in Settings.model_fields})
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            name = f"{PREFIX}{str(detail['loc'][0]).upper()}"
            message = _message(detail)
            hint = "" if message.endswith("?") else "see docs/settings.md"
            findings.append(Finding("invalid-setting", f"{name}: {message}", hint=hint))
    if findings:
        raise ConfigErrors(findings)
    return settings


def _unusable(names: Mapping[str, str]) -> Iterator[Finding]:
    fields = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for name, value in names.items():
        if name in fields or _SERVICE_LINK.fullmatch(name):
            continue
        if name.removeprefix(PREFIX) in LATER:
            if value != "off":
                yield Finding(
                    "setting-not-available", f"{name} is not available yet", hint="unset it, or set it to off"
                )
        else:
            yield Finding("unknown-setting", f"{name} is no setting", hint=nearest(name, fields))
