from __future__ import annotations

import json
import logging

import pytest

from app.telemetry.log import configure_logging, formatter

pytestmark = pytest.mark.usefixtures("process_log_as_it_was")


def test_a_record_is_one_json_object_with_the_words_of_the_access_log() -> None:
    record = logging.makeLogRecord(
        {"name": "egress", "levelname": "INFO", "msg": "%s\nx", "args": ("a",), "revision": "1"}
    )

    fields = json.loads(formatter().format(record))

    assert fields.pop("time")
    assert fields == {"message": "a\nx", "level": "INFO", "logger": "egress", "revision": "1"}


def test_the_process_log_goes_to_stderr_and_uvicorns_access_log_gives_way(capsys: pytest.CaptureFixture[str]) -> None:
    access = logging.getLogger("uvicorn.access")
    access.handlers = [logging.StreamHandler()]
    access.setLevel(logging.INFO)
    logging.getLogger("uvicorn").handlers = [logging.StreamHandler()]
    configure_logging()

    logging.getLogger("egress").info("ready")
    logging.getLogger("uvicorn").warning("from uvicorn")
    access.info("GET /secret")

    captured = capsys.readouterr()
    assert captured.out == ""
    assert [json.loads(line)["message"] for line in captured.err.splitlines()] == ["ready", "from uvicorn"]


def test_callers_cannot_fill_the_process_log_with_requests_that_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    errors = logging.getLogger("uvicorn.error")
    errors.handlers = [logging.StreamHandler()]
    configure_logging()

    errors.warning("Invalid HTTP request received.")
    errors.warning("something else")

    assert [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()] == ["something else"]
