"""The parity ledger in docs/: complete, and the same as the measurements that it is made from."""

import json

import pytest

from tests.parity import golden_cases, ledger
from vision_jax.config import UserError


@pytest.fixture
def rows():
    return json.loads(ledger.LEDGER.read_text())


def test_every_network_with_a_golden_file_has_a_row(rows):
    names = {p.stem for p in golden_cases.FOLDER.rglob("*.npz")} & set(ledger.NAMES)
    assert {*ledger.DETECTORS, *ledger.CAPTIONERS} < names
    assert names <= set(rows), "run python -m tests.parity.ledger and commit what it writes"


def test_the_page_holds_the_table_of_the_measurements(rows):
    text = ledger.PAGE.read_text()
    assert text == ledger.with_table(text, ledger.table(rows))
    assert text != ledger.with_table(text, ledger.table({}))


def test_the_measurements_are_within_the_golden_tests_tolerance(rows):
    for name, row in rows.items():
        assert 0 < row["float32"] <= 10 * row["reference_float32"], name
        # Where the reference's answer is stored in float32, all that is left is its last bit.
        rounding = 2**-24 if row.get("stored") == "float32" else 1e-9
        if row.get("computed") == "float32":  # as its own test has it
            rounding = 1e-5
        assert 0 < row["float64"] <= rounding * row["largest"], name


def test_a_measured_row_is_the_committed_one(rows):
    """Counts exactly; differences are rounding, which another machine may do otherwise."""
    path = next(p for p in golden_cases.files() if p.stem == "cifar_resnet20")
    row = ledger.measure(path)
    for key in ("reference", "parameters", "multiply_adds", "size", "largest"):
        assert row[key] == rows["cifar_resnet20"][key]
    assert row["float32"] < 10 * row["reference_float32"]
    assert row["float64"] < 1e-9 * row["largest"]


def test_an_unknown_name_is_one_line():
    with pytest.raises(UserError, match="no golden file of a network named 'vgg61'"):
        ledger.main(["vgg61"])


def test_a_page_without_the_place_is_refused():
    with pytest.raises(UserError, match=r"parity\.md has no place"):
        ledger.with_table("# Title\n", "| table |")
