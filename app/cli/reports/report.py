"""What a check came to: its findings in order, and the numbers of the summary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.errors import Severity

if TYPE_CHECKING:
    from config.errors import Finding
    from config.loading import Examined


@dataclass(frozen=True, slots=True)
class Report:
    """The findings, each once, by file, line and column; those of no file come first."""

    findings: tuple[Finding, ...]
    files: int
    hosts: int
    """Hosts that would be served."""
    routes: int
    policies: int

    @classmethod
    def of(cls, examined: Examined) -> Report:
        """Put what was found in order."""
        # Compiled for every host, a block is faulty once for each of them.
        findings = {(found.code, found.location, found.message): found for found in examined.findings}
        ordered = sorted(findings.values(), key=_place)
        snapshot = examined.snapshot
        hosts = 0 if snapshot is None else len(snapshot.exact) + len(snapshot.wildcards)
        return cls(tuple(ordered), examined.files, hosts, examined.routes, examined.policies)

    @property
    def errors(self) -> int:
        """How many findings stop a strict start."""
        return sum(finding.severity is Severity.ERROR for finding in self.findings)

    @property
    def warnings(self) -> int:
        """How many findings do not."""
        return len(self.findings) - self.errors

    @property
    def summary(self) -> str:
        """Return it all in one line."""
        counts = [_number(self.errors, "error")] if self.errors else []
        counts += [_number(self.warnings, "warning")] if self.findings else []
        found = f"{', '.join(counts)} in {_number(self.files, 'file')}" if counts else ""
        if self.errors:
            return found
        served = (_number(self.hosts, "host"), _number(self.routes, "route"), _number(self.policies, "policy"))
        return f"ok: {', '.join(served)}" + (f"; {found}" if found else "")


def printable(text: str) -> str:
    """Return text without what moves a terminal's cursor or is no character: file names and manifests may hold it."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def _place(finding: Finding) -> tuple[str, int, int]:
    place = finding.location
    return ("", 0, 0) if place is None else (place.file, place.line, place.column)


def _number(count: int, noun: str) -> str:
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}"
