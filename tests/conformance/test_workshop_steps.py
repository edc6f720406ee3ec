"""The workshop one step after another: what each manifest adds, and that it was not so before. With curl, too."""

from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.harness.certificates import ORIGIN_HOSTS
from tests.conformance.harness.gateway import WORKSHOP, Gateway, running_gateway

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conformance.harness.certificates import KeyPair, Pki
    from tests.conformance.harness.origin import Origin

FILES = sorted(WORKSHOP.iterdir())
CURL = shutil.which("curl")


@contextmanager
def step(pki: Pki, origin: Origin, directory: Path, files: int) -> Iterator[Gateway]:
    """Run the first files of the workshop."""
    origins = dict.fromkeys(ORIGIN_HOSTS, origin.port)
    with running_gateway(pki, directory, origins, manifests=FILES[:files]) as gateway:
        yield gateway


def statuses(gateway: Gateway, pki: Pki) -> dict[str, int]:
    """Return what both teams get where."""
    places = {
        "zen": ("api.github.com", "/zen"),
        "users": ("api.github.com", "/users/x"),
        "echo": ("httpbingo.org", "/"),
    }
    return {
        f"{team} {place}": gateway.ask(pair, target, host=host).status
        for team, pair in (("a", pki.team_a), ("b", pki.team_b))
        for place, (host, target) in places.items()
    }


def test_the_workshop_has_six_files() -> None:
    assert [file.name[:3] for file in FILES] == ["01-", "02-", "03-", "04-", "05-", "06-"]


def test_step_2_lets_every_workload_through_to_the_one_host(pki: Pki, origin: Origin, tmp_path: Path) -> None:
    with step(pki, origin, tmp_path, 2) as gateway:
        assert statuses(gateway, pki) == {
            "a zen": 200, "a users": 200, "a echo": 404,
            "b zen": 200, "b users": 200, "b echo": 404,
        }  # fmt: skip


def test_step_3_lets_one_workload_through(pki: Pki, origin: Origin, tmp_path: Path) -> None:
    with step(pki, origin, tmp_path, 3) as gateway:
        assert statuses(gateway, pki) == {
            "a zen": 200, "a users": 200, "a echo": 404,
            "b zen": 403, "b users": 403, "b echo": 404,
        }  # fmt: skip


def test_step_4_leaves_two_places_open_and_changes_no_header(pki: Pki, origin: Origin, tmp_path: Path) -> None:
    with step(pki, origin, tmp_path, 4) as gateway:
        assert statuses(gateway, pki) == {
            "a zen": 200, "a users": 403, "a echo": 404,
            "b zen": 403, "b users": 403, "b echo": 404,
        }  # fmt: skip
        origin.requests.clear()
        gateway.ask(pki.team_a, "/zen", "X-Internal-Debug: 1")
    assert origin.requests[0].values("x-internal-debug") == ["1"]
    assert origin.requests[0].values("x-caller-identity") == []


def test_step_5_tells_the_origin_who_called(pki: Pki, origin: Origin, tmp_path: Path) -> None:
    with step(pki, origin, tmp_path, 5) as gateway:
        origin.requests.clear()
        gateway.ask(pki.team_a, "/zen", "X-Internal-Debug: 1")
    assert origin.requests[0].values("x-internal-debug") == []
    assert origin.requests[0].values("x-caller-identity") == ["team-a/team-a"]


def test_step_6_adds_a_host_whose_paths_are_all_open(pki: Pki, origin: Origin, tmp_path: Path) -> None:
    with step(pki, origin, tmp_path, 6) as gateway:
        assert statuses(gateway, pki) == {
            "a zen": 200, "a users": 403, "a echo": 200,
            "b zen": 403, "b users": 403, "b echo": 403,
        }  # fmt: skip


def curl(gateway: Gateway, identity: KeyPair | None, url: str, *arguments: str) -> tuple[int, int, str]:
    """Run curl as the README writes it; return its exit code, the status and the body."""
    if CURL is None:
        pytest.skip("curl is not installed")
    host = url.split("/")[2]
    command = [CURL, "--silent", "--max-time", "20", "--cacert", str(gateway.pki.mesh_ca)]
    command += ["--connect-to", f"{host}:443:127.0.0.1:{gateway.port}", "--write-out", "\n%{http_code}", *arguments]
    if identity:
        command += ["--cert", str(identity.certificate), "--key", str(identity.key)]
    done = subprocess.run([*command, url], capture_output=True, text=True, check=False, timeout=30)
    body, _, status = done.stdout.rpartition("\n")
    return done.returncode, int(status), body


@pytest.mark.parametrize(
    ("team", "url", "status"),
    [
        ("a", "https://api.github.com/zen", 200),
        ("a", "https://api.github.com/repos/octocat/Hello-World", 200),
        ("a", "https://api.github.com/users/torvalds", 403),
        ("b", "https://api.github.com/zen", 403),
        ("b", "https://httpbingo.org/headers", 403),
    ],
)
def test_curl_gets_the_documented_answers(gateway: Gateway, pki: Pki, team: str, url: str, status: int) -> None:
    code, got, body = curl(gateway, pki.team_a if team == "a" else pki.team_b, url)

    assert (code, got) == (0, status)
    assert (body == "authorization failed") is (status == 403)


def test_curl_sees_the_headers_of_the_policy_at_the_origin(gateway: Gateway, pki: Pki) -> None:
    fields = ("--header", "X-Internal-Debug: 1", "--header", "X-Caller-Identity: evil")
    _, status, body = curl(gateway, pki.team_a, "https://httpbingo.org/headers", *fields)
    headers: dict[str, Any] = json.loads(body)["headers"]

    assert status == 200
    assert headers["x-caller-identity"] == ["team-a/team-a"]
    assert headers["x-forwarded-by"] == ["agentgateway-egress"]
    assert "x-internal-debug" not in headers


def test_curl_without_a_certificate_gets_no_answer(gateway: Gateway, origin: Origin) -> None:
    origin.requests.clear()
    code, status, _ = curl(gateway, None, "https://api.github.com/zen")

    assert code != 0
    assert status == 0
    assert origin.requests == []


def test_curl_uploads_with_expect_100_continue(gateway: Gateway, pki: Pki, origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"0123456789" * 300_000)
    origin.requests.clear()
    arguments = ("--header", "Expect: 100-continue", "--data-binary", f"@{tmp_path / 'body'}", "--output", "/dev/null")
    code, status, _ = curl(gateway, pki.team_a, "https://httpbingo.org/post", *arguments)

    assert (code, status) == (0, 200)
    assert origin.requests[0].body == (tmp_path / "body").read_bytes()
    assert origin.requests[0].values("expect") == []
