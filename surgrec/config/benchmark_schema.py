"""What a benchmark's configuration may contain, typed.

In: nothing. Out: dataclasses, registered with Hydra. It is its own file because a benchmark is configured by other options than a training,
and this page is the list of them. `configs/benchmark/` gives the values; `surgrec/config/benchmark.py` is the only reader.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hydra.core.config_store import ConfigStore


@dataclass
class TasksConfig:
    """What is measured on.

    `archives`: folders with the official archives, by the name of the dataset. `allow_missing`: go on without videos that a published split
    names; scores are then not on that split, and say so. `only`: names of the tasks to run, all where it is empty.

    `lists`: folders with the train.csv, val.csv and test.csv of another benchmark, by a name of one's own, to be replayed as they are,
    leaks included; `lists_root`: what the paths in them are relative to.

    `synthesised`: scale of the embedded corpus, whose tasks are made of a corpus for each of `synthesised_seeds`: clips of `clip_seconds`,
    and moments `stride_seconds` apart.
    """

    archives: dict[str, str] = field(default_factory=dict)
    allow_missing: bool = False
    lists: dict[str, str] = field(default_factory=dict)
    lists_root: str = "."
    only: list[str] = field(default_factory=list)
    synthesised: str | None = None
    synthesised_seeds: list[int] = field(default_factory=lambda: [1])
    clip_seconds: float = 3.2
    stride_seconds: float = 0.5


@dataclass
class EncodersConfig:
    """Who is measured.

    `models`: by name, a run folder, a release, or what `surgrec extract --model` takes; on the command line +encoders.models.NAME=RELEASE.
    `train`: variants whose quickstart is trained first where it is not there, and which stand beside the others under their name.
    `random`: names of those that also stand with random first weights, other ones for each seed. `views`: names of those that also see one
    middle frame only, and shuffled frames. `baselines`: answers that need no encoder.
    """

    models: dict[str, str] = field(default_factory=dict)
    train: list[str] = field(default_factory=list)
    random: list[str] = field(default_factory=list)
    views: list[str] = field(default_factory=list)
    baselines: list[str] = field(default_factory=lambda: ["majority", "stratified_random", "colour_histogram"])
    device: str = "auto"


@dataclass
class AttentiveConfig:
    """See surgrec/evaluation/attentive.py; the rate is chosen on validation rows."""

    num_heads: int = 8
    num_steps: int = 300
    batch_size: int = 64
    learning_rates: list[float] = field(default_factory=lambda: [3e-3, 1e-3, 3e-4, 1e-4])
    weight_decay: float = 0.05


@dataclass
class FinetuneConfig:
    """See surgrec/evaluation/protocols/finetune.py; the rate is chosen on validation rows."""

    num_epochs: int = 30
    batch_size: int = 16
    learning_rates: list[float] = field(default_factory=lambda: [1e-3, 3e-4])
    weight_decay: float = 0.05
    layer_decay: float = 0.75
    drop_path: float = 0.1


@dataclass
class TemporalConfig:
    """See surgrec/evaluation/protocols/temporal.py; the rate is chosen on validation recordings."""

    num_stages: int = 4
    num_layers: int = 10
    channels: int = 64
    num_epochs: int = 50
    batch_size: int = 1
    learning_rates: list[float] = field(default_factory=lambda: [5e-4, 2e-3])


@dataclass
class ProtocolsConfig:
    """How it is measured. `names`: see surgrec/evaluation/running/protocols.py. `limited`: names of the tasks for a protocol that is too
    dear for all: `+protocols.limited.finetune=[cholec80_clips]`.
    """

    names: list[str] = field(default_factory=list)
    limited: dict[str, list[str]] = field(default_factory=dict)
    knn_neighbours: list[int] = field(default_factory=lambda: [1, 5, 10, 20, 50])
    attentive: AttentiveConfig = field(default_factory=AttentiveConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    temporal: TemporalConfig = field(default_factory=TemporalConfig)


@dataclass
class FeaturesConfig:
    """What is kept of a clip: its tokens' mean over each time step (`time`), each of them (`all`) or their mean (`pooled`), which is all
    that the attentive probe then sees. `precision`: what encoders compute in. `batch_size`: clips at once, which changes speed only.
    """

    layout: str = "time"
    precision: str = "float32"
    batch_size: int = 8


@dataclass
class MetricsConfig:
    """The metric of `clips` and of operations (`dense`) that tables show first, encoders are compared by and ranked by. All others are
    measured too. Choose it before looking: of many metrics one favours each encoder.
    """

    clips: str = "balanced accuracy"
    dense: str = "accuracy"


@dataclass
class BenchmarkPaths:
    """`benchmarks`: where folders of benchmarks are; `features`: of features, which they share; `runs` and `embedded`: as in a training."""

    benchmarks: str = "benchmark"
    features: str = "benchmark/.features"
    runs: str = "runs"
    embedded: str = "embedded"


@dataclass
class BenchmarkConfig:
    """A whole benchmark, in the folder `${paths.benchmarks}/${name}`.

    `seed`: of splits that are drawn here. `num_seeds`: how often everything that is drawn is drawn anew. `processes`: so many at once, each
    with a part of the encoders. `shard`: I/N runs part I of N of the cells, parts counted from 0, for the jobs of a cluster; whoever ends
    last writes the results. `submissions`: files with the results of others; see docs/benchmark.md.
    """

    name: str = "benchmark"
    seed: int = 0
    num_seeds: int = 3
    processes: int = 1
    shard: str = "0/1"
    submissions: list[str] = field(default_factory=list)
    tasks: TasksConfig = field(default_factory=TasksConfig)
    encoders: EncodersConfig = field(default_factory=EncodersConfig)
    protocols: ProtocolsConfig = field(default_factory=ProtocolsConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    paths: BenchmarkPaths = field(default_factory=BenchmarkPaths)


def register() -> None:
    """Put it where `configs/benchmark/config.yaml` finds it."""
    ConfigStore.instance().store(name="benchmark_schema", node=BenchmarkConfig)
