"""Which part of a run limits it, and what would help.

In: rates of the parts, in clips a second. Out: a `Verdict`. It is its own file because it is arithmetic that can be checked without a
machine: on a GPU reading and training go on at once, so the slowest part decides; on a CPU they share the cores, so their times add up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

RESERVE = 1.1  # what reads ahead should be faster than what waits for it


@dataclass(frozen=True)
class Rates:
    """Clips a second. `disk`: one reader; `core`: decoding by one core; `loader`: with `workers` loading processes; `step`: samples trained
    on, augmentation included, which by itself is `augment`; `copy` to the device, None on a CPU. `repeats` samples are made of one clip.
    `prepared`: what one core decodes of training copies, by format; empty where the files are such copies, or none could be made.
    """

    disk: float
    core: float
    loader: float
    augment: float
    copy: float | None
    step: float
    cores: int
    workers: int
    repeats: int
    has_device: bool
    is_prepared: bool
    prepared: dict[str, float]

    @property
    def needed(self) -> float:
        """Clips a second that the step could take."""
        return self.step / self.repeats

    @property
    def all_cores(self) -> float:
        """Clips a second that all cores could decode, were there nothing else to do."""
        return self.core * self.cores


@dataclass(frozen=True)
class Verdict:
    """`limit`: one of step, copy, workers, cores, disk. `clips_per_second`: of the run, expected; `share_of_step`: of the rate that the
    step alone would have; `workers`: recommended.
    """

    limit: str
    clips_per_second: float
    share_of_step: float
    workers: int
    sentence: str


def judge(rates: Rates) -> Verdict:
    """What limits the run, and the one sentence to tell."""
    workers = recommended_workers(rates, rates.core)
    limit, expected = _on_device(rates) if rates.has_device else _on_cpu(rates)
    share = min(1.0, expected / rates.needed)
    return Verdict(limit, expected, share, workers, _sentence(rates, limit, expected, share, workers))


def recommended_workers(rates: Rates, core: float) -> int:
    """Loading processes that feed the step with some reserve where one decodes `core` clips a second; never more than there are cores."""
    needed = rates.needed
    if not rates.has_device:  # the step slows down by as much as they take
        needed = 1 / (1 / needed + 1 / (core * rates.cores))
    spare = max(1, rates.cores - 1) if rates.has_device else rates.cores
    return max(1, min(spare, math.ceil(RESERVE * needed / core)))


def _on_device(rates: Rates) -> tuple[str, float]:
    """Reading and training at once: the slowest part."""
    parts = {"step": rates.needed, "disk": rates.disk, "copy": rates.copy or math.inf, "loader": rates.loader}
    limit = min(parts, key=lambda name: parts[name])
    if limit != "loader":
        return limit, parts[limit]
    return ("workers" if recommended_workers(rates, rates.core) > rates.workers else "cores"), rates.loader


def _on_cpu(rates: Rates) -> tuple[str, float]:
    """The cores do both, one after the other; too few processes or a slow disk can only make it worse."""
    shared = 1 / (1 / rates.needed + 1 / rates.all_cores)
    if rates.disk < shared:
        return "disk", rates.disk
    if rates.workers > 0 and rates.loader < shared:
        return ("workers" if recommended_workers(rates, rates.core) > rates.workers else "cores"), rates.loader
    return ("step" if rates.needed < rates.all_cores else "cores"), shared


def _sentence(rates: Rates, limit: str, expected: float, share: float, workers: int) -> str:
    rate = f"{expected:.3g} clips a second, {share:.0%} of what the step alone could do"
    told = {
        "step": f"The training step limits this run: {rate}",
        "copy": f"The copy to the device limits this run: {rate}; lower data.short_side_pixels",
        "workers": f"Too few loading processes limit this run: {rate}; set data.workers={workers}",
        "cores": f"The cores, which decode too slowly, limit this run: {rate}",
        "disk": f"The disk limits this run: {rate}; move the files to a faster one",
    }[limit]
    return f"{told}{_help_of_copies(rates, limit)}."


def _help_of_copies(rates: Rates, limit: str) -> str:
    """What `surgrec prepare` would change."""
    if rates.is_prepared:
        return "; the files are training copies already"
    if not rates.prepared:
        return ""
    best = max(rates.prepared, key=lambda name: rates.prepared[name])
    factor = rates.prepared[best] / rates.core
    if factor < RESERVE:
        return "; training copies (`surgrec prepare`) would not help"
    would = recommended_workers(rates, rates.prepared[best])
    few = f"data.workers={would} would do"
    if rates.prepared[best] * rates.cores < rates.needed and rates.has_device:
        few = f"even they would feed {rates.prepared[best] * rates.cores / rates.needed:.0%} of the step"
    form = "" if best == "video" else f" --format {best}"
    verb = "decode" if limit in ("cores", "workers", "disk") else "would also decode"
    return f"; training copies (`surgrec prepare{form}`) {verb} {factor:.2g} times as fast, with which {few}"
