"""Measures ours beside peers, and writes the page of results.

python -m benchmarks [filter]      measures the entries whose names contain the filter
python -m benchmarks table         writes docs/benchmarks.md from what has been measured
python -m benchmarks programs      writes docs/programs.md: what runs on a GPU, without one
"""

import argparse
import json
import os
import pathlib
import shlex
import sys
import time

from benchmarks import gpu, machine, networks, runner, table
from benchmarks.entries import ENTRIES, Entry
from benchmarks.ops import OPS
from vision_jax.config import CommandLine, UserError, whole
from vision_jax.system import output

ALL = (*networks.ENTRIES, *ENTRIES, *OPS, *gpu.ENTRIES)


def main(argv: list[str]) -> int:
    """Returns the exit code: 0; 1 if an entry failed; 2 for bad input."""
    parser = CommandLine(
        "python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("filter", nargs="?", default="", help="part of the names; or a page")
    parser.add_argument("--rounds", type=whole(0), default=0, help="turns per variant (each's own)")
    parser.add_argument("--quick", action="store_true", help="tiny, once, nothing is recorded")
    parser.add_argument("--list", action="store_true", help="names, and what needs a GPU")
    try:
        flags = parser.parse_args(argv)
    except UserError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return error.code
    if flags.filter == "table":
        return _write_table()
    if flags.filter == "programs":
        return _write_programs()
    chosen = [entry for entry in ALL if flags.filter.lower() in entry.name.lower()]
    if not chosen:
        print(f"no benchmark is named like {flags.filter!r}; see --list", file=sys.stderr)
        return 2
    if flags.list:
        print("\n".join(map(_listed, chosen)))
        return 0
    described, gpus = machine.describe(), machine.gpus()
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"the machine is busy (load {load:.1f}): timings will be off")
    file = table.RESULTS / f"{machine.name(described)}.json"
    failed, recorded = False, False
    for entry in chosen:
        missing = runner.missing(entry, gpus)
        if missing and not flags.quick:
            _say(missing)
            continue
        _say(f"{entry.name}, on the CPU, since there is no GPU for it" if missing else entry.name)
        try:
            record = runner.measure(entry, flags.rounds, flags.quick, _say, gpus)
        except runner.WorkerFailed as error:
            failed = True
            print(f"  failed: {error}", flush=True)
            continue
        _show(record)
        if not flags.quick:
            _save(file, entry.name, record, described, argv)
            recorded = True
    if recorded:
        print(f"recorded in {file.relative_to(runner.ROOT)}")
    return int(failed)


def _listed(entry: Entry) -> str:
    if not entry.gpus:
        return entry.name
    return f"{entry.name} (needs {'a GPU' if entry.gpus == 1 else f'{entry.gpus} GPUs'})"


def _say(text: str) -> None:
    print(text, flush=True)


def _show(record: dict) -> None:
    for name, variant in record["variants"].items():
        ratio = record["ratios"].get(name)
        beside = (
            "" if ratio is None else f"  ratio {ratio['median']:.2f} ({ratio['best']:.2f} best)"
        )
        peak = f"  peak {variant['peak_bytes'] / 1e6:,.0f} MB"
        if "device_peak_bytes" in variant:
            peak += f", of the GPU {variant['device_peak_bytes'] / 1e6:,.0f} MB"
        print(f"  {name:>14}  {table.rate(variant, record)}{peak}{beside}", flush=True)
    if record["output_difference"] is not None:
        print(f"  outputs differ by {record['output_difference']:.1e}", flush=True)


def _save(file: pathlib.Path, name: str, record: dict, described: dict, argv: list[str]) -> None:
    """Puts one entry into the machine's file, leaving the others.

    An entry says with which versions it was measured where the file, whose first entry told them,
    has others: ratios are of one run, so that they stay what they are.
    """
    file.parent.mkdir(exist_ok=True)
    results = json.loads(file.read_text()) if file.exists() else {"machine": described}
    entries = results.get("entries", {})
    if machine.hardware(results["machine"]) != machine.hardware(described):
        print("earlier results in this file are dropped: the machine has changed")
        results, entries = {"machine": described}, {}
    command = shlex.join(["python", "-m", "benchmarks", *argv])
    entries[name] = {"date": time.strftime("%Y-%m-%d"), "command": command, **record}
    if results["machine"] != described:
        entries[name]["versions"] = {key: described[key] for key in machine.VERSIONS}
    order = [entry.name for entry in ALL]
    results = {
        "machine": results["machine"],
        "command": "python -m benchmarks",
        "entries": {name: entries[name] for name in order if name in entries},
    }
    file.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")


def _write_table() -> int:
    try:
        table.PAGE.write_text(table.page())
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"written: {table.PAGE}")
    return 0


def _write_programs() -> int:
    from benchmarks import programs  # imports JAX, which nothing else here needs

    programs.PAGE.write_text(programs.page())
    print(f"written: {programs.PAGE}")
    return 0


if __name__ == "__main__":
    output.outlive_reader()
    sys.exit(main(sys.argv[1:]))
