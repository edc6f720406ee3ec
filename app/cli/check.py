"""`egress-gateway check`: what a start would find in the manifests, without starting anything."""

from __future__ import annotations

import os
import re
import sys

import click

FORMATS = ("text", "json", "sarif", "github")


def _gateway(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[^/]+/[^/]+", value):
        raise click.BadParameter(f"{value!r} is not NAMESPACE/NAME, for example egress-direct/egress")
    return value


@click.command()
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(exists=True))
@click.option(
    "-o", "--output", type=click.Choice(FORMATS), default="text", show_default=True, help="Form of the report."
)
@click.option(
    "--gateway",
    metavar="NAMESPACE/NAME",
    callback=_gateway,
    help="The Gateway that is meant; wins over EGRESS_GATEWAY.",
)
@click.option("--default-action", type=click.Choice(["allow", "deny"]), help="Wins over EGRESS_DEFAULT_ACTION.")
@click.pass_context
def check(
    context: click.Context, paths: tuple[str, ...], output: str, gateway: str | None, default_action: str | None
) -> None:
    """Check manifests as a start would, without starting anything.

    PATHs are files and directories; without one: EGRESS_CONFIG, else /etc/egress-gateway. The other settings are
    the server's too. Warnings do not change the exit code.

    Exit codes: 0 no fault, 1 faults, 2 usage.
    """
    # Imported here, because pydantic and the compiler of expressions take longer than `--help` may.
    from app.cli import checking  # noqa: PLC0415

    overrides = {"EGRESS_GATEWAY": gateway, "EGRESS_DEFAULT_ACTION": default_action}
    report = checking.report_on(paths, {name: value for name, value in overrides.items() if value is not None})
    color = _wants_color()
    for line in checking.written(report, output, color=color):
        click.echo(line, color=color)
    context.exit(1 if report.errors else 0)


def _wants_color() -> bool:
    """Tell whether a person looks at it, who has not said no (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
