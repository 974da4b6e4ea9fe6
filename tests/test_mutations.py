"""Every deliberate fault of `mutations.FAULTS` is caught by the test files of its row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from mutations import FAULTS, Fault, copy, files_of, misfits, put_in, run, table


def test_the_table_fits_the_source() -> None:
    assert misfits(FAULTS) == []
    assert len({each.name for each in FAULTS}) == len(FAULTS)


def test_the_documented_table_is_that_of_the_faults() -> None:
    page = Path(__file__).parent.parent / "docs" / "explanation" / "faults.md"
    assert table(FAULTS) in page.read_text(encoding="utf-8")


def test_a_row_that_does_not_fit_is_found() -> None:
    row = FAULTS[0]
    (file, _, new), *_ = row.edits
    wrong = replace(
        row, edits=((file, "no such text", new), ("no/file.py", "x", "y")), tests=("no",)
    )
    assert len(misfits([wrong])) == 3
    assert len(misfits([replace(row, edits=((file, "import", ""),))])) == 1  # there several times


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of package and tests in which the test files pass while no fault is in."""
    made = tmp_path_factory.mktemp("copy")
    copy(made)
    status, last = run(made, files_of(FAULTS))
    assert status == 0, f"the tests fail without any fault: {last}"
    return made


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=[each.name for each in FAULTS])
def test_the_fault_is_caught(fault: Fault, folder: Path) -> None:
    with put_in(folder, fault):
        status, last = run(folder, fault.tests)
    # 1: tests failed. 0 is a fault that was missed; others mean that pytest could not run.
    assert status == 1, last
