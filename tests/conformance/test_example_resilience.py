"""Example 20 over real sockets: attempts, deadlines, and an origin that is left out for a while."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.conformance.harness.certificates import ORIGIN_HOSTS
from tests.conformance.harness.examples import example, rewritten, running_manifests
from tests.conformance.harness.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conformance.harness.certificates import Pki
    from tests.conformance.harness.gateway import Gateway
    from tests.conformance.harness.origin import Exchange, Origin

TARGET = "/repos/a/b"
HANGING_SECONDS = 10.0
"""Far longer than any deadline here."""


@pytest.fixture(autouse=True)
def _forget(origin: Origin) -> None:
    origin.requests.clear()
    origin.handlers.clear()


def both(origin: Origin) -> dict[str, int]:
    return {f"{host}:443": origin.port for host in ORIGIN_HOSTS}


def saying(*statuses: str) -> Callable[[Exchange], None]:
    """Return a handler that gives one status after another, the last one for ever."""
    left = list(statuses)

    def answer(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.answer(b"said", status=left.pop(0) if len(left) > 1 else left[0])

    return answer


def attempts(origin: Origin) -> list[list[str]]:
    return [received.values("x-retry-attempt") for received in origin.requests]


@pytest.fixture(scope="module")
def patient(pki: Pki, origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Run the example as it is."""
    with running_manifests(pki, tmp_path_factory.mktemp("patient"), [example("20")], both(origin)) as gateway:
        yield gateway


@pytest.mark.parametrize("status", ["502 No", "503 No", "504 No", "429 Later"])
def test_what_the_origin_cannot_answer_is_asked_again(patient: Gateway, pki: Pki, origin: Origin, status: str) -> None:
    origin.handlers[TARGET] = saying(status, "200 OK")
    name = f"again-{status[:3]}"

    answer = patient.ask(pki.team_a, TARGET, "X-Retry-Attempt: 7", "x_retry_attempt: 7", f"X-Request-Id: {name}")

    assert (answer.status, answer.text) == (200, "said")
    assert attempts(origin) == [[], ["1"]]
    assert not any(received.values("x_retry_attempt") for received in origin.requests)
    line = patient.access_line("request_id", name)
    assert (line["retry.attempt"], line["http.status"]) == (1, 200)


def test_the_last_answer_is_the_callers(patient: Gateway, pki: Pki, origin: Origin) -> None:
    origin.handlers[TARGET] = saying("503 No", "429 Later", "429 At last")

    assert patient.ask(pki.team_a, TARGET).status == 429
    assert attempts(origin) == [[], ["1"], ["2"]]


@pytest.mark.parametrize(("method", "status"), [("POST", "503 No"), ("GET", "404 No"), ("GET", "500 No")])
def test_other_methods_and_answers_are_not_asked_again(
    patient: Gateway, pki: Pki, origin: Origin, method: str, status: str
) -> None:
    origin.handlers[TARGET] = saying(status)
    assert patient.ask(pki.team_a, TARGET, method=method).status == int(status[:3])
    origin.handlers[TARGET] = saying("200 OK")  # so that failures do not add up
    assert patient.ask(pki.team_a, TARGET).status == 200
    assert attempts(origin) == [[], []]


def test_what_policy_refuses_is_never_attempted(patient: Gateway, pki: Pki, origin: Origin) -> None:
    assert patient.ask(pki.team_a, "/users/x").status == 403
    assert patient.ask(pki.team_b, TARGET).status == 403
    assert origin.requests == []


def test_after_three_failures_in_a_row_nobody_is_sent_there(patient: Gateway, pki: Pki, origin: Origin) -> None:
    origin.handlers[TARGET] = saying("503 No")
    assert patient.ask(pki.team_a, TARGET).status == 503
    assert len(origin.requests) == 3

    answer = patient.ask(pki.team_a, TARGET)
    assert (answer.status, answer.text) == (503, "no healthy backends")
    line = patient.line_of(answer)
    assert (line["reason"], line["endpoint"]) == ("no_healthy_backends", None)
    assert len(origin.requests) == 3
    assert patient.ask(pki.team_a, "/get", host="httpbingo.org").status == 200  # the same origin as another backend


@pytest.fixture(scope="module")
def hasty(pki: Pki, origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Run the example with shorter durations: three attempts do not fit into the whole time."""
    directory = tmp_path_factory.mktemp("hasty")
    copy = rewritten(
        directory,
        "20",
        ("request: 20s", "request: 2s"),
        ("requestTimeout: 5s", "requestTimeout: 1s"),
        ("duration: 30s", "duration: 1s"),
    )
    with running_manifests(pki, directory / "run", [copy], both(origin)) as gateway:
        yield gateway


def hang(exchange: Exchange) -> None:
    exchange.read_body()
    time.sleep(HANGING_SECONDS)
    exchange.reset()


def test_each_attempt_and_all_of_them_have_their_time(hasty: Gateway, pki: Pki, origin: Origin) -> None:
    origin.handlers[TARGET] = hang

    answer = hasty.ask(pki.team_a, TARGET, method="POST")
    assert (answer.status, answer.text) == (504, "upstream call timeout")
    assert hasty.line_of(answer)["reason"] == "upstream_timeout"
    assert len(origin.requests) == 1

    answer = hasty.ask(pki.team_a, TARGET)
    assert (answer.status, answer.text) == (504, "request timeout")
    assert hasty.line_of(answer)["reason"] == "request_timeout"
    assert attempts(origin) == [[], [], ["1"]]


def test_an_origin_that_was_left_out_comes_back(hasty: Gateway, pki: Pki, origin: Origin) -> None:
    origin.handlers[TARGET] = saying("503 No")

    def left_out() -> bool:
        return hasty.ask(pki.team_a, TARGET).text == "no healthy backends"

    eventually("the origin to be left out", left_out)
    asked = len(origin.requests)
    assert left_out()
    assert len(origin.requests) == asked

    origin.handlers[TARGET] = saying("200 OK")
    eventually("the origin to be asked again", lambda: hasty.ask(pki.team_a, TARGET).status == 200)
