"""One variant in its own process: prepares its work, then does a round whenever it is told to.

Started by `runner` with the task as JSON in the command line. It answers each line of standard
input with one line of JSON on standard output, which nothing else may write to.
"""

import importlib
import json
import os
import pathlib
import resource
import sys
import time

import numpy as np


def main(task: dict) -> None:
    # Libraries print; their words go to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values: object) -> None:
        print(json.dumps(values), file=answers, flush=True)

    if task["cores"]:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: task["cores"]])
    module, function = task["target"].split(":")
    shared = pathlib.Path(task["shared"])
    work = getattr(importlib.import_module(module), function)(shared, **task["settings"])
    work.run()  # warm: caches, thread pools, allocators
    if work.outputs:
        np.savez(shared / f"{task['name']}.npz", **work.outputs)
    answer(units=work.units, facts=work.facts)
    for line in sys.stdin:
        if line.strip() == "round":
            wall, cpu = time.perf_counter(), time.process_time()
            own = work.run()
            spent = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
            answer(**(own or spent))
        else:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            peak *= 1 if sys.platform == "darwin" else 1024
            answer(peak_bytes=peak, **work.ending())
            return


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
