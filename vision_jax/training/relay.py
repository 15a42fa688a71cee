"""Passes on the stderr of a process of several, whose loss of a partner it puts into one line.

JAX's C++ writes about that in several lines of its own and ends the process, where no Python is
asked. So its stderr goes through this program, which reads stdin and is run as a file: it imports
nothing but the standard library, and outlives the process by a moment.
"""

import re
import sys

LOST = "another process of the run has ended; the same command goes on from what is saved"
_LOG = rb"^[IWEF]\d{4} \d\d:\d\d:\S+ +\d+ "  # how a line of absl's log begins
_LOSS = re.compile(_LOG + rb"(coordination_service|client\.h|.*(distributed service|heartbeat))")
_NOTICE = re.compile(_LOG + rb"preemption_")


def passed_on(lines):
    """Yields the lines to show, as bytes.

    Notices of signals are left out, since the run tells of them itself. From the first word of a
    lost partner on, whoever says it, there is that one line: what follows are its consequences.
    """
    for line in lines:
        if _LOSS.match(line):
            yield f"launch.py: {LOST}\n".encode()
            return
        if not _NOTICE.match(line):
            yield line
        if LOST.encode() in line:
            return


def main() -> None:
    """Copies stdin to stderr up to its end."""
    for line in passed_on(sys.stdin.buffer):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
    for _ in sys.stdin.buffer:  # nobody shall wait for a full pipe
        pass


if __name__ == "__main__":
    main()
