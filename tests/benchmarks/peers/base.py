"""What every proxy is given, and what it must say."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.benchmarks.pki import spiffe_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.benchmarks.options import Options
    from tests.benchmarks.pki import Pki

FORWARDED_BY = "agentgateway-egress"
PATHS_EXACT = ("/zen",)
PATHS_BELOW = ("/repos/",)


class PeerUnavailableError(Exception):
    """A peer cannot take part; its message says why."""


@dataclass(frozen=True, slots=True)
class Work:
    """The work that every proxy does: mTLS in, one caller allowed, some paths, headers, a JSON log, TLS out."""

    options: Options
    pki: Pki
    origin_port: int
    port: int
    """Where the proxy listens."""
    directory: Path
    """For its configuration and logs."""
    collector: str | None = None
    """Where a gateway sends its traces, if it makes any."""

    @property
    def log(self) -> Path:
        return self.directory / "access.log"

    def teams(self) -> list[str]:
        return teams(self.options.rules)

    def principals(self) -> list[str]:
        return [spiffe_id(team) for team in self.teams()]

    def other_hosts(self) -> list[str]:
        return other_hosts(self.options.hosts)


@dataclass(frozen=True, slots=True)
class Launch:
    """How a proxy is started."""

    command: Sequence[str]
    version: str
    environment: Mapping[str, str] = field(default_factory=dict)
    working_directory: Path | None = None
    notes: tuple[str, ...] = ()
    """What of the work it cannot do as the others do."""


def teams(rules: int) -> list[str]:
    """Return one caller for each allow rule; the last one calls."""
    return [*(f"other-{number:06}" for number in range(rules - 1)), "team-a"]


def other_hosts(hosts: int) -> list[str]:
    """Return the hosts that are configured and never called."""
    return [f"h{number:06}.bench.example" for number in range(hosts - 1)]


def output(*command: str) -> str:
    """Return what a short command prints.

    Raises:
        PeerUnavailableError: it cannot be run.

    """
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=20.0, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerUnavailableError(f"{command[0]} cannot be run: {error}") from error
    if run.returncode:
        raise PeerUnavailableError(f"{command[0]} ended with {run.returncode}: {run.stderr.strip()[-200:]}")
    return run.stdout + run.stderr
