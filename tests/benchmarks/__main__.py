"""`make bench`: what the pure parts of a request cost, in microseconds. Compare figures of one run only."""

from __future__ import annotations

import timeit
from pathlib import Path
from typing import TYPE_CHECKING

from config.attributes import Peer, RequestAttributes, SpiffeId
from config.loading import load
from config.policy.normalisation import normalise_path
from config.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

WORKSHOP = Path(__file__).parents[2] / "deploy" / "workshop"
PEER = Peer(SpiffeId("cluster.local", "/ns/team-a/sa/team-a", "team-a", "team-a"))
HEADERS = [(b"user-agent", b"curl/8"), (b"accept", b"*/*"), (b"x-internal-debug", b"1")]


def _attributes() -> RequestAttributes:
    return RequestAttributes(PEER, "GET", "api.github.com", "/repos/octocat/Hello-World", headers=HEADERS)


def _microseconds(call: Callable[[], object]) -> float:
    """Return the best of five rounds."""
    timer = timeit.Timer(call)
    loops, _ = timer.autorange()
    return min(timer.repeat(5, loops)) / loops * 1e6


def main() -> None:
    """Print the table."""
    snapshot, _ = load(Settings(config=(str(WORKSHOP),)))
    host = snapshot.find("api.github.com")
    assert host is not None  # noqa: S101  the workshop has it
    authorization, rewrite = host.route.authorization, host.route.request_headers
    assert rewrite is not None  # noqa: S101  the workshop sets headers
    rows: dict[str, Callable[[], object]] = {
        "host lookup": lambda: snapshot.find("api.github.com"),
        "normalise a plain path": lambda: normalise_path(b"/repos/octocat/Hello-World"),
        "normalise an escaped path": lambda: normalise_path(b"/repos/octocat/%C3%A9t%C3%A9"),
        "authorize and guard the path": lambda: authorization.decide(_attributes()),
        "rewrite the headers": lambda: rewrite.apply(HEADERS, _attributes()),
    }
    for name, call in rows.items():
        print(f"{name:32} {_microseconds(call):10.2f} us")


if __name__ == "__main__":
    main()
