"""Results that nobody measured: generated, so that reports can be made of a benchmark of any size. Every name in them says so."""

from __future__ import annotations

import numpy as np

from surgrec.evaluation.metrics import accuracy, balanced_accuracy, confusion, macro_f1
from surgrec.evaluation.results import (
    Cell,
    ClassScore,
    Comparison,
    EncoderFacts,
    Gap,
    Rank,
    Results,
    Score,
    SplitFacts,
    TaskFacts,
    Timeline,
)

METRICS = {"macro_f1": macro_f1, "balanced_accuracy": balanced_accuracy, "accuracy": accuracy}
PROTOCOLS = {"clips": ("k-NN", "linear probe", "attentive probe"), "dense": ("frame linear", "temporal head")}
PHASES = (
    "Preparation",
    "Calot triangle dissection",
    "Clipping and cutting",
    "Gallbladder dissection",
    "Packaging",
    "Cleaning",
    "Retraction",
)
FOREIGN = ("VideoMAE", "V-JEPA", "Endo-FM", "DINOv2", "ViT supervised")


def example(num_tasks: int = 4, num_foreign: int = 3, seed: int = 0) -> Results:
    """So many tasks, every third a dense one with timelines; two encoders of ours, foreign ones, random and two trivial ones."""
    rng = np.random.default_rng(seed)
    tasks = tuple(_task(number) for number in range(num_tasks))
    encoders = _encoders(num_foreign, tasks)
    cells, gaps = (
        [],
        [
            Gap(
                tasks[-1].name,
                encoders[-4].name,
                PROTOCOLS[tasks[-1].form][0],
                "features were not finite in 3 of 41 clips",
            )
        ],
    )
    for task in tasks:
        for encoder in encoders:
            own = ("none",) if encoder.name in ("majority", "stratified") else PROTOCOLS[task.form]
            for protocol in own:
                if not any(
                    (gap.task, gap.encoder, gap.protocol) == (task.name, encoder.name, protocol) for gap in gaps
                ):
                    cells.append(_cell(task, encoder, protocol, rng))
    environment = {
        "surgrec": "generated",
        "torch": "generated",
        "hardware": {"cpu": "generated", "cores": 2, "gpu": None},
        "seeds": [0, 1, 2],
    }
    return Results(
        1, "generated", "2026-01-01T00:00:00", environment, tasks, encoders, tuple(cells),
        tuple(_comparisons(cells, rng)), tuple(_ranks(encoders, tasks, rng)), tuple(gaps),
    )  # fmt: skip


def _task(number: int) -> TaskFacts:
    form = "dense" if number % 3 == 2 else "clips"
    classes = PHASES if form == "dense" else tuple(f"made-up class {place + 1}" for place in range(3 + number % 5))
    origin = ("official", "seeded", "surgrec")[number % 3]
    groups = {"train": 32 + number, "validation": 8, "test": 10 + 3 * number}
    rows = {part: 1234 * count for part, count in groups.items()}
    findings = ("3 of 41 test cases are in train too (generated)",) if origin == "surgrec" else ()
    domain = ("laparoscopy", "endoscopy", "cataract", "robotic")[number % 4]
    return TaskFacts(
        f"task_{number + 1}", f"Generated task {number + 1}", domain, form, classes,
        (SplitFacts(f"{origin}-1", origin, f"{number + 1:x}" * 16, rows, groups),), findings,
    )  # fmt: skip


def _encoders(num_foreign: int, tasks: tuple[TaskFacts, ...]) -> tuple[EncoderFacts, ...]:
    def one(name: str, title: str, kind: str, parameters: int) -> EncoderFacts:
        geometry = {"frames": 16, "seconds": 2.0, "pixels": 224} if parameters else {}
        told = {} if kind in ("random", "trivial") else {
            task.name: "unknown" if kind == "foreign" else "0 of 41 test videos found by bytes, patient or footage" for task in tasks
        }  # fmt: skip
        weights = {"id": f"sha256:{name}", "used": 152, "dropped": []} if kind in ("ours", "foreign") else {}
        return EncoderFacts(name, title, kind, parameters, geometry, weights, told)

    names = [f"{FOREIGN[place % len(FOREIGN)]} {'SBLH'[place // len(FOREIGN) % 4]}" for place in range(num_foreign)]
    return (
        one("mae", "surgrec MAE (generated)", "ours", 22_000_000),
        one("jepa", "surgrec JEPA (generated)", "ours", 22_000_000),
        *(one(f"foreign_{place}", f"{name} (generated)", "foreign", 86_000_000) for place, name in enumerate(names)),
        one("random", "random initialisation", "random", 22_000_000),
        one("shuffled", "shuffled frames (generated)", "trivial", 22_000_000),
        one("stratified", "stratified random", "trivial", 0),
        one("majority", "majority", "trivial", 0),
    )


def _cell(task: TaskFacts, encoder: EncoderFacts, protocol: str, rng: np.random.Generator) -> Cell:
    classes = len(task.classes)
    truth = np.sort(
        np.random.default_rng(len(task.classes)).choice(
            classes, 300, p=np.arange(classes, 0, -1) / np.arange(1, classes + 1).sum()
        )
    )
    skill = {"ours": 0.65, "foreign": 0.5, "random": 0.15, "trivial": 0.1}[encoder.kind] + rng.uniform(-0.1, 0.1)
    skill = 0.0 if encoder.name == "majority" else skill
    guesses = np.zeros(300, int) if encoder.name == "majority" else rng.integers(0, classes, 300)
    predicted = np.where(rng.random(300) < skill, truth, guesses)
    if (encoder.kind, task.name, protocol) == ("random", "task_1", "linear probe"):
        predicted[:] = 0
    counts = confusion(truth, predicted, classes)
    scores = []
    for name, metric in METRICS.items():
        estimate, half = float(metric(counts)), rng.uniform(0.02, 0.12)
        low, high = max(0.0, estimate - half), min(1.0, estimate + 0.8 * half)
        seeds = tuple(float(estimate + shift) for shift in (-0.01, 0.0, 0.01))
        scores.append(Score(name, estimate, low, high, 0.95, "bootstrap over groups", seeds))
    per_class = tuple(
        ClassScore(name, float(counts[i, i] / max(1, counts[:, i].sum())), float(counts[i, i] / max(1, counts[i].sum())),
                   float(2 * counts[i, i] / max(1, counts[i].sum() + counts[:, i].sum())), int(counts[i].sum()))
        for i, name in enumerate(task.classes)
    )  # fmt: skip
    is_constant = len(set(predicted.tolist())) == 1 and encoder.name != "majority"
    chosen = {"learning_rate": 1e-3} if encoder.kind != "trivial" else {}
    timelines = tuple(_timeline(video, truth, predicted) for video in range(2)) if task.form == "dense" else ()
    return Cell(
        task.name, task.splits[0].name, encoder.name, protocol, 3, chosen, 12, float(rng.uniform(3, 900)), tuple(scores), per_class,
        tuple(map(tuple, counts.tolist())), timelines,
        "one class was predicted for all 300 test rows" if is_constant else None,
        "one class has no train row" if (encoder.name, task.name) == ("mae", "task_2") else None,
    )  # fmt: skip


def _timeline(video: int, truth: np.ndarray, predicted: np.ndarray) -> Timeline:
    rows = slice(0, 300, video + 1)
    times = tuple(float(second) for second in range(0, 3000, 10 * (video + 1)))
    return Timeline(f"lap_{video:012d}", times, tuple(truth[rows].tolist()), tuple(predicted[rows].tolist()))


def _comparisons(cells: list[Cell], rng: np.random.Generator) -> list[Comparison]:
    made = []
    for place, a in enumerate(cells):
        for b in cells[place + 1 :]:
            if (a.task, a.protocol) == (b.task, b.protocol):
                difference = a.scores[0].estimate - b.scores[0].estimate
                p = float(min(1.0, 10 ** (-8 * abs(difference)) * rng.uniform(0.5, 1)))
                ends = difference - 0.1, difference + 0.1
                made.append(
                    Comparison(
                        a.task,
                        a.split,
                        a.protocol,
                        "macro_f1",
                        a.encoder,
                        b.encoder,
                        difference,
                        *ends,
                        p,
                        min(1.0, 20 * p),
                        "holm",
                    )
                )
    return made


def _ranks(encoders: tuple[EncoderFacts, ...], tasks: tuple[TaskFacts, ...], rng: np.random.Generator) -> list[Rank]:
    made = []
    for protocol in dict.fromkeys(protocol for task in tasks for protocol in PROTOCOLS[task.form]):
        for place, encoder in enumerate(encoders):
            rank = 1 + 0.9 * place + float(rng.uniform(0, 0.4))
            made.append(
                Rank(protocol, "macro_f1", encoder.name, rank, max(1.0, rank - 0.8), rank + 0.9, float(0.6 / 3**place))
            )
    return made
