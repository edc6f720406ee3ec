"""`python -m tests.codes`: write the table of codes in `docs/check.md` anew."""

from __future__ import annotations

from pathlib import Path

from config.findings import CATALOGUE

PAGE = Path(__file__).parents[1] / "docs" / "check.md"
HEAD = "| code | meaning | what to do |\n|---|---|---|\n"


def table() -> str:
    """Return the rows of the catalogue."""
    return "".join(f"| `{code}` | {known.meaning} | {known.remedy} |\n" for code, known in CATALOGUE.items())


def page() -> str:
    """Return the page with the table as it should be."""
    return PAGE.read_text(encoding="utf-8").partition(HEAD)[0] + HEAD + table()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
