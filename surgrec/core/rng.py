"""Addressed randomness: a number is a pure function of (seed, purpose, position, lane), never of what was drawn before.

In: a seed, the name of a purpose ("sampler", "mask", ...), integer positions. Out: uniform numbers or a generator.
It is its own file because resuming a run from one integer, and reading the same sequence on any number of ranks and
workers, rest on nothing else. The mixing function is SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable
pseudorandom number generators", Figure 17), applied once per address component.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's finaliser: a bijection of 64-bit words with full avalanche."""
    x = x + GOLDEN
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def key_of(seed: int, purpose: str) -> np.uint64:
    """A 64-bit key from the seed and the purpose; BLAKE2b keeps nearby seeds and similar names unrelated."""
    digest = hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def words(seed: int, purpose: str, positions: npt.ArrayLike, lanes: int) -> npt.NDArray[np.uint64]:
    """64 random bits for every (position, lane): shape `positions.shape + (lanes,)`."""
    position = np.asarray(positions, dtype=np.int64).astype(np.uint64)
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64 is the point
        at_position = mix(position ^ key_of(seed, purpose))[..., None]
        lane = mix(np.arange(lanes, dtype=np.uint64) * GOLDEN)
        return mix(at_position ^ lane)


def uniforms(seed: int, purpose: str, positions: npt.ArrayLike, lanes: int) -> npt.NDArray[np.float64]:
    """Uniform numbers in [0, 1), 53 bits each, for every (position, lane): shape `positions.shape + (lanes,)`."""
    return (words(seed, purpose, positions, lanes) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def generator(seed: int, purpose: str, *address: int) -> np.random.Generator:
    """A NumPy generator whose stream depends on the address alone; for draws whose number is not known beforehand."""
    entropy = hashlib.blake2b(f"{seed}/{purpose}/{'/'.join(map(str, address))}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(entropy, dtype=np.uint64)))
