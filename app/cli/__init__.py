"""The console script `egress-gateway`. Each command lives in the module of its name and is imported when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import click

from app import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMANDS: Mapping[str, str] = {
    "serve": "Run the gateway: uvicorn with client certificates required.",
    "check": "Check manifests without starting anything.",
    "ca": "Make a throw-away mesh CA and SPIFFE certificates.",
    "workshop": "Walk the workshop against a real gateway.",
}
"""Name and one line of help; here, so that `--help` imports neither uvicorn nor cryptography."""


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the commands in the order of a first use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import the module of a command and return the command, or nothing for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"app.cli.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"max_content_width": 100})
@click.version_option(__version__, prog_name="egress-gateway")
def main() -> None:
    """Egress gateway: callers known by SPIFFE identity, policy on the request, TLS to the outside.

    Exit codes: 0 done, 1 findings, 2 usage, 3 the gateway could not start.
    """
