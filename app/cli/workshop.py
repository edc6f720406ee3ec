"""`egress-gateway workshop`: the whole set-up on one machine, walked step by step with the answers it must give."""

from __future__ import annotations

import json
import os
import signal
import textwrap
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.ca import GATEWAY_NAMES, SERVER_AUTH, CertificateDirectory, Leaf, client_leaf, gateway_leaf
from app.cli.workshop_processes import ORIGINS, Playground, free_port, gateway, is_free, origins
from app.cli.workshop_requests import Answer, Request, curl, send
from app.cli.workshop_steps import LOG_LINES, STEPS, Exchange, LogLine, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Send = Callable[[Request], Answer]

PORT = 8443
STATUS_PORT = 15020
"""Of the gateway that stays up; a walk takes any free ports."""
BODY_CHARACTERS = 600
"""So much of a body is shown."""


class PortTakenError(click.ClickException):
    """The gateway that is to stay up cannot listen where the documentation says."""

    exit_code = 3


@dataclass(slots=True)
class Tally:
    """How many of the answers were the documented ones."""

    documented: int = 0
    total: int = 0

    def count(self, differences: Sequence[str], shows: str) -> None:
        """Judge one answer and say so."""
        self.total += 1
        if differences:
            click.secho(f"    DIFFERENT ({'; '.join(differences)})", fg="red", bold=True)
        else:
            self.documented += 1
            click.echo(f"    {click.style('ok', fg='green', bold=True)}  {shows}")
        click.echo()

    @property
    def complete(self) -> bool:
        """Whether all were."""
        return self.documented == self.total


@click.command()
@click.option("--live", is_flag=True, help="Call the real api.github.com and httpbingo.org.")
@click.option(
    "--stay", is_flag=True, help=f"Walk no steps: stay up on 127.0.0.1:{PORT} and print the curl lines to try."
)
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".demo"),
    show_default=True,
    help="Where certificates and logs go.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=Path("deploy/workshop"),
    show_default=True,
    help="Directory with the workshop's manifests.",
)
@click.pass_context
def workshop(context: click.Context, /, *, live: bool, stay: bool, directory: Path, config: Path) -> None:
    """Walk the workshop: real mTLS callers, the real gateway, TLS origins.

    Prints each request beside its answer; exits 0 only if every answer is the documented one.
    """
    if os.environ.get("NO_COLOR"):
        context.color = False
    check_manifests(config, [] if stay else [name for step in STEPS for name in step.manifests])
    if stay and not is_free(PORT):
        raise PortTakenError(f"port {PORT} of 127.0.0.1 is taken; end what listens there: ss -ltnp 'sport = :{PORT}'")
    stand_ins: AbstractContextManager[dict[str, int]] = nullcontext({}) if live else origins(directory)
    with ended_by_signals():
        click.secho(f"Certificates in {directory}", bold=True)
        make_certificates(directory)
        click.echo()
        with stand_ins as ports:
            if stay:
                stay_up(directory, config, ports)
                return
            playground = Playground(
                directory, free_port(), free_port(), ports, str(directory.absolute() / "access.log")
            )
            complete = walk_workshop(playground, config)
    context.exit(0 if complete else 1)


def check_manifests(config: Path, names: Sequence[str]) -> None:
    """Raise UsageError where a manifest is not there."""
    if not config.is_dir():
        raise click.UsageError(f"no directory {config}: run this in the project's folder, or give --config")
    if missing := [name for name in names if not (config / name).is_file()]:
        raise click.UsageError(f"{config} lacks {', '.join(missing)}: give --config with the workshop's six files")


def make_certificates(directory: Path) -> None:
    """Have the mesh's CA and certificates, and another CA for the origins, as in the world outside."""
    files = CertificateDirectory(directory, timedelta(days=30))
    mesh = files.authority("ca", "egress-gateway throw-away mesh CA")
    files.leaf(mesh, gateway_leaf(GATEWAY_NAMES, "cluster.local"))
    for name in ("team-a", "team-b"):
        files.leaf(mesh, client_leaf(f"{name}={name}/{name}", "cluster.local"))
    outside = files.authority("origins-ca", "egress-gateway throw-away origins CA")
    for host in ORIGINS:
        files.leaf(outside, Leaf(host, names=(host,), usages=(SERVER_AUTH,)))


def walk_workshop(playground: Playground, config: Path) -> bool:
    """Walk all steps and read the access log; return whether everything is as documented."""
    access_log, log = playground.directory / "access.log", playground.directory / "gateway.log"
    access_log.unlink(missing_ok=True)
    log.unlink(missing_ok=True)

    @contextmanager
    def start(manifests: Sequence[str]) -> Iterator[Send]:
        with gateway(playground, [config / name for name in manifests], log):
            yield lambda request: send(request, playground.directory, playground.port)

    answers = walk(STEPS, start, lambda request: curl(request, playground.directory, playground.port))
    lines = check_access_log(access_log, LOG_LINES)
    click.secho(
        f"{answers.documented} of {answers.total} answers are the documented ones,"
        f" {lines.documented} of {lines.total} access log lines",
        bold=True,
    )
    complete = answers.complete and lines.complete
    click.echo("`make run` keeps a gateway up to try more" if complete else f"the gateway's own log is {log}")
    return complete


def walk(
    steps: Sequence[Step],
    start: Callable[[Sequence[str]], AbstractContextManager[Send]],
    command: Callable[[Request], str],
) -> Tally:
    """Start a gateway for each step, with its manifests and those of the steps before, and send its requests."""
    tally = Tally()
    manifests: tuple[str, ...] = ()
    for step in steps:
        manifests += step.manifests
        click.secho(f"Step {step.title}", bold=True)
        click.echo(f"  manifests: {' '.join(f'+{name}' for name in step.manifests)}")
        click.echo(textwrap.fill(step.about, 100, initial_indent="  ", subsequent_indent="  "))
        click.echo()
        with start(manifests) as ask:
            for exchange in step.exchanges:
                click.secho(f"  {exchange.title}", fg="cyan")
                click.echo(f"    {command(exchange.request)}")
                answer = ask(exchange.request)
                click.echo(textwrap.indent("\n".join(filter(None, (answer.title(), excerpt(answer.body)))), "    "))
                tally.count(exchange.expected.differences(answer), exchange.shows)
    return tally


def check_access_log(path: Path, wanted: Sequence[LogLine]) -> Tally:
    """Show a line of the access log for each that the steps must have left."""
    click.secho(f"Access log {path}", bold=True)
    lines = read_access_log(path)
    tally = Tally()
    for expected in wanted:
        click.secho(f"  {expected.title}", fg="cyan")
        # The nearest line, so that a difference shows what is wrong with it.
        line = min(lines, key=lambda candidate: len(expected.differences(candidate)), default={})
        click.echo(f"    {json.dumps(line)}")
        tally.count(expected.differences(line), expected.shows)
    return tally


def read_access_log(path: Path) -> list[dict[str, object]]:
    """Return the lines that are JSON objects; none where there is no file."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines


def stay_up(directory: Path, config: Path, ports: dict[str, int]) -> None:
    """Run a gateway with all manifests until Ctrl-C or SIGTERM."""
    playground = Playground(directory, PORT, STATUS_PORT if is_free(STATUS_PORT) else free_port(), ports)
    try:
        with gateway(playground, [config], log=None) as process:
            click.echo()
            click.secho(f"The gateway is up on 127.0.0.1:{PORT}. Try in another terminal:", bold=True)
            for exchange in _lasting_exchanges():
                click.echo(f"\n  # {exchange.title}: {exchange.expected}")
                click.echo(f"  {curl(exchange.request, directory, PORT)}")
            click.echo(f"\n  # is it ready\n  curl http://127.0.0.1:{playground.status_port}/readyz\n")
            click.echo("The access log follows here, one JSON line a request. Ctrl-C ends everything.\n")
            raise click.ClickException(f"the gateway ended by itself with exit code {process.wait()}")
    except KeyboardInterrupt:
        click.echo("\nended")


def _lasting_exchanges() -> Iterator[Exchange]:
    """Yield the exchanges whose answers hold with all manifests, each request once."""
    seen = set()
    for step in STEPS[1:]:
        for exchange in step.exchanges:
            if exchange.request not in seen:
                seen.add(exchange.request)
                yield exchange


def excerpt(body: str) -> str:
    """Return the beginning of a body, harmless to a terminal: an origin is not trusted."""
    text = body if len(body) <= BODY_CHARACTERS else f"{body[:BODY_CHARACTERS]} ..."
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in text).strip()


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the run as Ctrl-C does, so that the processes it started are ended."""
    caught = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.default_int_handler) for number in caught}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
