"""The files of `deploy/examples`, each loaded beside the workshop by a gateway process of its own."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from app.cli.certificates import Leaf
from tests.conformance.harness.certificates import issue
from tests.conformance.harness.gateway import ROOT, WORKSHOP, running_gateway

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.conformance.harness.certificates import KeyPair, Pki
    from tests.conformance.harness.gateway import Gateway

EXAMPLES = ROOT / "deploy" / "examples"


def example(name: str) -> Path:
    """Return the one example whose file name begins so."""
    [found] = EXAMPLES.glob(f"{name}-*.yaml")
    return found


def rewritten(directory: Path, name: str, *replacements: tuple[str, str]) -> Path:
    """Write a copy of an example in which each of these texts is another one."""
    text = example(name).read_text()
    for old, new in replacements:
        assert old in text, old
        text = text.replace(old, new)
    copy = directory / f"{name}-rewritten.yaml"
    copy.write_text(text)
    return copy


def mirror_all(directory: Path) -> Path:
    """Write example 15 with a copy of every request, not of a tenth."""
    return rewritten(directory, "15", ("percent: 10", "percent: 100"))


def dialled(places: Mapping[str, int]) -> str:
    """Return the value of `EGRESS_RESOLVE` that leads each `host:port` to a port of this machine."""
    return ",".join(f"{place}:127.0.0.1:{port}" for place, port in places.items())


@contextmanager
def running_manifests(
    pki: Pki,
    directory: Path,
    manifests: Sequence[Path],
    places: Mapping[str, int],
    settings: Mapping[str, str] | None = None,
) -> Iterator[Gateway]:
    """Run a gateway with these manifests beside the workshop; `places` are the `host:port` that it dials."""
    variables = {"EGRESS_RESOLVE": dialled(places)} | dict(settings or {})
    with running_gateway(pki, directory, {}, manifests=(WORKSHOP, *manifests), settings=variables) as gateway:
        yield gateway


def origin_pair(directory: Path, pki: Pki, *names: str) -> KeyPair:
    """Issue a certificate for an origin with these names."""
    return issue(directory, pki.origins, Leaf(names[0].replace("*", "any"), names=names))
