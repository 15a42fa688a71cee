"""Programs are traced and compiled once, ahead of their first call, and whatever comes between."""

import collections
import os
import subprocess
import sys
import threading
import types

import jax
import pytest
from tiny_net import experiment

from vision_jax import run
from vision_jax.config import build
from vision_jax.training import Parallel, make_parts, programs
from vision_jax.training.programs import Program, compile_in_turn

_STAGES = ("jaxpr_trace_duration", "jaxpr_to_mlir_module_duration", "backend_compile_duration")


@pytest.fixture
def counted():
    """Counts what JAX does with functions whose name is that of a step: {(what, name): times}."""
    found = collections.Counter()

    def note(event, seconds, **kinds):
        name, stage = kinds.get("fun_name", ""), event.rsplit("/", 1)[-1]
        if stage in _STAGES and name.removeprefix("jit(").rstrip(")") in ("step", "steps"):
            found[stage, threading.current_thread().name == "compiling"] += 1

    jax.monitoring.register_event_duration_secs_listener(note)
    yield found
    jax.monitoring.unregister_event_duration_listener(note)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        pytest.param({"parallel": "jit"}, marks=pytest.mark.slow),
        pytest.param({"parallel": "single"}, marks=pytest.mark.slow),
        pytest.param({"seeds": 2}, marks=pytest.mark.slow),
        {"steps_per_dispatch": 2, "train__device_cache": True},
    ],
)
def test_a_run_traces_and_compiles_each_program_once_and_ahead(tmp_path, counted, changes):
    tree = experiment()
    for path, value in changes.items():
        part, _, name = path.rpartition("__")
        (tree[part] if part else tree)[name] = value
    run.train(tree, tmp_path)
    trace, lower, compiled = _STAGES
    assert counted == {(trace, False): 2, (lower, True): 2, (compiled, True): 2}


@pytest.mark.slow
def test_pmaps_programs_are_compiled_when_called(tmp_path, counted):
    run.train(experiment(parallel="pmap"), tmp_path)
    assert not any(ahead for stage, ahead in counted if stage == _STAGES[2])


def test_nothing_is_compiled_ahead_where_operations_are_looked_at_one_by_one():
    make_parts(build(experiment(debug_nans=True)), Parallel()).begin()
    assert not programs.is_compiling()


def traced(compile):
    """A program whose compiling is the given function."""
    return types.SimpleNamespace(lower=lambda: types.SimpleNamespace(compile=compile))


def test_what_takes_long_is_told_once(capsys, monkeypatch):
    monkeypatch.setattr(programs, "_PATIENCE", 0.0)
    go = threading.Event()
    program = Program("the step", traced(go.wait))
    compile_in_turn([program])
    assert programs.is_compiling()
    assert not program.wait(lambda: True)
    go.set()
    assert program.wait() and program.wait()
    assert capsys.readouterr().out == "compiling the step …\n"


def test_what_an_earlier_run_has_compiled_is_told(capsys):
    hit = traced(lambda: jax.monitoring.record_event("/jax/compilation_cache/cache_hits"))
    found, made = Program("the step", hit), Program("the other", traced(lambda: None))
    compile_in_turn([found, made])
    assert found.wait() and made.wait()
    assert capsys.readouterr().out == "the step was compiled by an earlier run\n"


def test_an_error_comes_where_the_program_is_waited_for():
    def fail():
        raise MemoryError("too large")

    program, other = Program("the step", traced(fail)), Program("the other", traced(lambda: None))
    compile_in_turn([program, other])
    assert other.wait()
    with pytest.raises(MemoryError, match="too large"):
        program.wait()


def test_a_program_without_a_trace_is_left_to_its_call(capsys):
    program = Program("the step", None)
    compile_in_turn([program])
    assert program.wait() and program.wait()
    assert capsys.readouterr().out == "compiling the step …\n"


_FAILS_MEANWHILE = """
import threading, types
from vision_jax.training import multiprocess
from vision_jax.training.programs import Program, compile_in_turn
stuck = types.SimpleNamespace(compile=threading.Event().wait)
compile_in_turn([Program("the step", types.SimpleNamespace(lower=lambda: stuck))])
print("told")
multiprocess.leave(2)
"""


def test_a_failure_ends_the_process_while_a_thread_compiles():
    ended = subprocess.run(
        [sys.executable, "-c", _FAILS_MEANWHILE],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=100,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "told\n")
