"""The names an expression may use. Source: `docs/cel.md`."""

from __future__ import annotations

FIELDS: dict[str, frozenset[str]] = {
    "request": frozenset(
        {"method", "uri", "host", "rawHost", "scheme", "path", "pathAndQuery", "version", "headers", "startTime"}
    ),
    "source": frozenset(
        {"address", "port", "rawAddress", "identity", "spiffeId", "subjectAltNames", "issuer", "subject", "certificate"}
    ),
    "destination": frozenset({"address", "port", "hostname"}),
    "backend": frozenset({"name", "type", "protocol"}),
    "proxy": frozenset({"gateway", "route"}),
}
"""Variables that hold a value for every request, with their fields."""

NULL_VARIABLES = frozenset({"env", "jwt", "apiKey", "basicAuth", "extauthz", "extproc", "metadata", "response"})
"""Variables that exist and have no value here: null."""

VARIABLES = frozenset(FIELDS) | NULL_VARIABLES

IDENTITY_FIELDS = frozenset({"trustDomain", "namespace", "serviceAccount"})

TYPE_NAMES = frozenset(
    {"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "timestamp", "duration", "type", "uint"}
)
MACROS = frozenset({"has", "all", "exists", "exists_one", "map", "filter", "dyn"})
FUNCTIONS = MACROS | frozenset(
    {
        "contains",
        "endsWith",
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getFullYear",
        "getHours",
        "getMilliseconds",
        "getMinutes",
        "getMonth",
        "getSeconds",
        "matches",
        "size",
        "startsWith",
        *TYPE_NAMES,
    }
)
