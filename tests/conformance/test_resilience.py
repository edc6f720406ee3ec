"""The examples of retries and of the dynamic forward proxy, each with the workshop, before origins over TLS."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from app.cli.certificates import Leaf
from tests.support.gateway import WORKSHOP, RunningGateway, running
from tests.support.origins import serving_in_thread
from tests.support.tls import MESH, authority, server_context

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.origins import Downstream, Origin

EXAMPLES = f"{WORKSHOP}/../examples"
HOSTS = ("api.github.com", "httpbingo.org")
BUSY = b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Answers:
    """Gives one answer after another, the last one for ever."""

    def __init__(self, *answers: bytes) -> None:
        self.left = list(answers)

    async def __call__(self, origin: Downstream) -> None:
        while True:
            await origin.head()
            await origin.send(self.left.pop(0) if len(self.left) > 1 else self.left[0])


@contextmanager
def example(directory: Path, name: str, answers: Answers) -> Iterator[tuple[RunningGateway, dict[str, Origin]]]:
    roots = directory / "roots.pem"
    roots.write_bytes(authority(MESH).pem()[0])
    with ExitStack() as stack:
        environment = stack.enter_context(pytest.MonkeyPatch.context())
        environment.setenv("SSL_CERT_FILE", str(roots))
        environment.delenv("SSL_CERT_DIR", raising=False)
        origins = {
            host: stack.enter_context(serving_in_thread(answers, server_context(Leaf("origin", names=(host,)))))
            for host in HOSTS
        }
        ports = {f"{host}:443": origin.port for host, origin in origins.items()}
        yield stack.enter_context(running(directory, f"{WORKSHOP}:{EXAMPLES}/{name}", ports)), origins


def test_a_busy_origin_is_asked_again_and_left_out_after_three_failures(tmp_path: Path) -> None:
    answers = Answers(BUSY, OK, BUSY)
    with example(tmp_path, "20-timeouts-retries-health.yaml", answers) as (gateway, origins):
        url, seen = "https://api.github.com/repos/octocat/Hello-World", origins["api.github.com"].heads
        first = gateway.client.get(url, headers={"x-request-id": "first"})
        assert (first.status_code, first.text) == (200, "ok")
        assert [b"\r\nx-retry-attempt: 1\r\n" in head for head in seen] == [False, True]
        assert gateway.line("first")["retry.attempt"] == 1

        assert gateway.client.get(url).status_code == 503  # three failures in a row
        assert len(seen) == 5
        out = gateway.client.get(url, headers={"x-request-id": "out"})
        assert (out.status_code, out.text) == (503, "no healthy backends")
        assert len(seen) == 5
        assert gateway.line("out")["retry.attempt"] is None


def test_a_dynamic_forward_proxy_goes_to_the_host_that_was_asked_for(tmp_path: Path) -> None:
    with example(tmp_path, "22-dynamic-forward-proxy.yaml", Answers(OK)) as (gateway, origins):
        answer = gateway.client.get("https://httpbingo.org/anything", headers={"x-request-id": "any"})
        assert (answer.status_code, answer.text) == (200, "ok")
        line = gateway.line("any")
        assert (line["backend"], line["endpoint"]) == (
            "egress-direct/any-host",
            f"127.0.0.1:{origins['httpbingo.org'].port}",
        )
        assert b"\r\nhost: httpbingo.org\r\n" in origins["httpbingo.org"].heads[0]

        assert gateway.client.put("https://httpbingo.org/anything").status_code == 403
