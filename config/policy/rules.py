"""Rules of one action, compiled together: the first that hits is found without asking those that cannot.

What depends on the caller's certificate only is asked once for each caller; the rest is found through the constants
that rules compare the path, host or method with. Both leave the answer as it is: a term that is false makes its rule
false, whatever error the other terms would give.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from config.attributes import MAX_CACHED_PEERS
from config.cel import EvaluationError
from config.cel.analysis import INDEXED, conjunction, conjuncts, depends_on_peer_only, keys_of
from config.policy.decision import Outcome, RuleResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from config.attributes import Peer, RequestAttributes
    from config.cel import Expression
    from config.cel.analysis import Keys

PATH_ATTRIBUTES: Final = frozenset({"request", "request.path", "request.uri", "request.pathAndQuery"})
"""Every name by which an expression can read the path; the bare `request` holds them all."""

_GETTERS: Final[dict[str, Callable[[RequestAttributes], str]]] = {
    "request.path": lambda attributes: attributes.path,
    "request.host": lambda attributes: attributes.host,
    "request.method": lambda attributes: attributes.method,
}


class Action(StrEnum):
    """What a rule that holds does."""

    ALLOW = "Allow"
    DENY = "Deny"
    REQUIRE = "Require"


def _always_fails(_: RequestAttributes) -> Any:
    raise EvaluationError("the expression does not compile")


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of `matchExpressions`."""

    name: str
    """`namespace/policy#index`, the index counted from 0 over `matchExpressions`."""
    action: Action
    expression: Expression | None
    """None: it did not compile, which counts as an evaluation error on every request."""
    ignore_error: bool = False
    """`egress-gateway.dev/on-error: ignore`: a Deny that fails does not hold. One that did not compile still does."""

    @property
    def reads_path(self) -> bool:
        """Whether the rule depends on the path. One that did not compile is judged with the callers."""
        return self.expression is not None and not PATH_ATTRIBUTES.isdisjoint(self.expression.reads)

    @property
    def function(self) -> Callable[[RequestAttributes], Any]:
        """The compiled expression: gives a value, or raises `EvaluationError`."""
        return self.expression.function if self.expression is not None else _always_fails

    def evaluate(self, attributes: RequestAttributes) -> RuleResult:
        """Ask the rule. Only the boolean `true` matches; anything but a boolean is an error."""
        outcome, error = ask(self.function, attributes)
        return RuleResult(self.name, outcome, error)

    def hits(self, outcome: Outcome) -> bool:
        """Tell whether a rule with this outcome decides: an Allow that holds, or a Deny or Require that refuses."""
        if self.action is Action.REQUIRE:
            return outcome is not Outcome.MATCHED
        if outcome is Outcome.ERROR:
            return self.action is Action.DENY and not (self.ignore_error and self.expression is not None)
        return outcome is Outcome.MATCHED


def ask(function: Callable[[RequestAttributes], Any], attributes: RequestAttributes) -> tuple[Outcome, str]:
    """Return what a compiled expression says, and why it failed if it did."""
    try:
        value = function(attributes)
    except EvaluationError as error:
        return Outcome.ERROR, str(error)
    except Exception as error:  # noqa: BLE001  whatever a generated function lets slip must fail closed as an error
        return Outcome.ERROR, f"the expression failed: {type(error).__name__}"
    if value is True:
        return Outcome.MATCHED, ""
    if value is False:
        return Outcome.NOT_MATCHED, ""
    return Outcome.ERROR, f"a boolean was expected, not {type(value).__name__}"


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A rule taken apart."""

    position: int
    rule: Rule
    function: Callable[[RequestAttributes], Any]
    """The whole expression."""
    peer_function: Callable[[RequestAttributes], Any] | None = None
    """The terms that depend on the caller only."""
    rest_function: Callable[[RequestAttributes], Any] | None = None
    """The other terms; none if there are none."""
    keys: Keys | None = None


def _prepare(position: int, rule: Rule) -> _Prepared:
    # A Require decides when it does not hold, so nothing may be left out because a term is false.
    if rule.expression is None or rule.action is Action.REQUIRE:
        return _Prepared(position, rule, rule.function)
    terms = conjuncts(rule.expression.tree)
    of_peer = tuple(term for term in terms if depends_on_peer_only(term))
    others = tuple(term for term in terms if not depends_on_peer_only(term))
    keys = [found for term in others if (found := keys_of(term)) and found.attribute in INDEXED]
    keys.sort(key=lambda found: (INDEXED.index(found.attribute), bool(found.prefixes)))
    return _Prepared(
        position,
        rule,
        rule.function,
        rule.expression.part(conjunction(of_peer)) if of_peer else None,
        rule.expression.part(conjunction(others)) if others else None,
        keys[0] if keys else None,
    )


Candidate = tuple[int, Rule, "Callable[[RequestAttributes], Any] | None"]
"""Position, rule, and what is left to be asked; none if the rule holds already."""


@dataclass(slots=True)
class _Table:
    """Candidates by the values of one attribute."""

    get: Callable[[RequestAttributes], str]
    exact: dict[str, list[Candidate]] = field(default_factory=dict)
    prefixes: dict[str, list[Candidate]] = field(default_factory=dict)
    lengths: tuple[int, ...] = ()

    def add(self, keys: Keys, candidate: Candidate) -> None:
        for value in keys.exact:
            self.exact.setdefault(value, []).append(candidate)
        for prefix in keys.prefixes:
            self.prefixes.setdefault(prefix, []).append(candidate)
        self.lengths = tuple(sorted({len(prefix) for prefix in self.prefixes}))


class _View:
    """The rules that can still hit for one caller."""

    __slots__ = ("always", "tables")

    def __init__(self, prepared: tuple[_Prepared, ...], attributes: RequestAttributes) -> None:
        self.always: list[Candidate] = []
        tables: dict[str, _Table] = {}
        for item in prepared:
            candidate = _for_peer(item, attributes)
            if candidate is None:
                continue
            if item.keys is None:
                self.always.append(candidate)
            else:
                table = tables.setdefault(item.keys.attribute, _Table(_GETTERS[item.keys.attribute]))
                table.add(item.keys, candidate)
        self.tables = tuple(tables.values())

    def candidates(self, attributes: RequestAttributes) -> list[Candidate]:
        """Return the rules that may hit, in their order."""
        found = self.always
        sources = 1
        for table in self.tables:
            value = table.get(attributes)
            exact = table.exact.get(value)
            if exact is not None:
                found = found + exact if found else exact
                sources += 1
            for length in table.lengths:
                prefixed = table.prefixes.get(value[:length])
                if prefixed is not None:
                    found = found + prefixed if found else prefixed
                    sources += 1
        return sorted(found, key=_position) if sources > 1 and len(found) > 1 else found


def _position(candidate: Candidate) -> int:
    return candidate[0]


def _for_peer(item: _Prepared, attributes: RequestAttributes) -> Candidate | None:
    """Ask what depends on the caller only: false leaves the rule out, true leaves the other terms."""
    if item.peer_function is None:
        return item.position, item.rule, item.function
    outcome, _ = ask(item.peer_function, attributes)
    if outcome is Outcome.NOT_MATCHED:
        return None
    if outcome is Outcome.MATCHED:
        return item.position, item.rule, item.rest_function
    return item.position, item.rule, item.function


class RuleSet:
    """Rules of one action, in their order."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self.rules = rules
        self._prepared = tuple(_prepare(position, rule) for position, rule in enumerate(rules))
        self._views: OrderedDict[Peer, _View] = OrderedDict()

    def first_hit(self, attributes: RequestAttributes) -> tuple[Rule, Outcome, str] | None:
        """Return the first rule that decides, its outcome and why it failed if it did; none if no rule decides."""
        view = self._views.get(attributes.peer)
        if view is None:
            view = self._view(attributes)
        for _, rule, function in view.candidates(attributes) if view.tables else view.always:
            if function is None:
                return rule, Outcome.MATCHED, ""
            outcome, error = ask(function, attributes)
            if outcome is Outcome.NOT_MATCHED and rule.action is not Action.REQUIRE:
                continue
            if rule.hits(outcome):
                return rule, outcome, error
        return None

    def _view(self, attributes: RequestAttributes) -> _View:
        view = self._views[attributes.peer] = _View(self._prepared, attributes)
        if len(self._views) > MAX_CACHED_PEERS:
            self._views.popitem(last=False)
        return view
