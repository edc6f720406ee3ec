"""A field of a manifest that is being compiled: where it stands, what it may refer to, where its faults go."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from config.cel import ExpressionError, compile_expression
from config.errors import Finding, Severity, nearest
from config.places import locate_within
from config.policy.headers import FRAMING_AND_HOP_BY_HOP, fold_name

if TYPE_CHECKING:
    from config.cel import Expression
    from config.errors import Location
    from config.resources import Parsed, Resources
    from config.secret_values import SecretValue


@dataclass(frozen=True, slots=True)
class Place:
    """Handed to every function that compiles a block, so that each fault points at the field that has it."""

    parsed: Parsed[Any]
    resources: Resources
    findings: list[Finding]
    path: tuple[str | int, ...] = ()
    """From the top of the manifest, in the manifest's own spelling: `("spec", "traffic", "retry")`."""

    def at(self, *path: str | int) -> Place:
        """Return the place of a field below this one."""
        return replace(self, path=(*self.path, *path))

    @property
    def name(self) -> str:
        """`namespace/name` of the manifest."""
        return self.parsed.name

    @property
    def namespace(self) -> str:
        """What references without a namespace mean."""
        return self.parsed.namespace

    def location(self, *, key: bool = False) -> Location:
        """Return where the field stands, or its key."""
        return self.parsed.locate(*self.path, key=key)

    def error(self, code: str, message: str, hint: str = "", *, excerpt: str = "", key: bool = False) -> None:
        """Report a fault: it stops a strict start, and otherwise what it stands in must fail closed."""
        self.findings.append(Finding(code, message, self.location(key=key), hint, excerpt))

    def warn(self, code: str, message: str, hint: str = "", *, key: bool = False) -> None:
        """Report what is served as it is."""
        self.findings.append(Finding(code, message, self.location(key=key), hint, severity=Severity.WARNING))

    def expression(self, text: str, *, strict_headers: bool = False) -> Expression | None:
        """Compile the CEL of this field; none, and a fault, where it is not valid."""
        try:
            return compile_expression(text, strict_headers=strict_headers)
        except ExpressionError as error:
            location = locate_within(self.parsed.origin.source.text, self.location(), text, error.line, error.column)
            finding = Finding("invalid-expression", error.message, location, error.hint, error.excerpt(text))
            self.findings.append(finding)
            return None

    def header_name(self, name: str) -> bytes | None:
        """Return a name as it is compared; none, and a fault, where no policy may write it, in whichever spelling."""
        lowered = name.lower().encode()
        if fold_name(lowered) in FRAMING_AND_HOP_BY_HOP:
            message = f"{name} says where a message goes or ends: no policy may write it"
            self.error("forbidden-header", message, "remove the entry")
            return None
        return lowered

    def secret(self, name: str, key: str, *, group: str = "", kind: str = "Secret") -> SecretValue | None:
        """Return a value of a `Secret` of the manifest's namespace; none, and a fault, where there is none."""
        if (group, kind) != ("", "Secret"):
            self.error("invalid-reference", f"credentials are read from a Secret, not a {kind} of {group!r}")
            return None
        full_name = f"{self.namespace}/{name}"
        parsed = self.resources.secrets.get(full_name)
        if parsed is None:
            self.dangling("Secret", full_name, self.resources.secrets)
            return None
        value = parsed.model.value(key)
        if value is None:
            hint = nearest(key, parsed.model.keys)
            self.error("dangling-reference", f"the Secret {full_name} has no key {key!r}", hint)
        return value

    def is_granted(self, kind: tuple[str, str], namespace: str, name: str) -> bool:
        """Tell whether this manifest may refer to an object; if not, that is a fault.

        Source: GEP-709. Everything of the own namespace may be referred to, of others what a `ReferenceGrant` there
        names.

        Args:
            kind: group and kind of the object.
            namespace: of the object.
            name: of the object.

        """
        if namespace == self.namespace:
            return True
        model = self.parsed.model
        source = model.api_version.rpartition("/")[0], model.kind, self.namespace
        for grant in self.resources.grants:
            spec = grant.model.spec
            if grant.namespace != namespace:
                continue
            if not any((own.group, own.kind, own.namespace) == source for own in spec.from_):
                continue
            if any((to.group, to.kind) == kind and to.name in {None, name} for to in spec.to):
                return True
        message = f"no ReferenceGrant lets {model.kind} {self.name} refer to {kind[1]} {namespace}/{name}"
        self.error("reference-not-granted", message, f"add one to the namespace {namespace}")
        return False

    def dangling(self, kind: str, full_name: str, known: Any) -> None:
        """Report a reference to nothing, unless what it refers to was refused and reported itself."""
        if full_name not in self.resources.refused_names.get(kind, ()):
            self.error("dangling-reference", f"there is no {kind} {full_name}", nearest(full_name, known))
