"""Paths to a snapshot in one call: the server, a reload and the commands share it."""

from __future__ import annotations

import gc
import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.compiler import compile_snapshot
from config.errors import ConfigErrors, Finding, Severity
from config.files import MAX_FILE_BYTES, find_files
from config.manifests import read_documents
from config.resources import parse_resources

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from config.manifests import Document
    from config.settings import Settings
    from config.snapshot import Snapshot


@contextmanager
def _without_collection() -> Iterator[None]:
    """Do not look for cycles: a load makes millions of objects and hardly one, and the search took a fifth of it."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@dataclass(frozen=True, slots=True)
class Examined:
    """What the manifests come to, whatever is the matter with them."""

    snapshot: Snapshot | None
    """Safe to serve: every faulty part fails closed. None: no manifests, or unclear which gateway this is."""
    findings: tuple[Finding, ...]
    """All of them."""
    files: int = 0
    """How many files were read."""
    routes: int = 0
    """How many `HTTPRoute`s could be read."""
    policies: int = 0
    """How many policies could be read."""

    @property
    def is_faulty(self) -> bool:
        """Tell whether some finding is more than a warning."""
        return any(finding.severity is Severity.ERROR for finding in self.findings)


@_without_collection()
def examine(settings: Settings) -> Examined:
    """Read, check and compile the manifests that the settings name. No fault in them raises."""
    files, findings = find_files(settings.config)
    if findings:
        return Examined(None, tuple(findings))
    digest = hashlib.sha256()
    # One file after the other, as the data of all of them would take more room than anything else.
    resources, faults = parse_resources(_documents(files, digest, findings))
    unreadable = any(finding.severity is Severity.ERROR for finding in findings)
    findings += faults
    snapshot, faults = compile_snapshot(
        resources, settings, revision=digest.hexdigest()[:12], deny_everything=unreadable
    )
    findings += faults
    if unreadable or resources.refused_names:
        # The Gateway may well stand in what could not be read, which is reported.
        findings = [finding for finding in findings if finding.code != "no-gateway"] or findings
    return Examined(snapshot, tuple(findings), len(files), len(resources.routes), len(resources.policies))


def load(settings: Settings) -> tuple[Snapshot, tuple[Finding, ...]]:
    """Examine the manifests, and return what can be served.

    Returns:
        The snapshot, and the findings that did not stop it: warnings, and with `EGRESS_STRICT=false` the faults whose
        part fails closed.

    Raises:
        ConfigErrors: no manifests, no Gateway, or with `EGRESS_STRICT=true` any fault; all of them, not the first.

    """
    examined = examine(settings)
    if examined.snapshot is None or (settings.strict and examined.is_faulty):
        raise ConfigErrors(examined.findings)
    return examined.snapshot, examined.findings


def _documents(files: Iterable[Path], digest: hashlib._Hash, findings: list[Finding]) -> Iterator[Document]:
    """Yield the documents of every file. What cannot be read becomes a finding."""
    for path in files:
        try:
            content = path.read_bytes()
            text = content.decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            findings.append(Finding("unreadable-file", f"{path} cannot be read: {reason}"))
            continue
        if len(content) > MAX_FILE_BYTES:
            findings.append(Finding("file-too-large", f"{path} has more than {MAX_FILE_BYTES} bytes"))
            continue
        digest.update(content)
        documents, faults = read_documents(str(path), text)
        findings += faults
        if not documents and not faults:
            message = f"{path} holds no manifest: what it may have held before is gone"
            findings.append(Finding("empty-file", message, severity=Severity.WARNING))
        yield from documents
