from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from app.cli.workshop_origins import ZEN, canonical_name, github, httpbingo


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        (b"x-caller-identity", "X-Caller-Identity"),
        (b"x_caller_identity", "X_caller_identity"),
        (b"ACCEPT", "Accept"),
        (b"bad name", "bad name"),
    ],
)
def test_names_are_written_as_go_does(name: bytes, canonical: str) -> None:
    assert canonical_name(name) == canonical


def test_github_answers_as_the_real_one() -> None:
    client = TestClient(github)

    assert client.get("/zen").text == ZEN
    assert client.get("/zen").headers["content-type"].startswith("text/plain")
    assert client.get("/repos/octocat/Hello-World").json()["full_name"] == "octocat/Hello-World"
    assert client.get("/users/torvalds").json()["login"] == "torvalds"
    assert client.get("/repos/octocat").status_code == 404
    assert client.get("/nothing").json()["message"] == "Not Found"


def test_github_refuses_requests_without_a_user_agent() -> None:
    assert TestClient(github, headers={"user-agent": ""}).get("/zen").status_code == 403


def test_httpbingo_shows_every_value_of_every_header() -> None:
    headers = [("X-Twice", "1"), ("x-twice", "2"), ("X_Caller", "evil")]

    answer = TestClient(httpbingo, base_url="https://httpbingo.org").get("/headers", headers=headers).json()

    assert answer["headers"]["X-Twice"] == ["1", "2"]
    assert answer["headers"]["X_caller"] == ["evil"]
    assert answer["headers"]["Host"] == ["httpbingo.org"]


def test_httpbingo_echoes_arguments_and_statuses() -> None:
    client = TestClient(httpbingo)

    assert client.get("/get?a=1&a=2").json()["args"] == {"a": ["1", "2"]}
    assert client.get("/status/418").status_code == 418
    assert client.get("/status/99").status_code == 400
