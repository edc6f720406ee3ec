"""cel-python's grammar, with what it lacks added to it, and lark's parser for it.

cel-python 0.5 has no optional syntax (`.?`, `[?`), no quoted field names, and reads a raw string past a quote that
looks escaped. Its grammar file is amended at those places. To make the parser's tables of it takes lark a tenth of a
second, a fifth of a start, so they stand beside this file, as `make tables` wrote them. They are used only if they were
made of this very grammar by the lark that is installed; else they are made anew, once in a process.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import re
from pathlib import Path
from typing import Final

import lark

TABLES: Final = Path(__file__).with_name("grammar.tables")
"""A line with the fingerprint of what the tables were made of, then what `Lark.save` writes."""

_AMENDMENTS = (
    (
        "member         : member_dot | member_dot_arg | member_index | member_object | primary\n",
        """\
member : member_dot | member_dot_arg | member_index | member_object | primary | member_optdot | member_optindex
member_optdot : member ".?" (IDENT | QUOTED_IDENT)
member_optindex : member "[?" expr "]"
""",
    ),
    ('member_dot     : member "." IDENT\n', 'member_dot     : member "." (IDENT | QUOTED_IDENT)\n'),
    (
        'list_lit       : "[" [exprlist] "]"\n',
        'list_lit       : "[" "]" | "[" listelem ("," listelem)* [","] "]"\nlistelem : expr | "?" expr -> optelem\n',
    ),
    ('map_lit        : "{" [mapinits] "}"\n', 'map_lit        : "{" "}" | "{" mapinit ("," mapinit)* [","] "}"\n'),
    (
        'mapinits       : expr ":" expr ("," expr ":" expr)*\n',
        'mapinit : expr ":" expr | "?" expr ":" expr -> optinit\n',
    ),
    (" | MLSTRING_LIT | STRING_LIT | BYTES_LIT\n", " | STRING_LIT | BYTES_LIT\n"),
    ("BYTES_LIT      : /[bB]/ MLSTRING_LIT | /[bB]/ STRING_LIT\n", "BYTES_LIT      : /[bB]/ STRING_LIT\n"),
    ("IDENT          : /", "QUOTED_IDENT : /`[a-zA-Z0-9_.\\/ -]+`/\nIDENT          : /"),
)
_STRING_TERMINALS = re.compile(r"^STRING_LIT .*?(?=^BYTES_LIT)", re.MULTILINE | re.DOTALL)
_QUOTES = "".join(
    f"|[rR]{q * 3}[\\s\\S]*?{q * 3}|{q * 3}(?:[^\\\\]|\\\\[\\s\\S])*?{q * 3}"
    f"|[rR]{q}[^{q}\\r\\n]*{q}|{q}(?:[^{q}\\\\\\r\\n]|\\\\.)*{q}"
    for q in ('"', "'")
)
_STRING_LIT = f"STRING_LIT : /(?:{_QUOTES[1:]})/\n"


def grammar() -> str:
    """Return the amended grammar.

    Raises:
        RuntimeError: cel-python's grammar is not the one that the amendments were made for.

    """
    text = _source()
    for old, new in _AMENDMENTS:
        if text.count(old) != 1:
            raise RuntimeError(f"cel-python's grammar has changed at {old!r}")
        text = text.replace(old, new)
    text, count = _STRING_TERMINALS.subn(lambda _: _STRING_LIT, text)
    if count != 1:
        raise RuntimeError("cel-python's grammar has changed at its string literals")
    return text


def _source() -> str:
    """Return cel-python's grammar file. Its package is not imported: that takes 40 ms, and nothing else of it is used.

    Raises:
        RuntimeError: cel-python is not installed.

    """
    spec = importlib.util.find_spec("celpy")
    if spec is None or spec.origin is None:
        raise RuntimeError("cel-python is not installed")
    return Path(spec.origin).with_name("cel.lark").read_text(encoding="utf-8")


@functools.cache
def parser() -> lark.Lark:
    """Return the parser.

    Raises:
        RuntimeError: cel-python's grammar is not the one that the amendments were made for.

    """
    text = grammar()
    try:
        with TABLES.open("rb") as file:
            if file.readline() == _fingerprint(text):
                return lark.Lark.load(file)
    except OSError:
        pass
    return build(text)


def build(text: str) -> lark.Lark:
    """Make the parser of a grammar."""
    return lark.Lark(
        text,
        parser="lalr",
        start="expr",
        lexer_callbacks={"IDENT": _keyword},
        propagate_positions=True,
        maybe_placeholders=False,
        priority="invert",
    )


def save_tables() -> None:
    """Write the tables of the grammar: `make tables`."""
    text = grammar()
    with TABLES.open("wb") as file:
        file.write(_fingerprint(text))
        build(text).save(file)


def _fingerprint(text: str) -> bytes:
    return f"lark {lark.__version__} {hashlib.sha256(text.encode()).hexdigest()}\n".encode()


def _keyword(token: lark.Token) -> lark.Token:
    return lark.Token.new_borrow_pos("BOOL_LIT", token.value, token) if token in {"true", "false"} else token
