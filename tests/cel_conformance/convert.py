"""Convert the specification's conformance tests, textproto files, to `data/*.json`, the form that `cases` describes.

    python -m pip download --no-deps --no-binary :all: cel-python==0.5.0
    tar -xzf cel_python-0.5.0.tar.gz
    python -m tests.cel_conformance.convert cel_python-0.5.0/features

Usage: `python -m tests.cel_conformance.convert FEATURES_DIRECTORY`. Everything that was in `data` goes. A field of a
test, a kind of value or a kind of type that the mapping does not know is an error.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.cel_conformance.cases import DATA, NANOSECONDS, duration_text, timestamp_text
from tests.cel_conformance.textproto import parse_textproto

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cel_conformance.cases import Tagged
    from tests.cel_conformance.textproto import Message

_FLAGS = ("disable_check", "check_only")
_FIELDS = {"name", "description", "expr", "container", "type_env", "bindings", *_FLAGS}
_MATCHERS = {"value", "typed_result", "eval_error"}

_RAW_LITERAL = r"""\b(?:[rR][bB]?|[bB][rR])(?:"{3}[\s\S]*?"{3}|'{3}[\s\S]*?'{3}|"[^"\n]*"|'[^'\n]*')"""
_LITERAL = r"""(?:"{3}(?:\\.|[^\\])*?"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')"""
_TEXT = re.compile(rf"{_RAW_LITERAL}|{_LITERAL}|//[^\n]*", re.DOTALL)
_MESSAGES = re.compile(
    r"TestAllTypes|TestRequired|GlobalEnum|NestedEnum|NullValue|cel\.expr\.conformance|proto\.(?:getExt|hasExt)"
    r"|google\.protobuf\.(?!(?:Timestamp|Duration)\b(?!\s*\{))"
    r"|\b(?!in\b)[A-Za-z_]\w*\s*\{"  # a message is made
)
_MESSAGE_TYPE = re.compile(r"wrapper\(|\bany\b|\w\.\w")


def convert(features: Path) -> None:
    """Replace all data by what a directory holds."""
    documents = {path.stem: _document(path) for path in sorted(features.glob("*.textproto"))}
    if not documents:
        raise FileNotFoundError(f"no textproto in {features}")
    for stale in DATA.glob("*.json"):
        stale.unlink()
    for name, document in documents.items():
        (DATA / f"{name}.json").write_text(document, "utf-8")


def _document(path: Path) -> str:
    """Write a file's cases as JSON, one a line."""
    sections = parse_textproto(path.read_text("utf-8")).get("section", [])
    cases = [_case(_text(section, "name"), test) for section in sections for test in section.get("test", [])]
    lines = ",\n".join(json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in cases)
    return f'{{"file":"{path.stem}","cases":[\n{lines}\n]}}\n'


def _case(section: str, test: Message) -> dict[str, Any]:
    if unknown := test.keys() - _FIELDS - _MATCHERS:
        raise ValueError(f"unknown fields in {_text(test, 'name')}: {unknown}")
    declared = test.get("type_env", [])
    parts = {
        "container": _text(test, "container"),
        **{flag: test.get(flag) == ["true"] for flag in _FLAGS},
        "type_env": {_text(each, "name"): _type(*each["ident"][0]["type"]) for each in declared if "ident" in each},
        "functions": {
            _text(each, "name"): list(map(_overload, each["function"][0]["overloads"]))
            for each in declared
            if "function" in each
        },
        "bindings": {_text(each, "key"): _value(*each["value"][0]["value"]) for each in test.get("bindings", [])},
    }
    case = {
        "section": section,
        "name": _text(test, "name"),
        "expr": _text(test, "expr"),
        **{name: part for name, part in parts.items() if part},
        "expect": _expectation({name: test[name] for name in _MATCHERS & test.keys()}),
    }
    return case | ({"protobuf": True} if _needs_protobuf(case) else {})


def _overload(message: Message) -> dict[str, Any]:
    return {
        "id": _text(message, "overload_id"),
        "params": list(map(_type, message.get("params", []))),
        "result": _type(*message["result_type"]),
        "member": message.get("is_instance_function") == ["true"],
    }


def _expectation(matcher: Message) -> dict[str, Any]:
    if not matcher:
        return {"value": {"bool": True}}
    match _only(matcher):
        case "value", value:
            return {"value": _value(value)}
        case "typed_result", result:
            expected = {"value": _value(*result["result"])} if "result" in result else {}
            return expected | {"type": _type(*result["deduced_type"])}
        case _, error_set:
            message = "; ".join(_text(error, "message") for error in error_set.get("errors", []))
            return {"error": True, "message": message}


def _needs_protobuf(case: dict[str, Any]) -> bool:
    overloads = [overload for declared in case.get("functions", {}).values() for overload in declared]
    types = [*case.get("type_env", {}).values(), case["expect"].get("type", "")]
    types += [kind for overload in overloads for kind in (*overload["params"], overload["result"])]
    if _MESSAGES.search(_TEXT.sub(" ", case["expr"])) or any(map(_MESSAGE_TYPE.search, types)):
        return True
    return '{"object": ' in json.dumps([case.get("bindings"), case["expect"]])  # inside strings, quotes are escaped


def _only(message: Message) -> tuple[str, Any]:
    """Return the one field of a message that is a choice."""
    ((kind, (content,)),) = message.items()
    return kind, content


def _text(message: Message, field: str) -> str:
    (content,) = message.get(field, [b""])
    return str(content, "utf-8")


def _value(message: Message) -> Tagged:
    kind, content = _only(message)
    return _VALUES[kind](content)


def _type(message: Message) -> str:
    kind, content = _only(message)
    return _TYPES[kind](content)


def _double(text: str) -> Tagged:
    number = float(re.sub(r"(?<=[\d.])[fF]$", "", text))
    return {"double": repr(number).replace("inf", "Infinity").replace("nan", "NaN")}


def _object(content: Message) -> Tagged:
    if "type_url" in content:
        return {"object": _text(content, "type_url")}
    name, fields = _only(content)
    name = name.strip("[]")
    if (tag := _TIMES.get(name.removeprefix("type.googleapis.com/"))) is None:
        return {"object": name}
    seconds, nanoseconds = (int(*fields.get(field, ["0"])) for field in ("seconds", "nanos"))
    write = duration_text if tag == "duration" else timestamp_text
    return {tag: write(seconds * NANOSECONDS + nanoseconds)}


def _abstract_type(content: Message) -> str:
    parameters = ", ".join(map(_type, content.get("parameter_types", [])))
    return _text(content, "name") + (f"({parameters})" if parameters else "")


_TIMES = {"google.protobuf.Timestamp": "timestamp", "google.protobuf.Duration": "duration"}
_VALUES: dict[str, Callable[[Any], Tagged]] = {
    "null_value": lambda _: {"null": None},
    "bool_value": lambda text: {"bool": {"true": True, "false": False}[text]},
    "int64_value": lambda text: {"int": str(int(text, 0))},
    "uint64_value": lambda text: {"uint": str(int(text, 0))},
    "double_value": _double,
    "string_value": lambda content: {"string": content.decode()},
    "bytes_value": lambda content: {"bytes": base64.b64encode(content).decode()},
    "type_value": lambda content: {"type": content.decode()},
    "list_value": lambda content: {"list": list(map(_value, content.get("values", [])))},
    "map_value": lambda content: {
        "map": [[_value(*entry["key"]), _value(*entry["value"])] for entry in content.get("entries", [])]
    },
    "enum_value": lambda content: {"object": _text(content, "type")},
    "object_value": _object,
}
_TYPES: dict[str, Callable[[Any], str]] = {
    "dyn": lambda _: "dyn",
    "null": lambda _: "null_type",
    "primitive": lambda name: name.lower().removesuffix("64"),
    "wrapper": lambda name: f"wrapper({name.lower().removesuffix('64')})",
    "well_known": str.lower,
    "list_type": lambda content: f"list({_type(*content['elem_type'])})",
    "map_type": lambda content: f"map({_type(*content['key_type'])}, {_type(*content['value_type'])})",
    "message_type": lambda name: _TIMES.get(name.decode(), name.decode()),
    "type_param": bytes.decode,
    "type": lambda content: f"type({_type(content)})" if content else "type",
    "abstract_type": _abstract_type,
}


if __name__ == "__main__":
    convert(Path(sys.argv[1]))
