"""A process of a world whose main thread keeps the GIL from its last message to its end, so that gloo's threads want it when it is over.

In: how it ends (`returns`, `exits` with 2, `raises`) on the command line, the launcher's variables. Out: that end. It is its own file
because it runs outside pytest.
"""

from __future__ import annotations

import atexit
import sys

import torch

from surgrec.training.runtime import Runtime, RuntimeSpec

_SECONDS_BEFORE_ANOTHER_THREAD_IS_LET = 100.0


def main() -> int:
    """Sum a little, leave, end."""
    atexit.register(print, "told at the end")
    runtime = Runtime(RuntimeSpec(accelerator="cpu", strategy="ddp", precision="32-true"))
    sys.setswitchinterval(_SECONDS_BEFORE_ANOTHER_THREAD_IS_LET)
    for _ in range(5):
        runtime.mean(torch.ones(4))
    runtime.close()
    if sys.argv[1] == "exits":
        sys.exit(2)
    if sys.argv[1] == "raises":
        raise ArithmeticError("of no user's making")
    return 0
