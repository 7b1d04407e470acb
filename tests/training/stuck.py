"""A run as `surgrec train` makes it, in which every rank comes to wait for ever.

In: overrides on the command line, the launcher's variables. Out: the run folder, with stacks. It is its own file because it runs under
launchers, outside pytest.
"""

from __future__ import annotations

import threading

from surgrec import train
from surgrec.training.checkpoint import Progress
from surgrec.training.loop import Run

STEP = 5


def main() -> int:
    """After step 5 nobody comes back."""
    from surgrec.training import loop

    count = loop.count_sources

    def stand_still(run: Run, progress: Progress) -> None:
        count(run, progress)
        if progress.step == STEP:
            threading.Event().wait()

    loop.count_sources = stand_still
    return train.main()
