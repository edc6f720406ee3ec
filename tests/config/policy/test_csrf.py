from __future__ import annotations

import pytest

from config.policy.cors import Origin
from config.policy.csrf import Csrf

DESTINATION = Origin.parse("https://api.example.org")
CSRF = Csrf(frozenset({Origin.parse("https://app.example")}))


def headers(*fields: str) -> list[tuple[bytes, bytes]]:
    pairs = (field.split(": ", 1) for field in fields)
    return [(name.encode(), value.encode()) for name, value in pairs]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_methods_that_change_nothing_pass(method: str) -> None:
    assert not CSRF.refusal(method, headers("sec-fetch-site: cross-site", "origin: https://evil.test"), DESTINATION)


@pytest.mark.parametrize(
    "fields",
    [
        [],
        ["sec-fetch-site: same-origin"],
        ["sec-fetch-site: none"],
        ["sec-fetch-site: same-origin", "origin: null"],
        ["origin: https://api.example.org"],
        ["origin: https://API.example.org:443"],
        ["origin: https://app.example"],
        ["sec-fetch-site: cross-site", "origin: https://app.example"],
        ["sec-fetch-site: same-site", "origin: https://app.example"],
    ],
)
def test_the_destination_itself_and_listed_origins_pass(fields: list[str]) -> None:
    assert not CSRF.refusal("POST", headers(*fields), DESTINATION)


@pytest.mark.parametrize(
    "fields",
    [
        ["origin: https://evil.test"],
        ["origin: http://api.example.org"],
        ["origin: https://api.example.org:8443"],
        ["origin: null"],
        ["origin: "],
        ["origin: https://app.example", "origin: https://app.example"],
        ["origin: https://*.example"],
        ["sec-fetch-site: cross-site"],
        ["sec-fetch-site: same-site"],
        ["sec-fetch-site: Same-Origin"],
        ["sec-fetch-site: same-origin", "sec-fetch-site: cross-site"],
        ["sec-fetch-site: cross-site", "origin: https://evil.test"],
        ["sec-fetch-site: same-site", "origin: https://api.example.org"],
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "PURGE"])
def test_other_pages_change_nothing(fields: list[str], method: str) -> None:
    assert CSRF.refusal(method, headers(*fields), DESTINATION)
