"""Addressed randomness: the address decides the number, and the numbers are as good as random."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from surgrec.core import rng

POSITIONS = np.arange(20_000)


def test_mixing_is_splitmix64() -> None:
    """The first outputs of the reference generator started at 0: state advances by the golden ratio, then is mixed."""
    states = np.uint64(0x9E3779B97F4A7C15) * np.arange(3, dtype=np.uint64)
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [int(word) for word in rng.mix(states)] == expected


def test_numbers_are_pinned() -> None:
    """A change of these values changes every run: which clips it reads, its masks, its augmentations."""
    assert [int(word) for word in rng.words(0, "mask", [0, 1], lanes=1)[:, 0]] == [
        0xA3E06CFF4A24E25B,
        0xC649EFC735267F44,
    ]
    assert rng.generator(0, "mask", 1, 2).bit_generator.random_raw(2).tolist() == [
        11710022502312302738,
        8774929854879383247,
    ]


@pytest.mark.parametrize("shape", [(1,), (7,), (2, 3), (64,)])
def test_the_address_decides_whatever_is_drawn_with_it(shape: tuple[int, ...]) -> None:
    positions = np.random.default_rng(0).integers(0, 2**40, shape)
    together = rng.uniforms(5, "sampler", positions, lanes=4)
    assert together.shape == (*shape, 4)
    for index in np.ndindex(shape):
        assert np.array_equal(rng.uniforms(5, "sampler", int(positions[index]), lanes=4), together[index])
        assert np.array_equal(rng.uniforms(5, "sampler", int(positions[index]), lanes=9)[:4], together[index])


def test_uniforms_are_uniform_in_every_lane() -> None:
    values = rng.uniforms(1, "sampler", POSITIONS, lanes=3)
    assert values.min() >= 0 and values.max() < 1
    for lane in range(3):
        counts, _ = np.histogram(values[:, lane], bins=100, range=(0, 1))
        assert stats.chisquare(counts).pvalue > 1e-4
    serial = np.histogram2d(values[:-1, 0], values[1:, 0], bins=10, range=[(0, 1), (0, 1)])[0]
    assert stats.chisquare(serial.ravel()).pvalue > 1e-4


def test_every_bit_is_fair() -> None:
    words = rng.words(2, "mask", POSITIONS, lanes=1)[:, 0]
    share = ((words[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)).mean(0)
    assert np.abs(share - 0.5).max() < 5 * 0.5 / np.sqrt(len(POSITIONS))


def test_neighbouring_addresses_are_unrelated() -> None:
    def column(seed: int, purpose: str, lane: int, shift: int = 0) -> np.ndarray:
        return rng.uniforms(seed, purpose, POSITIONS + shift, lanes=lane + 1)[:, lane]

    here = column(0, "sampler", 0)
    others = {
        "next seed": column(1, "sampler", 0),
        "other purpose": column(0, "mask", 0),
        "similar purpose": column(0, "sampler2", 0),
        "next lane": column(0, "sampler", 1),
        "next position": column(0, "sampler", 0, shift=1),
        "far position": column(0, "sampler", 0, shift=2**32),
        "seed in the purpose": column(0, "0/sampler", 0),
    }
    for name, there in others.items():
        assert abs(np.corrcoef(here, there)[0, 1]) < 5 / np.sqrt(len(POSITIONS)), name


def test_no_two_addresses_share_a_word() -> None:
    words = rng.words(3, "augment", np.arange(50_000), lanes=8)
    assert len(np.unique(words)) == words.size


def test_flipping_one_bit_of_the_position_flips_half_of_the_word() -> None:
    base = rng.words(0, "mask", np.arange(2000), lanes=1)[:, 0]
    for bit in (0, 7, 31, 40):
        flipped = rng.words(0, "mask", np.arange(2000) ^ (1 << bit), lanes=1)[:, 0]
        num_changed = np.unpackbits((base ^ flipped).view(np.uint8)).sum()
        assert abs(num_changed / 2000 - 32) < 5 * 4 / np.sqrt(2000)


def test_generators_are_addressed_too() -> None:
    assert np.array_equal(rng.generator(0, "blocks", 3, 4).random(5), rng.generator(0, "blocks", 3, 4).random(5))
    streams = [
        rng.generator(*address).random(5_000) for address in ((0, "blocks", 3), (0, "blocks", 4), (1, "blocks", 3))
    ]
    assert np.abs(np.corrcoef(streams) - np.eye(3)).max() < 5 / np.sqrt(5_000)
    assert not np.array_equal(rng.generator(0, "blocks", 1, 23).random(3), rng.generator(0, "blocks", 12, 3).random(3))
