"""Reads damaged inputs in a process of its own: `python -m tests.fuzz.child FORMAT FIRST COUNT`.

Before each input its number is printed, so that a crash or a hang is known by it; after that comes
a line of JSON where an input was neither read nor refused in one line.
"""

import contextlib
import importlib
import io
import json
import logging
import os
import pathlib
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings

EXTRA_BYTES = 2 * 2**30  # of address space, beyond what the process has when it begins
SECONDS = 20  # for one input
MODULES = ("formats_weights", "control", "formats_data", "formats_run")
LONGEST = 1500  # characters of a message
FORBIDDEN = (
    *("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pickle.find_class"),
    *("socket.connect", "socket.bind", "os.putenv", "ctypes.dlopen", "shutil.rmtree"),
)


class Watch:
    """What a reader must not do: execute, connect, unpickle, or leave the folder it is given."""

    def __init__(self):
        self.seen, self.on = [], False

    def __call__(self, event, arguments):
        if self.on and event in FORBIDDEN:
            self.seen.append(f"{event}{str(arguments)[:200]}")


class Said(logging.Handler):
    """Gathers log messages, which must be fit for a terminal."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


def faults(fmt, number, name, place, watch, said):
    """Returns what is wrong with the reading of one input; None if nothing is."""
    from vision_jax.config import UserError

    rng = random.Random(f"{name}/{number}") if number else None  # 0 is the valid input
    fmt.write(place, rng)
    watch.seen, said.lines = [], []
    signal.alarm(SECONDS)
    watch.on, began = True, time.monotonic()
    outcome = "read"
    spoken = io.StringIO()
    try:
        with contextlib.redirect_stdout(spoken), contextlib.redirect_stderr(spoken):
            fmt.read(place)
    except UserError as error:
        outcome = "refused"
        fault = _not_one_line(str(error))
        if number == 0:
            fault = f"the valid input is refused: {error}"
    except BaseException as error:
        lines = traceback.format_exc(limit=-4).strip().splitlines()
        fault = f"{type(error).__name__}: {str(error)[:300]} | {' / '.join(lines[-9:-1])}"
    else:
        fault = None
    finally:
        watch.on = False
        signal.alarm(0)
    lines = [line for line in spoken.getvalue().splitlines() if line]
    fault = fault or next(filter(None, map(_unprintable, said.lines + lines)), None)
    if watch.seen:
        fault = f"forbidden: {watch.seen[0]}"
    if pathlib.Path("CANARY").exists() or (place / "CANARY").exists():
        fault = "executed: the canary is there"
    return fault, "failed" if fault else outcome, time.monotonic() - began


def _not_one_line(text):
    if len(text) > LONGEST:
        return f"a message of {len(text)} characters: {text[:200]!r}"
    return _unprintable(text)


def _unprintable(text):
    if not text.isprintable() or not text:
        return f"a message with characters that no terminal should get: {text[:300]!r}"
    return None


def limit_memory():
    """Limits the address space to what is there now and some more."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    most = pages * os.sysconf("SC_PAGE_SIZE") + EXTRA_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _format(name):
    """Finds a format; modules are imported only as far as needed."""
    for module in MODULES:
        formats = importlib.import_module(f"tests.fuzz.{module}").FORMATS
        if name in formats:
            return formats[name]
    raise KeyError(name)


def main(name, first, count):
    warnings.simplefilter("error")
    for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning):
        warnings.simplefilter("ignore", category)
    fmt, watch, said = _format(name), Watch(), Said()
    top = pathlib.Path(tempfile.mkdtemp())
    os.chdir(top)
    (top / "0").mkdir()
    faults(fmt, 0, name, top / "0", watch, said)  # imports and compiles all that is needed
    sys.addaudithook(watch)
    logging.getLogger().handlers = [said]
    limit_memory()
    for number in range(first, first + count):
        place = top / f"in{number}"
        place.mkdir()
        print(json.dumps({"number": number}), flush=True)
        fault, outcome, seconds = faults(fmt, number, name, place, watch, said)
        if fault:
            print(json.dumps({"number": number, "fault": fault}), flush=True)
        print(json.dumps({"outcome": outcome, "seconds": round(seconds, 3)}), flush=True)
        shutil.rmtree(place)
    shutil.rmtree(top)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
