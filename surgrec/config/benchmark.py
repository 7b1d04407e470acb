"""The wiring of a benchmark: a configuration becomes tasks, entrants and a plan here and nowhere else.

In: a typed `BenchmarkConfig`. Out: a `Plan`. It is its own file for the reason that `surgrec/config/build.py` is one: every edge from an
option to the code that it changes can be followed here.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import torch

from surgrec.config.benchmark_compose import shard_of
from surgrec.config.benchmark_schema import BenchmarkConfig
from surgrec.config.benchmark_seen import seen_by_release, seen_by_run
from surgrec.config.benchmark_training import is_run, is_trained, train, trained
from surgrec.config.build import load_run
from surgrec.core.cores import usable_cores
from surgrec.core.errors import UserError
from surgrec.evaluation.attentive import AttentiveSettings
from surgrec.evaluation.protocols.attentive import Attentive
from surgrec.evaluation.protocols.finetune import FinetuneSettings
from surgrec.evaluation.protocols.knn import KNN
from surgrec.evaluation.protocols.temporal import TemporalSettings
from surgrec.evaluation.running.entrant import (
    Entrant,
    Kind,
    Seen,
    majority,
    nothing_seen,
    stratified_random,
    viewed,
)
from surgrec.evaluation.running.plan import Plan
from surgrec.evaluation.running.protocols import Settings
from surgrec.evaluation.running.reasons import reason_of, without_places
from surgrec.evaluation.running.synthesised import NAMES as SYNTHESISED
from surgrec.evaluation.running.synthesised import synthesised_tasks
from surgrec.evaluation.tasks.archive import PartMissing
from surgrec.evaluation.tasks.catalog import read_tasks
from surgrec.evaluation.tasks.replay import Lists, replay
from surgrec.evaluation.tasks.task import Task
from surgrec.features.baseline import FrozenModel, load_any, weights_sha256
from surgrec.features.foreign import KINDS
from surgrec.hub.preprocess import ClipPreprocess
from surgrec.models.encoder import Encoder
from surgrec.synthetic.corpus import synthesize

_FOREIGN = (*(kind for kind in KINDS if not kind.startswith("surgrec-")), "timm", "transformers")


def provide(config: BenchmarkConfig) -> None:
    """Synthesise the corpora and train the encoders that the configuration asks for, where they are not there."""
    if config.tasks.synthesised:
        for seed, folder in _corpora(config):
            synthesize(folder, config.tasks.synthesised, seed, usable_cores())
    if missing := [variant for variant in config.encoders.train if not is_trained(trained(config, variant))]:
        train(config, missing)


def build_plan(config: BenchmarkConfig) -> Plan:
    """All parts of the benchmark. A dataset that cannot be read is in `Plan.absent`, with the reason."""
    tasks, absent = _tasks(config)
    entrants = _entrants(config)
    layout, precision = config.features.layout, config.features.precision
    return Plan(
        config.name,
        Path(config.paths.benchmarks) / config.name,
        Path(config.paths.features),
        tuple(tasks),
        tuple(entrants),
        tuple(config.protocols.names),
        build_settings(config),
        config.num_seeds,
        layout,  # type: ignore[arg-type]
        precision,  # type: ignore[arg-type]
        config.features.batch_size,
        config.protocols.limited,
        absent,
        tuple(_places(config)),
        (config.metrics.clips, config.metrics.dense),
    )


def build_settings(config: BenchmarkConfig) -> Settings:
    """The same budget for every encoder."""
    node = config.protocols
    attentive = node.attentive
    return Settings(
        knn=KNN(tuple(node.knn_neighbours)),
        attentive=Attentive(
            AttentiveSettings(
                attentive.num_heads,
                attentive.num_steps,
                attentive.batch_size,
                tuple(attentive.learning_rates),
                attentive.weight_decay,
            )
        ),
        temporal=TemporalSettings(
            num_stages=node.temporal.num_stages,
            num_layers=node.temporal.num_layers,
            channels=node.temporal.channels,
            num_epochs=node.temporal.num_epochs,
            batch_size=node.temporal.batch_size,
            learning_rates=tuple(node.temporal.learning_rates),
        ),
        finetune=FinetuneSettings(
            num_epochs=node.finetune.num_epochs,
            batch_size=node.finetune.batch_size,
            learning_rates=tuple(node.finetune.learning_rates),
            weight_decay=node.finetune.weight_decay,
            layer_decay=node.finetune.layer_decay,
            drop_path=node.finetune.drop_path,
            precision=config.features.precision,
        ),
    )


def _places(config: BenchmarkConfig) -> list[Path]:
    """Files and folders that the configuration names."""
    tasks, models = config.tasks, config.encoders.models.values()
    of_models = [part for model in models for part in (model, model.partition(":")[2].partition("@")[0])]
    of_tasks = [*tasks.archives.values(), *tasks.lists.values(), tasks.lists_root]
    return [Path(name) for name in (*of_tasks, *vars(config.paths).values(), *of_models, *config.submissions) if name]


def part_of(config: BenchmarkConfig) -> tuple[int, int]:
    """(part, number of parts) of this process."""
    return shard_of(config)


# -- tasks


def _corpora(config: BenchmarkConfig) -> list[tuple[int, Path]]:
    """Seed and folder. Seed 0 is the one that trainings see."""
    folder, scale = Path(config.paths.embedded), config.tasks.synthesised
    return [(seed, folder / f"{scale}_seed{seed}") for seed in config.tasks.synthesised_seeds]


def _tasks(config: BenchmarkConfig) -> tuple[list[Task], dict[str, str]]:
    node, found, absent = config.tasks, list[Task](), dict[str, str]()
    if node.synthesised:
        folders = [folder for _, folder in _corpora(config)]
        found += synthesised_tasks(folders, node.clip_seconds, node.stride_seconds, config.seed, node.only)
    for name, root in node.archives.items():
        made, reason = _read(partial(read_tasks, name, Path(root), config.seed, node.allow_missing), [root])
        found += made
        if reason:
            absent[name] = f"its archive could not be read: {reason}"
    for name, folder in node.lists.items():
        made, reason = _read(partial(_replayed, config, name), [folder, node.lists_root])
        found += made
        if reason:
            absent[name] = f"its lists could not be read: {reason}"
    known = [*(SYNTHESISED if node.synthesised else ()), *(task.name for task in found if task.name not in SYNTHESISED)]
    limited = {f"protocols.limited.{key}": names for key, names in config.protocols.limited.items()}
    for option, names in ({"tasks.only": node.only} | limited).items():
        if not absent and (wrong := [name for name in names if name not in known]):
            raise UserError(f"{option} has {wrong[0]!r}; choose of {', '.join(known)}")
    return [task for task in found if not node.only or task.name in node.only], absent


def _replayed(config: BenchmarkConfig, name: str) -> list[Task]:
    node = config.tasks
    lists = replace(Lists.of_folder(Path(node.lists[name]), Path(node.lists_root)), name=name)
    return [replay(lists, allow_missing=node.allow_missing)]


def _read(tasks: Callable[[], Iterable[Task]], folders: Iterable[str]) -> tuple[list[Task], str]:
    """The tasks, or why they cannot be read, for the report, which names no folder of this machine: the other datasets can be read."""
    try:
        return list(tasks()), ""
    except (UserError, OSError) as error:
        hint = " (tasks.allow_missing=true goes on without)" if isinstance(error, PartMissing) else ""
        print(f"gap: {error}{hint}", file=sys.stderr)
        return [], without_places(str(error), map(Path, folders), "the given folder")
    except Exception as error:  # a file in no known encoding: our mistake, not theirs
        traceback.print_exc()
        return [], reason_of(error)


# -- encoders


def _entrants(config: BenchmarkConfig) -> list[Entrant]:
    """Models in the order of the configuration, then what they are compared with."""
    node, device = config.encoders, _device(config)
    given = {variant: str(trained(config, variant)) for variant in node.train} | node.models
    titles = {variant: f"quickstart {variant.upper()}" for variant in node.train}
    models = {name: _entrant(name, model, device, titles.get(name, name)) for name, model in given.items()}
    found = list(models.values())
    found += [_drawn_anew(models[name]) for name in node.random]
    found += [viewed(models[name], view) for name in node.views for view in ("middle frame", "shuffled frames")]
    for baseline in node.baselines:
        match baseline:
            case "majority":
                found.append(majority())
            case "stratified_random":
                found.append(stratified_random())
            case "colour_histogram":
                found.append(
                    Entrant(
                        baseline,
                        "colour histogram",
                        "trivial",
                        lambda seed: load_any("trivial:histogram", device),
                        seen=nothing_seen,
                    )
                )
    return found


def _entrant(name: str, model: str, device: str, title: str) -> Entrant:
    if is_run(Path(model)):
        run = Path(model)
        return Entrant(name, title, "ours", lambda seed: _of_run(run, device), seen=partial(seen_by_run, run))
    family = model.partition(":")[0]
    kinds: dict[str, Kind] = {"random": "random", "trivial": "trivial"}
    kind: Kind = kinds.get(family, "foreign" if family in _FOREIGN else "ours")
    seen: Callable[[], Seen] = nothing_seen
    if kind == "ours":
        seen = cache(partial(seen_by_release, model))  # views ask too, and what has no pin is fetched each time
    elif kind == "foreign":
        seen = Seen
    return Entrant(name, title, kind, lambda seed: load_any(model, device), seen=seen)


def _drawn_anew(entrant: Entrant) -> Entrant:
    load = entrant.load
    assert load is not None

    def drawn(seed: int) -> FrozenModel:
        model = load(seed)
        if not isinstance(model.encoder, Encoder):
            raise UserError(
                f"encoders.random has {entrant.name}, whose architecture cannot be drawn anew; name one of ours"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder = Encoder(**model.encoder.architecture)
        encoder = encoder.to(model.preprocess.device).eval().requires_grad_(False)
        said = (f"all {len(encoder.state_dict())} weights drawn, by the seed",)
        return FrozenModel(encoder, model.preprocess, f"random weights of {model.name}", weights_sha256(encoder), said)

    title = f"random initialisation of {entrant.title}"
    return Entrant(f"{entrant.name}_random", title, "random", drawn, is_drawn=True, seen=nothing_seen)


def _of_run(folder: Path, device: str) -> FrozenModel:
    """The newest checkpoint of a run folder."""
    run = load_run(folder)
    encoder = run.objective.released_encoder.to(device).eval().requires_grad_(False)
    clip = ClipPreprocess(run.clip.num_frames, run.clip.frame_interval_seconds, run.preprocess, device)
    said = (f"all {len(encoder.state_dict())} weights of step {run.progress.step}",)
    return FrozenModel(
        encoder, clip, f"surgrec {run.config.variant} step {run.progress.step}", weights_sha256(encoder), said
    )


def _device(config: BenchmarkConfig) -> str:
    """Raises `UserError` for a GPU that is not there: every cell would be a gap that says so."""
    device, has_cuda = config.encoders.device, torch.cuda.is_available()
    if device.startswith("cuda") and not has_cuda:
        raise UserError(
            f"encoders.device={device}, but torch sees no GPU here; give encoders.device=cpu, or see to the driver"
        )
    return device if device != "auto" else "cuda" if has_cuda else "cpu"
