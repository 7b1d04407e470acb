"""What policies would make of published sources: passes over each, and how much footage a run would see in effect.

In: cards with the hours that are known. Out: the table of docs/sampling.md. It is its own file because it needs the arithmetic of shares
and the cards, and no video.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from surgrec.corpus.card import Card
from surgrec.data.shares import Floats, Integers, down_a_tree, effective_number

# of sources alone, or of domains and sources
POLICIES = {"natural": (1.0, 1.0), "temperature 0.5": (0.5,), "uniform": (0.0,), "hierarchical": (0.0, 0.5)}


def shares_markdown(cards: Sequence[Card], hours_drawn: float) -> str:
    """Passes over each source, in a run that draws so many hours of clips, under each of `POLICIES`; effective hours; who is not in it."""
    known = sorted(
        (card for card in cards if isinstance(_hours(card), float)), key=lambda card: -float(_hours(card) or 0)
    )
    hours = np.array([_hours(card) for card in known], dtype=np.float64)
    domains = np.unique([card.domain for card in known], return_inverse=True)[1]
    shares = [_shares(domains, hours, alphas) for alphas in POLICIES.values()]
    lines = [
        f"| source | domain | hours | {' | '.join(POLICIES)} |",
        f"|---|---|---:|{'---:|' * len(POLICIES)}",
    ]
    for number, card in enumerate(known):
        cells = [f"{share[number]:.1%}, {share[number] * hours_drawn / hours[number]:,.0f}" for share in shares]
        lines.append(f"| {card.name} | {card.domain} | {hours[number]:,.4g} | {' | '.join(cells)} |")
    effective = [effective_number(share, hours) for share in shares]
    cells = [f"{value:,.0f} ({value / hours.sum():.0%})" for value in effective]
    lines.append(f"| effective hours | | {hours.sum():,.4g} | {' | '.join(cells)} |")
    unknown = [
        card.name for card in cards if not isinstance(_hours(card), float) and not card.name.startswith("example_")
    ]
    lines += [
        "",
        f"{hours_drawn:,.0f} hours are drawn. Hours unknown, so not in the table ({len(unknown)}): {', '.join(unknown)}.",
    ]
    return "\n".join(lines)


def _hours(card: Card) -> float | None:
    published = card.published
    hours = getattr(published, "hours", None)
    return float(hours) if isinstance(hours, int | float) else None


def _shares(domains: Integers, hours: Floats, alphas: tuple[float, ...]) -> Floats:
    sources = np.arange(len(hours))
    paths = np.stack([domains, sources], axis=1) if len(alphas) == 2 else sources[:, None]
    return down_a_tree(paths, hours, np.array(alphas), np.ones(paths.shape))
