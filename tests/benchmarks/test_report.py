"""The benchmark's table and picture, from made-up figures."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest

from tests.benchmarks.chart import draw, full_scale
from tests.benchmarks.figures import targets
from tests.benchmarks.machine import Build, Cores, Machine
from tests.benchmarks.measure import Measured, Outcome
from tests.benchmarks.options import Options, parse
from tests.benchmarks.peers.running import GATEWAY
from tests.benchmarks.peers.variants import MANIFESTS, NO_TRACES, ONE
from tests.benchmarks.report import table, write

if TYPE_CHECKING:
    from pathlib import Path

MACHINE = replace(Machine.here(), date="2026-11-23T10:00:00+00:00", commit="abc1234", processor="a <fast> one")


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
    few, many = ({target.label for target in targets(Options(rules=rules))} for rules in (1, 1000))

    assert "CPU per request, >= 1,000 rules" in many - few


def test_what_recorded_traces_add_is_a_difference_of_each_round() -> None:
    result = outcome()
    result.proxies[NO_TRACES] = Measured()
    for cpu in (50.0, 40.0, 29.0):
        result.proxies[NO_TRACES].add(cpu_us=cpu)
    options = Options(otel="on")

    lines = {" ".join(line.split()) for line in table(result, options).splitlines()}

    assert "recorded spans, added CPU us per request 20 target <= 60 reached" in lines
    assert not [line for line in lines if line.startswith("CPU per request")]
    assert [target for target in targets(replace(options, otel="1%")) if target.label == "CPU per request"]


def test_scale_and_start_are_measured_on_variants() -> None:
    result = outcome()
    result.proxies[ONE], result.proxies[MANIFESTS] = Measured(), Measured()
    for cpu, start in ((100.0, 1500.0), (50.0, 1250.0), (25.0, 1000.0)):
        result.proxies[ONE].add(cpu_us=cpu)
        result.proxies[MANIFESTS].add(start_ms=start)

    text = table(result, Options(scale=True, hosts=10_000, rules=1000, manifests=600))

    lines = {" ".join(line.split()) for line in text.splitlines()}
    assert f"CPU, 10,000 hosts and 1,000 rules 1.2x {ONE} target <= 1.1 MISSED by 0.1 (9%)" in lines
    assert "start to first answer, 600 manifests, ms 1,250 target <= 1,000 MISSED by 250 (25%)" in lines
    heads = [line for line in text.splitlines() if line.startswith("medians")]
    assert heads[0].split() == ["medians", *result.proxies]


def test_a_start_with_more_manifests_than_the_target_has_none() -> None:
    assert not [target for target in targets(Options(hosts=10_000, manifests=30_000)) if target.key == "start_ms"]


def test_the_machine_says_how_python_was_built(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"CONFIG_ARGS": "'--prefix=/usr' '--enable-optimizations' '--with-lto=no'", "Py_DEBUG": 0}
    monkeypatch.setattr("sysconfig.get_config_var", given.get)

    build = Build.here()

    assert (build.pgo, build.lto, build.debug, build.free_threaded) == (True, False, False, False)
    assert build.traced is (sys.gettrace() is not None)
    assert f"PGO yes, LTO not declared, uvloop {build.uvloop}" in str(replace(build, traced=False))
    assert "TRACED" in str(replace(build, traced=True))
    assert replace(MACHINE, build=build).as_json()["build"] == asdict(build)


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


@pytest.mark.parametrize(
    "arguments", ["--otel=2%", "--hbone", "--peers=apache", "--body=x", "--rules=0", "--manifests=0", "--idle=1000000"]
)
def test_what_cannot_be_measured_is_refused(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse([arguments])

    assert "error:" in capsys.readouterr().err


def test_options_name_the_file() -> None:
    assert parse([]).slug() == "default"
    assert parse(["--body", "64k", "--upload", "--peers", "none"]).slug() == "body-65536_upload_peers-none"
    assert parse(["--otel", "1%", "--idle", "300"]).slug() == "otel-1-percent_idle-300"


def test_scale_has_its_own_numbers_unless_others_are_given() -> None:
    default, given = parse(["--scale"]), parse(["--scale", "--hosts", "7"])

    assert (default.hosts, default.rules) == (10_000, 1000)
    assert (given.hosts, given.rules) == (7, 1000)
    assert (parse([]).hosts, parse([]).rules) == (1, 1)
    assert default.slug() == "rules-1000_hosts-10000_scale"


def test_the_help_says_how_make_passes_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])

    text = capsys.readouterr().out
    assert 'make bench ARGS="--peers none --scale"' in text
    assert "(default: None)" not in text


def test_a_proxy_with_workers_is_not_pinned() -> None:
    assert Cores.split(2) == Cores(None, None)
