"""Who is better than whom: ranks with their uncertainty, and paired comparisons with corrected p.

In: what is known. Out: blocks. It is its own file because a table of numbers invites to compare them by eye, and these are the comparisons
that may be believed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from surgrec.evaluation.report.blocks import Block, Entry, Grid, Heading, Name, Number, Picture, Words
from surgrec.evaluation.report.forest import Row, forest
from surgrec.evaluation.report.known import Known, worded
from surgrec.evaluation.report.main_tables import encoder_name
from surgrec.evaluation.report.numbers import SIGNIFICANT, measured, number, p_value
from surgrec.evaluation.results import MAJORITY, Comparison, Rank

MAX_COMPARISONS = 60
"""Of one task and protocol that are listed on the page; all are in results.json."""


_RANKS = (
    "The mean over tasks of an encoder's rank, by the metric that the table names, among those compared; 1 is best. The interval holds the "
    "ranks that the paired comparisons leave open, so encoders that cannot be told apart share them; the probability of being the best "
    "comes from resampling groups."
)


def ranks(known: Known) -> list[Block]:
    """Mean rank of each encoder, 1 the best."""
    by_table: dict[tuple[str, str], list[Rank]] = defaultdict(list)
    for rank in known.results.ranks:
        by_table[rank.protocol, rank.metric].append(rank)
    blocks: list[Block] = [Heading(2, "Ranks", "ranks")]
    if not by_table:
        return [*blocks, Words("No ranks were computed; they need several tasks and encoders.")]
    blocks.append(Words(_RANKS))
    for (protocol, metric), several in by_table.items():
        several.sort(key=lambda rank: rank.mean_rank)
        title = f"{worded(protocol)}: {worded(metric)}"
        header: tuple[Entry, ...] = (Name("encoder", title), "mean rank", "interval", "probability of being best")
        rows = tuple(_rank_row(known, rank) for rank in several)
        plotted = [
            Row(
                known.title(rank.encoder),
                known.encoders[rank.encoder].kind,
                rank.mean_rank,
                rank.low,
                rank.high,
                rank.encoder == MAJORITY,
            )
            for rank in several
        ]
        said = f"Mean rank by {worded(metric)}, protocol: {worded(protocol)}; left is better"
        blocks += [
            Heading(3, title),
            Grid(f"Mean ranks. Protocol: {worded(protocol)}. Metric: {worded(metric)}.", header, rows),
        ]
        blocks.append(Picture(forest(plotted, said, "mean rank")))
    return blocks


def _rank_row(known: Known, rank: Rank) -> tuple[Entry, ...]:
    mean, interval = measured(rank.mean_rank, rank.low, rank.high)
    return encoder_name(known, rank.encoder), Number(mean), Number(interval), Number(number(rank.probability_best))


def comparisons(known: Known) -> list[Block]:
    """On how many tasks each encoder is better than each other one."""
    blocks: list[Block] = [Heading(2, "Paired comparisons", "comparisons")]
    if not known.results.comparisons:
        return [*blocks, Words("No two encoders were compared.")]
    corrections = ", ".join(dict.fromkeys(worded(one.correction).capitalize() for one in known.results.comparisons))
    blocks.append(Words(
        f"Both encoders of a pair were tested on the same rows. p is corrected for many comparisons ({corrections}); a difference counts "
        f"where it is below {SIGNIFICANT:g}. Each comparison is listed with its task, below. What does not count here may be a difference "
        "all the same: a small test set shows few. Encoders are compared by the one metric that was named beforehand, "
        "not by every metric of a task."
    ))  # fmt: skip
    by_table: dict[tuple[str, str], list[Comparison]] = defaultdict(list)
    for one in known.results.comparisons:
        by_table[one.protocol, one.metric].append(one)
    for (protocol, metric), several in by_table.items():
        blocks += [Heading(3, f"{worded(protocol)}: {worded(metric)}"), _counts(known, protocol, metric, several)]
    return blocks


def _counts(known: Known, protocol: str, metric: str, several: Sequence[Comparison]) -> Grid:
    better: dict[tuple[str, str], int] = defaultdict(int)
    total: dict[tuple[str, str], int] = defaultdict(int)
    for one in several:
        counts = one.p_corrected < SIGNIFICANT
        for pair, sign in (((one.a, one.b), 1), ((one.b, one.a), -1)):
            total[pair] += 1
            better[pair] += counts and sign * one.difference > 0
    names = [name for name in known.encoders if any(name in pair for pair in total)]

    def entry(a: str, b: str) -> Entry:
        if not total[a, b]:
            return ""
        lead = (better[a, b] - better[b, a]) / total[a, b]
        said = f"{known.title(a)} better than {known.title(b)} on {better[a, b]}, worse on {better[b, a]}, of {total[a, b]} tasks"
        return Number(f"{better[a, b]} / {better[b, a]} of {total[a, b]}", 0.7 * max(0.0, lead), said)

    header = (
        Name("better / worse than", f"{worded(protocol)}: {worded(metric)}"),
        *(Name(known.title(name)) for name in names),
    )
    rows = tuple((encoder_name(known, a), *(entry(a, b) for b in names)) for a in names)
    caption = (
        f"On how many tasks and splits the row's encoder is better / worse than the column's, of those compared. "
        f"Protocol: {worded(protocol)}. Metric: {worded(metric)}."
    )
    return Grid(caption, header, rows, is_wide=True)


def listed(known: Known, several: Sequence[Comparison], title: str) -> list[Block]:
    """Comparisons of one task and protocol: ours first, then by p."""
    ordered = sorted(several, key=lambda one: (not _is_of_ours(known, one), one.p_corrected, one.p))
    header: tuple[Entry, ...] = ("a", "b", "metric", "a less b", "interval", "p", "p corrected", "correction")
    rows = tuple(_comparison(known, one) for one in ordered[:MAX_COMPARISONS])
    more = len(ordered) - MAX_COMPARISONS
    told: list[Block] = [Words(f"and {more:,} more, in results.json", is_faint=True)] if more > 0 else []
    return [Grid(f"Paired differences. {title}.", header, rows), *told]


def _is_of_ours(known: Known, one: Comparison) -> bool:
    return "ours" in (known.encoders[one.a].kind, known.encoders[one.b].kind)


def _comparison(known: Known, one: Comparison) -> tuple[Entry, ...]:
    difference, interval = measured(one.difference, one.low, one.high)
    numbers = (Number(difference), Number(interval), Number(p_value(one.p)), Number(p_value(one.p_corrected)))
    return (
        Name(known.title(one.a)),
        known.title(one.b),
        worded(one.metric),
        *numbers,
        worded(one.correction).capitalize(),
    )
