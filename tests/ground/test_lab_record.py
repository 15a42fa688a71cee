"""Lab records are read as fields, without running the experiment."""

import pytest

from vision_jax.config import UserError, lab_record, read_lab_record

TEXT = """A title
of two lines.

paper    Somebody, 2020,
         table 1
run      python launch.py --config a.py
         python launch.py --config a.py:b

Prose that begins at the margin, and
         an indented line that belongs to no field.
cost     ten minutes
"""


def test_fields_go_on_where_lines_are_indented():
    record = lab_record(TEXT)
    assert record.title == "A title of two lines."
    assert record.fields == {
        "paper": "Somebody, 2020, table 1",
        "run": "python launch.py --config a.py python launch.py --config a.py:b",
        "cost": "ten minutes",
    }


def test_files_are_read_without_being_imported(tmp_path):
    file = tmp_path / "a.py"
    file.write_text(f'"""{TEXT}"""\nraise RuntimeError\n')
    assert read_lab_record(file) == lab_record(TEXT)
    file.write_text("x = 1\n")
    assert read_lab_record(file).title == "" and not read_lab_record(file).fields
    file.write_text("x = (\n")
    with pytest.raises(UserError, match="is no Python file"):
        read_lab_record(file)
