"""The benchmark's table and picture, from made-up figures."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

from tests.benchmarks.chart import draw, full_scale
from tests.benchmarks.figures import targets
from tests.benchmarks.machine import Cores, Machine
from tests.benchmarks.measure import Measured, Outcome
from tests.benchmarks.options import Options, parse
from tests.benchmarks.peers.running import GATEWAY
from tests.benchmarks.report import table, write

if TYPE_CHECKING:
    from pathlib import Path

MACHINE = Machine("2026-11-23T10:00:00+00:00", "abc1234", "a <fast> one", 2, 1024, "Linux 6", "3.11.7", "OpenSSL", 0.1)


def outcome() -> Outcome:
    result = Outcome("not pinned")
    for name, cpu, rate in ((GATEWAY, 60.0, 9000.0), ("envoy", 50.0, 10000.0), ("mitmproxy", 1500.0, 600.0)):
        measured = Measured("1.0")
        for factor in (2.0, 1.0, 0.5):
            measured.add(cpu_us=cpu * factor, requests_s=rate * factor)
        result.proxies[name] = measured
    result.left_out["nginx"] = "not on PATH"
    return result


def test_the_table_holds_medians_ratios_and_targets() -> None:
    lines = {" ".join(line.split()) for line in table(outcome(), Options()).splitlines()}

    assert "CPU us/request 60 50 1,500" in lines
    assert "CPU us/request 1.20x 1.00x 30.00x" in lines
    assert "CPU per request 1.2x envoy target <= 1.5 reached" in lines
    assert "nginx was left out: not on PATH" in lines


def test_a_thousand_rules_have_a_target_of_their_own() -> None:
    few, many = ({target.label for target in targets(rules)} for rules in (1, 1000))

    assert "CPU per request, >= 1,000 rules" in many - few


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    options = Options(output=tmp_path, rules=1000)
    first, second = (write(outcome(), options, MACHINE) for _ in range(2))

    names = [file.name for file in (*first, *second)]
    assert names[0] == "2026-11-23-rules-1000.json"
    assert names[4] == "2026-11-23-rules-1000-2.json"
    assert names[2] == names[6] == "latest.json"
    document = json.loads(first[0].read_text())
    assert document["medians"]["envoy"]["cpu_us"] == 50.0
    assert document["machine"]["commit"] == "abc1234"
    assert document["options"]["rules"] == 1000


def test_the_picture_is_xml_and_cuts_a_bar_that_would_hide_the_others() -> None:
    picture = ET.fromstring(draw(outcome(), Options(), MACHINE))  # noqa: S314  our own

    assert len(picture.findall("{http://www.w3.org/2000/svg}rect")) == 3 + 1 + 3
    assert full_scale([(GATEWAY, 60.0), ("envoy", 50.0), ("mitmproxy", 1500.0)]) == 240.0


@pytest.mark.parametrize("arguments", ["--otel=on", "--otel=1%", "--hbone", "--peers=apache", "--body=x", "--rules=0"])
def test_what_cannot_be_measured_is_refused(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse([arguments])

    assert "error:" in capsys.readouterr().err


def test_options_name_the_file() -> None:
    assert parse([]).slug() == "default"
    assert parse(["--body", "64k", "--upload", "--peers", "none"]).slug() == "body-65536_upload_peers-none"


def test_a_proxy_with_workers_is_not_pinned() -> None:
    assert Cores.split(2) == Cores(None, None)
