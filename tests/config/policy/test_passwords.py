from __future__ import annotations

import bcrypt
import pytest
from passlib.handlers.md5_crypt import apr_md5_crypt
from passlib.handlers.sha2_crypt import sha256_crypt, sha512_crypt

from config.policy.passwords import UnusableHashError, parse_hash

PASSWORD = "pass:wörd"  # noqa: S105
ENCODED = PASSWORD.encode()
BCRYPT = bcrypt.hashpw(ENCODED, b"$2b$04$yTZEyAnr4UYagNzzSc.Hxe").decode()  # the names of tests must not change
HASHES = {
    "bcrypt": BCRYPT,
    "bcrypt as htpasswd writes it": BCRYPT.replace("$2b$", "$2y$"),
    "apr1": apr_md5_crypt.hash(PASSWORD),
    "sha1": "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",  # of `password`
    "sha256-crypt": sha256_crypt.using(rounds=1000).hash(PASSWORD),
    "sha512-crypt": sha512_crypt.using(rounds=1000).hash(PASSWORD),
}


@pytest.mark.parametrize("name", HASHES)
def test_the_password_and_no_other_is_right(name: str) -> None:
    stored = parse_hash(HASHES[name])
    right = b"password" if name == "sha1" else ENCODED

    assert stored.scheme == name.split(maxsplit=1)[0]
    assert stored.verify(right)
    assert not any(
        stored.verify(wrong) for wrong in (b"", right + b"x", right[:-1], right + b"\0", b"\xff", b"x" * 5000)
    )


def test_what_apache_wrote_is_read() -> None:
    assert parse_hash("$apr1$ivPt0D4C$DmRhnewfHRSrb3DQC.WHC.").scheme == "apr1"


def test_bcrypt_does_not_take_a_password_for_a_longer_one_with_the_same_beginning() -> None:
    stored = parse_hash(bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode())

    assert stored.verify(b"x" * 72)
    assert not stored.verify(b"x" * 73)


@pytest.mark.parametrize("text", [
    "", "secret", "{PLAIN}secret", "rl.3StKT.4T8M", "$1$abcdefgh$irWbblnpmw.5z7wgBnprh0", "{SHA}short",
    "{SSHA}" + "A" * 28,
    BCRYPT[:-1], BCRYPT + "x", BCRYPT.replace("$2b$", "$2x$"), BCRYPT + "\n", "$apr1$$CZcD5GHF1x9cWMTm/ugwm1",
    "$2b$15$" + BCRYPT[7:], "$6$rounds=1000001$salt$" + "a" * 86, "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA",
    "$5$rounds=0001000$salt$" + "a" * 43,
])  # fmt: skip
def test_plain_text_other_schemes_and_what_costs_too_much_are_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(UnusableHashError) as caught:
        parse_hash(text)
    assert not text or text not in str(caught.value)


def test_a_salt_that_no_program_makes_lets_nobody_in() -> None:
    assert not parse_hash("$2b$04$" + "." * 21 + "z" + "." * 31).verify(ENCODED)


def test_a_hash_is_not_shown_and_is_remembered_by_what_tells_nothing() -> None:
    stored = parse_hash(BCRYPT)

    assert BCRYPT not in repr(stored)
    one, same = stored.identify(b"k", b"a"), stored.identify(b"k", b"a")
    assert one == same
    assert one not in {stored.identify(b"K", b"a"), stored.identify(b"k", b"b")}
