from __future__ import annotations

import stat
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from cryptography import x509

from app.cli.ca import CertificateAuthority, CertificateDirectory, Leaf, ca

if TYPE_CHECKING:
    from pathlib import Path


def run(directory: Path, *arguments: str) -> Result:
    return CliRunner().invoke(ca, [str(directory), *arguments])


def names(path: Path) -> list[str]:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    return [str(n.value) for n in certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value]


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_the_default_files_are_those_of_the_workshop(tmp_path: Path) -> None:
    assert run(tmp_path / "new").exit_code == 0

    made = {path.name for path in (tmp_path / "new").iterdir()}
    stems = ("ca", "gateway", "team-a", "team-b")
    assert made == {f"{stem}{ending}" for stem in stems for ending in (".pem", "-key.pem")}
    assert names(tmp_path / "new/team-a.pem") == ["spiffe://cluster.local/ns/team-a/sa/team-a"]
    assert names(tmp_path / "new/gateway.pem") == [
        "spiffe://cluster.local/ns/egress-direct/sa/egress",
        "api.github.com",
        "httpbingo.org",
        "localhost",
        "127.0.0.1",
    ]


def test_only_the_owner_can_read_a_key(tmp_path: Path) -> None:
    run(tmp_path)

    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("*-key.pem")} == {0o600}


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    run(tmp_path)
    before = contents(tmp_path)

    assert run(tmp_path).exit_code == 0
    assert contents(tmp_path) == before


def test_force_makes_everything_anew(tmp_path: Path) -> None:
    run(tmp_path)
    before = contents(tmp_path)

    assert run(tmp_path, "--force").exit_code == 0
    after = contents(tmp_path)
    assert all(after[name] != before[name] for name in before)


def test_force_does_not_mind_what_lies_there(tmp_path: Path) -> None:
    run(tmp_path, "--gateway-name", "gw.example")
    (tmp_path / "team-a.pem").write_text("mine")

    result = run(tmp_path, "--force")

    assert result.output.count("(--force)") == 4
    assert "localhost" in names(tmp_path / "gateway.pem")


def test_a_client_that_changes_its_identity_is_issued_anew(tmp_path: Path) -> None:
    run(tmp_path, "--client", "x=a/b")
    run(tmp_path, "--trust-domain", "example.org", "--client", "x=a/b")

    assert names(tmp_path / "x.pem") == ["spiffe://example.org/ns/a/sa/b"]


def test_defaults_do_not_replace_what_an_earlier_run_was_asked_for(tmp_path: Path) -> None:
    run(tmp_path, "--trust-domain", "example.org", "--gateway-name", "gw.example", "--client", "team-a=x/y")
    before = contents(tmp_path)

    for arguments in ((), ("--client", "team-w=team-w/w"), ("--days", "7")):
        result = run(tmp_path, *arguments)
        assert result.exit_code == 0
        assert "replaced" not in result.output
        assert f"  kept  {tmp_path / 'gateway.pem'}\n" in result.output

    assert {name: content for name, content in contents(tmp_path).items() if name in before} == before


def test_names_that_are_asked_for_replace_those_that_differ_and_say_so(tmp_path: Path) -> None:
    run(tmp_path, "--gateway-name", "a.example", "--gateway-name", "b.example")
    again = run(tmp_path, "--gateway-name", "b.example", "--gateway-name", "a.example")
    other = run(tmp_path, "--gateway-name", "b.example", "--gateway-name", "c.example", "--client", "team-a=a/b")

    assert "replaced" not in again.output
    gateway, client = tmp_path / "gateway.pem", tmp_path / "team-a.pem"
    assert f"  replaced  {gateway} (names differ: now with c.example, without a.example)\n" in other.output
    spiffe = "spiffe://cluster.local/ns"
    why = f"names differ: now with {spiffe}/a/sa/b, without {spiffe}/team-a/sa/team-a"
    assert f"  replaced  {client} ({why})\n" in other.output
    assert names(gateway)[1:] == ["b.example", "c.example"]


def test_another_trust_domain_leaves_the_names_of_the_gateway(tmp_path: Path) -> None:
    run(tmp_path, "--gateway-name", "gw.example")
    run(tmp_path, "--trust-domain", "example.org")

    assert names(tmp_path / "gateway.pem") == ["spiffe://example.org/ns/egress-direct/sa/egress", "gw.example"]
    assert names(tmp_path / "team-a.pem") == ["spiffe://example.org/ns/team-a/sa/team-a"]


def test_an_expired_certificate_is_replaced_with_the_names_it_had(tmp_path: Path) -> None:
    authority = CertificateDirectory(tmp_path, timedelta(days=1)).authority("ca", "CA")
    CertificateDirectory(tmp_path, timedelta(minutes=-1)).leaf(authority, Leaf("gateway", names=("gw.example",)))

    assert f"  replaced  {tmp_path / 'gateway.pem'} (expired)\n" in run(tmp_path).output
    assert names(tmp_path / "gateway.pem") == ["spiffe://cluster.local/ns/egress-direct/sa/egress", "gw.example"]


def test_a_lost_key_is_made_good(tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / "team-a-key.pem").unlink()

    assert "replaced" in next(line for line in run(tmp_path).output.splitlines() if "team-a.pem" in line)
    assert (tmp_path / "team-a-key.pem").exists()


def test_expired_files_are_replaced(tmp_path: Path) -> None:
    expired = CertificateDirectory(tmp_path, timedelta(minutes=-1))
    old = expired.authority("ca", "old")
    expired.leaf(old, Leaf("team-a"))

    assert run(tmp_path).exit_code == 0
    new = CertificateAuthority.load((tmp_path / "ca.pem").read_bytes(), (tmp_path / "ca-key.pem").read_bytes())
    assert new.signed(x509.load_pem_x509_certificate((tmp_path / "team-a.pem").read_bytes()))
    assert names(tmp_path / "team-a.pem") == ["spiffe://cluster.local/ns/team-a/sa/team-a"]


@pytest.mark.parametrize("damage", ["no key", "not PEM", "signed by another"])
def test_a_file_that_this_command_did_not_make_is_not_overwritten(tmp_path: Path, damage: str) -> None:
    run(tmp_path)
    if damage == "no key":
        (tmp_path / "ca-key.pem").unlink()
    elif damage == "not PEM":
        (tmp_path / "gateway.pem").write_text("mine")
    else:
        (tmp_path / "gateway.pem").write_bytes(CertificateAuthority.create("other").issue(Leaf("gateway"))[0])
    before = contents(tmp_path)

    result = run(tmp_path)

    assert result.exit_code == 2
    assert "give another directory" in result.output
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "client",
    [
        "x=spiffe://Cluster.local/ns/a/sa/b",
        "x=spiffe://cluster.local",
        "x=spiffe://cluster.local/",
        "x=spiffe://cluster.local/ns/../sa/b",
        "x=spiffe://cluster.local:443/ns/a",
        "x=https://cluster.local/ns/a",
        "x=../b",
        "x=a",
        "x=",
        "x",
        "=a/b",
        "../x=a/b",
        "ca=a/b",
        "gateway=a/b",
        "x-key=a/b",
    ],
)
def test_a_malformed_client_is_refused_before_anything_is_written(tmp_path: Path, client: str) -> None:
    result = run(tmp_path / "new", "--client", client)

    assert result.exit_code == 2
    assert repr(client) in result.output
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("client", "why"),
    [("team-y=team-y", ""), ("x=spiffe://cluster.local", ": no path: this names a trust domain, not a workload")],
)
def test_a_malformed_identity_is_told_what_may_stand_there(tmp_path: Path, client: str, why: str) -> None:
    forms = "NAME=NAMESPACE/SERVICEACCOUNT or NAME=spiffe://cluster.local/ns/NAMESPACE/sa/SERVICEACCOUNT"

    assert f"--client: write {forms}, not '{client}'{why}\n" in run(tmp_path, "--client", client).output


@pytest.mark.parametrize(
    "arguments",
    [
        ("--trust-domain", "Cluster.Local"),
        ("--gateway-name", "not a name"),
        ("--client", "x=a/b", "--client", "x=c/d"),
        ("--days", "0"),
    ],
)
def test_other_malformed_options_are_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert run(tmp_path, *arguments).exit_code == 2
    assert not contents(tmp_path)


def test_a_directory_that_cannot_be_made_is_a_clear_message(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    result = run(tmp_path / "file" / "below")

    assert result.exit_code == 2
    assert "cannot write to" in result.output
