"""What a run knows besides weights.

In: a step's counts, readings and rollbacks. Out: a `Progress`, as it is and as plain values. It is its own file because the loop, the
watch, the checkpoints and the commands that read a run's folder all speak of it, and none of the others' code is needed for that.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Pulse:
    """Up to which step checkpoints are trusted (the last good reading less some patience, or the one that was gone back to), which step
    had the first of the bad readings since (0: none), and whether an alarm was raised over them.
    """

    safe_until: int = 0
    bad_since: int = 0
    is_told: bool = False


@dataclass(frozen=True)
class Rollback:
    """A collapse that was seen after the update `from_step` and answered by going back to that of `to_step`."""

    from_step: int
    to_step: int


@dataclass
class Progress:
    """Completed updates, clips drawn per source so far and the seconds they show, how the run has felt lately, how often it was rolled
    back, and the newest number of its probe (None: it has none). A run is a function of this and the configuration.
    """

    step: int = 0
    sources: dict[str, int] = field(default_factory=dict)
    pulse: Pulse = field(default_factory=Pulse)
    rollbacks: list[Rollback] = field(default_factory=list)
    source_seconds: dict[str, float] = field(default_factory=dict)
    probe: float | None = None

    def to_values(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Progress:
        """The inverse of `to_values`; also of what a version without `pulse`, `rollbacks` or `probe` wrote."""
        pulse, rollbacks = Pulse(**values.get("pulse", {})), values.get("rollbacks", [])
        return cls(**{**values, "pulse": pulse, "rollbacks": [Rollback(**each) for each in rollbacks]})
