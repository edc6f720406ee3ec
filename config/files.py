"""The manifest files below the paths that were named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from config.errors import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SUFFIXES = frozenset({".yaml", ".yml", ".json"})
MAX_FILE_BYTES = 16 * 1024 * 1024


def find_files(paths: Sequence[str]) -> tuple[list[Path], list[Finding]]:
    """Return the manifest files under files and directories, in the order they are read.

    Directories are read recursively and sorted; names that begin with a dot are skipped, as a ConfigMap mount keeps
    its `..data` link there.
    """
    files: dict[Path, None] = {}
    findings: list[Finding] = []
    for name in paths:
        path = Path(name)
        if path.is_dir():
            files.update(dict.fromkeys(sorted(_files_below(path, findings))))
        elif path.is_file():
            files[path] = None
        else:
            findings.append(
                Finding(
                    "config-not-found",
                    f"EGRESS_CONFIG names {name!r}, which does not exist",
                    hint="set it to files and directories, with : between them; without it, it is /etc/egress-gateway",
                )
            )
    if not files and not findings:
        findings.append(
            Finding(
                "no-manifests",
                f"no manifests (*.yaml, *.yml, *.json) in {':'.join(paths) or 'an empty EGRESS_CONFIG'}",
                hint="set EGRESS_CONFIG to the files or directories with your manifests",
            )
        )
    return list(files), findings


def _files_below(root: Path, findings: list[Finding]) -> Iterator[Path]:
    """Yield the manifest files below a directory, through links: a ConfigMap mount's folders link into `..data`."""

    def report(error: OSError) -> None:
        findings.append(Finding("unreadable-directory", f"{error.filename} cannot be read: {error.strerror}"))

    visited: set[str] = set()
    for directory, folders, names in os.walk(root, onerror=report, followlinks=True):
        real = os.path.realpath(directory)
        # A link may lead back up.
        folders[:] = [] if real in visited else sorted(name for name in folders if not name.startswith("."))
        if real in visited:
            continue
        visited.add(real)
        for name in names:
            path = Path(directory, name)
            # A link that leads nowhere is kept, so that it is reported as unreadable: a policy may be missing.
            if not name.startswith(".") and path.suffix in SUFFIXES and (path.is_file() or not path.exists()):
                yield path
