"""What the fork server of the loading processes imports before it forks the first of them.

In: nothing. Out: a server with the reading code in memory, so that a worker starts in milliseconds and shares those pages.
It is its own file because importing it changes the process; `pool` names it to the server and nothing imports it.
"""

from __future__ import annotations

import os

for _pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # they are read when numpy and torch load
    os.environ[_pool] = "1"

import surgrec.data.pool  # noqa: E402  and with it torch and PyArrow
import surgrec.video.copy_reader  # noqa: E402, F401  the default decoder, which `open_video` imports when it is asked for
