"""`surgrec train` whose checkpoints take their time: before and after each part of writing one it sleeps a random while.

In: overrides on the command line. Out: the same run, whose saves are under way for long enough to be killed in any part of them. It is
its own file because it runs outside pytest.
"""

from __future__ import annotations

import os
import random
import sys
import time
from types import ModuleType
from typing import Any

from surgrec import train
from surgrec.training import checkpoint_folder, checkpoint_writer

LONGEST_SECONDS = 0.06
PARTS = (
    (checkpoint_writer, "start_partial"),
    (checkpoint_writer, "_write_share"),
    (checkpoint_writer, "file_sum"),
    (checkpoint_writer, "publish"),
    (checkpoint_folder, "_rename"),
    (checkpoint_folder, "write_text"),
)


def slow_down(module: ModuleType, name: str, chance: random.Random) -> None:
    """Sleep before and after every call."""
    function = getattr(module, name)

    def slowed(*arguments: Any, **options: Any) -> Any:
        time.sleep(chance.uniform(0, LONGEST_SECONDS))
        result = function(*arguments, **options)
        time.sleep(chance.uniform(0, LONGEST_SECONDS))
        return result

    setattr(module, name, slowed)


def main() -> int:
    """Train with the overrides of the command line."""
    chance = random.Random(os.urandom(8))
    for module, name in PARTS:
        slow_down(module, name, chance)
    return train.main()


if __name__ == "__main__":
    sys.exit(main())
