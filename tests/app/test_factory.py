from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import pytest

from app.factory import Gateway, create_app
from tests.support.asgi import Call, lifespan
from tests.support.gateway import WORKSHOP, manifests, settings
from tests.support.loops import in_loop

if TYPE_CHECKING:
    from pathlib import Path


@in_loop
async def test_the_gateway_starts_serves_and_ends(tmp_path: Path) -> None:
    app = create_app(settings(manifests(tmp_path)))
    async with lifespan(app) as said:
        call = Call(app, headers=[(b"host", b"unknown.test")])
        await call.run()
        assert call.status == 404

    assert [message["type"] for message in said] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@in_loop
async def test_outside_its_lifespan_nothing_is_served() -> None:
    with pytest.raises(RuntimeError, match="lifespan"):
        await Call(create_app(settings(WORKSHOP))).run()


@in_loop
async def test_a_websocket_passes_no_layer(tmp_path: Path) -> None:
    app = create_app(settings(manifests(tmp_path)))
    async with lifespan(app):
        call = Call(app)
        call.scope["type"] = "websocket"

        with pytest.raises(RuntimeError, match="websocket"):
            await call.run()
        assert call.sent == []


@in_loop
async def test_without_settings_the_environment_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "EGRESS_CONFIG": manifests(tmp_path),
        "EGRESS_STATUS_LISTEN": "off",
        "EGRESS_ACCESS_LOG": "off",
    }.items():
        monkeypatch.setenv(name, value)

    async with lifespan(create_app()) as said:
        assert said == [{"type": "lifespan.startup.complete"}]


def test_importing_the_entry_point_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EGRESS_CONFIG", "/nowhere")
    monkeypatch.delitem(sys.modules, "app.main", raising=False)

    assert isinstance(importlib.import_module("app.main").app, Gateway)
