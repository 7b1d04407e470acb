"""Damaged copies of sound videos, the same on every call.

In: whole files and a seed. Out: files that were cut short, had bytes flipped, boxes swapped or a range zeroed. It is its own
file because indexing and preparing are held against the same damage.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

KINDS = ("truncated", "flipped", "swapped", "zeroed")
_NESTED = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"dinf")


def truncated(data: bytes, random: np.random.Generator) -> bytes:
    """Its first part, from nothing to nearly all."""
    return data[: int(random.integers(0, len(data)))]


def flipped(data: bytes, random: np.random.Generator) -> bytes:
    """1 to 100 bytes changed, half of the times near the beginning or the end, where the headers are."""
    damaged = bytearray(data)
    span = len(data) if random.random() < 0.5 else min(len(data), 4096)
    offset = 0 if random.random() < 0.5 else len(data) - span
    for at in random.integers(0, span, random.integers(1, 101)):
        damaged[offset + at] ^= int(random.integers(1, 256))
    return bytes(damaged)


def zeroed(data: bytes, random: np.random.Generator) -> bytes:
    """A range of up to a quarter of it overwritten with zeros."""
    start = int(random.integers(0, len(data)))
    end = min(len(data), start + int(random.integers(1, 2 + len(data) // 4)))
    return data[:start] + bytes(end - start) + data[end:]


def swapped(data: bytes, random: np.random.Generator) -> bytes:
    """Two boxes of an mp4 exchanged, outermost or nested; two ranges where it is no mp4."""
    siblings = [group for group in _boxes(data, 0, len(data)) if len(group) > 1]
    if data[4:8] != b"ftyp" or not siblings:
        cuts = np.sort(random.integers(0, len(data), 3))
        a, b, c = (int(cut) for cut in cuts)
        return data[:a] + data[b:c] + data[a:b] + data[c:]
    group = siblings[random.integers(len(siblings))]
    one, other = sorted(random.choice(len(group), 2, replace=False))
    (a, b), (c, d) = group[one], group[other]
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def _boxes(data: bytes, start: int, end: int) -> list[list[tuple[int, int]]]:
    """Groups of sibling boxes, each (start, end), with those nested inside (ISO/IEC 14496-12, section 4.2)."""
    found: list[tuple[int, int]] = []
    nested: list[list[tuple[int, int]]] = []
    position = start
    while position + 8 <= end:
        size = int.from_bytes(data[position : position + 4], "big")
        if not 8 <= size <= end - position:
            break
        found.append((position, position + size))
        if data[position + 4 : position + 8] in _NESTED:
            nested += _boxes(data, position + 8, position + size)
        position += size
    return [found, *nested]


_DAMAGE = {"truncated": truncated, "flipped": flipped, "swapped": swapped, "zeroed": zeroed}


def write_damaged(sources: Sequence[Path], folder: Path, num: int, seed: int) -> list[Path]:
    """`num` damaged files below `folder`, each kind equally often, of each source in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(num):
        source, kind = sources[number % len(sources)], KINDS[number // len(sources) % len(KINDS)]
        random = np.random.default_rng((seed, number))
        path = folder / f"{number:03d}_{kind}{source.suffix}"
        path.write_bytes(_DAMAGE[kind](source.read_bytes(), random))
        paths.append(path)
    return paths
