"""`jwks` to keys, or to where they are fetched."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from config.policy.jwks import NO_KEYS, JwksError, KeySet, parse_jwks
from config.policy.jwt import RemoteKeys
from config.policy.upstream import Upstream, UpstreamTls
from config.resources import AGENTGATEWAY

if TYPE_CHECKING:
    from config.compiler.place import Place
    from config.model.base import BackendReference
    from config.model.client_auth import JwksSpec

_HOST = re.compile(r"[a-z0-9_.:-]+")
_PATH = re.compile(r"/[!$%&'()*+,./0-9:;=?@A-Z_a-z~-]*")
_DEFAULT_PORTS = {80: False, 443: True}


def compile_key_set(place: Place, spec: JwksSpec) -> KeySet | RemoteKeys:
    """Compile `jwks`. Keys that cannot be used are left out, and reported; no key is left where none can."""
    if spec.inline is not None:
        return _inline(place.at("inline"), spec.inline)
    if spec.remote is None:
        return NO_KEYS
    at = place.at("remote")
    if spec.remote.url is not None:
        found = _of_url(at.at("url"), spec.remote.url)
    elif spec.remote.backend_ref is not None:
        found = _of_backend(at, spec.remote.backend_ref, spec.remote.jwks_path or "")
    else:
        found = None
    if found is None:
        return NO_KEYS
    upstream, target = found
    return RemoteKeys(upstream, target, _authority(upstream), spec.remote.cache_duration)


def _inline(place: Place, text: str) -> KeySet:
    try:
        keys = parse_jwks(text.encode())
    except JwksError as error:
        place.error("invalid-jwks", str(error))
        return NO_KEYS
    for index, reason in keys.faults:
        place.error("invalid-jwks", f"keys[{index}] is not used: {reason}", "remove the key")
    if not keys.keys and not keys.faults:
        place.warn("no-credentials", "there is no key: no token is valid")
    return keys


def _of_url(place: Place, url: str) -> tuple[Upstream, str] | None:
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").removesuffix("."), parts.port
    except ValueError:
        host, port = "", None
    target = parts.path or "/" if host else ""
    if not _HOST.fullmatch(host) or not _PATH.fullmatch(target) or port == 0:
        place.error("invalid-value", "not the URL of a key set, https://host/path")
        return None
    if parts.scheme == "https":
        return Upstream(host, port or 443, UpstreamTls(host)), target
    place.warn(
        "insecure-jwks", "the keys are fetched in plain text: whoever is on the way can exchange them", "use https"
    )
    return Upstream(host, port or 80), target


def _of_backend(place: Place, reference: BackendReference, path: str) -> tuple[Upstream, str] | None:
    """Return the server that a `backendRef` names, and the target there; none, and a fault, where it names none."""
    target = path if path.startswith("/") else f"/{path}"
    if not _PATH.fullmatch(target):
        place.at("jwksPath").error("invalid-value", "not a path")
        return None
    at = place.at("backendRef")
    namespace = reference.namespace or place.namespace
    full_name = f"{namespace}/{reference.name}"
    if namespace != place.namespace and not _is_granted(place, reference, namespace):
        message = f"no ReferenceGrant in {namespace} lets {place.parsed.model.kind} {place.name} refer to {full_name}"
        at.error("reference-not-granted", message)
    elif (reference.group, reference.kind) == ("", "Service"):
        if (upstream := _service(at, reference, namespace)) is not None:
            return upstream, target
    elif (reference.group, reference.kind) != (AGENTGATEWAY, "AgentgatewayBackend"):
        message = (
            f"keys are fetched from a Service or an AgentgatewayBackend, not a {reference.kind} of {reference.group!r}"
        )
        at.error("invalid-backend", message)
    elif (backend := place.resources.backends.get(full_name)) is None:
        at.dangling("AgentgatewayBackend", full_name, place.resources.backends)
    elif (static := backend.model.spec.static) is None:
        at.error("invalid-backend", f"the AgentgatewayBackend {full_name} of a key set must be static")
    else:
        policies = backend.model.spec.policies
        host = static.host.lower().removesuffix(".")
        beyond = policies.model_fields_set - {"tls"}
        if beyond or (policies.tls is not None and policies.tls.model_fields_set):
            at.error("not-available", f"of the policies of {full_name} only tls: {{}} is available for fetching keys")
            return None
        return Upstream(host, static.port, None if policies.tls is None else UpstreamTls(host)), target
    return None


def _service(place: Place, reference: BackendReference, namespace: str) -> Upstream | None:
    """Return a `Service`: infrastructure that the operator names, so the dial guard does not ask.

    One that is not among the manifests is dialled by its cluster name all the same.
    """
    full_name = f"{namespace}/{reference.name}"
    if reference.port is None:
        place.error("missing-field", "'port' is required with a Service")
        return None
    service = place.resources.services.get(full_name)
    if service is not None and reference.port not in {port.port for port in service.model.spec.ports}:
        place.at("port").error("dangling-reference", f"the Service {full_name} has no port {reference.port}")
        return None
    return Upstream(f"{reference.name}.{namespace}.svc.cluster.local", reference.port, guarded=False)


def _is_granted(place: Place, reference: BackendReference, namespace: str) -> bool:
    """Tell whether a `ReferenceGrant` of the other namespace allows this reference. Source: GEP-709."""
    group, kind = place.parsed.model.api_version.rpartition("/")[0], place.parsed.model.kind
    return any(
        any((f.group, f.kind, f.namespace) == (group, kind, place.namespace) for f in grant.model.spec.from_)
        and any(
            (t.group, t.kind) == (reference.group, reference.kind) and t.name in {None, reference.name}
            for t in grant.model.spec.to
        )
        for grant in place.resources.grants
        if grant.namespace == namespace
    )


def _authority(upstream: Upstream) -> bytes:
    host = f"[{upstream.host}]" if ":" in upstream.host else upstream.host
    is_default = _DEFAULT_PORTS.get(upstream.port) is (upstream.tls is not None)
    return (host if is_default else f"{host}:{upstream.port}").encode()
