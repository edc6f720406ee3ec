from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from config.errors import Location
from config.excerpts import SourceLines, is_concealed
from config.model.base import Model
from tests import fields

if TYPE_CHECKING:
    from pathlib import Path

BACKEND = """\
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayBackend
metadata: {name: b, annotations: {note: s3cret}}
"""
POLICY = """\
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayPolicy
metadata: {name: p}
"""


def shown(tmp_path: Path, text: str) -> str:
    file = tmp_path / "a.yaml"
    file.write_text(text)
    sources = SourceLines()
    lines = [sources.at(Location(str(file), number + 1, 1)) for number in range(text.count("\n") + 2)]
    return "\n".join(line.text if line else "-" for line in lines)


@pytest.mark.parametrize(
    "text",
    [
        "apiVersion: v1\nkind: Secret\nstringData: {a: s3cret}\n",
        "kind: Secret\nstringData:\n  a: |\n    s3cret\n    s3cret\n",
        "apiVersion: v1\nkind: Secert\nstringData: {a: s3cret}\n",
        "apiVersion: v1\nkind: ConfigMap\nkind: Secret\nstringData: {a: s3cret}\n",
        "stringData: {a: s3cret}\n",
        "apiVersion: v1\nkind: List\nitems:\n- kind: Secret\n  data: {a: s3cret}\n",
        "apiVersion: v1\nkind: List\nitems: s3cret\n",
        "apiVersion: v1\nkind: ConfigMap\ndata: {a: s3cret}\n",
        "- s3cret\n",
        "s3cret\n",
        "a: [s3cret\n",
        "? [s3cret]\n: s3cret\n",
        f"{BACKEND}spec: {{policies: {{auth: {{key: s3cret}}}}}}\n",
        f"{BACKEND}spec: {{policies: {{auth: {{keyy: s3cret}}}}}}\n",
        f"{BACKEND}spec: {{policies: {{auth: s3cret}}}}\n",
        f"{BACKEND}spec: {{policies: {{aws: {{secret: s3cret}}}}}}\n",
        f"{BACKEND}spec: {{static: {{host: a}}}} # s3cret\n",
        f"{BACKEND}# s3cret\nspec: {{static: {{host: &s3cret a}}}}\n",
        f"{BACKEND}spec: {{policies: {{auth: {{key: &a s3cret}}, tls: {{sni: *a}}}}}}\n",
        f"{BACKEND}spec: {{policies: {{tls: {{sni: &a s3cret}}, auth: {{key: *a}}}}}}\n".replace("s3cret", "x"),
        f"{BACKEND}spec: {{policies: {{tunnel: {{url: 'http://u:s3cret@h'}}}}}}\n",
        f"{POLICY}spec: {{traffic: {{basicAuthentication: {{users: ['a:s3cret']}}}}}}\n",
        f"{POLICY}spec: {{traffic: {{basicAuthentication: {{users: 'a:s3cret'}}}}}}\n",
        f"{POLICY}spec: {{traffic: {{headerModifiers: {{request: {{set: [{{name: a, value: s3cret}}]}}}}}}}}\n",
        f"\ufeff{BACKEND}spec: {{policies: {{auth: {{key: s3cret}}}}}}\n",
        f"{BACKEND}---\nkind: Secret\na: s3cret\n---\na: [\n",
        f"{BACKEND}spec: {'[' * 1000}s3cret\n",
    ],
)
def test_what_may_be_a_secret_is_never_shown(tmp_path: Path, text: str) -> None:
    assert "s3cret" not in shown(tmp_path, text)


def test_what_is_public_is_shown_as_it_stands(tmp_path: Path) -> None:
    text = (
        f"{POLICY}spec:\n  traffic:\n    authorization:\n      policy:\n        matchExpressions:\n        - 'a == 1'\n"
    )

    assert shown(tmp_path, text).rstrip("\n-") == text.rstrip("\n")


def test_a_mask_moves_the_column_with_it(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"{BACKEND}spec: {{policies: {{auth: {{key: a-long-s3cret, location: {{}}}}}}}}\n")

    line = SourceLines().at(Location(str(file), 4, 47))

    assert line is not None
    assert line.text == "spec: {policies: {auth: {key: ****, location: {}}}}"


def test_a_file_that_is_gone_shows_nothing(tmp_path: Path) -> None:
    assert SourceLines().at(Location(str(tmp_path / "gone"), 1, 1)) is None


SUSPICIOUS = ("password", "token", "users", "inline", "value", "htpasswd", "credential")


def test_a_field_that_sounds_like_a_secret_is_concealed_or_an_expression() -> None:
    models = {model for top in fields.kinds().values() for model in fields.models(top) if issubclass(model, Model)}
    plain = {
        f"{model.__name__}.{name}"
        for model in models
        for name, info in model.model_fields.items()
        if any(word in name.lower() for word in SUSPICIOUS)
        and not is_concealed(info)
        and fields.status_of(info).startswith(fields.WORKS)
        and not list(fields._models(info.annotation))
    }

    assert plain == {
        "CorsSpec.allow_credentials",
        "DirectResponseHeader.value",
        "HeaderValueSpec.value",
        "PathMatchSpec.value",
    }
