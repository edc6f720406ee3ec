from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import httpx
import pytest
from starlette.testclient import TestClient

from app.factory import create_app
from app.status import ListenError, Readiness, Reload, listen, status_app
from tests.support.asgi import lifespan
from tests.support.gateway import manifests, settings
from tests.support.loops import in_each_loop

if TYPE_CHECKING:
    from pathlib import Path


def test_a_live_process_is_ok_whether_ready_or_not() -> None:
    answer = TestClient(status_app(Readiness())).get("/healthz")

    assert (answer.status_code, answer.text) == (200, "ok")


@pytest.mark.parametrize(("status", "code"), [("ready", 200), ("starting", 503), ("draining", 503)])
def test_readiness_tells_status_revision_and_last_reload(status: str, code: int) -> None:
    reload = Reload("2026-11-23T12:00:00Z", "failed", "a fault")
    answer = TestClient(status_app(Readiness(status, "0123456789ab", reload))).get("/readyz")  # type: ignore[arg-type]

    assert answer.status_code == code
    assert answer.json() == {
        "status": status,
        "revision": "0123456789ab",
        "last_reload": {"time": "2026-11-23T12:00:00Z", "result": "failed", "error": "a fault"},
    }


def test_before_the_first_load_there_is_no_revision_and_no_reload() -> None:
    answer = TestClient(status_app(Readiness())).get("/readyz")

    assert (answer.status_code, answer.json()) == (503, {"status": "starting", "revision": None, "last_reload": None})


def test_metrics_are_not_there_yet() -> None:
    assert TestClient(status_app(Readiness())).get("/metrics").status_code == 404


def test_the_time_of_a_reload_is_rfc_3339_in_utc() -> None:
    reload = Reload.succeeded()

    assert reload.time.endswith("Z")
    assert datetime.fromisoformat(reload.time).utcoffset() is not None
    assert (reload.result, reload.error) == ("ok", None)


@in_each_loop
async def test_a_running_gateway_is_ready_on_its_status_listener_and_closes_it_at_its_end(tmp_path: Path) -> None:
    probe = await listen(status_app(Readiness()), ("127.0.0.1", 0))
    port = probe.sockets[0].getsockname()[1]
    probe.close()
    await probe.wait_closed()
    address = f"127.0.0.1:{port}"
    app = create_app(settings(manifests(tmp_path), status_listen=address))

    async with httpx.AsyncClient(trust_env=False) as client:
        async with lifespan(app) as said:
            assert said == [{"type": "lifespan.startup.complete"}]
            assert (await client.get(f"http://{address}/healthz")).text == "ok"
            ready = await client.get(f"http://{address}/readyz")
            assert (ready.status_code, ready.json()["status"]) == (200, "ready")
            assert len(bytes.fromhex(ready.json()["revision"])) == 6
            assert ready.json()["last_reload"]["result"] == "ok"
        with pytest.raises(httpx.ConnectError):
            await httpx.AsyncClient(trust_env=False).get(f"http://{address}/healthz")


@in_each_loop
async def test_a_port_that_is_taken_is_an_error_that_names_it() -> None:
    first = await listen(status_app(Readiness()), ("127.0.0.1", 0))
    port = first.sockets[0].getsockname()[1]

    with pytest.raises(ListenError, match=f"127.0.0.1:{port}"):
        await listen(status_app(Readiness()), ("127.0.0.1", port))
    first.close()
    await first.wait_closed()
