from __future__ import annotations

import gc
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from config import loading
from config.compiler import compile_snapshot
from config.errors import ConfigErrors, Severity
from config.loading import load
from config.manifests import Document
from config.policy.upstream import Upstream, UpstreamTls
from config.resources import parse_resources
from tests.config.examples import (
    SETUP,
    TEAM_A,
    TEAM_B,
    WORKSHOP,
    authorization_policy,
    codes,
    only,
    request,
    settings,
    several,
    upstream_of,
)

if TYPE_CHECKING:
    from pathlib import Path

    from config.errors import Finding
    from config.snapshot import Snapshot


def loaded(*paths: Path, strict: bool = True) -> tuple[Snapshot, tuple[Finding, ...]]:
    return load(settings(config=tuple(map(str, paths)), strict=strict))


def refused(*paths: Path, strict: bool = True) -> tuple[Finding, ...]:
    with pytest.raises(ConfigErrors) as caught:
        loaded(*paths, strict=strict)
    return caught.value.findings


def allowed(snapshot: Snapshot, host: str = "api.example.org") -> bool:
    return only(snapshot.exact[host]).authorization.decide(request()).allowed


@pytest.fixture(scope="module")
def workshop() -> Snapshot:
    snapshot, findings = loaded(WORKSHOP)
    assert findings == ()
    return snapshot


def test_the_workshop_serves_its_two_hosts_with_tls_to_their_origins(workshop: Snapshot) -> None:
    assert workshop.gateway == "egress-direct/egress"
    assert set(workshop.exact) == {"api.github.com", "httpbingo.org"}
    assert workshop.wildcards == {}
    for host, name in {"api.github.com": "egress-direct/github", "httpbingo.org": "egress-direct/httpbingo"}.items():
        virtual_host = workshop.exact[host]
        assert (virtual_host.name, only(virtual_host).name, virtual_host.ports) == (name, name, frozenset({80}))
        backend = only(virtual_host).backend
        assert backend is not None
        assert (backend.name, backend.authority) == (name, host.encode())
        assert upstream_of(backend) == Upstream(host, 443, UpstreamTls(host))


@pytest.mark.parametrize("host", ["api.github.com", "httpbingo.org"])
def test_the_workshops_rules_cover_every_route(workshop: Snapshot, host: str) -> None:
    authorization = only(workshop.exact[host]).authorization

    assert [rule.name for rule in authorization.allows.rules] == ["egress-direct/rbac-team-a#0"]
    assert [rule.name for rule in authorization.path_denies.rules] == ["egress-direct/github-path-allowlist#0"]
    assert (authorization.denies.rules, authorization.requires.rules) == ((), ())


@pytest.mark.parametrize(
    ("caller", "host", "path", "rule", "allowed"),
    [
        (TEAM_A, "api.github.com", "/zen", "rbac-team-a#0", True),
        (TEAM_A, "api.github.com", "/repos/octocat/hello", "rbac-team-a#0", True),
        (TEAM_A, "api.github.com", "/repos", "github-path-allowlist#0", False),
        (TEAM_A, "api.github.com", "/reposecret", "github-path-allowlist#0", False),
        (TEAM_A, "api.github.com", "/users/torvalds", "github-path-allowlist#0", False),
        (TEAM_A, "api.github.com", "/", "github-path-allowlist#0", False),
        (TEAM_A, "httpbingo.org", "/users/torvalds", "rbac-team-a#0", True),
        (TEAM_B, "httpbingo.org", "/headers", None, False),
        (TEAM_B, "api.github.com", "/zen", None, False),
        (TEAM_B, "api.github.com", "/users/torvalds", "github-path-allowlist#0", False),
        ("spiffe://cluster.local/ns/team-a/sa/default", "httpbingo.org", "/", None, False),
        ("spiffe://cluster.local/team-a", "httpbingo.org", "/", None, False),
    ],
)
def test_the_workshops_decisions(  # noqa: PLR0913, PLR0917  the columns of the table
    workshop: Snapshot,
    caller: str,
    host: str,
    path: str,
    rule: str | None,
    allowed: bool,  # noqa: FBT001
) -> None:
    decision = only(workshop.exact[host]).authorization.decide(request(path, caller=caller, host=host))

    assert (decision.allowed, decision.rule) == (allowed, rule and f"egress-direct/{rule}")


@pytest.mark.parametrize("host", ["api.github.com", "httpbingo.org"])
def test_the_workshops_headers(workshop: Snapshot, host: str) -> None:
    transformation = only(workshop.exact[host]).transformation
    assert transformation is not None
    rewrite = transformation.plain_request
    assert rewrite is not None
    sent = [
        (b"x-caller-identity", b"admin/admin"),
        (b"x_caller_identity", b"admin/admin"),
        (b"x-internal-debug", b"1"),
        (b"accept", b"*/*"),
    ]

    assert rewrite.apply(sent, request(host=host)) == [
        (b"accept", b"*/*"),
        (b"x-caller-identity", b"team-a/team-a"),
        (b"x-forwarded-by", b"agentgateway-egress"),
    ]


def test_the_workshops_first_two_steps_serve_without_any_rule(tmp_path: Path) -> None:
    for name in ("01-setup.yaml", "02-egress-direct.yaml"):
        shutil.copy(WORKSHOP / name, tmp_path)

    snapshot, findings = loaded(tmp_path)

    assert codes(findings) == ["no-authorization"]
    assert set(snapshot.exact) == {"api.github.com"}
    assert allowed(snapshot, "api.github.com")


def test_the_revision_is_that_of_the_manifests(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(SETUP)
    first, again = loaded(path)[0].revision, loaded(path)[0].revision
    path.write_text(SETUP + "# changed\n")
    changed = loaded(path)[0].revision

    assert re.fullmatch("[0-9a-f]{12}", first)
    assert first == again != changed


@pytest.mark.parametrize("strict", [True, False])
def test_nothing_to_read_stops_the_start(tmp_path: Path, *, strict: bool) -> None:
    assert codes(refused(tmp_path, strict=strict)) == ["no-manifests"]
    assert codes(refused(tmp_path / "a", tmp_path / "b", strict=strict)) == ["config-not-found"] * 2
    assert codes(refused(strict=strict)) == ["no-manifests"]


@pytest.mark.parametrize("strict", [True, False])
def test_without_a_gateway_nothing_starts_and_what_may_have_held_it_is_listed(tmp_path: Path, *, strict: bool) -> None:
    (tmp_path / "a.yaml").write_text("- no mapping\n---\na: b\n")

    assert codes(refused(tmp_path, strict=strict)) == ["not-a-mapping", "missing-field"]


FAULTY = {
    "a.yaml": "a: [\n",
    "b.yaml": SETUP.replace("port: 443", "port: 443, sni: x").replace("name: main", "nam: main"),
    "c.yaml": several(
        authorization_policy("Allow", "true", "requst.path == 1", "1 +"),
        authorization_policy("Alow", "true", name="two"),
        authorization_policy("Allow", "true", name="three", target="{kind: Gateway, name: egres}"),
        "apiVersion: agentgateway.dev/v1alpha1\nkind: AgentgatewayPolcy\n",
    ),
}


def test_a_strict_start_lists_all_faults_with_their_places_and_serves_nothing(tmp_path: Path) -> None:
    for name, text in FAULTY.items():
        (tmp_path / name).write_text(text)

    findings = refused(tmp_path)

    found = [(finding.code, finding.location.file, finding.location.line) for finding in findings if finding.location]
    a, b, c = (str(tmp_path / name) for name in FAULTY)
    backend = FAULTY["b.yaml"].splitlines().index("  static: {host: api.example.org, port: 443, sni: x}") + 1
    rule = FAULTY["b.yaml"].splitlines().index("    - nam: main") + 1
    assert sorted(found) == sorted(
        [
            ("yaml-syntax", a, 2),
            ("unknown-field", b, backend),
            ("unknown-field", b, rule),
            ("invalid-expression", c, 12),
            ("invalid-expression", c, 13),
            ("invalid-value", c, 22),
            ("dangling-reference", c, 31),
            ("unknown-kind", c, 40),
        ]
    )
    assert all(finding.severity is Severity.ERROR for finding in findings)


def test_warnings_do_not_stop_a_strict_start_and_are_handed_back(tmp_path: Path) -> None:
    foreign = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n"
    (tmp_path / "a.yaml").write_text(several(SETUP, foreign))

    snapshot, findings = loaded(tmp_path)

    assert allowed(snapshot)
    assert [(finding.code, finding.severity) for finding in findings] == [
        ("skipped", Severity.WARNING),
        ("no-authorization", Severity.WARNING),
    ]


@pytest.mark.parametrize("content", ["", "# the policy was here\n", "---\n"])
def test_a_file_without_a_manifest_is_a_warning(content: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(several(SETUP))
    emptied = tmp_path / "b.yaml"
    emptied.write_text(content)

    snapshot, findings = loaded(tmp_path)

    assert allowed(snapshot)
    assert [(finding.code, finding.severity) for finding in findings] == [
        ("empty-file", Severity.WARNING),
        ("no-authorization", Severity.WARNING),
    ]
    assert str(emptied) in str(findings[0])


def test_without_strict_the_rest_serves_and_the_faults_are_handed_back(tmp_path: Path) -> None:
    target = "{group: networking.istio.io, kind: ServiceEntry, name: httpbingo}"
    policy = authorization_policy("Denny", "true", target=target).replace(
        "namespace: infra", "namespace: egress-direct"
    )
    (tmp_path / "a.yaml").write_text(policy)

    assert codes(refused(WORKSHOP, tmp_path)) == ["invalid-value"]
    snapshot, findings = loaded(WORKSHOP, tmp_path, strict=False)

    assert codes(findings) == ["invalid-value"]
    assert not allowed(snapshot, "httpbingo.org")
    authorization = only(snapshot.exact["api.github.com"]).authorization
    assert authorization.decide(request("/zen", host="api.github.com")).allowed


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"a: \xff\n", "unreadable-file"),
        (SETUP.encode("utf-16"), "unreadable-file"),
        (b"a: [\n", "yaml-syntax"),
        (b"a: 1\na: 2\n", "duplicate-key"),
        (b"- text\n", "not-a-mapping"),
        (b"a: !secret b\n", "yaml-tag"),
        (b"[" * 100_000, "yaml-limit"),
    ],
)
def test_without_strict_a_file_that_cannot_be_read_denies_everything(tmp_path: Path, content: bytes, code: str) -> None:
    # It may have held a Deny for anything.
    (tmp_path / "a.yaml").write_text(SETUP)
    (tmp_path / "b.yaml").write_bytes(content)

    assert code in codes(refused(tmp_path))
    snapshot, findings = loaded(tmp_path, strict=False)

    assert code in codes(findings)
    assert not allowed(snapshot)


def test_a_link_that_leads_nowhere_denies_everything(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SETUP)
    (tmp_path / "b.yaml").symlink_to("missing.yaml")

    [finding] = refused(tmp_path)
    assert (finding.code, finding.message) == (
        "unreadable-file",
        f"{tmp_path / 'b.yaml'} cannot be read: No such file or directory",
    )
    assert not allowed(loaded(tmp_path, strict=False)[0])


def test_a_file_that_is_too_large_is_refused_and_denies_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.yaml").write_text(SETUP)
    monkeypatch.setattr(loading, "MAX_FILE_BYTES", len(SETUP))
    assert allowed(loaded(tmp_path)[0])
    (tmp_path / "b.yaml").write_text("#" * (len(SETUP) + 1))

    assert codes(refused(tmp_path)) == ["file-too-large"]
    assert not allowed(loaded(tmp_path, strict=False)[0])


def test_a_duplicate_across_files_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SETUP)
    (tmp_path / "b.yaml").write_text(SETUP)

    findings = refused(tmp_path)

    assert codes(findings) == ["duplicate-resource"] * 4
    assert all(f"first at {tmp_path / 'a.yaml'}:" in finding.message for finding in findings)


@pytest.mark.parametrize("enabled", [True, False])
def test_cycles_are_not_looked_for_during_a_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, enabled: bool
) -> None:
    during: list[bool] = []

    def seen(*arguments: Any) -> Any:
        during.append(gc.isenabled())
        return parse_resources(*arguments)

    monkeypatch.setattr(loading, "parse_resources", seen)
    (tmp_path / "a.yaml").write_text(SETUP)
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        load(settings(config=(str(tmp_path),)))
        with pytest.raises(ConfigErrors):
            load(settings(config=(str(tmp_path / "nowhere"),)))
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()

    assert during == [False]


def test_the_data_of_manifests_is_gone_when_they_are_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[str] = []

    def seen(*arguments: Any, **options: Any) -> Any:
        found = [value for value in gc.get_objects() if isinstance(value, Document)]
        held.extend(document.data["kind"] for document in found if document.origin.file.startswith(str(tmp_path)))
        return compile_snapshot(*arguments, **options)

    monkeypatch.setattr(loading, "compile_snapshot", seen)
    (tmp_path / "a.yaml").write_text(SETUP)
    (tmp_path / "b.yaml").write_text("apiVersion: agentgateway.dev/v1alpha1\nkind: AgentgatewayPolicy\n")
    with pytest.raises(ConfigErrors):
        loaded(tmp_path)

    assert held == ["AgentgatewayPolicy"]  # what was refused is asked for its targets
