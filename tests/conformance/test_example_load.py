"""Several examples at once under a mixture of requests that end in every way: afterwards nothing is left of them."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conformance.harness.certificates import ORIGIN_HOSTS
from tests.conformance.harness.client import TruncatedError
from tests.conformance.harness.client import request as spell
from tests.conformance.harness.examples import example, mirror_all, rewritten, running_manifests
from tests.conformance.harness.origin import running_origin
from tests.conformance.harness.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conformance.harness.certificates import Pki
    from tests.conformance.harness.gateway import Gateway
    from tests.conformance.harness.origin import Exchange

BINGO, SHADOW = "httpbingo.org", "shadow.egress-direct.svc.cluster.local:8080"
REQUESTS = 500
CALLERS = 8
LARGE = bytes(2 << 20)


def descriptors(gateway: Gateway) -> int:
    return len(list(Path(f"/proc/{gateway.process.pid}/fd").iterdir()))


def cut(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
    exchange.reset()


def garbage(exchange: Exchange) -> None:
    exchange.send(b"no HTTP\r\n\r\n")
    exchange.reset()


def hang(exchange: Exchange) -> None:
    exchange.wait_for_the_end()


def busy(exchange: Exchange) -> None:
    exchange.read_body()
    again = exchange.request.values("x-retry-attempt")
    exchange.answer(b"said", status="200 OK" if again else "503 No")


HANDLERS: dict[str, Callable[[Exchange], None]] = {
    "/repos/cut": cut,
    "/repos/reset": lambda exchange: exchange.reset(),
    "/repos/garbage": garbage,
    "/repos/hang": hang,
    "/repos/busy": busy,
    "/large": lambda exchange: exchange.answer(LARGE),
}


def plain(gateway: Gateway, pki: Pki, target: str, *fields: str, **more: str) -> int:
    return gateway.ask(pki.team_a, target, *fields, **more).status


def departing(gateway: Gateway, pki: Pki, target: str, host: str = "api.github.com", body: bytes = b"") -> int:
    """Send a request, or half of it, and leave without an answer."""
    with gateway.connect(pki.team_a) as caller:
        caller.send(spell(target, host=host, method="POST" if body else "GET", body=body)[: None if not body else -5])
        time.sleep(random.random() / 50)  # noqa: S311  no secret
    return 0


def request(gateway: Gateway, pki: Pki, kind: int) -> int:
    """Send a request of one of many kinds, and return its status; 0 where there is none."""
    kinds: list[Callable[[], int]] = [
        lambda: plain(gateway, pki, "/zen"),
        lambda: plain(gateway, pki, "/users/x"),
        lambda: gateway.ask(pki.team_b, "/zen").status,
        lambda: plain(gateway, pki, "/x", host="unknown.example"),
        lambda: plain(gateway, pki, "/repos/../x"),
        lambda: plain(gateway, pki, "/repos/busy"),
        lambda: plain(gateway, pki, "/repos/cut"),
        lambda: plain(gateway, pki, "/repos/reset", method="POST"),
        lambda: plain(gateway, pki, "/repos/garbage", method="POST"),
        lambda: plain(gateway, pki, "/old/x", host=BINGO),
        lambda: plain(gateway, pki, "/large", host=BINGO),
        lambda: plain(gateway, pki, "/mirror/x", host=BINGO),
        lambda: plain(gateway, pki, "/post", "Origin: https://evil.example", host=BINGO, method="POST"),
        lambda: plain(gateway, pki, "/post", "Content-Length: 9999999", host=BINGO, method="POST"),
        lambda: departing(gateway, pki, "/repos/hang"),
        lambda: departing(gateway, pki, "/large", BINGO),
        lambda: departing(gateway, pki, "/post", BINGO, b"x" * 100_000),
    ]
    with suppress(TruncatedError):
        return kinds[kind % len(kinds)]()
    return 0


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="there is no /proc to count sockets in")
def test_nothing_is_left_of_requests_that_ended_in_every_way(pki: Pki, tmp_path: Path) -> None:
    # Without evictions, as failures are the point here.
    resilience = rewritten(tmp_path, "20", ("consecutiveFailures: 3", "consecutiveFailures: 100000"))
    with ExitStack() as stack:
        origins = ExitStack()
        stack.callback(origins.close)
        origin = origins.enter_context(running_origin(pki.origin))
        shadow = origins.enter_context(running_origin(None))
        origin.handlers.update(HANDLERS)
        places = {f"{host}:443": origin.port for host in ORIGIN_HOSTS} | {SHADOW: shadow.port}
        manifests = [resilience, mirror_all(tmp_path), example("25")]
        gateway = stack.enter_context(running_manifests(pki, tmp_path / "run", manifests, places))
        before = descriptors(gateway)
        with ThreadPoolExecutor(CALLERS) as pool:
            statuses = list(pool.map(lambda kind: request(gateway, pki, kind), range(REQUESTS)))
        assert {0, 200, 301, 400, 403, 404, 413, 502} <= set(statuses), sorted(set(statuses))
        assert 500 not in statuses
        assert plain(gateway, pki, "/zen") == 200

        origins.close()  # which ends what the pools keep
        eventually("every socket to be closed", lambda: descriptors(gateway) <= before)
        assert shadow.requests
        gateway.terminate()
        for word in ("Traceback", "never retrieved", "was destroyed", "never awaited"):
            assert word not in gateway.stderr
        assert not [line for line in gateway.access_lines() if line["reason"] == "internal_error"]
