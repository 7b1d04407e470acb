"""`surgrec train` in which one process alone cannot write its share of a checkpoint: the second, from the second save on.

In: overrides on the command line, the launcher's variables. Out: what the command does then. It is its own file because it runs outside
pytest.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from surgrec import train
from surgrec.training import checkpoint_writer
from surgrec.training.checkpoint_facts import FileSum
from surgrec.training.checkpoint_writer import Saving


def main() -> int:
    """Train with the overrides of the command line."""
    write = checkpoint_writer._write_share
    number = 0

    def refuse(saving: Saving, partial: Path) -> dict[str, FileSum]:
        nonlocal number
        number += 1
        files = write(saving, partial)
        if number > 1 and os.environ["RANK"] == "1":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return files

    checkpoint_writer._write_share = refuse
    return train.main()


if __name__ == "__main__":
    sys.exit(main())
