"""The process log: JSON lines on stderr, in the same words as the access log."""

from __future__ import annotations

import logging
import sys

from pythonjsonlogger.json import JsonFormatter

_UVICORN_LOGGERS = ("uvicorn", "uvicorn.error", "uvicorn.asgi")


_RESERVED = (
    *(name for name in logging.LogRecord("", 0, "", 0, "", (), None).__dict__ if name not in {"levelname", "name"}),
    "asctime",
    "color_message",
    "message",
    "taskName",
)
"""Attributes of every record that say nothing worth a field."""


def formatter() -> JsonFormatter:
    """Return the formatter of the process log."""
    return JsonFormatter(
        "%(message)s",
        rename_fields={"levelname": "level", "name": "logger"},
        timestamp="time",
        reserved_attrs=_RESERVED,
    )


def configure_logging() -> None:
    """Send our own log and uvicorn's to stderr as JSON. Uvicorn's access log gives way to ours."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter())
    own = logging.getLogger("egress")
    own.handlers = [handler]
    own.propagate = False
    if own.level == logging.NOTSET:
        own.setLevel(logging.INFO)
    for name in _UVICORN_LOGGERS:
        logger = logging.getLogger(name)
        if logger.handlers:
            logger.handlers = [handler]
    # A refused request has its line in the access log; callers must not be able to fill this one.
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    access = logging.getLogger("uvicorn.access")
    access.handlers = []
    access.propagate = False


_SAID_ELSEWHERE = frozenset(
    {
        "Invalid HTTP request received.",
        "ASGI callable returned without completing response.",  # a connection that was aborted on purpose
        "ASGI callable returned without starting response.",
    }
)


def _is_news(record: logging.LogRecord) -> bool:
    return record.msg not in _SAID_ELSEWHERE
