"""`surgrec train` whose smallest encoder has two blocks: a compiler works for as long as there are blocks, each of which is like the other.

In: overrides on the command line. Out: the same run of that encoder. It is its own file because it runs outside pytest.
"""

from __future__ import annotations

import dataclasses
import sys

from surgrec import train
from surgrec.models.sizes import SIZES

BLOCKS = 2


def main() -> int:
    """Train with the overrides of the command line."""
    SIZES["nano"] = dataclasses.replace(SIZES["nano"], depth=BLOCKS)
    return train.main()


if __name__ == "__main__":
    sys.exit(main())
