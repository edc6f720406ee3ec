from __future__ import annotations

import copy
import json
import pickle
from dataclasses import asdict, dataclass

import pytest

from config.secret_values import SecretValue


@dataclass
class Holder:
    secret: SecretValue


SECRET = SecretValue(b"hunter2")


@pytest.mark.parametrize(
    "shown",
    [repr(SECRET), str(SECRET), f"{SECRET}", f"{SECRET!r:>30}", repr(Holder(SECRET)), repr(asdict(Holder(SECRET)))],
)
def test_no_text_that_is_made_of_it_shows_the_value(shown: str) -> None:
    assert "hunter2" not in shown
    assert SECRET.digest not in shown
    assert "SecretValue(****)" in shown


def test_it_is_neither_pickled_nor_written_as_json() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(SECRET)
    with pytest.raises(TypeError):
        json.dumps(SECRET)
    assert copy.copy(SECRET) is copy.deepcopy(SECRET) is SECRET


def test_equal_values_are_equal_and_share_a_digest() -> None:
    same, other = SecretValue(b"hunter2"), SecretValue(b"hunter3")

    assert (same, hash(same), same.digest) == (SECRET, hash(SECRET), SECRET.digest)
    assert other != SECRET
    assert other.digest != SECRET.digest
    assert SECRET != b"hunter2"
    assert SECRET.reveal() == b"hunter2"
