"""The command line of `python -m tests.benchmarks`."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.processes import most_connections
from tests.benchmarks.traces import RATIOS

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
PEERS = ("envoy", "mitmproxy", "nginx", "haproxy")
DESCRIPTION = """\
This gateway beside its peers: same work, one run, interleaved rounds. Every answer is verified, at the origin and by
the load generator. A table is printed; JSON and a picture are written under a new name and as `latest`.

From `make` the options stand in ARGS:

  make bench                                          every peer that can be had, 3 rounds
  make bench ARGS="--peers envoy --rules 1000"        one peer, more work
  make bench ARGS="--peers none --otel on"            traces of every request: what they add
  make bench ARGS="--peers none --scale"              10,000 hosts and 1,000 rules against 1 and 1
  make bench ARGS="--peers none --manifests 600"      how long a start with 600 manifests takes
  make bench ARGS="--peers envoy --idle 5000"         memory of 5,000 mTLS connections
  make bench ARGS="--peers none --seconds 1 --rounds 2 --output /tmp/bench"
                                                      in half a minute, apart from the reports that are kept
"""
EXIT_CODES = """\
Ends with 1 if an answer, the access log or the traces were wrong or this gateway did not start, with 2 if the options
cannot be used, else with 0. A target that is missed is printed as MISSED; only figures of one run may be compared.
"""
SCALE_HOSTS, SCALE_RULES = 10_000, 1_000
UNITS = {"k": 1024, "m": 1024**2, "g": 1024**3}


NAMED = (
    "rules",
    "hosts",
    "body_bytes",
    "upload",
    "rate",
    "workers",
    "connections",
    "otel",
    "scale",
    "manifests",
    "idle_connections",
)
"""Options that a report's name holds where they differ from the default."""


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
    otel: str = "off"
    """Which requests are recorded as traces: `off`, `1%` or `on`."""
    scale: bool = False
    """The gateway with one host and one rule takes part too."""
    manifests: int = 0
    """Of a start that is measured beside the others; 0 for none."""
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
        for field in NAMED:
            value = getattr(self, field)
            if value != getattr(default, field):
                name = field.removesuffix("_bytes").removesuffix("_connections")
                parts.append(name if value is True else f"{name}-{value}".replace("%", "-percent"))
        if self.peers != default.peers:
            parts.append("peers-" + ("-".join(self.peers) or "none"))
        return "_".join(parts) or "default"

    def as_json(self) -> dict[str, object]:
        """Return what a report says about them."""
        hidden = {"output", "environments", "micro"}
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in hidden}


class _HelpFormatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Leaves the description's lines as they are, and tells defaults."""


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line."""
    default = Options()
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=DESCRIPTION,
        epilog=EXIT_CODES,
        formatter_class=_HelpFormatter,
    )
    add = parser.add_argument
    default_of = "(default: 1, with --scale {})".format
    unset = argparse.SUPPRESS
    add("--rules", type=_count, default=unset, help=f"allow rules; the last one matches {default_of(SCALE_RULES)}")
    add("--hosts", type=_count, default=unset, help=f"hosts in the table; one is called {default_of(SCALE_HOSTS)}")
    add("--scale", action="store_true", help="beside the same gateway with one host and one rule")
    add("--manifests", type=_count, default=0, metavar="N", help="measure a start with N manifests too, 3 for a host")
    add("--otel", choices=RATIOS, default="off", help="which requests this gateway records as traces; peers make none")
    add("--body", type=_size, default=default.body_bytes, metavar="SIZE", help="bytes of an answer: 1024, 64k, 2m")
    add("--upload", action="store_true", help="send the body instead of receiving it")
    add("--rate", type=_count, default=default.rate, help="requests a second where latency is measured")
    add("--workers", type=_count, default=default.workers, help="worker processes or threads of each proxy")
    add("--connections", type=_count, default=default.connections, help="mTLS connections of the request loop")
    add("--idle", type=_count, default=default.idle_connections, help="idle mTLS connections; opened first")
    add("--seconds", type=_seconds, default=default.seconds, help="length of one measurement")
    add("--rounds", type=_count, default=default.rounds, help="rounds; figures are medians over them")
    add("--peers", type=_peers, default=",".join(PEERS), help="comma-separated, or none")
    add("--output", type=Path, default=default.output, help="directory of the reports")
    add("--environments", type=Path, default=default.environments, help="where the peers are installed")
    add("--micro", action="store_true", help="run the micro-benchmarks first")
    add(
        "--hbone",
        type=_later,
        nargs="?",
        const="on",
        default="off",
        help="the HBONE listener: not available yet",
    )
    given = parser.parse_args(arguments)
    if (limit := most_connections()) < max(given.idle, given.connections):
        parser.error(f"only {limit:,} connections can be open here: `ulimit -Hn` or net.ipv4.ip_local_port_range")
    return Options(
        rules=getattr(given, "rules", SCALE_RULES if given.scale else default.rules),
        hosts=getattr(given, "hosts", SCALE_HOSTS if given.scale else default.hosts),
        scale=given.scale,
        manifests=given.manifests,
        otel=given.otel,
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
