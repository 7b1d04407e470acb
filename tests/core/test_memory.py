"""Freed memory is kept where the C library can keep it."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from surgrec.core.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3): np.ones(12_000_000)
before = faults()
for _ in range(5): np.ones(12_000_000)
print(faults() - before)
"""

RESERVED = """
import numpy as np
from surgrec.core.memory import keep_freed_memory
assert keep_freed_memory()
def megabytes():
    return next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmData"))
blocks = [np.empty(900_000_000, np.uint8) for _ in range(3)]  # never written to, so no memory is used for it
before = megabytes()
del blocks
print(before - megabytes())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is of glibc")
def test_large_blocks_are_not_faulted_in_again() -> None:
    """Blocks of 96 MB, above glibc's own largest threshold of 32: by default every page of every one is faulted in anew."""
    default, kept = (
        int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True).stdout)
        for how in ("leave", "keep")
    )
    assert default > 5 * 40  # huge pages of 2 MB at the most
    assert kept < 10


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is of glibc")
def test_what_is_freed_together_is_kept_however_much_it_is() -> None:
    """2.7 GB: more than the largest positive threshold that glibc can be told."""
    given_back = subprocess.run([sys.executable, "-c", RESERVED], capture_output=True, text=True, check=True).stdout
    assert int(given_back) < 100
