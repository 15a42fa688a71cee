"""Two local processes, what happens when one of them fails, and signals."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import training_worker

from vision_jax.config import UserError
from vision_jax.training import Checkpoints, Interrupt, create, multiprocess, relay

FOREVER = {"steps": 10**6, "every": 10**6, "slow": 0.02}


class Worker:
    """training_worker.py in a process of its own; its output goes to a file."""

    def __init__(self, log, *join, **options):
        self.log = log
        command = [sys.executable, "-u", training_worker.__file__, json.dumps(options), *join]
        with log.open("w") as stream:
            self.process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)

    def wait_for(self, text, seconds=60):
        end = time.monotonic() + seconds
        while text not in self.text:
            assert self.process.poll() is None and time.monotonic() < end, self.text
            time.sleep(0.05)

    @property
    def text(self):
        return self.log.read_text()


def pair(folder, name, different=None, **options):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    return [
        Worker(
            folder / f"{name}{i}.txt", address, "2", str(i),
            **{"folder": str(folder / name), **options, **({} if i == 0 else different or {})},
        )
        for i in range(2)
    ]  # fmt: skip


def ended(workers, seconds):
    """Exit codes; whoever is still there after some seconds is killed and counts as None."""
    end, codes = time.monotonic() + seconds, []
    for worker in workers:
        try:
            codes.append(worker.process.wait(max(0.1, end - time.monotonic())))
        except subprocess.TimeoutExpired:
            codes.append(None)
    for worker in workers:
        worker.process.kill()
    return codes


@pytest.mark.slow
@pytest.mark.parametrize("how", ["shard_map", "pmap", "jit"])
def test_one_process_two_and_one_again_train_as_one(tmp_path, how):
    """With a damaged newest checkpoint on the way, which both must see alike."""
    straight = training_worker.train(tmp_path / "straight", 6)
    training_worker.train(tmp_path / "run", 3, how, every=1)
    record = tmp_path / "run" / "00000003" / "meta" / "metadata"
    record.write_text(record.read_text()[:-9])
    workers = pair(tmp_path, "run", steps=4, how=how)
    assert ended(workers, 100) == [0, 0], [w.text for w in workers]
    assert all("start 2\n" in worker.text for worker in workers)
    losses = [[x for x in w.text.splitlines() if x.startswith("step")] for w in workers]
    assert losses[0] == losses[1] and len(losses[0]) == 2
    like = create(training_worker.Toy().init(), training_worker.update(), ema=True)
    assert int(Checkpoints(tmp_path / "run").restore(like)[0].step) == 4
    again = training_worker.train(tmp_path / "run", 6, how)
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(straight), strict=True):
        # Values reach 4, where float32 is spaced by 5e-7: relative to an array's largest.
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * max(1, np.abs(b).max()))


def test_processes_end_together(tmp_path):
    """Four pairs at once, since most of this is waiting: an exception in one process, a kill, a
    SIGTERM, different settings."""
    began = time.monotonic()
    raising = pair(tmp_path, "raising", **FOREVER, fail_at=3)
    killed = pair(tmp_path, "killed", **FOREVER)
    told = pair(tmp_path, "told", **FOREVER | {"every": 1})
    unlike = pair(tmp_path, "unlike", **FOREVER, config="a", different={"config": "b"})
    for workers in (killed, told):
        for worker in workers:
            worker.wait_for("step 2 ")
    killed[1].process.kill()
    told[1].process.send_signal(signal.SIGTERM)
    assert ended(told, 60) == [0, 0], [w.text for w in told]
    codes = {
        "killed": ended(killed, 60),
        "raising": ended(raising, 60),
        "unlike": ended(unlike, 60),
    }
    assert time.monotonic() - began < 120

    assert codes["raising"][1] == 1 and codes["raising"][0] not in (0, None)
    assert "RuntimeError: the toy breaks here" in raising[1].text
    assert "process 1 failed" in raising[1].text
    assert raising[0].text.count(relay.LOST) == 1 and "Traceback" not in raising[0].text

    assert codes["killed"][1] == -signal.SIGKILL and codes["killed"][0] not in (0, None)
    assert killed[0].text.splitlines()[-1] == f"launch.py: {relay.LOST}"
    assert "Traceback" not in killed[0].text

    assert codes["unlike"] == [2, 2]
    for worker in unlike:
        assert "error: the config differs between processes: 1 from 0" in worker.text

    ends = [next(x for x in w.text.splitlines() if x.startswith("end")) for w in told]
    assert ends[0] == ends[1]
    assert Checkpoints(tmp_path / "told", read_only=True).latest_step() == int(ends[0].split()[1])
    assert all("interrupted by 15" in worker.text for worker in told)


def test_signals_save_and_stop_and_a_second_one_kills(tmp_path):
    stopped = {
        number: Worker(tmp_path / f"{number}.txt", folder=str(tmp_path / str(number)), **FOREVER)
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    asleep = Worker(tmp_path / "asleep.txt", folder=str(tmp_path / "asleep"), steps=9, slow=100)
    for number, worker in stopped.items():
        worker.wait_for("step 3 ")
        worker.process.send_signal(number)
    assert ended(list(stopped.values()), 60) == [0, 0]
    for number, worker in stopped.items():
        assert f"interrupted by {number.value}\n" in worker.text
        end = int(worker.text.split("end ")[1].split()[0])
        assert Checkpoints(tmp_path / str(number), read_only=True).steps() == [end]
    asleep.wait_for("step 1 ")
    asleep.process.send_signal(signal.SIGTERM)
    asleep.wait_for("once more to stop at once")
    asleep.process.send_signal(signal.SIGTERM)
    assert ended([asleep], 20) == [128 + signal.SIGTERM]


def test_an_interrupt_gives_signals_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with Interrupt() as interrupt:
        assert not interrupt.requested() and interrupt.number is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt.requested() and interrupt.requested()
        assert interrupt.number == signal.SIGTERM
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_joining_is_refused_in_one_line():
    with pytest.raises(UserError, match="give all three or none"):
        multiprocess.initialize("127.0.0.1:1", 2)
    with pytest.raises(UserError, match=r"process_id=2 is not in 0\.\.1"):
        multiprocess.initialize("127.0.0.1:1", 2, 2)
    multiprocess.initialize()  # a laptop: nothing happens
    assert jax.process_count() == 1
    multiprocess.check_same("the config", "anything")
    with pytest.raises(SystemExit, match="2"):
        multiprocess.leave(2)


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, False),
        ({"JAX_COORDINATOR_ADDRESS": "h:1"}, True),
        ({"SLURM_NTASKS": "4"}, False),  # a shell on the login node
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, False),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}, True),
    ],
)
def test_clusters_are_recognised(environment, found):
    assert multiprocess._in_cluster(environment) == found
