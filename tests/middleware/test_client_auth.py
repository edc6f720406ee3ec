from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import bcrypt
import pytest

from app.client_auth import ClientCredentials
from app.jwks import KeySets
from config.attributes import Peer, RequestAttributes
from config.policy.authorization import Authorization
from config.policy.client_auth import MASKED, ApiKeyAuthentication, BasicAuthentication, Mode
from config.policy.extraction import BASIC, BEARER, CookieExtraction, HeaderExtraction, QueryExtraction
from config.policy.identity import parse_spiffe_id
from config.policy.jwks import parse_jwks
from config.policy.jwt import JwtAuthentication, JwtProvider
from config.policy.passwords import parse_hash
from config.secret_values import SecretValue
from config.snapshot import Route, Snapshot
from middleware.client_auth import ClientAuthenticationMiddleware
from middleware.context import CONTEXT, Connection, RequestContext
from middleware.errors import CredentialsInvalidError, CredentialsMissingError
from middleware.problems import answer
from tests.support.loops import run
from tests.support.tls import TEAM_A
from tests.support.tokens import ISSUER, NOW, claims, key_set, token

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starlette.types import Receive, Scope, Send

PROVIDERS = (JwtProvider(ISSUER, frozenset({"egress"}), parse_jwks(key_set().encode())),)
USERS = {"alice": parse_hash(bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode())}
KEYS = {SecretValue(b"k-a").digest: {"team": "a", "key": MASKED}}
TOKEN = token()
PAIR = base64.b64encode(b"alice:secret").decode()

X_API_KEY = HeaderExtraction(b"x-api-key")

Headers = list[tuple[bytes, bytes]]


def jwt(mode: Mode = Mode.STRICT, location: Any = BEARER) -> JwtAuthentication:
    return JwtAuthentication(mode, PROVIDERS, location)


def basic(mode: Mode = Mode.STRICT, location: Any = BASIC) -> BasicAuthentication:
    return BasicAuthentication(mode, USERS, "egress", location)


def api_key(mode: Mode = Mode.STRICT, location: Any = X_API_KEY) -> ApiKeyAuthentication:
    return ApiKeyAuthentication(mode, KEYS, location)


def bearer(text: str = TOKEN) -> tuple[bytes, bytes]:
    return b"authorization", b"Bearer " + text.encode()


class Exchange:
    """One request that has been routed, and what the layer makes of it."""

    def __init__(self, headers: Sequence[tuple[bytes, bytes]] = (), query: str | None = None, **policies: Any) -> None:
        connection = Connection()
        self.context = context = RequestContext(Snapshot("0" * 12, "test/egress"), connection, dict(headers))
        context.start_time = NOW
        context.headers = list(headers)
        peer = Peer(parse_spiffe_id(TEAM_A))
        context.attributes = self.attributes = RequestAttributes(
            peer, "GET", "origin.test", "/a", query, context.headers
        )
        context.target = self.attributes.path_and_query
        context.route = Route("test/origin", Authorization.of((), default_allowed=True), **policies)
        self.passed = False

    async def _app(self, _: Scope, __: Receive, ___: Send) -> None:
        self.passed = True

    def run(self) -> Exchange:
        async def main() -> None:
            credentials = ClientCredentials(KeySets(_no_transport))
            try:
                layer = ClientAuthenticationMiddleware(self._app, credentials)
                await layer({"type": "http", CONTEXT: self.context}, _unused, _unused)
            finally:
                credentials.close()

        run(main())
        return self


def _no_transport(_: Any) -> Any:
    raise AssertionError("nothing is fetched here")


async def _unused(*_: Any) -> Any:
    raise AssertionError("the layer neither reads nor answers")


def refused(exchange: Exchange) -> CredentialsMissingError:
    with pytest.raises(CredentialsMissingError) as caught:
        exchange.run()
    assert not exchange.passed
    assert exchange.attributes.credential is None
    return caught.value


def test_a_route_without_client_authentication_leaves_everything_as_it_is() -> None:
    exchange = Exchange([bearer()]).run()

    assert exchange.passed
    assert exchange.context.headers == [bearer()]


def test_a_valid_token_is_taken_off_and_its_claims_are_known() -> None:
    exchange = Exchange([(b"accept", b"a"), bearer(), (b"x", b"y")], jwt=jwt()).run()

    assert exchange.passed
    assert exchange.attributes.jwt == claims()
    assert exchange.context.headers == exchange.attributes.headers == [(b"accept", b"a"), (b"x", b"y")]
    assert exchange.attributes.credential == SecretValue(TOKEN.encode())
    assert TOKEN not in repr(exchange.attributes)


def test_a_valid_password_and_a_valid_key_are_taken_off() -> None:
    headers = [(b"authorization", b"Basic " + PAIR.encode()), (b"x-api-key", b"k-a"), (b"x", b"y")]
    exchange = Exchange(headers, basic_auth=basic(), api_key=api_key()).run()

    assert exchange.attributes.basic_auth == {"username": "alice"}
    assert exchange.attributes.api_key == {"team": "a", "key": MASKED}
    assert exchange.context.headers == [(b"x", b"y")]
    assert exchange.attributes.credential == SecretValue(PAIR.encode())  # the first


def test_a_token_in_the_query_is_taken_off_what_is_sent_and_what_policy_sees() -> None:
    location = QueryExtraction(b"token")
    exchange = Exchange(query=f"a=%31&token={TOKEN}&b", jwt=jwt(location=location)).run()

    assert exchange.context.target == exchange.attributes.path_and_query == "/a?a=%31&b"
    only = Exchange(query=f"token={TOKEN}", jwt=jwt(location=location)).run()
    assert only.context.target == "/a"


def test_a_key_in_a_cookie_is_taken_off() -> None:
    exchange = Exchange([(b"cookie", b"a=1; key=k-a")], api_key=api_key(location=CookieExtraction(b"key"))).run()

    assert exchange.context.headers == [(b"cookie", b"a=1")]


def test_policies_that_share_a_header_see_what_the_one_before_left() -> None:
    policies: dict[str, Any] = {"jwt": jwt(Mode.OPTIONAL), "basic_auth": basic(Mode.OPTIONAL)}

    assert Exchange([bearer()], **policies).run().attributes.basic_auth is None
    exchange = Exchange([(b"authorization", b"Basic " + PAIR.encode())], **policies).run()
    assert (exchange.attributes.jwt, exchange.attributes.basic_auth) == (None, {"username": "alice"})


POLICIES: dict[str, Any] = {"jwt": jwt, "basic_auth": basic, "api_key": api_key}
CHALLENGES = {
    "jwt": (b"Bearer", b'Bearer error="invalid_token"'),
    "basic_auth": (b'Basic realm="egress"', b'Basic realm="egress"'),
    "api_key": (b"ApiKey", b"ApiKey"),
}
INVALID: dict[str, Headers] = {
    "jwt": [bearer(token(claims(exp=NOW - 3600, sub="somebody")))],
    "basic_auth": [(b"authorization", b"Basic " + base64.b64encode(b"alice:wrong"))],
    "api_key": [(b"x-api-key", b"wrong")],
}


@pytest.mark.parametrize("kind", POLICIES)
def test_strict_refuses_a_request_without_credential(kind: str) -> None:
    error = refused(Exchange([(b"x", b"y")], **{kind: POLICIES[kind]()}))

    assert type(error) is CredentialsMissingError
    status, headers, body = answer(error, "id", [])
    assert (status, body) == (401, b"authentication failure: no credentials")
    assert (b"www-authenticate", CHALLENGES[kind][0]) in headers


@pytest.mark.parametrize("kind", POLICIES)
@pytest.mark.parametrize("mode", [Mode.STRICT, Mode.OPTIONAL])
def test_an_invalid_credential_is_refused_and_nothing_of_it_is_shown(kind: str, mode: Mode) -> None:
    exchange = Exchange(INVALID[kind], **{kind: POLICIES[kind](mode)})
    error = refused(exchange)

    assert type(error) is CredentialsInvalidError
    status, headers, body = answer(error, "id", [])
    assert (status, body) == (401, b"authentication failure: invalid credentials")
    assert (b"www-authenticate", CHALLENGES[kind][1]) in headers
    assert str(error).partition(": ")[2] in {"expired", "wrong user or password", "unknown key"}
    assert exchange.attributes.headers == []  # nor can a log be made from it


@pytest.mark.parametrize("kind", POLICIES)
@pytest.mark.parametrize("mode", [Mode.OPTIONAL, Mode.PERMISSIVE])
def test_a_mode_that_needs_none_lets_a_request_without_credential_pass(kind: str, mode: Mode) -> None:
    exchange = Exchange([(b"x", b"y")], **{kind: POLICIES[kind](mode)}).run()

    assert exchange.passed
    assert (exchange.attributes.jwt, exchange.attributes.basic_auth, exchange.attributes.api_key) == (None, None, None)


@pytest.mark.parametrize("kind", ["jwt", "api_key"])
def test_permissive_lets_an_invalid_credential_pass_unknown_and_as_it_is(kind: str) -> None:
    exchange = Exchange(INVALID[kind], **{kind: POLICIES[kind](Mode.PERMISSIVE)}).run()

    assert exchange.passed
    assert (exchange.attributes.jwt, exchange.attributes.api_key, exchange.attributes.credential) == (None, None, None)
    assert exchange.context.headers == INVALID[kind]


@pytest.mark.parametrize("mode", [Mode.STRICT, Mode.OPTIONAL])
def test_of_two_credentials_neither_counts(mode: Mode) -> None:
    error = refused(Exchange([bearer(), bearer()], jwt=jwt(mode)))

    assert (type(error), str(error)) == (CredentialsInvalidError, "jwt: several credentials")
    assert Exchange([bearer(), bearer()], jwt=jwt(Mode.PERMISSIVE)).run().attributes.jwt is None


@pytest.mark.parametrize("kind", POLICIES)
@pytest.mark.parametrize("mode", Mode)
def test_a_location_with_a_fault_lets_nobody_in_whatever_the_mode(kind: str, mode: Mode) -> None:
    assert type(refused(Exchange([bearer()], **{kind: POLICIES[kind](mode, None)}))) is CredentialsInvalidError


@pytest.fixture(autouse=True)
def _nothing_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert caplog.records == []
