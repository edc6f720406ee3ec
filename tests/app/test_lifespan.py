"""Why the gateway does not start: each cause is one clear message, sent to the server and never raised."""

from __future__ import annotations

import os
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from uvicorn import Config

from app.factory import create_app
from app.lifespan import running
from app.listeners.uvicorn_connection import REFUSED
from app.listeners.uvicorn_hook import SERVER_CONFIG
from middleware.context import Connection
from middleware.errors import InvalidRequestError
from tests.support.asgi import lifespan
from tests.support.gateway import GATEWAY, WORKSHOP, manifests, settings
from tests.support.loops import in_loop, run
from tests.support.tls import MESH, authority

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import Message

    from config.settings import Settings

pytestmark = pytest.mark.usefixtures("process_log_as_it_was")


def start(config: Settings | None, state: dict[str, Any] | None = None) -> str:
    """Start and end a gateway; return why it did not start, or nothing."""

    async def main() -> list[Message]:
        async with lifespan(create_app(config), state) as said:
            return list(said)

    (first,) = run(main())
    assert first["type"] in {"lifespan.startup.complete", "lifespan.startup.failed"}
    return str(first.get("message", ""))


def test_no_manifests_is_one_clear_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert start(settings(str(tmp_path / "none"))) == "the configuration cannot be used: 1 fault, see above"
    assert len(caplog.records) == 1
    assert str(tmp_path / "none") in caplog.text


def test_every_fault_of_the_manifests_is_logged_with_its_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = manifests(tmp_path, "kind: ServiceEntry\napiVersion: networking.istio.io/v1\nspec: {hots: []}\n", "- a\n")

    message = start(settings(config))

    assert message.endswith("faults, see above")
    assert len(caplog.records) >= 2
    assert all(record.getMessage().startswith(f"{config}:") for record in caplog.records)


def test_faults_of_the_settings_are_found(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("EGRESS_CONFIG", WORKSHOP)
    monkeypatch.setenv("EGRESS_ACESS_LOG", "off")

    assert start(None) == "the configuration cannot be used: 1 fault, see above"
    assert "EGRESS_ACESS_LOG" in caplog.text


def test_without_strictness_faults_are_logged_and_the_rest_serves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "manifests.yaml"
    path.write_text(GATEWAY + "---\n- no mapping\n")

    assert start(settings(str(path), strict=False)) == ""
    assert str(path) in caplog.text


def test_an_access_log_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    message = start(settings(manifests(tmp_path), access_log="/nowhere/access.log"))

    assert message == "EGRESS_ACCESS_LOG=/nowhere/access.log cannot be opened: No such file or directory"


def test_a_status_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        message = start(settings(manifests(tmp_path), status_listen=address))

    assert message.startswith(f"EGRESS_STATUS_LISTEN={address} cannot be listened on: ")


def test_trust_roots_that_cannot_be_loaded_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/roots.pem")

    assert "SSL_CERT_FILE=/nowhere/roots.pem" in start(settings(WORKSHOP))


def test_what_nobody_foresaw_is_a_failed_start_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_: object) -> None:
        raise LookupError("unforeseen")

    monkeypatch.setattr("app.lifespan.open_sink", failing)

    assert start(settings(manifests(tmp_path))) == "unforeseen"


# Beneath uvicorn


def server(context: ssl.SSLContext | None) -> Config:
    config = Config("app.main:app", log_config=None)
    config.ssl = context
    return config


def server_tls(*, verify: ssl.VerifyMode = ssl.CERT_REQUIRED, ca: bool = True) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = verify
    if ca:
        context.load_verify_locations(cadata=authority(MESH).pem()[0].decode())
    return context


@pytest.mark.parametrize(
    ("context", "reason"),
    [
        (None, "uvicorn would serve plain HTTP"),
        (server_tls(verify=ssl.CERT_NONE), "uvicorn would accept callers without a certificate"),
        (server_tls(verify=ssl.CERT_OPTIONAL), "uvicorn would accept callers without a certificate"),
        (server_tls(ca=False), "uvicorn has no CA to verify callers with"),
    ],
)
def test_a_server_that_does_not_know_its_callers_is_not_started(
    context: ssl.SSLContext | None, reason: str, tmp_path: Path
) -> None:
    message = start(settings(manifests(tmp_path)), {SERVER_CONFIG: server(context)})

    assert message.startswith(reason)
    for flag in ("--ssl-certfile", "--ssl-keyfile", "--ssl-ca-certs", "--ssl-cert-reqs 2"):
        assert flag in message


def test_a_server_that_verifies_its_callers_is_started_with_the_timeouts_of_the_settings(tmp_path: Path) -> None:
    config = server(server_tls())

    assert start(settings(manifests(tmp_path), keepalive_timeout=7, drain_timeout=8), {SERVER_CONFIG: config}) == ""
    assert (config.timeout_keep_alive, config.timeout_graceful_shutdown) == (7, 8)


def test_timeouts_that_were_passed_to_the_server_stay(tmp_path: Path) -> None:
    config = server(server_tls())
    config.timeout_keep_alive, config.timeout_graceful_shutdown = 9, 10

    assert start(settings(manifests(tmp_path)), {SERVER_CONFIG: config}) == ""
    assert (config.timeout_keep_alive, config.timeout_graceful_shutdown) == (9, 10)


@in_loop
async def test_what_the_parser_refused_is_logged_with_the_gateways_name(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    state: dict[str, Any] = {}
    async with running(settings(manifests(tmp_path), access_log=str(log)), state):
        connection = Connection("192.0.2.7", 1, "127.0.0.1", 2, "https")
        decision_id = state[REFUSED](connection, InvalidRequestError("broken"))

    assert f'"decision_id": "{decision_id}", "gateway": "test/egress"' in log.read_text()


def test_what_was_opened_is_closed_where_a_later_step_fails(tmp_path: Path) -> None:
    descriptors = os.listdir("/proc/self/fd")  # noqa: PTH208  numbers are wanted
    log = str(tmp_path / "access.log")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status = f"127.0.0.1:{taken.getsockname()[1]}"
        assert start(settings(manifests(tmp_path), access_log=log, status_listen=status))

    assert len(os.listdir("/proc/self/fd")) == len(descriptors)  # noqa: PTH208
