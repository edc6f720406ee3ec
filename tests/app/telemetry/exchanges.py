"""A request that has ended, for the tests of tracing."""

from __future__ import annotations

from app.telemetry.spans import Exchange

SPIFFE_ID = "spiffe://cluster.local/ns/team-a/sa/team-a"
ALLOWED = Exchange(
    method="GET",
    scheme="https",
    http_version="1.1",
    host="api.github.com",
    local_port=8443,
    status=200,
    route="egress/github",
    caller=SPIFFE_ID,
    allowed=True,
    reason="allow_matched",
    rule="egress/rbac#0",
    error="",
    aborted=False,
    backend="egress/github-backend",
    endpoint="140.82.121.6:443",
    upstream_scheme="https",
    upstream_host="api.github.com",
    upstream_port=443,
    path="/repos/octocat",
    decision_id="6fa459ea-ee8a-4ca4-894e-db77e160355e",
    address="10.0.3.7",
    port=40000,
    started=1_700_000_000.5,
    seconds=0.25,
    upstream_offset=0.0625,
    upstream_seconds=0.125,
)
"""Answered by the origin."""
DENIED = ALLOWED._replace(
    status=403,
    allowed=False,
    reason="deny_matched",
    rule="egress/path#1",
    error="authorization_denied",
    endpoint="",
    upstream_offset=None,
    upstream_seconds=None,
)
"""Answered by the gateway; the origin was not asked."""
