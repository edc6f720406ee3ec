"""This gateway once more with one thing changed, in the same rounds: what that thing costs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.benchmarks.peers.running import GATEWAY

if TYPE_CHECKING:
    from tests.benchmarks.options import Options

NO_TRACES = "gateway-no-traces"
ONE = "gateway-1-host-1-rule"
MANIFESTS = "gateway-manifests"
"""Is started and nothing else."""
HOST_MANIFESTS = 3
"""Manifests of one host."""


def compared(options: Options) -> dict[str, Options]:
    """Return the variants that do the same work."""
    variants = {}
    if options.otel == "on":
        variants[NO_TRACES] = replace(options, otel="off")
    if options.scale:
        variants[ONE] = replace(options, hosts=1, rules=1)
    return variants


def started(options: Options) -> dict[str, Options]:
    """Return the variants of which only the start is measured."""
    if not options.manifests:
        return {}
    return {MANIFESTS: replace(options, hosts=1 + -(-options.manifests // HOST_MANIFESTS), rules=1)}


def is_gateway(name: str) -> bool:
    return name in {GATEWAY, NO_TRACES, ONE, MANIFESTS}
