from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from config.errors import ConfigErrors
from config.settings import LATER, Settings, settings_from_environ


def refused(environ: dict[str, str]) -> list[tuple[str, str]]:
    """Return code and message of every finding."""
    with pytest.raises(ConfigErrors) as caught:
        settings_from_environ(environ)
    return [(finding.code, finding.message) for finding in caught.value.findings]


def test_without_any_setting_the_documented_defaults_hold() -> None:
    found = settings_from_environ({})

    assert found.model_dump() == {
        "config": ("/etc/egress-gateway",),
        "gateway": None,
        "trust_domains": frozenset({"cluster.local"}),
        "status_listen": ("0.0.0.0", 15020),  # noqa: S104  the documented default
        "resolve": {},
        "dial_allow": (),
        "access_log": "stdout",
        "strict": True,
        "default_action": "allow",
        "body_idle_timeout": 30,
        "keepalive_timeout": 75,
        "drain_timeout": 30,
    }


@pytest.mark.parametrize(
    ("name", "text", "field", "expected"),
    [
        ("EGRESS_CONFIG", "/a:/b/c.yaml", "config", ("/a", "/b/c.yaml")),
        ("EGRESS_CONFIG", ":/a::", "config", ("/a",)),
        ("EGRESS_CONFIG", "", "config", ()),
        ("EGRESS_GATEWAY", "infra/egress", "gateway", "infra/egress"),
        ("EGRESS_TRUST_DOMAINS", "a, b.example ,c-1_x", "trust_domains", {"a", "b.example", "c-1_x"}),
        ("EGRESS_STATUS_LISTEN", "off", "status_listen", None),
        ("EGRESS_STATUS_LISTEN", "127.0.0.1:0", "status_listen", ("127.0.0.1", 0)),
        ("EGRESS_STATUS_LISTEN", "[::1]:65535", "status_listen", ("::1", 65535)),
        ("EGRESS_RESOLVE", "", "resolve", {}),
        (
            "EGRESS_RESOLVE",
            "API.github.com.:443:127.0.0.1:8443, [2001:DB8::1]:80:[::1]:81",
            "resolve",
            {("api.github.com", 443): ("127.0.0.1", 8443), ("2001:db8::1", 80): ("::1", 81)},
        ),
        ("EGRESS_DIAL_ALLOW", "10.0.0.0/8, fd00::/8", "dial_allow", (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))),
        ("EGRESS_DIAL_ALLOW", "127.0.0.1", "dial_allow", (ip_network("127.0.0.1/32"),)),
        ("EGRESS_DIAL_ALLOW", "", "dial_allow", ()),
        ("EGRESS_ACCESS_LOG", "/var/log/egress.log", "access_log", "/var/log/egress.log"),
        ("EGRESS_ACCESS_LOG", "./stdot", "access_log", "./stdot"),
        ("EGRESS_ACCESS_LOG", "off", "access_log", "off"),
        ("EGRESS_STRICT", "false", "strict", False),
        ("EGRESS_STRICT", "true", "strict", True),
        ("EGRESS_DEFAULT_ACTION", "deny", "default_action", "deny"),
        ("EGRESS_BODY_IDLE_TIMEOUT", "3600", "body_idle_timeout", 3600),
        ("EGRESS_KEEPALIVE_TIMEOUT", "5", "keepalive_timeout", 5),
        ("EGRESS_DRAIN_TIMEOUT", "3600", "drain_timeout", 3600),
    ],
)
def test_a_setting_is_read_from_its_name(name: str, text: str, field: str, expected: Any) -> None:
    assert getattr(settings_from_environ({name: text}), field) == expected


def test_every_setting_stands_in_the_table_above() -> None:
    tested = {row[2] for row in test_a_setting_is_read_from_its_name.pytestmark[0].args[1]}

    assert tested == set(Settings.model_fields)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("EGRESS_GATEWAY", ""),
        ("EGRESS_GATEWAY", "egress"),
        ("EGRESS_GATEWAY", "a/b/c"),
        ("EGRESS_GATEWAY", "/egress"),
        ("EGRESS_TRUST_DOMAINS", ""),
        ("EGRESS_TRUST_DOMAINS", " , "),
        ("EGRESS_TRUST_DOMAINS", "Cluster.local"),
        ("EGRESS_TRUST_DOMAINS", "spiffe://cluster.local"),
        ("EGRESS_TRUST_DOMAINS", "a,*"),
        ("EGRESS_TRUST_DOMAINS", "a" * 256),
        ("EGRESS_TRUST_DOMAINS", "\udcff"),
        ("EGRESS_STATUS_LISTEN", ""),
        ("EGRESS_STATUS_LISTEN", "15020"),
        ("EGRESS_STATUS_LISTEN", ":15020"),
        ("EGRESS_STATUS_LISTEN", "localhost"),
        ("EGRESS_STATUS_LISTEN", "localhost:"),
        ("EGRESS_STATUS_LISTEN", "localhost:65536"),
        ("EGRESS_STATUS_LISTEN", "localhost:-1"),
        ("EGRESS_STATUS_LISTEN", "localhost:http"),
        ("EGRESS_STATUS_LISTEN", "localhost:\u0663"),
        ("EGRESS_STATUS_LISTEN", "OFF"),
        ("EGRESS_RESOLVE", "api.github.com:443"),
        ("EGRESS_RESOLVE", "api.github.com:443:127.0.0.1"),
        ("EGRESS_RESOLVE", "api.github.com:443:localhost:8443"),
        ("EGRESS_RESOLVE", "api.github.com:0:127.0.0.1:8443"),
        ("EGRESS_RESOLVE", "api.github.com:443:127.0.0.1:65536"),
        ("EGRESS_RESOLVE", "a b:443:127.0.0.1:8443"),
        ("EGRESS_RESOLVE", "::1:443:127.0.0.1:8443"),
        ("EGRESS_DIAL_ALLOW", "10.0.0.1/8"),
        ("EGRESS_DIAL_ALLOW", "localhost"),
        ("EGRESS_DIAL_ALLOW", "10.0.0.0/33"),
        ("EGRESS_ACCESS_LOG", ""),
        ("EGRESS_ACCESS_LOG", "access.log"),
        ("EGRESS_ACCESS_LOG", "STDOUT"),
        ("EGRESS_GATEWAY", "\udcff"),
        ("EGRESS_STRICT", ""),
        ("EGRESS_STRICT", "maybe"),
        ("EGRESS_DEFAULT_ACTION", "Allow"),
        ("EGRESS_DEFAULT_ACTION", ""),
        ("EGRESS_KEEPALIVE_TIMEOUT", "0"),
        ("EGRESS_KEEPALIVE_TIMEOUT", "3601"),
        ("EGRESS_DRAIN_TIMEOUT", "1.5"),
        ("EGRESS_DRAIN_TIMEOUT", "30s"),
        ("EGRESS_DRAIN_TIMEOUT", "9" * 5000),
    ],
)
def test_a_value_that_cannot_be_read_is_refused_by_name(name: str, text: str) -> None:
    [(code, message)] = refused({name: text})

    assert code == "invalid-setting"
    assert message.startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("GATEWAY", "egress", "'egress' is not namespace/name, for example egress-direct/egress; see docs/settings.md"),
        ("STRICT", "flase", "'flase' is neither true nor false; see docs/settings.md"),
        ("DEFAULT_ACTION", "Allow", "'Allow' is neither allow nor deny; see docs/settings.md"),
        ("DRAIN_TIMEOUT", "0", "'0' is not a whole number of seconds from 1 to 3600; see docs/settings.md"),
        ("DRAIN_TIMEOUT", "30s", "'30s' is not a whole number of seconds from 1 to 3600; see docs/settings.md"),
        ("KEEPALIVE_TIMEOUT", "1.5", "'1.5' is not a whole number of seconds from 1 to 3600; see docs/settings.md"),
        ("DIAL_ALLOW", "127.0.0.1/8", "'127.0.0.1/8' has host bits set: did you mean 127.0.0.0/8?"),
        ("DIAL_ALLOW", "x/8", "'x/8' is no network, for example 10.0.0.0/8 or fd00::/8; see docs/settings.md"),
        (
            "ACCESS_LOG",
            "stdot",
            "'stdot' is neither stdout, stderr nor off, and a file name holds a '/', as ./stdot: did you mean stdout?",
        ),
    ],
)
def test_a_refusal_names_the_value_and_what_could_stand_there(name: str, text: str, told: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        settings_from_environ({f"EGRESS_{name}": text})

    assert str(caught.value) == f"error: EGRESS_{name}: {told} [invalid-setting]"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("EGRESS_STRCIT", "did you mean 'EGRESS_STRICT'?"),
        ("EGRESS_TRUST_DOMAIN", "did you mean 'EGRESS_TRUST_DOMAINS'?"),
        ("EGRESS_Strict", "did you mean 'EGRESS_STRICT'?"),
        ("EGRESS_", None),
        ("EGRESS_XYZZY", None),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(name: str, hint: str | None) -> None:
    with pytest.raises(ConfigErrors) as caught:
        settings_from_environ({name: "true"})

    [finding] = caught.value.findings
    assert (finding.code, finding.location) == ("unknown-setting", None)
    assert name in finding.message
    assert hint is None or finding.hint == hint


@pytest.mark.parametrize(
    "name",
    [
        "EGRESS_SERVICE_HOST",
        "EGRESS_SERVICE_PORT",
        "EGRESS_SERVICE_PORT_HTTPS",
        "EGRESS_SERVICE_PORT_STATUS_METRICS",
        "EGRESS_PORT",
        "EGRESS_PORT_8443_TCP",
        "EGRESS_PORT_8443_TCP_PROTO",
        "EGRESS_PORT_8443_TCP_PORT",
        "EGRESS_PORT_8443_TCP_ADDR",
        "EGRESS_PORT_53_UDP_ADDR",
        "EGRESS_GATEWAY_SERVICE_HOST",
        "EGRESS_GATEWAY_V2_PORT_15008_TCP",
    ],
)
def test_what_kubernetes_injects_for_a_service_is_ignored(name: str) -> None:
    assert settings_from_environ({name: "tcp://10.96.0.1:8443"}) == settings_from_environ({})


@pytest.mark.parametrize(
    "name",
    [
        "EGRESS_SERVICE_HOSTS",
        "EGRESS_PORTS",
        "EGRESS_PORT_TCP",
        "EGRESS_PORT_80_SCTP",
        "EGRESS_port",
        "EGRESS_A__PORT_",
    ],
)
def test_what_only_resembles_a_service_link_is_unknown(name: str) -> None:
    assert [code for code, _ in refused({name: "1"})] == ["unknown-setting"]


@pytest.mark.parametrize("name", sorted(LATER))
def test_a_setting_of_a_later_version_is_refused_unless_off(name: str) -> None:
    assert settings_from_environ({f"EGRESS_{name}": "off"}) == settings_from_environ({})
    for text in ("on", "", "OFF", "127.0.0.1:15008"):
        [(code, message)] = refused({f"EGRESS_{name}": text})
        assert code == "setting-not-available"
        assert f"EGRESS_{name} " in message


def test_no_name_is_both_a_setting_and_one_of_a_later_version() -> None:
    assert not LATER & {name.upper() for name in Settings.model_fields}


def test_all_faults_are_listed_not_just_the_first() -> None:
    environ = {
        "EGRESS_STRICT": "maybe",
        "EGRESS_DRAIN_TIMEOUT": "0",
        "EGRESS_HBONE_LISTEN": "0.0.0.0:15008",
        "EGRESS_XYZZY": "1",
    }

    found = sorted(code for code, _ in refused(environ))
    assert found == ["invalid-setting", "invalid-setting", "setting-not-available", "unknown-setting"]


def test_other_variables_are_no_concern_of_the_gateway() -> None:
    environ = {"PATH": "/bin", "UVICORN_PORT": "1", "egress_strict": "false", "XEGRESS_STRICT": "false"}

    assert settings_from_environ(environ) == settings_from_environ({})


@pytest.mark.parametrize("name", ["EGRESS_GATEWAY", "egress_gateway"])
def test_only_the_environment_that_was_given_is_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "from/process")

    assert settings_from_environ({}).gateway is None
    assert Settings().gateway is None


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        settings_from_environ({}).strict = False  # type: ignore[misc]
