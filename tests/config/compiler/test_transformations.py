from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from config.compiler.place import Place
from config.compiler.transformations import (
    compile_buffer,
    compile_delay,
    compile_direct_response,
    compile_header_filter,
    compile_transformation,
)
from config.policy.conditional import UnusableConditionError
from config.policy.delay import MAX_DELAY_SECONDS
from config.policy.headers import FRAMING_AND_HOP_BY_HOP
from tests.config.examples import ON_GATEWAY, codes, place, request, resources_of

if TYPE_CHECKING:
    from config.errors import Finding


def traffic(block: str) -> tuple[Any, Place, list[Finding]]:
    """Return the spec, place and findings of one `traffic` block, written in flow style."""
    resources, findings = resources_of(
        "apiVersion: agentgateway.dev/v1alpha1\nkind: AgentgatewayPolicy\nmetadata: {name: p, namespace: infra}\n"
        f"spec:\n  targetRefs: [{ON_GATEWAY}]\n  traffic:\n    {block}\n"
    )
    assert findings == []
    [policy] = resources.policies.values()
    return policy.model.spec.traffic, Place(policy, resources, findings, ("spec", "traffic")), findings


def transformation(block: str) -> tuple[Any, list[Finding]]:
    spec, at, findings = traffic(f"transformation: {block}")
    return compile_transformation(at.at("transformation"), spec.transformation), findings


def test_every_part_is_compiled() -> None:
    compiled, findings = transformation(
        "{request: {metadata: {a: '1'}, replace: [{name: R, value: '\"r\"'}], add: [{name: A, value: '\"a\"'}],"
        " set: [{name: S, value: '\"s\"'}, {name: ':path', value: '\"/x\"'}], remove: [D], body: '\"b\"'},"
        " response: {set: [{name: ':status', value: '404'}]}}"
    )
    [rewrites] = compiled.rewrites.policies

    assert findings == []
    headers = rewrites.request.headers
    assert [header.name for header in (*headers.replace, *headers.add, *headers.set)] == [b"r", b"a", b"s"]
    assert headers.remove == (b"d",)
    assert [header.name for header in rewrites.request.pseudo] == [b":path"]
    assert rewrites.request.body.content(request()) == b"b"
    assert [header.name for header in rewrites.response.pseudo] == [b":status"]


@pytest.mark.parametrize("block", ["replace", "add", "set"])
def test_the_last_value_of_a_pseudo_name_counts(block: str) -> None:
    compiled, _ = transformation(
        f"{{request: {{{block}: [{{name: ':path', value: '1'}}, {{name: ':path', value: '2'}}]}}}}"
    )

    assert [header.expression.text for header in compiled.rewrites.policies[0].request.pseudo] == ["2"]


@pytest.mark.parametrize(("part", "name"), [("request", ":status"), ("response", ":path"), ("response", ":method")])
def test_a_pseudo_name_of_the_other_direction_is_a_fault(part: str, name: str) -> None:
    compiled, findings = transformation(f"{{{part}: {{set: [{{name: '{name}', value: '\"1\"'}}]}}}}")

    assert codes(findings) == ["invalid-value"]
    assert getattr(compiled.rewrites.policies[0], part).pseudo == ()


@pytest.mark.parametrize("name", sorted({*(n.decode() for n in FRAMING_AND_HOP_BY_HOP), "Content_Length", "HOST"}))
@pytest.mark.parametrize("part", ["request", "response"])
def test_names_that_no_policy_may_write_are_faults_in_whichever_spelling(part: str, name: str) -> None:
    compiled, findings = transformation(
        f"{{{part}: {{set: [{{name: {name}, value: '\"1\"'}}], add: [{{name: {name}, value: '\"1\"'}}],"
        f" replace: [{{name: {name}, value: '\"1\"'}}], remove: [{name}]}}}}"
    )

    assert codes(findings) == ["forbidden-header"] * 4
    assert not getattr(compiled.rewrites.policies[0], part).headers


def test_nobody_writes_the_decision_id_of_an_answer() -> None:
    _, findings = transformation("{response: {set: [{name: X-Egress-Decision-Id, value: '\"1\"'}]}}")
    assert codes(findings) == ["forbidden-header"]
    spec, at, findings = traffic("headerModifiers: {response: {remove: [x_egress_decision_id]}}")
    compile_header_filter(at.at("headerModifiers", "response"), spec.header_modifiers.response, of_response=True)
    assert codes(findings) == ["forbidden-header"]
    spec, at, findings = traffic(
        "directResponse: {status: 200, headers: [{name: x-egress-decision-id, value: '\"1\"'}]}"
    )
    compile_direct_response(at.at("directResponse"), spec.direct_response)
    assert codes(findings) == ["forbidden-header"]


def test_a_condition_that_does_not_compile_never_lets_a_request_pass_it() -> None:
    compiled, findings = transformation(
        "{conditional: [{condition: 'nothing', policy: {request: {remove: [a]}}}, {policy: {request: {remove: [b]}}}]}"
    )

    assert codes(findings) == ["invalid-expression"]
    assert place(findings[0])[0] == 7
    with pytest.raises(UnusableConditionError):
        compiled.rewrites.select(request())


def test_a_condition_that_can_be_no_boolean_is_a_fault() -> None:
    _, findings = transformation("{conditional: [{condition: '1', policy: {request: {remove: [a]}}}]}")

    assert codes(findings) == ["invalid-expression"]


def test_a_request_that_reads_the_answer_is_reported() -> None:
    _, findings = transformation("{request: {set: [{name: a, value: 'string(response.code)'}]}}")

    assert codes(findings) == ["pointless-expression"]


def test_expressions_that_do_not_compile_are_faults_and_fail() -> None:
    compiled, findings = transformation(
        "{request: {metadata: {a: nothing}, set: [{name: a, value: nothing}, {name: ':path', value: nothing}],"
        " body: nothing}}"
    )
    part = compiled.rewrites.policies[0].request

    assert codes(findings) == ["invalid-expression"] * 4
    assert part.pseudo[0].evaluate(request()) is None
    assert part.headers.apply([(b"a", b"sent")], request()) == []


def test_header_modifiers_are_compiled_with_their_values_as_they_are_sent() -> None:
    spec, at, findings = traffic(
        "headerModifiers: {request: {add: [{name: A, value: ' 1 '}], set: [{name: B, value: é}], remove: [C]}}"
    )
    modifier = compile_header_filter(at.at("headerModifiers", "request"), spec.header_modifiers.request)

    assert findings == []
    assert (modifier.add, modifier.set, modifier.remove) == (((b"a", b"1"),), ((b"b", "é".encode()),), (b"c",))


def test_a_direct_response_has_a_text_or_an_expression() -> None:
    spec, at, findings = traffic(
        "directResponse: {conditional: [{condition: 'request.path == \"/a\"', policy: {status: 204}},"
        " {policy: {status: 503, bodyExpression: 'request.path', headers: [{name: Retry-After, value: '\"5\"'}]}}]}"
    )
    compiled = compile_direct_response(at.at("directResponse"), spec.direct_response)

    assert findings == []
    first, second = compiled.answers.select(request("/a")), compiled.answers.select(request("/b"))
    assert first is not None
    assert (first.status, first.content(request())) == (204, b"")
    assert second is not None
    assert (second.status, second.content(request("/b")), second.fields(request())) == (
        503,
        b"/b",
        [(b"retry-after", b"5")],
    )


@pytest.mark.parametrize(
    ("text", "seconds", "found"),
    [
        ("2s", 2.0, []),
        ("1m30s", 90.0, []),
        ("0s", 0.0, []),
        ("-2s", 0.0, []),
        ("1h", MAX_DELAY_SECONDS, ["invalid-value"]),
        ("500", 0.5, []),
        ('duration("2s")', 2.0, []),
        ("nothing", 0.0, ["invalid-expression"]),
    ],
)
def test_a_delay_is_a_duration_or_an_expression(text: str, seconds: float, found: list[str]) -> None:
    spec, at, findings = traffic(f"delay: {{duration: '{text}'}}")

    assert compile_delay(at.at("delay"), spec.delay).seconds(request()) == seconds
    assert codes(findings) == found


def test_a_buffer_keeps_its_bounds() -> None:
    spec, at, _ = traffic("buffer: {request: {maxBytes: 1Ki}, response: {failureMode: FailOpen}}")
    buffer = compile_buffer(at.at("buffer"), spec.buffer)

    assert buffer.request is not None
    assert (buffer.request.max_bytes, buffer.request.fails_open) == (1024, False)
    assert buffer.response is not None
    assert (buffer.response.max_bytes, buffer.response.fails_open) == (2 * 1024 * 1024, True)
