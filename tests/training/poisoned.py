"""Runs as `surgrec train` makes them, in which the last rank has bad luck.

In: overrides on the command line, the launcher's variables. Out: the run folder. It is its own file because it runs under launchers,
outside pytest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from torch import Tensor

from surgrec import train
from surgrec.evaluation.labels import LabelledWindow
from surgrec.evaluation.online import OnlineProbe
from surgrec.training.update import Reading, Update

STEP = 2


def main() -> int:
    """The loss of step 2 is no number; each rank prints a line of JSON: itself, and the videos that it read in that step."""
    apply = Update.apply

    def poisoned(self: Update, step: int, loss: Tensor, wants_stop: bool, videos: Sequence[str]) -> Reading:
        fabric = self.runtime.fabric
        if step == STEP:
            print(json.dumps([fabric.global_rank, sorted(set(videos))]), flush=True)
            if fabric.global_rank == fabric.world_size - 1:
                loss = loss * float("nan")
        return apply(self, step, loss, wants_stop, videos)

    Update.apply = poisoned  # type: ignore[method-assign]
    return train.main()


def blind() -> int:
    """The probe's videos cannot be reached."""
    look = OnlineProbe._video

    def unreachable(self: OnlineProbe, window: LabelledWindow, failures: list[str]) -> Tensor | None:
        fabric = self.step.runtime.fabric
        if fabric.global_rank == fabric.world_size - 1:
            failures.append("the disk is gone")
            return None
        return look(self, window, failures)

    OnlineProbe._video = unreachable  # type: ignore[method-assign]
    return train.main()
