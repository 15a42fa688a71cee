"""Rows that survive a kill, and progress lines."""

import contextlib
import io
import json
import os
import pathlib
import resource
import signal
import struct
import subprocess
import sys

import numpy as np
import pytest

from vision_jax.config import UserError
from vision_jax.report import Log, load_arrays, read_rows, save_arrays
from vision_jax.report.folder import row_line
from vision_jax.report.progress import Progress, duration


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_rows_are_sorted_scalars_that_read_back_exactly():
    values = {"b": np.float32(0.1), "a": 0.1, "n": np.int64(3), "nan": np.nan, "inf": -np.inf}
    line = row_line(np.int32(7), values)
    assert line == (
        b'{"step": 7, "a": 0.1, "b": 0.10000000149011612, "inf": null, "n": 3, "nan": null}\n'
    )
    assert np.float32(json.loads(line)["b"]) == np.float32(0.1)


def test_a_row_of_arrays_is_refused():
    with pytest.raises(TypeError, match=r"'x' of shape \(2,\)"):
        row_line(1, {"x": np.zeros(2)})


def run(folder, steps, resumed=None, stop=None):
    """Rows of steps after `resumed`; leaves without closing at `stop`."""
    log = Log(folder, resumed=resumed, stream=io.StringIO())
    for step in range((resumed or 0) + 1, steps + 1):
        log.metrics(step, {"train/loss": 1 / step})
        log.timing(step, {"x": step})
        if step == stop:
            log.flush()
            return log
    log.close()
    return log


@pytest.mark.parametrize("torn", [b"", b'{"step": 8, "tr', b'{"step": 8}', b"\x00" * 20, b'{"a"\n'])
def test_resuming_ends_with_the_same_bytes(tmp_path, torn):
    run(tmp_path / "whole", 10)
    run(tmp_path / "killed", 10, stop=7)
    for name in ("metrics.jsonl", "timing.jsonl"):
        with open(tmp_path / "killed" / name, "ab") as file:
            file.write(torn)
    run(tmp_path / "killed", 10, resumed=4)
    names = [tmp_path / folder / "metrics.jsonl" for folder in ("whole", "killed")]
    assert names[0].read_bytes() == names[1].read_bytes()
    # The clock's rows of the killed attempt stay.
    steps = [row["step"] for row in read_rows(tmp_path / "killed" / "timing.jsonl")]
    assert steps[:7] == [1, 2, 3, 4, 5, 6, 7] and steps[-6:] == [5, 6, 7, 8, 9, 10]


def test_damage_is_said_and_a_missing_newline_is_not_damage(tmp_path):
    for tail, said in ((b'{"step": 2, "x', True), (b'{"step": 2, "x": 1}', False)):
        (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n' + tail)
        stream = io.StringIO()
        Log(tmp_path, resumed=5, stream=stream).close()
        assert ("metrics.jsonl: row 2 was half written" in stream.getvalue()) == said
        assert len(read_rows(tmp_path / "metrics.jsonl")) == (1 if said else 2)
        assert (tmp_path / "metrics.jsonl").read_bytes().endswith(b"\n")


@pytest.mark.parametrize("line", [b'{"step": 2, "x', b"\x00\xff", b"[2]", b"{}", b"[" * 99_999])
def test_a_damaged_row_takes_no_others_with_it(tmp_path, line):
    rows = [b'{"step": 1}', b'{"step": 2}', b'{"step": 3}']
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join([rows[0], line, *rows[1:], b""]))
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [1, 2, 3]
    stream = io.StringIO()
    Log(tmp_path, resumed=5, stream=stream).close()
    assert stream.getvalue() == "metrics.jsonl: rows left out: 1 damaged (row 2)\n"
    assert (tmp_path / "metrics.jsonl").read_bytes().splitlines() == rows


def test_rows_that_are_there_twice_stay_once(tmp_path):
    rows = [b'{"step": 1}', b'{"step": 2}', b'{"step": 2, "eval/x": 1}', b'{"step": 3}']
    twice = b"\n".join([*rows[:3], rows[1], rows[2], rows[3], b""])
    for name in ("metrics.jsonl", "timing.jsonl"):
        (tmp_path / name).write_bytes(twice)
    stream = io.StringIO()
    Log(tmp_path, resumed=5, stream=stream).close()
    assert stream.getvalue() == "metrics.jsonl: rows left out: 2 there twice (row 4)\n"
    assert (tmp_path / "metrics.jsonl").read_bytes().splitlines() == rows
    assert (tmp_path / "timing.jsonl").read_bytes() == twice  # of the clock, which may repeat


def test_a_full_disk_is_one_line_and_leaves_whole_rows(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    log = Log(tmp_path, stream=io.StringIO())
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, before[1]))
    try:
        with pytest.raises(UserError, match=f"'{tmp_path}/.*' cannot be written: File too large"):
            for step in range(1, 200):
                log.metrics(step, {"train/loss": 1 / step})
        with contextlib.suppress(UserError):  # the rest does not fit either
            log.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    count = len(read_rows(tmp_path / "metrics.jsonl"))
    assert count > 5
    with Log(tmp_path, resumed=count, stream=io.StringIO()) as again:
        again.metrics(count + 1, {"train/loss": 0.0})
    assert [r["step"] for r in read_rows(tmp_path / "metrics.jsonl")] == [*range(1, count + 2)]


def test_a_run_outlives_whoever_reads_its_lines(tmp_path):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    with Log(tmp_path, stream=Gone()) as log:
        for _ in range(3):
            log.say("nobody reads this")
        log.metrics(1, {"train/loss": 1.0}, say=True)
    assert len(read_rows(tmp_path / "metrics.jsonl")) == 1


@pytest.mark.parametrize(("evaluated", "count"), [(True, 4), (False, 3)])
def test_an_evaluation_that_will_be_repeated_is_cut_off(tmp_path, evaluated, count):
    with Log(tmp_path, stream=io.StringIO()) as log:
        log.metrics(1, {"train/loss": 1.0})
        log.metrics(1, {"eval/top1": 0.1})
        log.metrics(2, {"train/loss": 0.5})
        log.metrics(2, {"eval/top1": 0.2})
    Log(tmp_path, resumed=2, evaluated=evaluated, stream=io.StringIO()).close()
    assert len(read_rows(tmp_path / "metrics.jsonl")) == count


def test_a_new_run_starts_metrics_anew(tmp_path):
    run(tmp_path, 5)
    run(tmp_path, 2)
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [1, 2]


def test_rows_outlive_a_killed_process(tmp_path):
    program = (
        "import os, signal, sys; from vision_jax.report import Log\n"
        "log = Log(sys.argv[1])\n"
        "for step in range(1, 301): log.metrics(step, {'train/loss': 1 / step})\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    root = pathlib.Path(__file__).parent.parent.parent
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(root)})
    assert done.returncode == -signal.SIGKILL
    assert len(read_rows(tmp_path / "metrics.jsonl")) == 300


def test_a_log_without_a_folder_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with Log(None, total_steps=1) as log:
        log.metrics(1, {"train/loss": 1.0})
        log.advance(1)
        log.say("x")
    assert not list(tmp_path.iterdir()) and not capsys.readouterr().out


def read_events(folder):
    """Events of a folder's files: per record a length, its checksum, the event, its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    events = []
    for path in folder.iterdir():
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            events.append(Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return sorted(events, key=lambda event: event.wall_time)


def test_events_hold_the_metrics(tmp_path):
    run(tmp_path, 3, stop=3).close()
    values = [(e.step, e.summary.value[0]) for e in read_events(tmp_path / "events")[1:]]
    losses = [(step, v.simple_value) for step, v in values if v.tag == "train/loss"]
    assert losses == [(step, pytest.approx(1 / step)) for step in (1, 2, 3)]
    times = [(step, v.simple_value) for step, v in values if v.tag == "timing/x"]
    assert times == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_events_of_a_killed_attempt_are_purged(tmp_path):
    run(tmp_path, 3, stop=3).close()
    before = len(read_events(tmp_path / "events"))
    run(tmp_path, 4, resumed=2)
    # Tells TensorBoard to forget earlier events from this step on.
    events = read_events(tmp_path / "events")[before:]
    starts = [e.step for e in events if e.HasField("session_log")]
    assert starts == [3]


def test_without_tensorboardx_says_so_once(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    stream = io.StringIO()
    with Log(tmp_path, stream=stream) as log:
        log.metrics(1, {"a": 1.0})
        log.metrics(2, {"a": 1.0})
    assert stream.getvalue().count("pip install tensorboardX") == 1
    assert len(read_rows(tmp_path / "metrics.jsonl")) == 2


def advance_like_a_run(log, clock, steps, compile_seconds=100.0, step_seconds=0.5):
    for step in range(1, steps + 1):
        clock.now += compile_seconds if step == 1 else step_seconds
        log.metrics(step, {"train/loss": 4.2123, "train/lr": 0.1, "train/top1": 0.5})
        log.advance(step)


def test_plain_lines_leave_compilation_out_of_rate_and_eta(tmp_path):
    clock, stream = Clock(), io.StringIO()
    log = Log(tmp_path, total_steps=1000, batch_size=64, stream=stream, clock=clock, interval=10)
    advance_like_a_run(log, clock, 121)
    lines = stream.getvalue().splitlines()
    # The first step ends at 100 s, then a line each 10 s.
    assert lines[0] == "step 1/1000 0.1% loss 4.212 lr 0.1"
    assert lines[1] == "step 21/1000 2.1% loss 4.212 lr 0.1 128 img/s ETA 8m10s"
    assert len(lines) == 7
    rows = read_rows(tmp_path / "timing.jsonl")
    assert [row["images_per_second"] for row in rows] == [0.0] + [128.0] * 6
    assert rows[0]["seconds"] == 100 and rows[0]["host_peak_bytes"] > 1e6
    log.close()


def test_the_last_step_always_has_a_line(tmp_path):
    clock, stream = Clock(), io.StringIO()
    log = Log(tmp_path, total_steps=3, batch_size=2, stream=stream, clock=clock, interval=1e3)
    advance_like_a_run(log, clock, 3)
    log.close()
    assert stream.getvalue() == "step 3/3 100.0% loss 4.212 lr 0.1 4 img/s ETA 0s\n"


def test_pauses_lower_the_eta_but_not_the_rate():
    clock, stream = Clock(), io.StringIO()
    progress = Progress(21, 1, stream, interval=1e3, clock=clock)
    for step in range(1, 21):
        clock.now += 1
        progress.advance(step, {})
        if step == 10:
            with progress.pause():
                clock.now += 19
    clock.now += 1
    assert progress.line(20, {}).endswith("ETA 2s")  # 39 s for 19 steps
    progress.advance(21, {})
    assert progress.rate == 1.0


def test_a_long_run_prints_less_often():
    clock, stream = Clock(), io.StringIO()
    progress = Progress(10**6, 1, stream, interval=5, clock=clock)
    for step in range(4000):
        clock.now += 1
        progress.advance(step, {})
    assert 4000 / 30 < stream.getvalue().count("\n") < 250


def test_a_terminal_has_one_live_line():
    clock, stream = Clock(), Terminal()
    progress = Progress(100, 1, stream, interval=5, clock=clock)
    for step in range(1, 11):
        clock.now += 0.25
        progress.advance(step, {"loss": 1.0})
    progress.say("evaluated")
    progress.close()
    text = stream.getvalue()
    assert text.count("\n") == 1 and text.endswith("\r\x1b[2Kevaluated\n")
    assert text.count("\r\x1b[2Kstep") == 10


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0s"),
        (59.6, "1m00s"),
        (185, "3m05s"),
        (11520, "3h12m"),
        (86399, "23h59m"),
        (187200, "2d04h"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_arrays_come_back_and_damage_is_named(tmp_path):
    saved = {"matrix": np.eye(3, dtype=int), "classes": np.array(["a", "ö", "c"])}
    path = save_arrays(tmp_path, "confusion", saved)
    loaded = load_arrays(tmp_path, "confusion")
    for name, value in saved.items():
        np.testing.assert_array_equal(loaded[name], value)
    assert load_arrays(tmp_path, "absent") is None
    assert [p.name for p in path.parent.iterdir()] == ["confusion.npz"]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"confusion\.npz is damaged"):
        load_arrays(tmp_path, "confusion")
