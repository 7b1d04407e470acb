"""Do 95 % intervals hold the truth 95 % of the time, and do tests find differences that are not there 5 % of the time?

    python benchmarks/coverage.py --work work --out benchmarks/results

In: nothing but a seed; experiments are simulated. A test set is a number of groups (patients), of very unequal size, each with its own mix
of unbalanced classes and its own difficulty, overall and by class; two encoders answer its rows, and share most of what makes a patient
hard. Three kinds: `phases` (seven classes, most patients have most of them), `findings` (four classes, a patient has one or two, sizes most
unequal), `easy` (two classes, 92 % right). With seeds, each of three trainings shifts all patients, and each patient a little.

Out: how often intervals of every form hold the value in the population (of 180,000 patients), how wide they are, and how often tests reject
where the population has no difference: because the two encoders are alike, or because two that differ in kind have the same accuracy.
"ours" is computed by `surgrec.evaluation.intervals` itself, the other forms here, for comparison. Cells that are
in the folder `work` are not simulated again, so parts may be run side by side before.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from coverage_forms import FORMS, see
from coverage_patients import KINDS, METRICS, Pair, draw, equally_accurate, population
from report import cpu_name, write_result

from surgrec.core.atomic import write_text
from surgrec.core.console import progress, run_command
from surgrec.core.rng import generator
from surgrec.evaluation.comparisons import swap_test
from surgrec.evaluation.intervals import crossed_parts, paired_freedom, reach, score_bounds
from surgrec.evaluation.metrics import Metric, accuracy

Array = npt.NDArray[np.float64]
Row = dict[str, Any]
OURS = "ours"
CHUNK = 20  # experiments at a time
OF_MEETING = 0.2  # deviation, in log-odds, of a seed on one patient


def measure_forms(kind: str, groups: int, two: bool, options: argparse.Namespace) -> list[Row]:
    """Coverage and mean width of all forms, for one encoder or a difference."""
    pair = Pair(shift=0.3 if two else 0.0)
    values = population(KINDS[kind], pair)
    truths = values[0] - values[1] if two else values[0]
    draws = generator(options.seed, f"forms of {kind}", groups, int(two))
    found: dict[tuple[str, str], list[tuple[Array, Array]]] = {}
    for _ in range(options.experiments // CHUNK):
        encoders = list(draw(draws, KINDS[kind], pair, CHUNK, groups)[:, 0])[: 2 if two else 1]
        weights = draws.multinomial(groups, np.full(groups, 1 / groups), size=options.resamples).astype(np.float64)
        for title, metric in METRICS.items():
            if groups in options.resampled:
                seen = see(metric, encoders, weights)
                for form, find in FORMS.items():
                    found.setdefault((form, title), []).append(find(seen))
            found.setdefault((OURS, title), []).append(_ours(metric, [each[None] for each in encoders]))
    rows = []
    for (form, title), parts in found.items():
        low, high = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
        held = _held(low, high, float(truths[list(METRICS).index(title)]))
        of = "difference" if two else "score"
        rows.append({"of": of, "kind": kind, "groups": groups, "form": form, "metric": title} | held)
    return rows


def measure_seeds(kind: str, groups: int, two: bool, of_seed: float, options: argparse.Namespace) -> list[Row]:
    """Coverage over three seeds: ours, and leaving out groups alone with the rows of all seeds taken together."""
    pair = Pair(num_seeds=3, of_seed=of_seed, of_meeting=OF_MEETING)
    truths = np.zeros(len(METRICS)) if two else population(KINDS[kind], pair)[0]
    draws = generator(options.seed, f"seeds of {kind}", groups, int(two), round(100 * of_seed))
    found: dict[tuple[str, str], list[tuple[Array, Array]]] = {}
    for _ in range(options.experiments // CHUNK):
        encoders = list(draw(draws, KINDS[kind], pair, CHUNK, groups)[: 2 if two else 1])
        together = [each.sum(0, keepdims=True) for each in encoders]
        for title, metric in METRICS.items():
            found.setdefault((OURS, title), []).append(_ours(metric, encoders))
            found.setdefault(("seeds together", title), []).append(_ours(metric, together))
    rows = []
    for (form, title), parts in found.items():
        low, high = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
        about = {"of": "difference" if two else "score", "kind": kind, "groups": groups, "of_seed": of_seed}
        held = _held(low, high, float(truths[list(METRICS).index(title)]))
        rows.append(about | {"form": form, "metric": title} | held)
    return rows


def measure_tests(kind: str, groups: int, null: str, options: argparse.Namespace) -> list[Row]:
    """False positives among tests at 0.05 where the two are "alike", "equally accurate", or alike over "seeds 0.1" (their deviation)."""
    pair, metrics = Pair(), METRICS
    if null == "equally accurate":
        pair, metrics = equally_accurate(KINDS[kind], 1.8, 0.5), {"accuracy": accuracy}
    elif null != "alike":
        pair = Pair(num_seeds=3, of_seed=float(null.split()[1]), of_meeting=OF_MEETING)
    draws = generator(options.seed, f"tests of {kind} {null}", groups)
    found: dict[tuple[str, str], list[npt.NDArray[np.bool_]]] = {}
    for _ in range(options.experiments // CHUNK):
        first, second = draw(draws, KINDS[kind], pair, CHUNK, groups)
        for title, metric in metrics.items():
            low, high = _ours(metric, [first, second])
            found.setdefault(("t", title), []).append((low > 0) | (high < 0))
            if pair.num_seeds == 1:
                both = zip(first[0], second[0], strict=True)
                p_values = [swap_test(*each, metric, seed=x, num_swaps=options.swaps) for x, each in enumerate(both)]
                found.setdefault(("exchange", title), []).append(np.array(p_values) <= 0.05)
    return [
        {
            "kind": kind,
            "groups": groups,
            "null": null,
            "test": test,
            "metric": title,
            "rejected": float(np.concatenate(each).mean()),
        }
        for (test, title), each in found.items()
    ]


def _ours(metric: Metric, encoders: list[Array]) -> tuple[Array, Array]:
    """Bounds (X,) of X experiments, from counts (S, X, G, C, C) of one encoder or two."""
    estimate, pseudo = 0.0, 0.0
    for sign, counts in zip((1, -1), encoders, strict=False):
        total = counts.sum(2)
        value, left_out = metric(total), metric(total[:, :, None] - counts)  # (S, X) and (S, X, G)
        groups = counts.shape[2]
        estimate = estimate + sign * value.mean(0)
        pseudo = pseudo + sign * (groups * value[..., None] - (groups - 1) * left_out)
    by_group, sizes = np.moveaxis(np.asarray(pseudo), 0, -1), encoders[0][0].sum((-2, -1))
    if len(encoders) == 1:
        return score_bounds(np.asarray(estimate), by_group, sizes)
    away = reach(crossed_parts(by_group, paired_freedom(sizes)), 0.95)
    return estimate - away, estimate + away


def _held(low: Array, high: Array, truth: float) -> Row:
    is_low, is_high = high < truth, low > truth
    shares = {"held": 1 - (is_low | is_high).mean(), "too_low": is_low.mean(), "too_high": is_high.mean()}
    return {name: float(value) for name, value in shares.items()} | {
        "truth": truth,
        "width": float(np.mean(high - low)),
    }


# -- jobs and report


def jobs(options: argparse.Namespace) -> list[tuple[Any, ...]]:
    """Part and arguments of every cell."""
    cells: list[tuple[Any, ...]] = []
    for kind in options.kinds:
        for groups in options.groups:
            cells += [("forms", kind, groups, two) for two in (False, True)]
            cells += [("tests", kind, groups, null) for null in ("alike", "equally accurate")]
            if kind in options.kinds_of_seeds:
                cells += [("seeds", kind, groups, two, each) for two in (False, True) for each in options.seed_effects]
                cells += [("tests", kind, groups, f"seeds {each}") for each in options.seed_effects]
    return [cell for cell in cells if cell[0] in options.parts]


def file_of(cell: tuple[Any, ...], options: argparse.Namespace) -> Path | None:
    """Where its rows are kept."""
    settings = [options.experiments, options.resamples, options.swaps, options.seed]
    name = "_".join(map(str, [*cell, *settings])).replace(" ", "-")
    return options.work / f"{name}.json" if options.work else None


def run(cell: tuple[Any, ...], options: argparse.Namespace) -> list[Row]:
    """Its rows; read where they are there."""
    file = file_of(cell, options)
    if file and file.exists():
        rows: list[Row] = json.loads(file.read_text())
        return rows
    measure = {"forms": measure_forms, "seeds": measure_seeds, "tests": measure_tests}[cell[0]]
    started = time.process_time()
    rows = measure(*cell[1:], options)  # type: ignore[operator]
    rows[0]["seconds"] = time.process_time() - started
    if file:
        write_text(file, json.dumps(rows))
    return rows


def table(rows: list[dict[str, Any]], down: tuple[str, ...], across: tuple[str, ...], value: str) -> str:
    """Markdown: percentages by two sets of keys."""
    columns = list(dict.fromkeys(tuple(row[key] for key in across) for row in rows))
    lines = ["| " + " | ".join([*down, *(" ".join(map(str, column)) for column in columns)]) + " |"]
    lines.append("|---" * len(down) + "|---:" * len(columns) + "|")
    for key in dict.fromkeys(tuple(row[name] for name in down) for row in rows):
        cells = []
        for column in columns:
            match = [
                row[value]
                for row in rows
                if tuple(row[name] for name in down) == key and tuple(row[name] for name in across) == column
            ]
            cells.append(f"{100 * match[0]:.1f}" if match else "")
        lines.append("| " + " | ".join([*map(str, key), *cells]) + " |")
    return "\n".join(lines)


def page(about: str, found: dict[str, list[Row]]) -> str:
    """Markdown."""
    text = f"# What intervals cover\n\n{about}\n"
    for of in ("score", "difference"):
        rows = [row for row in found["forms"] if row["of"] == of]
        if rows:
            held = table(rows, ("kind", "metric", "groups"), ("form",), "held")
            text += f"\nHow often, in per cent, the 95 % interval of a {of} holds the truth:\n\n{held}\n"
    if found["seeds"]:
        held = table(found["seeds"], ("of", "kind", "metric", "groups"), ("form", "of_seed"), "held")
        text += f"\nThe same over three seeds, whose log-odds deviate by so much:\n\n{held}\n"
    if found["tests"]:
        rejected = table(found["tests"], ("kind", "metric", "groups"), ("test", "null"), "rejected")
        text += f"\nFalse positives of tests at 5 %, in per cent, by test and by what is true:\n\n{rejected}\n"
    return text


def main() -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    add("--groups", type=int, nargs="+", default=[10, 30, 100])
    add("--parts", nargs="+", default=["forms", "seeds", "tests"], choices=["forms", "seeds", "tests"])
    add("--experiments", type=int, default=2000, help=f"of a cell, a multiple of {CHUNK}")
    add("--resamples", type=int, default=500, help="of the bootstrap forms")
    add("--resampled", type=int, nargs="*", default=[10, 30], help="numbers of groups at which other forms are tried")
    add("--swaps", type=int, default=200, help="exchanges of a test where not all are tried")
    add("--seed-effects", type=float, nargs="+", default=[0.0, 0.1, 0.3], help="deviations of seeds, in log-odds")
    add("--kinds-of-seeds", nargs="+", default=list(KINDS), choices=list(KINDS), help="kinds with seeds")
    add("--seed", type=int, default=0)
    add("--work", type=Path, help="folder of cells; those that are there are not simulated again")
    add("--done", action="store_true", help="report the cells that are in the folder of --work, and simulate none")
    add("--out", type=Path, help="folder for coverage_DATE.md and .json")
    options = parser.parse_args()
    if options.work:
        options.work.mkdir(parents=True, exist_ok=True)
    wanted = jobs(options)
    cells = [cell for cell in wanted if not options.done or ((file := file_of(cell, options)) and file.exists())]
    found: dict[str, list[Row]] = {"forms": [], "seeds": [], "tests": []}
    with progress("simulating", len(cells)) as advance:
        for cell in cells:
            found[cell[0]] += run(cell, options)
            advance()
    seconds = sum(row.pop("seconds", 0.0) for rows in found.values() for row in rows)
    date = datetime.date.today().isoformat()
    about = (
        f"{date}, {cpu_name()}, NumPy {np.__version__}, {seconds:.0f} s of one core. {options.experiments} experiments a cell: a share of "
        f"95 % is known to {196 * np.sqrt(0.95 * 0.05 / options.experiments):.1f} points. {options.resamples} resamples, {options.swaps} "
        f"exchanges, seed {options.seed}; {len(cells)} of {len(wanted)} cells."
    )
    text = page(about, found)
    print(text)
    if options.out:
        write_result(options.out / f"coverage_{date}", text, {"about": about} | found)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
