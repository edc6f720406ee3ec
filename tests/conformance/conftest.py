"""Fixtures of the conformance tests: certificates once a session, an origin and a gateway once a module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance.harness.certificates import ORIGIN_HOSTS, Pki
from tests.conformance.harness.gateway import Gateway, running_gateway
from tests.conformance.harness.origin import Origin, running_origin

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.create(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def origin(pki: Pki) -> Iterator[Origin]:
    """Stand in for every host of the workshop."""
    with running_origin(pki.origin) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(
    request: pytest.FixtureRequest, pki: Pki, origin: Origin, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """Run the workshop's six manifests with the plain command line, or with the arguments of a module's `each_way`."""
    directory = tmp_path_factory.mktemp("gateway")
    arguments: str = getattr(request, "param", "")
    origins = dict.fromkeys(ORIGIN_HOSTS, origin.port)
    with running_gateway(pki, directory, origins, arguments=arguments.split()) as running:
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the gateway of a failed test wrote."""
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Gateway):
                report.sections.append(("gateway", value.output()[-8000:]))
    return report
