from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cel_conformance.cases import load_cases
from tests.cel_conformance.compiled import run_compiled
from tests.cel_conformance.oracles import ORACLES, passes

if TYPE_CHECKING:
    from tests.cel_conformance.cases import Case

POLICY_CASES = [case for case in load_cases() if not case.protobuf and not case.check_only and case.file != "block_ext"]
"""What concerns policies. Left out: protobuf messages and enums, type deduction without a value, and `cel.block`, which
optimisers write and people do not."""

NOT_PASSED = {
    "namespace/namespace/self_eval_container_lookup": "a policy has no container: its names are not resolved in one",
    "namespace/namespace/self_eval_container_lookup_unchecked": "the same, unchecked",
}
"""Cases that the compiled form does not pass, with the reason."""


@pytest.mark.parametrize("file", sorted({case.file for case in POLICY_CASES}))
def test_the_compiled_form_passes_the_specifications_cases(file: str) -> None:
    cases = [case for case in POLICY_CASES if case.file == file]

    failed = {case.id: str(run_compiled(case)) for case in cases if not passes(case, run_compiled(case))}

    assert set(failed) == {case.id for case in cases if case.id in NOT_PASSED}, failed


def test_the_compiled_form_passes_at_least_as_many_cases_as_googles_runtime() -> None:
    def count(cases: list[Case], runner: str) -> int:
        return sum(passes(case, ORACLES[runner](case)) for case in cases)

    ours = sum(passes(case, run_compiled(case)) for case in POLICY_CASES)

    assert ours >= count(POLICY_CASES, "cel-expr-python") > count(POLICY_CASES, "cel-python")
