from __future__ import annotations

import pytest
import yaml

from config.errors import Location
from config.places import locate_within


@pytest.mark.parametrize(
    ("written", "line", "column", "place"),
    [
        ("- a == b", 1, 6, (1, 8)),
        ("- 'a == b'", 1, 1, (1, 4)),
        ("- 'a == b'", 1, 7, (1, 10)),
        ("- 'a == ''x'' && b'", 1, 13, (1, 18)),
        ('- "a == \\"x\\" && b"', 1, 13, (1, 18)),
        ('- "a\\u0020== b"', 1, 6, (1, 3)),
        ("- |\n  a ||\n    b", 2, 3, (3, 5)),
        ("- |\n  a ||\n\n", 2, 1, (2, 7)),
        ("- |-\n    a ||\n    b", 2, 1, (3, 5)),
        ("- >\n  a ||\n  b", 1, 6, (1, 3)),
        ("- a ||\n  b", 1, 6, (1, 3)),
    ],
)
def test_a_place_in_a_value_is_a_place_in_its_file(
    written: str, line: int, column: int, place: tuple[int, int]
) -> None:
    [value] = yaml.safe_load(written)

    found = locate_within(written, Location("f", 1, 3), value, line, column)

    assert (found.line, found.column) == place
