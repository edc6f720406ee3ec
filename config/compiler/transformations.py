"""What rewrites messages, compiled: transformation, header modifiers, direct response, buffer and delay."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeVar

from config.cel import EvaluationError
from config.cel.times import parse_duration
from config.policy.body import BodyBuffer, BodyValue, Buffer
from config.policy.conditional import Choice, Conditional
from config.policy.delay import MAX_DELAY_SECONDS, Delay, bounded
from config.policy.direct_response import DirectResponse, DirectResponses
from config.policy.headers import DECISION_ID, HeaderModifier, HeaderRewrite, HeaderValue, fold_name
from config.policy.transformation import Rewrites, Transform, Transformation

if TYPE_CHECKING:
    from config.cel import Expression
    from config.compiler.place import Place
    from config.model.headers import (
        HeaderFilterSpec,
        HeaderSpec,
        HeaderValueSpec,
        TransformationOrConditionalSpec,
        TransformationSpec,
        TransformSpec,
    )
    from config.model.resilience import BodyBufferSpec, BufferSpec, DelaySpec
    from config.model.responses import DirectResponseOrConditionalSpec, DirectResponseSpec

Policy = TypeVar("Policy")

REQUEST_LINE: Final = frozenset({b":method", b":path", b":authority"})
STATUS_LINE: Final = frozenset({b":status"})


def compile_transformation(place: Place, spec: TransformationOrConditionalSpec) -> Transformation:
    """Compile `traffic.transformation`.

    An expression that does not compile fails on every message; a condition that does not compile answers 500.
    """
    if not spec.conditional:
        return Transformation(Conditional.always(_rewrites(place, spec)))
    choices = []
    for index, entry in enumerate(spec.conditional):
        at = place.at("conditional", index)
        choices.append(_choice(at, entry.condition, _rewrites(at.at("policy"), entry.policy)))
    return Transformation(Conditional(tuple(choices)))


def compile_direct_response(place: Place, spec: DirectResponseOrConditionalSpec) -> DirectResponses:
    """Compile `traffic.directResponse`. A `bodyExpression` or condition that does not compile answers 500."""
    if not spec.conditional:
        # The model asks for a status where there are no conditions.
        status = spec.status or HTTPStatus.INTERNAL_SERVER_ERROR.value
        return DirectResponses(Conditional.always(_direct_response(place, spec, status)))
    choices = []
    for index, entry in enumerate(spec.conditional):
        at = place.at("conditional", index)
        answer = _direct_response(at.at("policy"), entry.policy, entry.policy.status)
        choices.append(_choice(at, entry.condition, answer))
    return DirectResponses(Conditional(tuple(choices)))


def compile_header_filter(place: Place, spec: HeaderFilterSpec, *, of_response: bool = False) -> HeaderModifier:
    """Compile a `RequestHeaderModifier` or `ResponseHeaderModifier`. An entry with a faulty name is left out."""

    def pairs(block: str, headers: tuple[HeaderSpec, ...]) -> tuple[tuple[bytes, bytes], ...]:
        return tuple(
            (name, header.value.encode().strip(b" \t"))
            for index, header in enumerate(headers)
            if (name := _field_name(place.at(block, index, "name"), header.name, of_response=of_response))
        )

    return HeaderModifier(
        pairs("add", spec.add), pairs("set", spec.set), _removed(place, spec.remove, of_response=of_response)
    )


def compile_buffer(_: Place, spec: BufferSpec) -> Buffer:
    """Compile `traffic.buffer`."""

    def compiled(body: BodyBufferSpec | None) -> BodyBuffer | None:
        return None if body is None else BodyBuffer(body.max_bytes, body.failure_mode == "FailOpen")

    return Buffer(compiled(spec.request), compiled(spec.response))


def compile_delay(place: Place, spec: DelaySpec) -> Delay:
    """Compile `traffic.delay`: a duration such as `2s`, or CEL."""
    at = place.at("duration")
    try:
        seconds = parse_duration(spec.duration).nanoseconds / 1e9
    except EvaluationError:
        return Delay(at.expression(spec.duration))
    if seconds > MAX_DELAY_SECONDS:
        at.error("invalid-value", f"a delay is at most {MAX_DELAY_SECONDS:.0f}s")
    return Delay(bounded(seconds))


def _choice(place: Place, text: str | None, policy: Policy) -> Choice[Policy]:
    if text is None:
        return Choice(policy)
    condition = place.at("condition").expression(text)
    if condition is not None and condition.kind not in {"bool", "dyn"}:
        place.at("condition").error("invalid-expression", f"a condition gives a boolean, not {condition.kind}")
        condition = None
    return Choice(policy, condition, is_unusable=condition is None)


def _rewrites(place: Place, spec: TransformationSpec) -> Rewrites:
    return Rewrites(
        None if spec.request is None else _transform(place.at("request"), spec.request, of_response=False),
        None if spec.response is None else _transform(place.at("response"), spec.response, of_response=True),
    )


def _transform(place: Place, spec: TransformSpec, *, of_response: bool) -> Transform:
    def expression(at: Place, text: str) -> Expression | None:
        compiled = at.expression(text)
        if compiled is not None and compiled.reads_response and not of_response:
            at.warn("pointless-expression", "no request has an answer yet: response is null here")
        return compiled

    def values(block: str, headers: tuple[HeaderValueSpec, ...]) -> tuple[HeaderValue, ...]:
        return tuple(
            HeaderValue(name, expression(place.at(block, index, "value"), header.value))
            for index, header in enumerate(headers)
            if (name := _transformed_name(place.at(block, index, "name"), header.name, of_response=of_response))
        )

    replace, add, set_ = values("replace", spec.replace), values("add", spec.add), values("set", spec.set)
    # A message has exactly one of each pseudo name, so adding or replacing one is setting it.
    pseudo = {header.name: header for header in (*replace, *add, *set_) if header.name[:1] == b":"}
    return Transform(
        HeaderRewrite(
            add=_fields(add),
            set=_fields(set_),
            remove=_removed(place, spec.remove, of_response=of_response),
            replace=_fields(replace),
        ),
        tuple((name, expression(place.at("metadata", name), text)) for name, text in spec.metadata.items()),
        tuple(pseudo.values()),
        None if spec.body is None else BodyValue(expression(place.at("body"), spec.body)),
    )


def _fields(headers: tuple[HeaderValue, ...]) -> tuple[HeaderValue, ...]:
    return tuple(header for header in headers if header.name[:1] != b":")


def _transformed_name(place: Place, name: str, *, of_response: bool) -> bytes | None:
    if name[:1] != ":":
        return _field_name(place, name, of_response=of_response)
    lowered = name.lower().encode()
    if lowered in (STATUS_LINE if of_response else REQUEST_LINE):
        return lowered
    message = f"{name} stands in the first line of {'a request' if of_response else 'an answer'}, not of this message"
    place.error("invalid-value", message, "remove the entry")
    return None


def _removed(place: Place, names: tuple[str, ...], *, of_response: bool) -> tuple[bytes, ...]:
    return tuple(
        lowered
        for index, name in enumerate(names)
        if (lowered := _field_name(place.at("remove", index), name, of_response=of_response))
    )


def _field_name(place: Place, name: str, *, of_response: bool) -> bytes | None:
    """Return a name as it is compared; none, and a fault, where no policy may write it, in whichever spelling."""
    if of_response and fold_name(name.lower().encode()) == DECISION_ID:
        place.error("forbidden-header", f"{name} tells whose answer it is: no policy may write it", "remove the entry")
        return None
    return place.header_name(name)


def _direct_response(
    place: Place, spec: DirectResponseSpec | DirectResponseOrConditionalSpec, status: int
) -> DirectResponse:
    body: bytes | BodyValue = b"" if spec.body is None else spec.body.encode()
    if spec.body_expression is not None:
        body = BodyValue(place.at("bodyExpression").expression(spec.body_expression))
    headers = tuple(
        HeaderValue(name, place.at("headers", index, "value").expression(header.value))
        for index, header in enumerate(spec.headers)
        if (name := _field_name(place.at("headers", index, "name"), header.name, of_response=True))
    )
    return DirectResponse(status, body, headers)
