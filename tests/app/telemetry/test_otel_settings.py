from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from app.cli.certificates import Leaf
from app.telemetry.otel_settings import ALWAYS, ExportSettings, OtelSettingError, Sampling, tracing_settings
from app.telemetry.spans import KNOWN_METHODS
from tests.support.tls import MESH, authority

if TYPE_CHECKING:
    from pathlib import Path

    from app.telemetry.otel_settings import TracingSettings

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
SECRET = "s3cret"  # noqa: S105  not one


def on(**variables: str) -> TracingSettings:
    settings = tracing_settings(ENDPOINT | variables)
    assert settings is not None
    return settings


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
        {"OTEL_TRACES_EXPORTER": "otlp"},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_TRACES_SAMPLER": "unheard of"},
        ENDPOINT | {"OTEL_SDK_DISABLED": "True"},
        ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_traces_are_off_without_an_endpoint_or_where_a_variable_says_so(environ: dict[str, str]) -> None:
    assert tracing_settings(environ) is None


def test_the_defaults_are_the_specifications() -> None:
    settings = on()

    assert settings.export == ExportSettings("http://collector:4318/v1/traces")
    assert settings.sampling == Sampling(ALWAYS, parent_based=True)
    assert settings.propagates
    assert settings.known_methods == KNOWN_METHODS


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/"}, "http://c:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c/otlp/?k=v"}, "https://c/otlp/v1/traces?k=v"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t:1/as/is"}, "http://t:1/as/is"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, "http://c/v1/traces"),
    ],
)
def test_the_path_is_added_to_the_general_endpoint_only(variables: dict[str, str], url: str) -> None:
    settings = tracing_settings(variables)

    assert settings is not None
    assert settings.export.url == url


def test_every_variable_of_the_export_is_read() -> None:
    export = on(
        OTEL_EXPORTER_OTLP_HEADERS="api-key=abc%20d, X-Other = 1=2 ",
        OTEL_EXPORTER_OTLP_TIMEOUT="2500",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        OTEL_BSP_SCHEDULE_DELAY="100",
        OTEL_BSP_MAX_QUEUE_SIZE="10",
        OTEL_BSP_EXPORT_TIMEOUT="7000",
    ).export

    assert export == ExportSettings(
        "http://collector:4318/v1/traces",
        headers=(("api-key", "abc d"), ("x-other", "1=2")),
        timeout=2.5,
        gzip=True,
        delay=0.1,
        max_queue=10,
        max_batch=10,
        batch_timeout=7.0,
    )


def test_a_variable_for_traces_comes_before_the_general_one() -> None:
    export = on(
        OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
        OTEL_EXPORTER_OTLP_TRACES_PROTOCOL="http/protobuf",
        OTEL_EXPORTER_OTLP_HEADERS="a=1",
        OTEL_EXPORTER_OTLP_TRACES_HEADERS="b=2",
        OTEL_EXPORTER_OTLP_TIMEOUT="1",
        OTEL_EXPORTER_OTLP_TRACES_TIMEOUT="2000",
    ).export

    assert (export.headers, export.timeout) == ((("b", "2"),), 2.0)


@pytest.mark.parametrize(
    ("sampler", "argument", "sampling"),
    [
        ("always_on", "", Sampling(ALWAYS, parent_based=False)),
        ("always_off", "", Sampling(0, parent_based=False)),
        ("traceidratio", "0.5", Sampling(1 << 63, parent_based=False)),
        ("traceidratio", "", Sampling(ALWAYS, parent_based=False)),
        ("parentbased_always_on", "", Sampling(ALWAYS)),
        ("parentbased_always_off", "x", Sampling(0)),
        ("parentbased_traceidratio", "0", Sampling(0)),
        ("PARENTBASED_TRACEIDRATIO", "1", Sampling(ALWAYS)),
    ],
)
def test_every_standard_sampler_is_known(sampler: str, argument: str, sampling: Sampling) -> None:
    assert on(OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG=argument).sampling == sampling


@pytest.mark.parametrize(
    ("propagators", "propagates"),
    [("tracecontext", True), ("baggage, tracecontext", True), ("baggage", False), ("none", False), ("", True)],
)
def test_the_callers_context_is_read_if_a_propagator_says_so(propagators: str, *, propagates: bool) -> None:
    assert on(OTEL_PROPAGATORS=propagators).propagates is propagates


def test_the_known_methods_can_be_replaced() -> None:
    assert on(OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS="GET, PURGE").known_methods == {"GET", "PURGE"}


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "use http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "use http/protobuf"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "use otlp"),
        ("OTEL_TRACES_EXPORTER", "otlp,console", "use otlp"),
        ("OTEL_TRACES_SAMPLER", "xray", "use one of always_on"),
        ("OTEL_PROPAGATORS", "tracecontext,b3", "use tracecontext"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "use gzip"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "10s", "no whole number above 0"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0", "no whole number above 0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1", "no whole number above 0"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "9999", "above OTEL_BSP_MAX_QUEUE_SIZE=2048"),
        ("OTEL_BSP_SCHEDULE_DELAY", "1.5", "no whole number above 0"),
    ],
)
def test_a_value_that_cannot_be_used_stops_the_start_with_its_name_and_what_to_do(
    name: str, value: str, advice: str
) -> None:
    with pytest.raises(OtelSettingError) as raised:
        on(**{name: value})

    message = str(raised.value)
    assert name in message
    assert advice in message
    assert "\n" not in message


@pytest.mark.parametrize("argument", ["1.1", "-0.1", "nan", "half"])
def test_a_share_of_traces_is_from_0_to_1(argument: str) -> None:
    with pytest.raises(OtelSettingError, match=r"OTEL_TRACES_SAMPLER_ARG=.* from 0 to 1"):
        on(OTEL_TRACES_SAMPLER="traceidratio", OTEL_TRACES_SAMPLER_ARG=argument)


@pytest.mark.parametrize(
    "url", ["collector:4318", "grpc://c:1", "http://", "http://c:port", "http://c:99999", "http://[::1"]
)
@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
def test_an_endpoint_is_a_url(name: str, url: str) -> None:
    with pytest.raises(OtelSettingError, match=f"{name} is no URL of a collector"):
        tracing_settings({name: url})


@pytest.mark.parametrize(
    "headers", [SECRET, f"a=1,{SECRET}", f"a b={SECRET}", f"a={SECRET}%0d%0ax: y", f"={SECRET}", f"a={SECRET}\u00e9"]
)
def test_a_faulty_header_is_not_repeated(headers: str) -> None:
    with pytest.raises(OtelSettingError, match=r"OTEL_EXPORTER_OTLP_HEADERS: item . is no header") as raised:
        on(OTEL_EXPORTER_OTLP_HEADERS=headers)

    assert SECRET not in str(raised.value)


def test_secrets_are_in_no_text_of_the_settings() -> None:
    settings = on(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://u:{SECRET}@c:1", OTEL_EXPORTER_OTLP_HEADERS=f"a={SECRET}")

    assert settings.export.place == "http://c:1/v1/traces"
    assert SECRET not in repr(settings)


def https(**variables: str) -> ssl.SSLContext | None:
    return on(OTEL_EXPORTER_OTLP_ENDPOINT="https://c", **variables).export.tls


def test_tls_verifies_the_collector_by_the_systems_roots_or_the_given_ones(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority(MESH).pem()[0])

    system, given = https(), https(OTEL_EXPORTER_OTLP_CERTIFICATE=str(ca))

    assert system is not None
    assert given is not None
    assert system.verify_mode is given.verify_mode is ssl.CERT_REQUIRED
    assert system.check_hostname
    assert given.check_hostname
    assert given.cert_store_stats()["x509_ca"] == 1


def test_files_that_cannot_be_read_stop_the_start(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("garbage")

    for variables, message in [
        ({"OTEL_EXPORTER_OTLP_CERTIFICATE": "/missing"}, "CERTIFICATE=/missing cannot be used .*: No such file"),
        ({"OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE": str(garbage)}, "TRACES_CERTIFICATE=.* cannot be used"),
        ({"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(garbage)}, "CLIENT_CERTIFICATE=.* cannot be used"),
        ({"OTEL_EXPORTER_OTLP_CLIENT_KEY": "/key"}, "CLIENT_KEY is set without OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"),
    ]:
        with pytest.raises(OtelSettingError, match=message):
            https(**variables)


def test_a_client_certificate_may_bring_its_key_along(tmp_path: Path) -> None:
    certificate, key = authority(MESH).issue(Leaf("gateway"))
    both = tmp_path / "both.pem"
    both.write_bytes(certificate + key)

    assert https(OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=str(both)) is not None


def test_without_tls_the_certificates_are_not_read() -> None:
    assert on(OTEL_EXPORTER_OTLP_CERTIFICATE="/missing").export.tls is None
