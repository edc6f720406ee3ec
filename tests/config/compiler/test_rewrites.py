from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import yaml
from pydantic import ValidationError

from config.compiler.place import Place
from config.compiler.rewrites import (
    compile_cors,
    compile_csrf,
    compile_host_rewrite,
    compile_mirror,
    compile_redirect,
    compile_url_rewrite,
)
from config.model.responses import CorsSpec, CsrfSpec, HostRewriteSpec, RequestRedirectSpec, UrlRewriteSpec
from config.model.route import RequestMirrorSpec, RouteMatchSpec
from config.policy.balancing import DynamicForwardProxy
from config.policy.cors import Cors, Origin
from config.policy.csrf import Csrf
from config.policy.mirror import Mirror
from config.policy.rewrite import FullPath, PrefixPath, Redirect, UrlRewrite
from config.policy.upstream import Upstream
from config.snapshot import Backend
from tests.config.examples import ROUTE, WORKSHOP, codes, resources_of, several

if TYPE_CHECKING:
    from config.model.base import Model

M = TypeVar("M", bound="Model")


def spec(model: type[M], **fields: Any) -> M:
    return model.model_validate_json(json.dumps(fields))


def place_in(*manifests: str) -> Place:
    """Return a place of the route `infra/origin-route`."""
    resources, findings = resources_of(several(ROUTE, *manifests))
    assert findings == []
    return Place(resources.routes["infra/origin-route"], resources, [], ("spec", "rules", 0))


def prefix(path: str) -> dict[str, Any]:
    return {"type": "ReplacePrefixMatch", "replacePrefixMatch": path}


def full(path: str) -> dict[str, Any]:
    return {"type": "ReplaceFullPath", "replaceFullPath": path}


def matches(*kinds: str) -> list[RouteMatchSpec]:
    return [spec(RouteMatchSpec, path={"type": kind, "value": "/a"}) for kind in kinds]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (prefix("/repos"), PrefixPath("/repos")),
        (prefix(""), PrefixPath("")),
        (prefix("/r%65pos/"), PrefixPath("/repos/")),
        (full("/zen"), FullPath("/zen")),
        (full(""), FullPath("/")),
    ],
)
def test_a_replacement_is_kept_in_its_canonical_spelling(path: dict[str, Any], expected: PrefixPath | FullPath) -> None:
    place = place_in()

    assert compile_url_rewrite(place, spec(UrlRewriteSpec, path=path), ()) == UrlRewrite(path=expected)
    assert compile_redirect(place, spec(RequestRedirectSpec, path=path), ()) == Redirect(path=expected)
    assert place.findings == []


@pytest.mark.parametrize(
    "path", ["zen", "/a/../b", "/a/%2e%2e", "//a", "/a?b", "/a#b", "/a b", "/%2f", "/..;/x", "/\xe4"]
)
@pytest.mark.parametrize("modifier", [prefix, full])
def test_a_replacement_that_is_ambiguous_is_a_fault_and_rewrites_nothing(modifier: Any, path: str) -> None:
    place = place_in()

    rewrite = compile_url_rewrite(place, spec(UrlRewriteSpec, path=modifier(path)), ())

    assert codes(place.findings) == ["invalid-path"]
    assert rewrite.path in {PrefixPath(None), FullPath(None)}


@pytest.mark.parametrize(
    ("kinds", "faulty"),
    [
        ([], False),
        (["PathPrefix"], False),
        (["PathPrefix", "PathPrefix"], False),
        (["Exact"], True),
        (["PathPrefix", "RegularExpression"], True),
    ],
)
def test_a_prefix_is_replaced_only_where_prefixes_choose_the_rule(kinds: list[str], *, faulty: bool) -> None:
    place = place_in()

    rewrite = compile_url_rewrite(place, spec(UrlRewriteSpec, path=prefix("/x")), matches(*kinds))
    redirect = compile_redirect(place, spec(RequestRedirectSpec, path=prefix("/x")), matches(*kinds))

    assert codes(place.findings) == ["invalid-rewrite"] * 2 * faulty
    assert rewrite.path == redirect.path == PrefixPath(None if faulty else "/x")
    assert compile_url_rewrite(place_in(), spec(UrlRewriteSpec, path=full("/x")), matches(*kinds)).path == FullPath(
        "/x"
    )


def test_a_redirect_has_its_fields() -> None:
    written = spec(RequestRedirectSpec, scheme="https", hostname="Docs.GitHub.com", port=8443, statusCode=301)

    assert compile_redirect(place_in(), written) == Redirect(301, "https", "docs.github.com", 8443)
    assert compile_redirect(place_in(), spec(RequestRedirectSpec)) == Redirect(302)


@pytest.mark.parametrize("hostname", ["*.example", "a.example:80", "a.example.", "", "a\r\nb", "https://a", "a b"])
@pytest.mark.parametrize("model", [UrlRewriteSpec, RequestRedirectSpec])
def test_a_hostname_is_one_name(model: type[Model], hostname: str) -> None:
    with pytest.raises(ValidationError):
        spec(model, hostname=hostname)


def test_host_rewrite_is_the_backend_s_name_or_the_caller_s() -> None:
    assert compile_host_rewrite(place_in(), spec(HostRewriteSpec, mode="Auto"))
    assert not compile_host_rewrite(place_in(), spec(HostRewriteSpec, mode="None"))


def test_cors_has_its_fields() -> None:
    place = place_in()
    written = spec(
        CorsSpec,
        allowOrigins=["https://app.example", "https://*.example:8443"],
        allowCredentials=True,
        allowMethods=["GET", "POST"],
        allowHeaders=["content-type"],
        exposeHeaders=["x-a"],
        maxAge=600,
    )

    assert compile_cors(place, written) == Cors(
        any_origin=False,
        origins=(Origin("https", "app.example", 443), Origin("https", "*.example", 8443)),
        credentials=True,
        methods=("GET", "POST"),
        headers=("content-type",),
        expose=("x-a",),
        max_age=600,
    )
    assert place.findings == []


def test_what_cors_cannot_use_is_a_fault_and_allows_nothing() -> None:
    place = place_in()
    written = spec(CorsSpec, allowOrigins=["null", "app.example"], allowHeaders=["a b"], exposeHeaders=["a\r\nb"])

    assert compile_cors(place, written) == Cors()
    assert sorted(codes(place.findings)) == ["invalid-origin", "invalid-origin", "invalid-value", "invalid-value"]


def test_wildcards_with_credentials_are_told() -> None:
    place = place_in()

    cors = compile_cors(place, spec(CorsSpec, allowOrigins=["*"], exposeHeaders=["*", "a"], allowCredentials=True))

    assert codes(place.findings) == ["open-cors", "ignored-wildcard"]
    assert (cors.any_origin, cors.expose) == (True, ("a",))


def test_csrf_takes_origins_and_no_wildcard() -> None:
    place = place_in()

    csrf = compile_csrf(place, spec(CsrfSpec, additionalOrigins=["https://app.example", "https://*.example", "*", "x"]))

    assert csrf == Csrf(frozenset({Origin("https", "app.example", 443)}))
    assert codes(place.findings) == ["invalid-origin"] * 3


SHADOW = Upstream("shadow.infra.svc.cluster.local", 8080, guarded=False)
REFERENCE = {"name": "shadow", "port": 8080}


def mirror(place: Place, found: Backend | None = None, **fields: Any) -> Mirror | None:
    """Compile a mirror to a backend that is found already."""
    backend = found or Backend("infra/shadow", SHADOW, b"shadow.infra.svc.cluster.local:8080")
    return compile_mirror(place, spec(RequestMirrorSpec, backendRef=REFERENCE, **fields), lambda *_: backend)


def test_a_mirror_gets_its_share_under_its_own_name() -> None:
    place = place_in()

    found = mirror(place, fraction={"numerator": 1, "denominator": 4})

    name = "infra/origin-route -> infra/shadow"
    assert found == Mirror(name, SHADOW, b"shadow.infra.svc.cluster.local:8080", 0.25)
    assert place.findings == []


@pytest.mark.parametrize(
    ("backend", "found"),
    [
        (Backend("infra/shadow", fault="no_valid_backends"), []),  # reported where it was looked for
        (Backend("infra/any", dynamic=DynamicForwardProxy(Upstream, 80, 80)), ["invalid-backend"]),
    ],
)
def test_a_mirror_that_cannot_be_used_gets_no_copy(backend: Backend, found: list[str]) -> None:
    place = place_in()

    assert mirror(place, backend) is None
    assert codes(place.findings) == found


@pytest.mark.parametrize("share", [{"percent": 0}, {"fraction": {"numerator": 0}}])
def test_a_share_of_nothing_is_no_mirror(share: dict[str, Any]) -> None:
    place = place_in()

    assert mirror(place, **share) is None
    assert place.findings == []


def written_blocks(text: str) -> list[tuple[str, Any, dict[str, Any]]]:
    """Return every filter and policy block of manifests that is compiled here, with the rule that it stands in."""
    blocks: list[tuple[str, Any, dict[str, Any]]] = []
    for document in yaml.safe_load_all(text):
        found = document.get("spec", {})
        blocks += [(name, block, {}) for name, block in found.get("traffic", {}).items()]
        for rule in found.get("rules", ()):
            blocks += [(name, block, rule) for entry in rule.get("filters", ()) for name, block in entry.items()]
    return blocks


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("deploy/examples/14-url-rewrite.yaml", {"urlRewrite": 4}),
        ("deploy/examples/15-request-redirect.yaml", {"requestRedirect": 2, "requestMirror": 2}),
        ("deploy/examples/25-cors-csrf-buffer.yaml", {"cors": 1, "csrf": 1}),
        ("docs/routing-filters.md", {"urlRewrite": 1, "requestRedirect": 1, "requestMirror": 1, "cors": 1, "csrf": 1}),
    ],
)
def test_the_examples_compile_without_a_finding(file: str, expected: dict[str, int]) -> None:
    text = (WORKSHOP.parents[1] / file).read_text(encoding="utf-8")
    if file.endswith(".md"):
        [text] = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    place = place_in()
    compiled: Counter[str] = Counter()
    for name, block, rule in written_blocks(text):
        if name not in expected:
            continue
        compiled[name] += 1
        chosen = [spec(RouteMatchSpec, **match) for match in rule.get("matches", ())]
        match name:
            case "urlRewrite":
                compile_url_rewrite(place, spec(UrlRewriteSpec, **block), chosen)
            case "requestRedirect":
                compile_redirect(place, spec(RequestRedirectSpec, **block), chosen)
            case "requestMirror":
                assert compile_mirror(
                    place, spec(RequestMirrorSpec, **block), lambda *_: Backend("infra/shadow", SHADOW)
                )
            case "cors":
                compile_cors(place, spec(CorsSpec, **block))
            case "csrf":
                compile_csrf(place, spec(CsrfSpec, **block))

    assert place.findings == []
    assert compiled == expected
