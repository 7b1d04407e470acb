"""Keeping freed memory for the next step.

In: nothing. Out: this process's allocator, told to keep large blocks. It is its own file because it is the one thing here that talks to
the C library: glibc gives every block above a threshold back to the system at once, so a training step on the CPU faults its
activations in, page by page, again and again. Measured on one core: the product of two tensors of 38 MB takes 21 ms, 18 of them so.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4  # of malloc.h
_LARGEST = 1 << 30  # blocks above are still given back at once
# the largest of C's unsigned sizes; the largest number that mallopt takes would be 2 GB, less than a step frees
_NEVER = -1


def keep_freed_memory() -> bool:
    """Have glibc reuse large blocks; False where the C library is another one. The peak of a process is not changed, its floor is."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        set_option = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has none
        return False
    # older versions of glibc refuse a threshold above 32 MB, but no version refuses to do without such blocks
    is_raised = set_option(_M_MMAP_THRESHOLD, _LARGEST) or set_option(_M_MMAP_MAX, 0)
    return bool(set_option(_M_TRIM_THRESHOLD, _NEVER) and is_raised)
