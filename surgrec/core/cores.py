"""How many cores this process may use.

In: nothing. Out: a number. It is its own file because three things limit it: the machine, which cores a process may run on, and how much
time of them its container has.
"""

from __future__ import annotations

import os
from pathlib import Path

_QUOTA = Path(
    "/sys/fs/cgroup/cpu.max"
)  # of a container: microseconds of all cores together in each period, and the period


def usable_cores(quota_file: Path = _QUOTA) -> int:
    """At least 1. Where no quota can be read, there is none."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = quota_file.read_text().split()
        return max(1, min(cores, int(int(quota) / int(period))))
    except (OSError, ValueError):  # "max" is no number
        return cores
