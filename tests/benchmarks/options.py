"""The command line of `python -m tests.benchmarks`."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
PEERS = ("envoy", "mitmproxy", "nginx", "haproxy")
UNITS = {"k": 1024, "m": 1024**2, "g": 1024**3}


@dataclass(frozen=True, slots=True)
class Options:
    """What is measured, and for how long."""

    rules: int = 1
    """Allow rules; the last one matches."""
    hosts: int = 1
    """Hosts in the table; one of them is called."""
    body_bytes: int = 1024
    """Size of the answers of the request loop, or with `upload` of its request bodies."""
    upload: bool = False
    rate: int = 300
    """Requests a second of the open loop."""
    workers: int = 1
    connections: int = 64
    idle_connections: int = 256
    seconds: float = 2.0
    """Length of one measurement."""
    rounds: int = 3
    peers: tuple[str, ...] = PEERS
    output: Path = ROOT / "docs" / "benchmarks"
    environments: Path = ROOT / ".bench"
    micro: bool = False

    def slug(self) -> str:
        """Return the options that say what work is done and differ from the default, for a file name."""
        default = Options()
        parts = []
        for field in ("rules", "hosts", "body_bytes", "upload", "rate", "workers", "connections"):
            value = getattr(self, field)
            if value != getattr(default, field):
                name = field.removesuffix("_bytes")
                parts.append(name if value is True else f"{name}-{value}")
        if self.peers != default.peers:
            parts.append("peers-" + ("-".join(self.peers) or "none"))
        return "_".join(parts) or "default"

    def as_json(self) -> dict[str, object]:
        """Return what a report says about them."""
        hidden = {"output", "environments", "micro"}
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in hidden}


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line."""
    default = Options()
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="This gateway beside its peers: same work, one run, interleaved rounds.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--rules", type=_count, default=default.rules, help="allow rules; the last one matches")
    add("--hosts", type=_count, default=default.hosts, help="hosts in the table; one is called")
    add("--body", type=_size, default=default.body_bytes, metavar="SIZE", help="bytes of an answer: 1024, 64k, 2m")
    add("--upload", action="store_true", help="send the body instead of receiving it")
    add("--rate", type=_count, default=default.rate, help="requests a second where latency is measured")
    add("--workers", type=_count, default=default.workers, help="worker processes or threads of each proxy")
    add("--connections", type=_count, default=default.connections, help="mTLS connections of the request loop")
    add("--idle", type=_count, default=default.idle_connections, help="idle mTLS connections for the memory figure")
    add("--seconds", type=_seconds, default=default.seconds, help="length of one measurement")
    add("--rounds", type=_count, default=default.rounds, help="rounds; figures are medians over them")
    add("--peers", type=_peers, default=default.peers, help="comma-separated, or none")
    add("--output", type=Path, default=default.output, help="directory of the reports")
    add("--environments", type=Path, default=default.environments, help="where the peers are installed")
    add("--micro", action="store_true", help="run the micro-benchmarks first")
    add("--otel", type=_later, default="off", help="off, 1%% or on: traces of the gateway")
    add("--hbone", type=_later, nargs="?", const="on", default="off", help="call through the HBONE listener")
    given = parser.parse_args(arguments)
    return Options(
        rules=given.rules,
        hosts=given.hosts,
        body_bytes=given.body,
        upload=given.upload,
        rate=given.rate,
        workers=given.workers,
        connections=given.connections,
        idle_connections=given.idle,
        seconds=given.seconds,
        rounds=given.rounds,
        peers=given.peers,
        output=given.output,
        environments=given.environments.absolute(),
        micro=given.micro,
    )


def _count(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) <= 1_000_000):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 1,000,000")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 600.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0.1 and 600 seconds")
    return value


def _size(text: str) -> int:
    number, unit = (text[:-1], text[-1:].lower()) if text[-1:].lower() in UNITS else (text, "")
    if not number.isdecimal() or (size := int(number) * UNITS.get(unit, 1)) > UNITS["g"]:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 1024, 64k or 2m")
    return size


def _peers(text: str) -> tuple[str, ...]:
    names = [] if text == "none" else text.split(",")
    if unknown := set(names).difference(PEERS):
        raise argparse.ArgumentTypeError(f"no such peer: {', '.join(sorted(unknown))}; known: {', '.join(PEERS)}, none")
    return tuple(name for name in PEERS if name in names)


def _later(text: str) -> str:
    if text != "off":
        raise argparse.ArgumentTypeError("not available yet")
    return text
