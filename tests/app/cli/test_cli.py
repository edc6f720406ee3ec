from __future__ import annotations

import subprocess
import sys

from click.testing import CliRunner

from app import __version__
from app.cli import COMMANDS, main


def test_every_listed_command_exists_and_no_other() -> None:
    result = CliRunner().invoke(main, ["--help"])

    assert result.exit_code == 0
    assert [line.split()[0] for line in result.output.partition("Commands:\n")[2].splitlines()] == list(COMMANDS)
    for name in COMMANDS:
        assert CliRunner().invoke(main, [name, "--help"]).exit_code == 0


def test_an_unknown_command_is_a_usage_error() -> None:
    assert CliRunner().invoke(main, ["explain"]).exit_code == 2


def test_the_version_is_the_packages() -> None:
    assert CliRunner().invoke(main, ["--version"]).output == f"egress-gateway, version {__version__}\n"


def test_help_imports_no_command() -> None:
    program = (
        "import sys; from app.cli import main; main(['--help'], standalone_mode=False);"
        " sys.exit(bool({'uvicorn', 'cryptography', 'pydantic'} & set(sys.modules)))"
    )

    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
