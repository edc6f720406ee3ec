"""`make bench`: this gateway beside Envoy, mitmproxy, nginx and HAProxy in one run. Options: `--help`."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.machine import Machine
from tests.benchmarks.measure import Run
from tests.benchmarks.options import parse
from tests.benchmarks.peers.running import GATEWAY
from tests.benchmarks.processes import raise_open_files
from tests.benchmarks.report import table, write


def main() -> int:
    """Measure, print and write; 1 if an answer was wrong."""
    options = parse()
    raise_open_files(max(options.idle_connections, options.connections))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that every process is ended
    if options.micro:
        from tests.benchmarks import micro  # noqa: PLC0415  it loads the compiler and the oracles

        micro.main()
    machine, began = Machine.here(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="egress-bench-") as directory:
        outcome = Run(options, Path(directory)).run()
    if GATEWAY not in outcome.proxies:
        return 1
    print(table(outcome, options))
    print(f"\n{machine.processor}, {machine.cores} cores, {outcome.pinning}, load {machine.load_average} at the start")
    print(machine.build)
    for file in write(outcome, options, machine):
        print(f"wrote {file}")
    print(f"{time.monotonic() - began:.0f} seconds")
    return 1 if outcome.errors else 0


if __name__ == "__main__":
    sys.exit(main())
