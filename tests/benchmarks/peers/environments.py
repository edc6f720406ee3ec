"""Virtual environments of the peers, made once and kept."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.benchmarks.peers.base import PeerUnavailableError
from tests.benchmarks.processes import clean_environment

if TYPE_CHECKING:
    from pathlib import Path

INSTALL_SECONDS = 300.0
READY = "ready"
"""File that says what was installed, written last."""


def binaries(root: Path, name: str, requirement: str, python: str = sys.executable) -> Path:
    """Return the `bin` directory of an environment that has a requirement, making it if it is not there.

    Raises:
        PeerUnavailableError: it cannot be installed.

    """
    directory = root / name
    ready, wanted = directory / READY, f"{requirement}\n{python}\n"
    if not (ready.is_file() and ready.read_text() == wanted):
        print(f"installing {requirement} into {directory}", flush=True)
        shutil.rmtree(directory, ignore_errors=True)
        _run(python, "-m", "venv", str(directory))
        _run(str(directory / "bin" / "python"), "-m", "pip", "install", "--quiet", requirement)
        ready.write_text(wanted)
    return directory / "bin"


def newer_python() -> str | None:
    """Return a Python >= 3.12 that really runs: a shim of pyenv may be on PATH and refuse."""
    check = "import ssl, sys, venv; sys.exit(sys.version_info < (3, 12))"
    for name in (sys.executable, "python3", "python3.14", "python3.13", "python3.12"):
        path = shutil.which(name)
        if path is None:
            continue
        try:
            if subprocess.run([path, "-c", check], capture_output=True, timeout=10.0, check=False).returncode == 0:
                return path
        except (OSError, subprocess.TimeoutExpired):
            continue
    return None


def _run(*command: str) -> None:
    try:
        run = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
            env={**clean_environment(), "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerUnavailableError(f"cannot be installed: {error}") from error
    if run.returncode:
        lines = (run.stderr or run.stdout).strip().splitlines()
        raise PeerUnavailableError(f"cannot be installed: {lines[-1] if lines else command}")
