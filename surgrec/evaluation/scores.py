"""What a table says of held-out results: scores by name, over seeds, with intervals, and the alarms that go with them.

In: `HeldOut` results of one encoder, one for each seed, on the same rows. Out: statistics, intervals, sentences. It is its own file because
metrics of counts and metrics of probabilities meet here, and neither knows of seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from surgrec.core.errors import UserError
from surgrec.core.wording import counted
from surgrec.evaluation.calibration import brier, calibration_error
from surgrec.evaluation.frozen import HeldOut
from surgrec.evaluation.intervals import Interval, Statistic, difference_interval, score_interval
from surgrec.evaluation.metrics import Metric, accuracy, balanced_accuracy, macro_f1, macro_jaccard
from surgrec.evaluation.ranking import macro_auroc, mean_average_precision
from surgrec.evaluation.statistics import counts_statistic

Array = npt.NDArray[np.float64]
OfProbabilities = Callable[[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike | None], Array]

OF_COUNTS: Mapping[str, Metric] = {
    "accuracy": accuracy,
    "balanced accuracy": balanced_accuracy,
    "macro-F1": macro_f1,
    "macro Jaccard": macro_jaccard,
}
OF_PROBABILITIES: Mapping[str, OfProbabilities] = {
    "AUROC": macro_auroc,
    "mAP": mean_average_precision,
    "ECE (adaptive bins)": calibration_error,
    "Brier (halved)": brier,
}
LOWER_IS_BETTER = frozenset({"ECE (adaptive bins)", "Brier (halved)"})
MIN_SEEDS, MIN_GROUPS, MIN_GROUPS_OF_CLASS = 3, 10, 3  # what the intervals were tried with, see docs/decisions/0023
_ONE_CLASS = 0.99  # a share of predictions from which they are called constant


def statistic_of(results: Sequence[HeldOut], name: str) -> Statistic:
    """The metric `name` of `OF_COUNTS` or `OF_PROBABILITIES` for results of several seeds on the same rows.

    Raises `UserError` for a name that is not there and for probabilities that are missing, ValueError where rows differ.
    """
    check_same_rows(results)
    if name in OF_COUNTS:
        return counts_statistic(np.stack([each.counts for each in results]), OF_COUNTS[name])
    if name not in OF_PROBABILITIES:
        raise UserError(f"there is no metric '{name}'; choose of {', '.join([*OF_COUNTS, *OF_PROBABILITIES])}")
    names, group_of_row, sizes = np.unique(results[0].groups, return_inverse=True, return_counts=True)
    del names
    tables = [_probabilities(each, name) for each in results]

    def value(weights: Array) -> Array:
        of_rows = weights[..., group_of_row]
        of_metric = OF_PROBABILITIES[name]
        return np.stack(
            [of_metric(each.labels, table, of_rows) for each, table in zip(results, tables, strict=True)], -1
        )

    return Statistic(value, sizes.astype(np.float64), len(results))


def score(results: Sequence[HeldOut], name: str, level: float = 0.95) -> Interval:
    """The mean over seeds, with an interval for other groups and other seeds."""
    return score_interval(statistic_of(results, name), level)


def difference(first: Sequence[HeldOut], second: Sequence[HeldOut], name: str, level: float = 0.95) -> Interval:
    """The metric of `first` less that of `second`, means over seeds, on the same rows."""
    check_same_rows([*first, *second])
    return difference_interval(statistic_of(first, name), statistic_of(second, name), level)


def check_same_rows(results: Sequence[HeldOut]) -> None:
    """Raises ValueError unless all have the same labels and groups, row by row."""
    first = results[0]
    for other in results[1:]:
        if not (np.array_equal(first.labels, other.labels) and np.array_equal(first.groups, other.groups)):
            raise ValueError("results of several seeds, or of two encoders, must be of the same rows in the same order")


def alarms(
    results: Sequence[HeldOut], majority: HeldOut, name: str = "accuracy", classes: Sequence[str] = ()
) -> list[str]:
    """Sentences on what keeps a score from meaning what it seems to; none where all is well. What does so for all scores of the same
    rows is in `cautions`.

    `majority`: what always saying the commonest training class gives on the same rows. `classes`: names; without, their numbers stand.
    """
    named = classes or [str(place) for place in range(results[0].num_classes)]
    of_both = statistic_of(results, name), statistic_of([majority], name)
    check_same_rows([*results, majority])
    return [
        *constant_answers(results, named),
        *([] if name in LOWER_IS_BETTER else not_above(*of_both, name)),
    ]


def constant_answers(results: Sequence[HeldOut], classes: Sequence[str]) -> list[str]:
    """Seeds that give one answer on all rows, or nearly all, where the truth has more than it."""
    said = []
    for seed, each in enumerate(results):
        share, true = (
            np.bincount(rows, minlength=each.num_classes) / len(rows) for rows in (each.predictions, each.labels)
        )
        often = int(share.argmax())
        is_one, is_nearly_one = share[often] == 1 and true[often] < 1, share[often] >= _ONE_CLASS > true[often]
        if is_one or is_nearly_one:
            said.append(f"seed {seed} answers class {classes[often]} on {_percent(float(share[often]))} of rows")
    return said


def not_above(own: Statistic, majority: Statistic, name: str) -> list[str]:
    """Where the majority's score is not left behind beyond chance; of one test group, where it is not left behind."""
    if own.num_groups < 2:
        is_above = own.estimate() > majority.estimate()
        return (
            [] if is_above else [f"{name} {own.estimate():.3f} is not above the majority's {majority.estimate():.3f}"]
        )
    above = difference_interval(own, majority)
    return (
        []
        if above.low > 0
        else [f"{name} is not above that of the majority row beyond chance: the difference is {above}"]
    )


def cautions(labels: npt.ArrayLike, groups: npt.ArrayLike, num_seeds: int, classes: Sequence[str]) -> list[str]:
    """Sentences on what makes every interval of these test rows, labels (n,) and groups (n,), less sure, whoever is measured."""
    truth, names = np.asarray(labels), np.unique(np.asarray(groups, dtype=np.str_))
    said = []
    if num_seeds < MIN_SEEDS:
        said.append(f"{counted(num_seeds, 'seed')}; {MIN_SEEDS} are needed to see what another seed would give")
    if len(names) < MIN_GROUPS:
        said.append(f"{counted(len(names), 'test group')}; intervals were tried with {MIN_GROUPS} and more")
    groups_of_class = {place: len(np.unique(np.asarray(groups)[truth == place])) for place in np.unique(truth).tolist()}
    rare = [classes[place] for place, number in groups_of_class.items() if number < MIN_GROUPS_OF_CLASS]
    if rare:
        said.append(
            f"test rows of {'class' if len(rare) == 1 else 'classes'} {', '.join(rare)} come from fewer than {MIN_GROUPS_OF_CLASS} groups, "
            "so the interval of an average over classes may be too narrow"
        )
    return said


def _percent(share: float) -> str:
    """Rounded down, so that what is not all does not read as all."""
    return f"{np.floor(1000 * share) / 10:g}%"


def _probabilities(result: HeldOut, name: str) -> Array:
    if result.probabilities is None:
        raise UserError(f"{name} needs probabilities, which these results do not have; use a protocol that gives them")
    return result.probabilities
