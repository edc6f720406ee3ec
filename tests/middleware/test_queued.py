from __future__ import annotations

from middleware.queued import with_queued


def test_queued_fields_replace_those_of_the_same_name_and_vary_is_added_to() -> None:
    headers = [(b"x-a", b"1"), (b"vary", b"accept"), (b"x-b", b"2"), (b"x-a", b"3")]

    assert with_queued(headers, [(b"x-a", b"new"), (b"vary", b"origin")]) == [
        (b"vary", b"accept"),
        (b"x-b", b"2"),
        (b"x-a", b"new"),
        (b"vary", b"origin"),
    ]
