"""What the pure parts of a request cost, in microseconds. Compare figures of one run only."""

from __future__ import annotations

import timeit
from pathlib import Path
from typing import TYPE_CHECKING

import celpy
from celpy import celtypes
from celpy.adapter import json_to_cel

from config.attributes import Peer, RequestAttributes, SpiffeId
from config.cel import compile_expression
from config.loading import load
from config.policy.authorization import Authorization
from config.policy.normalisation import normalise_path
from config.policy.rules import Action, Rule
from config.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WORKSHOP = Path(__file__).parents[2] / "deploy" / "workshop"
HEADERS = [(b"user-agent", b"curl/8"), (b"accept", b"*/*"), (b"x-internal-debug", b"1")]
TWO_TERMS = 'source.identity.namespace == "team-a" && source.identity.serviceAccount == "team-a"'


def _peer(namespace: str) -> Peer:
    return Peer(SpiffeId("cluster.local", f"/ns/{namespace}/sa/{namespace}", namespace, namespace))


TEAM_A = _peer("team-a")


def _attributes(peer: Peer = TEAM_A, path: str = "/repos/octocat/Hello-World") -> RequestAttributes:
    return RequestAttributes(peer, "GET", "api.github.com", path, headers=HEADERS)


def _microseconds(call: Callable[[], object]) -> float:
    """Return the best of five rounds."""
    timer = timeit.Timer(call)
    loops, _ = timer.autorange()
    return min(timer.repeat(5, max(loops // 4, 1))) / max(loops // 4, 1) * 1e6


def _one_rule() -> Iterator[tuple[str, Callable[[], object]]]:
    """One two-term rule, evaluated in four ways."""
    environment = celpy.Environment()
    program = environment.program(environment.compile(TWO_TERMS))
    source = {"identity": {"namespace": "team-a", "serviceAccount": "team-a"}}
    converted = json_to_cel(source)
    assert isinstance(converted, celtypes.MapType)
    yield "one rule, cel-python's interpreter", lambda: program.evaluate({"source": converted})

    from cel_expr_python import cel  # noqa: PLC0415  a test dependency

    googles = cel.NewEnv(variables={"source": cel.Type("map<string, dyn>")}).compile(TWO_TERMS)
    yield "one rule, cel-expr-python", lambda: googles.eval(data={"source": source})

    attributes, compiled = _attributes(), compile_expression(TWO_TERMS, strict_headers=True).function
    yield "one rule, compiled", lambda: compiled(attributes)


def _rule_sets() -> Iterator[tuple[str, Callable[[], object]]]:
    """The last of many rules allows: every rule asked in turn, by index, and explained."""
    for count in (1, 10, 100, 1000):
        expressions = [
            f'source.identity.namespace == "team-{n % 7}"'
            f' && request.path.startsWith("/p{n}/") && request.method == "GET"'
            for n in range(count)
        ]
        rules = [
            Rule(f"ns/policy#{n}", Action.ALLOW, compile_expression(text, strict_headers=True))
            for n, text in enumerate(expressions)
        ]
        authorization = Authorization.of(rules)
        attributes = _attributes(_peer(f"team-{(count - 1) % 7}"), f"/p{count - 1}/x")
        functions = [rule.function for rule in rules]
        yield f"{count} rules, one after another", lambda f=functions, a=attributes: [rule(a) for rule in f]  # type: ignore[misc]
        yield f"{count} rules, indexed", lambda z=authorization, a=attributes: z.decide(a)  # type: ignore[misc]
        yield f"{count} rules, explained", lambda z=authorization, a=attributes: z.explain(a)  # type: ignore[misc]


def _request() -> Iterator[tuple[str, Callable[[], object]]]:
    """What a request of the workshop passes."""
    snapshot, _ = load(Settings(config=(str(WORKSHOP),)))
    host = snapshot.find("api.github.com")
    assert host is not None
    route = host.table.only
    assert route is not None
    authorization, transformation, attributes = route.authorization, route.transformation, _attributes()
    assert transformation is not None
    rewrite = transformation.plain_request
    assert rewrite is not None
    yield "host look-up", lambda: snapshot.find("api.github.com")
    yield "normalise a plain path", lambda: normalise_path(b"/repos/octocat/Hello-World")
    yield "normalise an escaped path", lambda: normalise_path(b"/repos/octocat/%C3%A9t%C3%A9")
    yield "make the attributes", _attributes
    yield "authorize and guard the path", lambda: authorization.decide(attributes)
    yield "rewrite the headers", lambda: rewrite.apply(HEADERS, attributes)


def main() -> None:
    """Print the table."""
    for group in (_one_rule, _rule_sets, _request):
        for name, call in group():
            print(f"{name:40} {_microseconds(call):10.2f} us")
        print()


if __name__ == "__main__":
    main()
