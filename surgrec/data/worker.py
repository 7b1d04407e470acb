"""What a loading process is: single-threaded, deaf to signals, and gone when its parent is gone.

In: nothing. Out: a process that only reads clips. It is its own file because these promises are about processes, not data.

Ctrl-C reaches every process of a terminal, and a cluster's warning (SIGTERM, SIGUSR1) every process of a job. Only the parent
may act on them: it finishes its step, saves, and stops its workers; a worker that died first would turn a clean stop into a
crash. So a worker stops when its loader says so, by SIGKILL, or with its parent.
"""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing import parent_process

ONLY_THE_PARENT_ACTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def _die_with_parent() -> None:
    """End this process the moment its parent ends, however it ends.

    torch's own watchdog compares the parent's process id, which under a fork server is the server's, and the server in turn
    waits for its workers: after `kill -9` of the training process both would stay for ever.
    """
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def start_worker(worker_id: int) -> None:
    """Prepare this process to read clips; torch's `worker_init_fn`. torch itself has set its thread count to one."""
    for number in ONLY_THE_PARENT_ACTS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, name="die-with-parent", daemon=True).start()
