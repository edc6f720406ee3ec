from __future__ import annotations

import time
import uuid
from email.utils import parsedate_to_datetime

from middleware.moments import http_date, new_uuid


def test_an_identifier_is_a_random_uuid_of_version_4() -> None:
    made = {new_uuid() for _ in range(10_000)}

    assert len(made) == 10_000
    for text in made:
        parsed = uuid.UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 4, uuid.RFC_4122)


def test_the_date_is_the_current_second() -> None:
    before = int(time.time())
    dates = {parsedate_to_datetime(http_date().decode()).timestamp() for _ in range(100)}

    assert dates <= set(range(before, int(time.time()) + 1))
