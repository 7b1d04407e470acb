"""Addressed permutations: where each index of a range goes, computed for any index alone.

In: a seed, a purpose, indices and the size of their range. Out: the same range in an order that looks random. It is its own file beside
`rng` because a permutation is what makes a share exact over a whole run, while independent numbers only make it right on average.

A keyed Feistel network of SplitMix64 rounds on the smallest range of bits that holds the size (Luby & Rackoff 1988), and where it leads
out of the range it is walked on until it is back in (cycle walking: Black & Rogaway 2002).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from surgrec.core.rng import GOLDEN, key_of, mix

Words = npt.NDArray[np.uint64]
_ROUNDS = 12  # half-rounds, each of few bits in a small range; eight already pass every test that was tried


def permuted(
    seed: int, purpose: str, indices: npt.ArrayLike, sizes: npt.ArrayLike, salts: npt.ArrayLike = 0
) -> npt.NDArray[np.int64]:
    """Where `indices` (n,) go in permutations of range(size), a bijection of it for every (seed, purpose, salt, size).

    Args:
        indices: 0 <= index < size, each.
        sizes: of the range each index is in, at least 1; one number or (n,).
        salts: which permutation each index is to be put through; one number or (n,).
    """
    index = np.asarray(indices, dtype=np.int64)
    size = np.broadcast_to(np.asarray(sizes, dtype=np.int64), index.shape)
    salt = np.broadcast_to(np.asarray(salts, dtype=np.int64), index.shape)
    value: Words = index.astype(np.uint64)
    with np.errstate(over="ignore"):
        keys = mix(salt.astype(np.uint64) ^ key_of(seed, purpose))
    # 2**bits >= size, and at least 2
    bits: Words = np.frexp(np.maximum(size - 1, 1).astype(np.float64))[1].astype(np.uint64)
    keys = np.broadcast_to(keys, index.shape)
    outside = np.arange(len(index))
    while len(outside):
        value[outside] = _network(value[outside], bits[outside], keys[outside])
        outside = outside[value[outside] >= size[outside].astype(np.uint64)]
    return value.astype(np.int64)


def _network(value: Words, bits: Words, keys: Words) -> Words:
    """A bijection of range(2**bits), each value through its own; either half is changed by a function of the other alone."""
    low_bits = bits >> np.uint64(1)
    one = np.uint64(1)
    low_mask = (one << low_bits) - one
    high_mask = (one << (bits - low_bits)) - one
    low, high = value & low_mask, value >> low_bits
    with np.errstate(over="ignore"):
        for number in range(_ROUNDS):
            key = keys + np.uint64(number) * GOLDEN
            if number % 2:
                low = low ^ ((mix(high ^ key) >> np.uint64(20)) & low_mask)
            else:
                high = high ^ ((mix(low ^ key) >> np.uint64(20)) & high_mask)
    return (high << low_bits) | low
