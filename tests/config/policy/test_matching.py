"""Which rule takes a request: Gateway API's order of precedence, and a slow reading of it as the reference."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.policy import matching
from config.policy.matching import InvalidPatternError, PathKind, Pattern, RouteMatch, RouteTable, prefix_of

Headers = tuple[tuple[bytes, bytes], ...]


def match(path: str = "/", kind: PathKind = PathKind.PREFIX, **values: object) -> RouteMatch:
    pattern = Pattern.regex(path) if kind is PathKind.REGEX else None
    return RouteMatch(kind, path, pattern, **values)  # type: ignore[arg-type]


def exact(path: str, **values: object) -> RouteMatch:
    return match(path, PathKind.EXACT, **values)


def regex(path: str, **values: object) -> RouteMatch:
    return match(path, PathKind.REGEX, **values)


def found(*matches: RouteMatch, path: str, method: str = "GET", headers: Headers = (), query: str | None = None) -> int:
    """Return the number of the match that takes a request; -1 if none does."""
    table = RouteTable([[(entry, number) for number, entry in enumerate(matches)]])
    result = table.find(method, path, headers, query)
    return -1 if result is None else result[0]


ONE_HEADER = ((b"a", Pattern("1")),)
TWO_HEADERS = (*ONE_HEADER, (b"b", Pattern("2")))
ONE_PARAMETER = (("q", Pattern("1")),)
TWO_PARAMETERS = (*ONE_PARAMETER, ("r", Pattern("2")))


@pytest.mark.parametrize(
    ("stronger", "weaker"),
    [
        (exact("/a/b"), match("/a/b")),
        (exact("/a/b"), match("/a/b", method="GET", headers=TWO_HEADERS, query=TWO_PARAMETERS)),
        (exact("/a/b"), regex("/a/b")),
        (match("/a/b"), match("/a")),
        (match("/a"), match("/")),
        (match("/a/b"), match("/a", method="GET", headers=TWO_HEADERS, query=TWO_PARAMETERS)),
        (match("/"), regex("/a/b", method="GET", headers=TWO_HEADERS)),
        (match("/a", method="GET"), match("/a", headers=TWO_HEADERS, query=TWO_PARAMETERS)),
        (match("/a", headers=TWO_HEADERS), match("/a", headers=ONE_HEADER, query=TWO_PARAMETERS)),
        (match("/a", headers=ONE_HEADER), match("/a", query=TWO_PARAMETERS)),
        (match("/a", query=TWO_PARAMETERS), match("/a", query=ONE_PARAMETER)),
        (match("/a", query=ONE_PARAMETER), match("/a")),
        (regex("/a/.", method="GET"), regex("/a/.*")),
        # What is equal stays in the order in which it was given: the older route, the first rule.
        (match("/a", method="GET"), match("/a", method="GET")),
        (regex("/a/b"), regex("/a/.+")),
    ],
)
def test_the_order_of_precedence(stronger: RouteMatch, weaker: RouteMatch) -> None:
    request = {"path": "/a/b", "headers": ((b"a", b"1"), (b"b", b"2")), "query": "q=1&r=2"}

    assert found(stronger, weaker, **request) == 0  # type: ignore[arg-type]
    if stronger.precedence != weaker.precedence:
        assert found(weaker, stronger, **request) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("prefix", "path", "expected"),
    [
        ("/", "/", True),
        ("/", "/a", True),
        ("/a", "/a", True),
        ("/a", "/a/", True),
        ("/a", "/a/b", True),
        ("/a", "/ab", False),
        ("/a", "/", False),
        ("/a/b", "/a", False),
        ("/a", "/a;b", False),
        ("/a", "/A", False),
    ],
)
def test_a_prefix_ends_at_a_segment(prefix: str, path: str, *, expected: bool) -> None:
    assert (found(match(prefix), path=path) == 0) is expected


@pytest.mark.parametrize(("written", "compared"), [("/", "/"), ("/a", "/a"), ("/a/", "/a"), ("/a/b/", "/a/b")])
def test_a_slash_at_the_end_of_a_prefix_means_nothing(written: str, compared: str) -> None:
    assert prefix_of(written) == compared


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [("/a.*", "/ab", True), ("/a", "/ab", False), (".*b", "/ab", True), ("b", "/ab", False), ("/a|/ab", "/ab", True)],
)
def test_a_pattern_matches_the_whole_path(pattern: str, path: str, *, expected: bool) -> None:
    assert (found(regex(pattern), path=path) == 0) is expected


@pytest.mark.parametrize("pattern", ["(", "a**", "(?=a)", r"(a)\1", "[z-a]", "a{1001}", "\\"])
def test_a_pattern_that_re2_does_not_take_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidPatternError):
        Pattern.regex(pattern)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (((b"a", b"1"),), True),
        (((b"b", b"1"), (b"a", b"1")), True),
        ((), False),
        (((b"a", b"2"),), False),
        # Several fields of a name are one, as any recipient may join them: none of them can hide another.
        (((b"a", b"1"), (b"a", b"2")), False),
        (((b"a", b"1"), (b"a", b"1")), False),
        (((b"a", b"\xff"),), False),
    ],
)
def test_every_header_of_a_match_must_hold(headers: Headers, *, expected: bool) -> None:
    assert (found(match(headers=ONE_HEADER), path="/", headers=headers) == 0) is expected


def test_several_fields_are_joined_for_a_pattern_too() -> None:
    joined = match(headers=((b"a", Pattern.regex("1, 2")),))

    assert found(joined, path="/", headers=((b"a", b"1"), (b"a", b"2"))) == 0


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=1", True),
        ("a&q=1", True),
        ("q=1&q=2", True),
        ("q=2&q=1", False),
        ("q=%31", True),
        ("%71=1", True),
        ("q", False),
        ("Q=1", False),
        ("", False),
        (None, False),
    ],
)
def test_of_a_parameter_the_first_value_counts_decoded(query: str | None, *, expected: bool) -> None:
    assert (found(match(query=ONE_PARAMETER), path="/", query=query) == 0) is expected


@pytest.mark.parametrize(("method", "expected"), [("GET", True), ("HEAD", False), ("get", False)])
def test_the_method_is_compared_as_it_is(method: str, *, expected: bool) -> None:
    assert (found(match(method="GET"), path="/", method=method) == 0) is expected


def test_what_does_not_hold_leaves_the_request_to_a_weaker_match() -> None:
    matches = (exact("/a", method="PUT"), match("/a", headers=ONE_HEADER), match("/"), regex("/.*"))

    assert [found(*matches[: number + 1], path="/a") for number in range(4)] == [-1, -1, 2, 2]


def test_the_prefix_that_chose_a_route_comes_with_it() -> None:
    table = RouteTable([[(exact("/x"), 1), (match("/a/b"), 2), (match("/"), 3), (regex("/r.*"), 4)]])

    assert table.find("GET", "/a/b/c", (), None) == (2, "/a/b")
    assert table.find("GET", "/x", (), None) == (1, None)
    assert table.find("GET", "/c", (), None) == (3, "/")


def test_a_closer_host_name_comes_before_everything_else_and_leaves_what_it_does_not_take() -> None:
    table = RouteTable([[(match("/a"), "close")], [(exact("/a"), "far"), (match("/"), "far")]])

    assert table.find("GET", "/a", (), None) == ("close", "/a")
    assert table.find("GET", "/b", (), None) == ("far", "/")


def test_a_route_that_takes_everything_needs_no_search_and_no_other_does() -> None:
    assert RouteTable.of("all").only == "all"
    assert RouteTable([[(match("/a"), "a")]]).only is None
    assert RouteTable([[(match(), "a"), (match("/b"), "b")]]).only is None
    assert RouteTable([[(match(method="GET"), "a")]]).only is None
    assert RouteTable([[(match("/x"), "a"), (match(), "a")]]).only is None
    assert RouteTable([[], [(match(), "a")]]).only is None
    assert RouteTable().only is None
    assert RouteTable().find("GET", "/", (), None) is None


PATHS = st.lists(st.sampled_from(["a", "b", "ab", ""]), max_size=4).map(lambda parts: "/" + "/".join(parts))
METHODS = st.sampled_from(["GET", "PUT"])
VALUES = st.sampled_from(["1", "2"])


@st.composite
def matches(draw: st.DrawFn) -> RouteMatch:
    kind = draw(st.sampled_from(PathKind))
    path = draw(PATHS) if kind is not PathKind.REGEX else draw(st.sampled_from(["/.*", "/a.*", "/a/b", ".*b"]))
    headers = draw(st.dictionaries(st.sampled_from([b"x", b"y"]), VALUES, max_size=2))
    query = draw(st.dictionaries(st.sampled_from(["p", "q"]), VALUES, max_size=2))
    return match(
        prefix_of(path) if kind is PathKind.PREFIX else path,
        kind,
        method=draw(st.none() | METHODS),
        headers=tuple((name, Pattern(value)) for name, value in headers.items()),
        query=tuple((name, Pattern(value)) for name, value in query.items()),
    )


def takes(entry: RouteMatch, method: str, path: str, headers: dict[bytes, str], query: dict[str, str]) -> bool:
    """Tell whether a match takes a request, term by term."""
    match entry.kind:
        case PathKind.EXACT:
            by_path = path == entry.path
        case PathKind.PREFIX:
            by_path = entry.path in {"/", path} or path.startswith(f"{entry.path}/")
        case _:
            by_path = entry.pattern is not None and entry.pattern.matches(path)
    return (
        by_path
        and entry.method in {None, method}
        and all(headers.get(name) == pattern.text for name, pattern in entry.headers)
        and all(query.get(name) == pattern.text for name, pattern in entry.query)
    )


@given(
    st.lists(st.lists(matches(), max_size=6), max_size=3),
    METHODS,
    PATHS,
    st.dictionaries(st.sampled_from([b"x", b"y"]), VALUES),
    st.dictionaries(st.sampled_from(["p", "q"]), VALUES),
)
def test_the_table_finds_what_asking_every_match_in_its_order_finds(
    tiers: list[list[RouteMatch]], method: str, path: str, headers: dict[bytes, str], query: dict[str, str]
) -> None:
    numbered = [[(entry, (at, number)) for number, entry in enumerate(tier)] for at, tier in enumerate(tiers)]
    in_order = [entry for tier in numbered for entry in sorted(tier, key=lambda entry: entry[0].precedence)]
    expected = next((name for entry, name in in_order if takes(entry, method, path, headers, query)), None)
    table = RouteTable(numbered)

    fields = [(name, value.encode()) for name, value in headers.items()]
    result = table.find(method, path, fields, "&".join(f"{name}={value}" for name, value in query.items()))
    assert (result[0] if result else None) == expected
    if table.only is not None:
        assert table.only == expected


def test_a_query_is_taken_apart_once_however_many_rules_ask_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    taken_apart: list[str] = []

    def counting(text: str, **_: object) -> str:
        taken_apart.append(text)
        return text

    monkeypatch.setattr(matching, "unquote_plus", counting)
    rules = [match(query=(("version", Pattern(str(number))),)) for number in range(100)]

    assert found(*rules, path="/", query="&".join(["a=b"] * 50)) == -1
    assert len(taken_apart) == 2 * 50
