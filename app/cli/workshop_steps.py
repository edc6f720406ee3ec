"""The workshop: which manifests each step adds, what is asked, and what the documented answer is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.cli.workshop_requests import Expected, Request

if TYPE_CHECKING:
    from collections.abc import Mapping

TEAM_A = "spiffe://cluster.local/ns/team-a/sa/team-a"
TEAM_B = "spiffe://cluster.local/ns/team-b/sa/team-b"

GITHUB = "api.github.com"
HTTPBINGO = "httpbingo.org"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request, its documented answer, and what a reader learns from it."""

    title: str
    request: Request
    expected: Expected
    shows: str


@dataclass(frozen=True, slots=True)
class Step:
    """Requests to a gateway that knows the manifests of this step and of those before it."""

    title: str
    manifests: tuple[str, ...]
    """File names that this step adds."""
    about: str
    exchanges: tuple[Exchange, ...]


@dataclass(frozen=True, slots=True)
class LogLine:
    """An access log line that the steps must have left behind."""

    title: str
    fields: Mapping[str, object]
    """Values by key; each key must be there, also for None."""
    shows: str
    """What a reader learns from it."""
    present: tuple[str, ...] = field(default=())
    """Keys that have some value."""

    def differences(self, line: Mapping[str, object]) -> list[str]:
        """Return each way in which a line is not the wanted one."""
        found = [
            f"expected {key} {value!r}, got {line.get(key)!r}"
            for key, value in self.fields.items()
            if key not in line or line[key] != value
        ]
        return found + [f"expected some {key}, got none" for key in self.present if not line.get(key)]


DENIED = Expected(403, body="authorization failed")

STEPS = (
    Step(
        "1 and 2: egress through the gateway",
        ("01-setup.yaml", "02-egress-direct.yaml"),
        "A ServiceEntry names the host, an AgentgatewayBackend says that TLS begins at the gateway, an HTTPRoute joins"
        " the two. No authorization rule yet: every workload with a SPIFFE identity may call.",
        (
            Exchange(
                "team-a asks for /zen",
                Request(GITHUB, "/zen"),
                Expected(200),
                "the gateway opened the TLS connection to the origin and passed the answer on",
            ),
            Exchange(
                "team-b asks for /zen",
                Request(GITHUB, "/zen", caller="team-b"),
                Expected(200),
                "nothing tells the two teams apart yet",
            ),
            Exchange(
                "a caller without a certificate",
                Request(GITHUB, "/zen", caller=None),
                Expected(None),
                "without a client certificate of the mesh there is no connection, let alone a request",
            ),
        ),
    ),
    Step(
        "3: who may call",
        ("03-policy-rbac.yaml",),
        "One Allow rule names the service account team-a/team-a. From now on, who matches no Allow rule is refused.",
        (
            Exchange(
                "team-a asks for /zen",
                Request(GITHUB, "/zen"),
                Expected(200),
                "the rule matches the SPIFFE identity in the client certificate",
            ),
            Exchange(
                "team-b asks for /zen",
                Request(GITHUB, "/zen", caller="team-b"),
                DENIED,
                "no rule matches team-b: the gateway answers, the origin never sees the request",
            ),
        ),
    ),
    Step(
        "4: which paths",
        ("04-policy-path.yaml",),
        "A Deny rule for api.github.com leaves only /zen and /repos/... open. Deny beats Allow.",
        (
            Exchange(
                "team-a asks for /zen",
                Request(GITHUB, "/zen"),
                Expected(200),
                "a path that the rule leaves open",
            ),
            Exchange(
                "team-a asks for a repository",
                Request(GITHUB, "/repos/octocat/Hello-World"),
                Expected(200, document={"full_name": "octocat/Hello-World"}),
                "everything below /repos/ is open too",
            ),
            Exchange(
                "team-a asks for a user",
                Request(GITHUB, "/users/torvalds"),
                DENIED,
                "the caller may use the host, but not this path",
            ),
            Exchange(
                "team-a tries to climb out of /repos/",
                Request(GITHUB, "/repos/../users/torvalds"),
                Expected(400, body="invalid request"),
                "an ambiguous path is refused before any rule could be misled by it",
            ),
        ),
    ),
    Step(
        "5 and 6: headers that the origin can trust",
        ("05-policy-headers.yaml", "06-verify-headers.yaml"),
        "The gateway writes who called into X-Caller-Identity, adds X-Forwarded-By and drops X-Internal-Debug. A"
        " second host, httpbingo.org, echoes the headers that reach it.",
        (
            Exchange(
                "team-a sends an internal header",
                Request(HTTPBINGO, "/headers", headers=(("X-Internal-Debug", "1"),)),
                Expected(
                    200,
                    document={
                        "headers.Host": ["httpbingo.org"],
                        "headers.X-Caller-Identity": ["team-a/team-a"],
                        "headers.X-Forwarded-By": ["agentgateway-egress"],
                        "headers.X-Internal-Debug": None,
                    },
                ),
                "the origin sees the two headers of the policy, and the internal one is gone",
            ),
            Exchange(
                "team-a claims to be somebody else",
                Request(HTTPBINGO, "/headers", headers=(("X-Caller-Identity", "evil"), ("X_Caller_Identity", "evil"))),
                Expected(
                    200,
                    document={"headers.X-Caller-Identity": ["team-a/team-a"], "headers.X_Caller_Identity": None},
                ),
                "what the caller sends under that name, in either spelling, never reaches the origin",
            ),
            Exchange(
                "team-b asks the second host",
                Request(HTTPBINGO, "/headers", caller="team-b"),
                DENIED,
                "the Allow rule belongs to the gateway, so it holds for every host behind it",
            ),
            Exchange(
                "team-a asks a host that is not configured",
                Request("localhost", "/"),
                Expected(404, body="route not found"),
                "only hosts with a ServiceEntry can be reached; it is localhost that is asked for, as the demo's"
                " certificate holds that name: with another one the caller itself would end the handshake",
            ),
        ),
    ),
)

LOG_LINES = (
    LogLine(
        "an allowed request",
        {
            "src.identity": TEAM_A,
            "http.path": "/zen",
            "http.status": 200,
            "decision": "allow",
            "rule": "egress-direct/rbac-team-a#0",
        },
        "who called what, and which rule let it pass",
    ),
    LogLine(
        "a caller that no rule allows",
        {"src.identity": TEAM_B, "http.path": "/zen", "http.status": 403, "decision": "deny", "rule": None},
        "there is no rule to name, the reason says so",
        present=("reason",),
    ),
    LogLine(
        "a path that a rule denies",
        {
            "src.identity": TEAM_A,
            "http.path": "/users/torvalds",
            "http.status": 403,
            "decision": "deny",
            "rule": "egress-direct/github-path-allowlist#0",
        },
        "the caller is allowed, the rule that denied is named",
        present=("reason",),
    ),
)
"""What steps 3 and 4 must have left in the access log."""
