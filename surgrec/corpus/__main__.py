"""`python -m surgrec.corpus`: the command is surgrec/corpus_command/.

In: the command line. Out: its exit status. It is its own file because Python looks for a package's command here, and nowhere else.
"""

from __future__ import annotations

import sys

from surgrec.core.console import run_command
from surgrec.corpus_command import main

if __name__ == "__main__":
    sys.exit(run_command(main))
