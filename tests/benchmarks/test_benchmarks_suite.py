"""The suite's own machinery; timings themselves are not tested."""

import dataclasses
import importlib
import inspect
import json
import time

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import machine, runner, table
from benchmarks.__main__ import ALL
from benchmarks.entries import Entry, Variant
from benchmarks.work import Work, cifar_batches, input_pipeline
from benchmarks.work.streams import time_batches

HERE = "tests.benchmarks.test_benchmarks_suite"


def logged(shared, scale=1.0, broken=False):
    """Work that writes down when it is done, and prints, as libraries do."""
    if broken:
        raise ValueError("it is broken")

    def run():
        print("a library's words")
        with open(shared / "log", "a") as file:
            file.write(f"{scale}\n")
        return {"wall": scale, "cpu": 10 * scale}

    return Work(run, 100, {"x": np.array([1.0, 2.0]) * scale}, {"compile_seconds": 3.0})


def ours(shared):
    if (shared / "log").exists():
        (shared / "log").unlink()  # the peers' warm-up rounds
    return logged(shared, 0.5)


def ours_looking_back(shared):
    """Each round takes what the log holds by then."""
    work = ours(shared)

    def run():
        work.run()
        return {"wall": len((shared / "log").read_text().split()) or 1, "cpu": 1.0}

    return Work(run, 100)


def scaled(shared, scale):
    return logged(shared, scale)


def nothing_found(shared):
    return dataclasses.replace(logged(shared), outputs={"x": np.zeros(2)})


def not_a_number(shared):
    return dataclasses.replace(logged(shared), outputs={"x": np.array([np.nan, 0.0])})


def twice(shared):
    return logged(shared, 1.0)


def broken(shared):
    return logged(shared, broken=True)


def dies(shared):
    def run():
        if (shared / "once").exists():
            raise SystemExit("out of memory")
        (shared / "once").write_text("")

    return Work(run, 1)


def variants(**targets):
    return {name: Variant(f"{HERE}:{target}") for name, target in targets.items()}


def test_rates_and_ratios_are_of_medians_and_best_rounds():
    entry = Entry("x", "images", variants(ours="ours", peer="twice"), clock="cpu")
    record = runner.measure(entry, rounds=3, quick=False, say=lambda text: None)
    assert record["variants"]["ours"]["seconds"] == [5.0, 5.0, 5.0]
    assert record["variants"]["ours"]["median_rate"] == 20
    assert record["variants"]["peer"]["compile_seconds"] == 3.0
    assert record["variants"]["peer"]["peak_bytes"] > 1e6
    assert record["ratios"] == {"peer": {"median": 2.0, "best": 2.0}}
    assert runner.rates([4.0, 1.0, 2.0], 8)["median_rate"] == 4
    assert runner.rates([4.0, 1.0, 2.0], 8)["best_rate"] == 8


def test_variants_take_turns():
    entry = Entry("x", "images", variants(ours="ours_looking_back", peer="twice"))
    record = runner.measure(entry, rounds=3, quick=False, say=lambda text: None)
    # Our warm-up wrote one line; before each of our rounds the peer wrote one more.
    assert record["variants"]["ours"]["seconds"] == [3, 5, 7]


def test_what_is_missing_or_broken_is_left_out_and_named():
    peers = {
        "absent": Variant(f"{HERE}:twice", needs=("no_such_package",)),
        **variants(broken="broken", ours="ours"),
    }
    said = []
    record = runner.measure(Entry("x", "images", peers), 1, False, said.append)
    assert record["left_out"] == {
        "absent": "no_such_package is not installed",
        "broken": "broken: ValueError: it is broken",
    }
    assert list(record["variants"]) == ["ours"] and record["ratios"] == {}
    assert any("no_such_package" in line for line in said)


def test_ours_broken_or_dying_is_an_error_with_the_last_words():
    with pytest.raises(runner.WorkerFailed, match="ours: ValueError: it is broken"):
        runner.measure(Entry("x", "images", variants(ours="broken")), 1, False, print)
    with pytest.raises(runner.WorkerFailed, match="ours: out of memory"):
        runner.measure(Entry("x", "images", variants(ours="dies")), 1, False, print)


@pytest.mark.parametrize(("tolerance", "fits"), [(0.6, True), (0.4, False)])
def test_outputs_are_compared_before_timing(tolerance, fits):
    entry = Entry("x", "images", variants(ours="ours", peer="twice"), tolerance=tolerance)
    if fits:
        assert runner.measure(entry, 1, False, print)["output_difference"] == 0.5
    else:
        with pytest.raises(runner.WorkerFailed, match=r"outputs differ from peer's by 0\.5"):
            runner.measure(entry, 1, False, print)


def test_outputs_of_zeros_are_equal_and_nan_is_not():
    for target, fits in (("nothing_found", True), ("not_a_number", False)):
        entry = Entry("x", "images", variants(ours=target, peer="nothing_found"), tolerance=0.1)
        if fits:
            assert runner.measure(entry, 1, False, print)["output_difference"] == 0
        else:
            with pytest.raises(runner.WorkerFailed, match="outputs differ from peer's by nan"):
                runner.measure(entry, 1, False, print)


def test_a_variant_may_have_settings_of_its_own():
    target = f"{HERE}:scaled"
    both = {
        "ours": Variant(target, settings={"scale": 2.0}),
        "peer": Variant(target, settings={"scale": 3.0}),
    }
    record = runner.measure(Entry("x", "images", both), 1, False, print)
    assert record["variants"]["ours"]["seconds"] == [2.0]
    assert record["variants"]["peer"]["seconds"] == [3.0]


def test_batches_made_ahead_are_not_timed():
    def stream():
        for number in range(100):
            time.sleep(0.02 if number >= 8 else 0)
            yield number

    seen = []
    spent = time_batches(stream(), 5, seen.append)
    assert seen == list(range(13))
    assert spent["wall"] >= 0.1 and spent["cpu"] < spent["wall"]


@pytest.mark.parametrize("entry", ALL, ids=lambda entry: entry.name)
def test_entries_fit_their_functions(entry):
    assert "ours" in entry.variants and entry.quick.keys() <= entry.settings.keys()
    for variant in entry.variants.values():
        if variant.needs:
            continue  # imports its peer
        module, function = variant.target.split(":")
        signature = inspect.signature(getattr(importlib.import_module(module), function))
        told = {"device": "cpu"} if entry.gpus else {}
        signature.bind(None, **{**entry.settings, **variant.settings, **told})


def test_names_are_unique():
    assert len({entry.name for entry in ALL}) == len(ALL)


def test_our_pipelines_run(tmp_path):
    jpeg = input_pipeline.ours(tmp_path, files=3, images=64, antialias=False)
    assert jpeg.units == 64 and jpeg.run()["wall"] > 0
    sizes = [path.stat().st_size for path in tmp_path.glob("*.jpg")]
    assert len(sizes) == 3 and all(50_000 < size < 120_000 for size in sizes)
    cifar = cifar_batches.ours(tmp_path, batches=2)
    assert cifar.units == 512 and cifar.run() is None


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(table, "PAGE", tmp_path / "benchmarks.md")
    monkeypatch.setattr(runner, "ROOT", tmp_path)
    return tmp_path / "results"


def record(ours, peers, **more):
    rate = {"ours": ours, **peers}
    measured = {name: {"median_rate": r, "best_rate": 2 * r} for name, r in rate.items()}
    found = {"unit": "images", "clock": "wall", "bar": None, "variants": measured, **more}
    return {**found, "ratios": runner.ratios(measured)}


def test_the_page_holds_the_tables_of_all_machines(results):
    results.mkdir()
    content = {
        "machine": machine.describe(),
        "command": "python -m benchmarks",
        "entries": {
            "crop": record(1234.5, {"tf.data": 1000.0, "other": 5000.0}, bar=0.85, clock="cpu"),
            "start": record(0.1, {}, unit="runs"),
            "growth": record(2.0, {}),
        },
    }
    content["entries"]["growth"]["variants"]["ours"]["temp_bytes"] = 3e6
    (results / "m.json").write_text(json.dumps(content))
    for _ in range(2):  # a second time changes nothing
        assert command.main(["table"]) == 0
        text = table.PAGE.read_text()
        assert text.startswith("# Speed beside peers\n") and text.count("| work |") == 1
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert rows == [
        "| crop | 1,234 images/cpu-s | 1,000 images/cpu-s (tf.data) | 1.23 (1.23) | 0.85 |",
        "|  |  | 5,000 images/cpu-s (other) | 0.25 (0.25) |  |",
        "| start | 10.0 s | – | – |  |",
        "| growth | 2 images/s, 3 MB of temporaries | – | – |  |",
    ]


def test_the_committed_page_is_of_the_committed_results():
    assert table.PAGE.read_text() == table.page(), "run python -m benchmarks table"


def test_bad_input_is_one_line(results, capsys):
    assert command.main(["table"]) == 2
    assert command.main(["no such benchmark"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "no results yet" in lines[0] and "'no such" in lines[1]
    assert not table.PAGE.exists()


def test_results_are_kept_by_entry_until_the_machine_changes(results, monkeypatch, capsys):
    entries = [Entry(n, "images", variants(ours="ours", peer="twice"), rounds=1) for n in "ab"]
    monkeypatch.setattr(command, "ALL", entries)
    monkeypatch.setattr(runner, "measure", lambda e, *rest: fake(e))

    def fake(entry):
        measured = {n: {**runner.rates([1.0], 1), "peak_bytes": 1} for n in entry.variants}
        more = {"unit": "images", "clock": "wall", "bar": None, "output_difference": None}
        return {**more, "variants": measured, "ratios": runner.ratios(measured)}

    assert command.main(["b"]) == 0 and command.main(["a"]) == 0
    (file,) = results.iterdir()
    assert list(json.loads(file.read_text())["entries"]) == ["a", "b"]
    assert json.loads(file.read_text())["entries"]["b"]["command"] == "python -m benchmarks b"
    described = machine.describe()
    newer = {**described, "python": "9.9"}
    monkeypatch.setattr(machine, "describe", lambda: newer)
    assert command.main(["a"]) == 0
    found = json.loads(file.read_text())
    assert found["machine"] == described and "versions" not in found["entries"]["b"]
    assert found["entries"]["a"]["versions"] == {k: newer[k] for k in machine.VERSIONS}
    table_of_both = table.render(found)
    assert "| a (with Python 9.9) |" in table_of_both and "| b |" in table_of_both
    another = {**described, "memory_GB": 1}
    monkeypatch.setattr(machine, "describe", lambda: another)
    assert command.main(["b"]) == 0
    found = json.loads(file.read_text())
    assert list(found["entries"]) == ["b"] and found["machine"] == another
    assert "earlier results in this file are dropped" in capsys.readouterr().out


def test_machine_names_are_file_names():
    found = {"processor": "Intel(R) Xeon(R) CPU @ 2.20GHz", "cores": 2, "accelerator": None}
    assert machine.name(found) == "intel-xeon-2-cores"
    found["accelerator"] = "NVIDIA H100 80GB HBM3"
    assert machine.name(found) == "nvidia-h100-80gb-hbm3-2-cores"


@pytest.mark.slow
@pytest.mark.parametrize("entry", ALL, ids=lambda entry: entry.name)
def test_every_entry_runs(entry, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")  # one device, as users have
    found = runner.measure(entry, 0, quick=True, say=print)
    assert found["variants"]["ours"]["median_rate"] > 0
