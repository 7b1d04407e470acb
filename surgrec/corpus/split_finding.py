"""What an audit of splits says: findings, each of one kind, with its evidence.

In: counts from the audit's parts. Out: typed values that a report shows. It is its own file because every part makes findings
and the report reads them.

A finding holds the real paths of its examples and the real keys of its groups apart from its sentences, so that whoever shows it
decides whether they are shown or stand as a number. Sentences, evidence and tables never hold either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
Value = str | int | float

MAX_EXAMPLES = 10


@dataclass(frozen=True)
class Table:
    """Rows of a table of evidence, each as long as `header`."""

    header: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True)
class Finding:
    """`kind`: a slug that never changes; `what`: one or two sentences with the numbers; `advice`: what to do.

    `error`: scores on these splits are wrong or mean something else. `warning`: probably, or they are imprecise. `note`: worth
    knowing. `evidence`: numbers by name; shares lie in 0..1. `clips`, `groups`: at most `MAX_EXAMPLES` paths and group keys.
    """

    kind: str
    severity: Severity
    what: str
    advice: str
    evidence: Mapping[str, Value] = field(default_factory=dict)
    table: Table | None = None
    clips: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


def percent(share: float) -> str:
    """A share as people read it: '97.9 %'."""
    return f"{100 * share:.1f} %"
