"""Sweep files, and the results that are stored beside them."""

import csv
import dataclasses
import functools
import os
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from vision_jax import config as config_lib
from vision_jax.config import LabRecord, UserError, keys
from vision_jax.report.claims import SEEDS, Claim, Decision, SweepRow, decide


@dataclasses.dataclass(frozen=True)
class SweepEntry:
    """One run of a sweep, as its file declares it.

    Attributes:
      name: the name of its folder.
      argument: its own text after the colon, if it has one.
      changes: settings that it changes.
      columns: its cells in the table: the changes, and the argument if it has its own.
    """

    name: str
    argument: str | None
    changes: Mapping[str, Any]
    columns: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class SweepFile:
    """The functions of a sweep file; the defaults stand for those that a file may leave out.

    Attributes:
      spec: 'F.py:argument'.
      record: its docstring; the fields `cost` and `regime` are said beside its tables.
      sweep: calls its first argument, `add`, for each run; the second is the text after the colon.
      claims: makes the `report.Claim`s that the generated table decides, from the same text.
      extras: measures of a run's config what its training does not, such as its network's
        parameters.
      bubbles: the three columns that a picture puts across, up and into the size of its circles.
    """

    spec: str
    record: LabRecord
    sweep: Callable[[Callable[..., None], str], None]
    claims: Callable[[str], tuple[Claim, ...]] = lambda argument: ()
    extras: Callable[[ConfigDict], dict[str, float]] = lambda config: {}
    bubbles: tuple[str, str, str] | None = None

    @property
    def path(self) -> str:
        """The file's path."""
        return self.spec.partition(":")[0]

    @property
    def argument(self) -> str:
        """The text after the colon, '' if there is none."""
        return self.spec.partition(":")[2]

    @property
    def budget(self) -> str:
        """How many runs of how many steps, from the record's `cost`."""
        cost = self.record.fields.get("cost", "")
        pattern = r"twin: (.*)" if "twin" in self.argument else r"full: (.*?)[;,] twin"
        found = re.search(pattern, cost)
        return found[1] if found else cost

    @property
    def regime(self) -> str:
        """The kind of training in words, from the record's `regime`, which describes the twin."""
        return self.record.fields.get("regime", "") if "twin" in self.argument else ""

    def entries(self) -> list[SweepEntry]:
        """Lists the runs that the file declares."""
        found = []

        def add(name: str = "", argument: str | None = None, **changes: Any) -> None:
            columns = changes if argument is None else {"argument": argument, **changes}
            label = ",".join(f"{keys.last(k)}={config_lib.brief(v)}" for k, v in columns.items())
            label = label.replace("/", "_") or "base"
            found.append(SweepEntry(name or label, argument, changes, columns))

        self.sweep(add, self.argument)
        return found


def read_sweep(spec: str) -> SweepFile:
    """Reads the sweep of an experiment file, 'F.py:argument'.

    Raises:
      UserError: no such file, or none with a function `sweep`.
    """
    module, _ = config_lib.load_module(spec)
    names = {"sweep": "sweep", "claims": "claims", "extras": "extras", "BUBBLES": "bubbles"}
    defined = {names[name]: value for name, value in vars(module).items() if name in names}
    if "sweep" not in defined:
        raise UserError(f"config {spec.partition(':')[0]!r} has no sweep(add) function")
    return SweepFile(spec, config_lib.lab_record(module.__doc__ or ""), **defined)


@dataclasses.dataclass(frozen=True)
class StoredSweep:
    """A sweep with results.

    Attributes:
      file: the sweep.
      folder: of its results.
      rows: its runs.
    """

    file: SweepFile
    folder: pathlib.Path
    rows: tuple[SweepRow, ...]

    @functools.cached_property
    def decisions(self) -> tuple[tuple[Claim, Decision], ...]:
        """Each claim, with what the runs say of it."""
        claims = self.file.claims(self.file.argument)
        return tuple((claim, decide(claim, self.rows)) for claim in claims)


def stored_sweeps(sweeps: str | os.PathLike) -> list[StoredSweep]:
    """Lists the sweeps that have results, in the order of names.

    Args:
      sweeps: the folder of sweep files, with results/NAME-ARGUMENT/results.csv for each that was
        run as 'NAME.py:ARGUMENT'.

    Raises:
      UserError: there are no results, or some that do not fit their sweep file, or have none.
    """
    sweeps = pathlib.Path(sweeps)
    folders = sorted(path.parent for path in (sweeps / "results").glob("*/results.csv"))
    if not folders:
        raise UserError(f"no results in {sweeps / 'results'}: run a sweep with --workdir there")
    found = []
    for folder in folders:
        name, _, argument = folder.name.rpartition("-")
        path = sweeps / f"{name}.py"
        if not path.exists():
            raise UserError(f"{folder} holds results, but there is no sweep {path}")
        file = read_sweep(f"{path.as_posix()}:{argument}")
        found.append(StoredSweep(file, folder, tuple(_rows(file, folder))))
    return found


def _rows(file: SweepFile, folder: pathlib.Path) -> list[SweepRow]:
    """Reads the runs of results.csv, with what the sweep file says that each of them changes."""
    entries = {entry.name: entry for entry in file.entries()}
    declared = {"name", *SEEDS, *(key for entry in entries.values() for key in entry.columns)}
    rows = []
    with (folder / "results.csv").open(newline="") as stream:
        reader = csv.DictReader(stream)
        for column in reader.fieldnames or ():
            if column not in declared and "." in column and "/" not in column:
                raise _unfit(file, folder, f"the setting {column!r}")
        for record in reader:
            name, _, number = record["name"].rpartition("@")
            among_seeds = bool(name) and number.isdecimal()  # trained with others in one program
            entry = entries.get(name if among_seeds else record["name"])
            if entry is None:
                raise _unfit(file, folder, f"the run {record['name']!r}")
            columns = dict(entry.columns) | ({"seed": int(record["seed"])} if among_seeds else {})
            metrics = {k: float(v) for k, v in record.items() if k not in declared and v}
            rows.append(SweepRow(record["name"], columns, metrics or None))
    return rows


def _unfit(file: SweepFile, folder: pathlib.Path, what: str) -> UserError:
    return UserError(
        f"{folder / 'results.csv'} has {what}, which {file.path} has not: run the sweep again"
    )
