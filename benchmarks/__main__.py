"""`python -m benchmarks [filter]` measures; `… table` writes the README's; `… gpu` see `gpu`."""

import argparse
import json
import os
import pathlib
import shlex
import sys
import time

from benchmarks import gpu, machine, networks, runner, table
from benchmarks.entries import ENTRIES
from benchmarks.ops import OPS

ALL = (*networks.ENTRIES, *ENTRIES, *OPS)


def main(argv: list[str]) -> int:
    """Returns the exit code: 0; 1 if an entry failed; 2 for bad input."""
    if argv[:1] == ["gpu"]:
        return gpu.main(argv[1:])
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("filter", nargs="?", default="", help="part of the names to run; or table")
    parser.add_argument("--rounds", type=int, default=0, help="turns per variant (default: each's)")
    parser.add_argument("--quick", action="store_true", help="tiny, once, nothing is recorded")
    parser.add_argument("--list", action="store_true", help="print the entries' names")
    flags = parser.parse_args(argv)
    if flags.filter == "table":
        return _table(runner.ROOT / "README.md")
    chosen = [entry for entry in ALL if flags.filter.lower() in entry.name.lower()]
    if not chosen:
        print(f"no benchmark is named like {flags.filter!r}; see --list", file=sys.stderr)
        return 2
    if flags.list:
        print("\n".join(entry.name for entry in chosen))
        return 0
    described = machine.describe()
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"the machine is busy (load {load:.1f}): timings will be off")
    file = table.RESULTS / f"{machine.name(described)}.json"
    failed = False
    for entry in chosen:
        print(entry.name, flush=True)
        try:
            record = runner.measure(entry, flags.rounds, flags.quick, _say)
        except runner.WorkerFailed as error:
            failed = True
            print(f"  failed: {error}", flush=True)
            continue
        _show(record)
        if not flags.quick:
            _save(file, entry.name, record, described, argv)
    if not flags.quick and file.exists():
        print(f"recorded in {file.relative_to(runner.ROOT)}")
    return int(failed)


def _say(text: str) -> None:
    print(text, flush=True)


def _show(record: dict) -> None:
    for name, variant in record["variants"].items():
        ratio = record["ratios"].get(name)
        beside = (
            "" if ratio is None else f"  ratio {ratio['median']:.2f} ({ratio['best']:.2f} best)"
        )
        peak = f"  peak {variant['peak_bytes'] / 1e6:,.0f} MB"
        print(f"  {name:>14}  {table.rate(variant, record)}{peak}{beside}", flush=True)
    if record["output_difference"] is not None:
        print(f"  outputs differ by {record['output_difference']:.1e}", flush=True)


def _save(file: pathlib.Path, name: str, record: dict, described: dict, argv: list[str]) -> None:
    """Puts one entry into the machine's file, leaving the others."""
    file.parent.mkdir(exist_ok=True)
    results = json.loads(file.read_text()) if file.exists() else {"machine": described}
    entries = results.get("entries", {})
    if results["machine"] != described:
        print("earlier results in this file are dropped: machine or versions have changed")
        entries = {}
    command = shlex.join(["python", "-m", "benchmarks", *argv])
    entries[name] = {"date": time.strftime("%Y-%m-%d"), "command": command, **record}
    order = [entry.name for entry in ALL]
    results = {
        "machine": described,
        "command": "python -m benchmarks",
        "entries": {name: entries[name] for name in order if name in entries},
    }
    file.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")


def _table(readme: pathlib.Path) -> int:
    try:
        table.write(readme)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"written: the tables in {readme.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
