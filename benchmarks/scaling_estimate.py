"""What a step takes, sends and keeps on 8 to 1,024 GPUs: the tables of docs/scaling.md.

    python benchmarks/scaling_estimate.py

Bytes and operations are counted by the package, from configurations (`device_memory`, `model_flops`, `traffic`); benchmarks/scaling.py
checks the bytes against what a step really sends. Rates of links and devices are assumptions (`Cluster`), listed above the tables; the
rate at which a core decodes footage is that of the newest benchmarks/results/loader_cpu_DATE.json. Nothing else goes in; nothing is
measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from surgrec.config.build import model_flops
from surgrec.config.compose import compose_config
from surgrec.config.device import device_memory
from surgrec.config.estimate import Cost, estimate
from surgrec.config.schema import Config, Strategy
from surgrec.config.traffic import Parameters, Traffic, parameters_of, traffic
from surgrec.training.peaks import peak_flops

VARIANTS = ("mae", "jepa")
BY_SIZE = ("objective.head_width=null", "objective.head_depth=null", "objective.head_heads=null")
NOWHERE = "mix.manifests=[none.parquet]"
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Cluster:
    """The assumptions. Bandwidths are of one direction, and `efficiency` what collectives reach of them; seconds are of one hop."""

    device: str = "NVIDIA H100 80GB HBM3"
    utilisation: float = 0.40
    per_node: int = 8
    nvlink_bytes: float = 450e9  # a second and device: NVLink 4, 900 GB/s in both directions
    node_bytes: float = 8 * 50e9  # a second and node: eight ports of 400 Gbit/s, one a device
    efficiency: float = 0.8
    nvlink_seconds: float = 1e-6
    network_seconds: float = 5e-6

    @property
    def flops(self) -> float:
        """Operations a second that one device is taken to do of a training step."""
        peak = peak_flops(self.device, "bf16-mixed")
        assert peak is not None
        return peak * self.utilisation

    def ring_seconds(self, num_bytes: float, count: int, size: int, is_within_node: bool) -> float:
        """Of `count` all-gathers or reduce-scatters of `num_bytes` in all over `size` devices: (size - 1) / size of the bytes pass
        every device's link, in size - 1 hops each. Where a ring crosses nodes, each node passes them once, over all of its ports.
        """
        if size == 1:
            return 0.0
        rate, nodes = self.nvlink_bytes, 0 if is_within_node else -(-size // self.per_node)
        if nodes > 1:
            rate = min(rate, self.node_bytes)
        hops = (size - 1 - nodes) * self.nvlink_seconds + nodes * self.network_seconds
        return (size - 1) / size * num_bytes / (rate * self.efficiency) + count * hops

    def reduce_seconds(self, num_bytes: float, count: int, size: int, is_within_node: bool) -> float:
        """Of `count` all-reduces: a reduce-scatter and an all-gather, or where that is faster, a tree over nodes with a ring inside."""
        ring = 2 * self.ring_seconds(num_bytes, count, size, is_within_node)
        nodes = 1 if is_within_node else -(-size // self.per_node)
        if nodes == 1:
            return ring
        levels = 2 * (nodes - 1).bit_length() * self.network_seconds + 2 * (self.per_node - 1) * self.nvlink_seconds
        return min(ring, 2 * num_bytes / (min(self.nvlink_bytes, self.node_bytes) * self.efficiency) + count * levels)

    def replica_seconds(self, num_bytes: float, count: int, replicas: int) -> float:
        """Of all-reduces among the devices of equal place in their nodes, each over its own port."""
        if replicas == 1:
            return 0.0
        rate = self.node_bytes / self.per_node * self.efficiency
        levels = 2 * (replicas - 1).bit_length() * self.network_seconds
        return 2 * (replicas - 1) / replicas * num_bytes / rate + count * levels


@dataclass(frozen=True)
class Layout:
    """How a model is spread: under fsdp over `shards` devices, None: all of them."""

    name: str
    strategy: Strategy
    shards: int | None = 1


LAYOUTS = (Layout("DDP", Strategy.ddp), Layout("FSDP2", Strategy.fsdp, None), Layout("HSDP 8", Strategy.fsdp, 8))
SIZES = {"base": "ViT-B", "large": "ViT-L", "huge": "ViT-H", "giant": "ViT-g"}
WORLDS = (8, 16, 64, 128, 256, 1024)
PUBLISHED = 128  # GPUs of the published run
MEMORY = 80e9
FREE = 0.2  # of it is left, as in `Cost.clips_that_fit`


@dataclass(frozen=True)
class Model:
    """One variant at one size: its configuration, parameters, cost, and bytes of activations of a clip by checkpointing."""

    variant: str
    size: str
    config: Config
    parameters: Parameters
    cost: Cost
    flops: int
    clip_bytes: dict[str, int]

    @classmethod
    def of(cls, variant: str, size: str) -> Model:
        options = [f"+variant={variant}", NOWHERE, f"backbone={size}", *BY_SIZE, "runtime.precision=bf16-mixed"]
        config = compose_config(options)
        kept = {
            kind: estimate(compose_config([*options, f"runtime.activation_checkpointing={kind}"])).clip_bytes
            for kind in ("none", "selective", "full")
        }
        return cls(variant, size, config, parameters_of(config), estimate(config), model_flops(config), kept)

    def state_bytes(self, layout: Layout, world: int) -> dict[str, int]:
        """Of one device, by purpose, as a run says at its start; without activations, which depend on the micro-batch."""
        shard_size = layout.shards if layout.strategy is Strategy.fsdp else None
        runtime = replace(self.config.runtime, strategy=layout.strategy, shard_size=shard_size)
        held = asdict(device_memory(replace(self.config, runtime=runtime), self.cost, world))
        return {name.replace("_", " "): count for name, count in held.items() if name != "activations"}

    def micro_batches(self, layout: Layout, world: int, kind: str = "selective") -> int | None:
        """The fewest into which a device's clips are cut so that they fit; None where not one clip does."""
        clips = self.config.data.global_batch_size // world
        room = (1 - FREE) * MEMORY - sum(self.state_bytes(layout, world).values())
        counts = (number for number in range(1, clips + 1) if clips % number == 0)
        return next((number for number in counts if clips // number * self.clip_bytes[kind] <= room), None)


@dataclass(frozen=True)
class Step:
    """Seconds of a step: what is computed, what is sent, if nothing were done at the same time; and its bytes."""

    micro_batches: int
    compute: float
    communication: float
    traffic: Traffic

    @property
    def least(self) -> float:
        """All that is sent is sent while something is computed."""
        return max(self.compute, self.communication)

    @property
    def most(self) -> float:
        """Nothing is."""
        return self.compute + self.communication


def step_of(model: Model, layout: Layout, world: int, cluster: Cluster) -> Step | None:
    """None where the model does not fit, or the global batch cannot be shared out."""
    batch = model.config.data.global_batch_size
    if batch % world or (micro := model.micro_batches(layout, world)) is None:
        return None
    shards = 1 if layout.strategy is Strategy.ddp else layout.shards or world
    sent = traffic(model.parameters, layout.strategy, shards, micro, is_bf16=True)
    is_within = max(shards, world if layout.strategy is Strategy.ddp else 1) <= cluster.per_node
    if layout.strategy is Strategy.ddp:
        seconds = cluster.reduce_seconds(sent.all_reduced, sent.num_all_reduces, world, is_within)
    else:
        seconds = cluster.ring_seconds(sent.gathered, sent.num_gathers, shards, is_within)
        seconds += cluster.ring_seconds(sent.scattered, sent.num_scatters, shards, is_within)
        seconds += cluster.replica_seconds(sent.all_reduced, sent.num_all_reduces, world // shards)
    return Step(micro, model.flops * batch / world / cluster.flops, seconds, sent)


def decoding_rates() -> dict[str, float]:
    """Clips a second that one core decodes, by the form of the footage: the newest measurement of benchmarks/loader.py."""
    newest = max(path for path in RESULTS.glob("loader_cpu_????-??-??.json"))
    rows = json.loads(newest.read_text())["rows"]
    return {row["form"]: row["decoding_clips_per_second_of_a_core"] for row in rows}


def estimate_lines(cluster: Cluster) -> Iterator[str]:
    """All tables, in Markdown."""
    yield from _assumptions(cluster)
    models = {(variant, size): Model.of(variant, size) for variant in VARIANTS for size in SIZES}
    yield from ["", "## Counted", "", *_counted(models)]
    yield from ["", "## Memory of a device", "", *_memory(models)]
    for variant, size in (("jepa", "large"), ("mae", "base")):
        yield from ["", f"## {SIZES[size]}, {variant}", "", *_steps(models[variant, size], cluster)]
    yield from ["", "## The other sizes", "", *_others(models, cluster)]
    yield from ["", "## Footage", "", *_footage(models, cluster)]


def _assumptions(of: Cluster) -> list[str]:
    return [
        f"- A device computes {of.flops / 1e12:,.0f} TFLOP/s of what the model needs: {of.utilisation:.0%} of the {of.device}'s peak.",
        f"- Nodes of {of.per_node} devices. NVLink: {of.nvlink_bytes / 1e9:.0f} GB/s a device and direction. Network: "
        f"{of.node_bytes / 1e9:.0f} GB/s a node and direction ({of.per_node} ports). Collectives reach {of.efficiency:.0%} of either.",
        f"- A hop takes {of.nvlink_seconds * 1e6:.0f} us within a node, {of.network_seconds * 1e6:.0f} us between nodes.",
        f"- A device has {MEMORY / 1e9:.0f} GB, {FREE:.0%} of it left free; activations under selective checkpointing.",
    ]


def _counted(models: dict[tuple[str, str], Model]) -> Iterator[str]:
    yield (
        "| variant | encoder | trained, M | target encoder, M | TFLOP a clip | a clip's activations, GB: none | selective | full "
        "| DDP sends a step, GB | FSDP2 gathers a micro-batch, GB | scatters, GB | checkpoint, GB |"
    )
    yield "|" + "---|" * 12
    for model in models.values():
        of, kept = model.parameters, " | ".join(f"{size / 1e9:.2f}" for size in model.clip_bytes.values())
        ddp, fsdp = (traffic(of, strategy, PUBLISHED, 1, True) for strategy in (Strategy.ddp, Strategy.fsdp))
        saved = 12 * of.trained + 4 * of.frozen
        yield (
            f"| {model.variant} | {SIZES[model.size]} | {of.trained / 1e6:,.1f} | {of.frozen / 1e6:,.1f} | {model.flops / 1e12:.2f} "
            f"| {kept} "
            f"| {ddp.all_reduced / 1e9:.2f} | {fsdp.gathered / 1e9:.2f} | {fsdp.scattered / 1e9:.2f} | {saved / 1e9:.1f} |"
        )


def _memory(models: dict[tuple[str, str], Model]) -> Iterator[str]:
    names = ("parameters", "gradients", "optimiser", "target encoder", "working")
    yield f"| variant | encoder | spread | {', GB | '.join(names)}, GB | state, GB | clips that fit: none | selective | full |"
    yield "|" + "---|" * (3 + len(names) + 4)
    for model in models.values():
        for layout in LAYOUTS:
            parts = model.state_bytes(layout, PUBLISHED)
            state = sum(parts.values())
            fits = [max(0, int(((1 - FREE) * MEMORY - state) // size)) for size in model.clip_bytes.values()]
            cells = " | ".join(f"{parts[name] / 1e9:.2f}" for name in names)
            yield (
                f"| {model.variant} | {SIZES[model.size]} | {layout.name} | {cells} | {state / 1e9:.2f} | {' | '.join(map(str, fits))} |"
            )


def _steps(model: Model, cluster: Cluster) -> Iterator[str]:
    yield f"Global batch {model.config.data.global_batch_size:,}."
    yield ""
    yield (
        "| GPUs | spread | clips a GPU | micro-batches | compute, s | communication, s | step, s | communication over compute "
        "| efficiency at least | clips/s |"
    )
    yield "|" + "---|" * 10
    for world in WORLDS:
        for layout in LAYOUTS:
            step = step_of(model, layout, world, cluster)
            if step is None or (layout.shards or 0) >= world:  # HSDP of one node is FSDP2
                continue
            batch = model.config.data.global_batch_size
            yield (
                f"| {world:,} | {layout.name} | {batch // world} | {step.micro_batches} | {step.compute:.3f} | {step.communication:.3f} "
                f"| {step.least:.3f} to {step.most:.3f} | {step.communication / step.compute:.1%} | {step.compute / step.most:.0%} "
                f"| {batch / step.most:,.0f} to {batch / step.least:,.0f} |"
            )

    at_published = step_of(model, LAYOUTS[0], PUBLISHED, cluster)
    if at_published is not None:
        steps = model.config.trainer.steps
        hours = [steps * seconds / 3600 for seconds in (at_published.least, at_published.most)]
        yield ""
        yield (
            f"The variant's {steps:,} steps on {PUBLISHED} GPUs, under {LAYOUTS[0].name}: {hours[0]:.1f} to {hours[1]:.1f} hours, were "
            "there nothing but steps."
        )


def _others(models: dict[tuple[str, str], Model], cluster: Cluster) -> Iterator[str]:
    yield "Step in seconds, all hidden to nothing hidden; in brackets communication over compute."
    yield ""
    yield "| variant | encoder | spread | " + " | ".join(f"{world:,} GPUs" for world in WORLDS) + " |"
    yield "|" + "---|" * (3 + len(WORLDS))
    for model in models.values():
        for layout in LAYOUTS:
            steps = [step_of(model, layout, world, cluster) for world in WORLDS]
            cells = [
                "-" if step is None else f"{step.least:.2f} - {step.most:.2f} ({step.communication / step.compute:.0%})"
                for step in steps
            ]
            yield f"| {model.variant} | {SIZES[model.size]} | {layout.name} | {' | '.join(cells)} |"


def _footage(models: dict[tuple[str, str], Model], cluster: Cluster) -> Iterator[str]:
    rates = decoding_rates()
    yield "| variant | encoder | clips/s of a node | " + " | ".join(f"cores a node: {form}" for form in rates) + " |"
    yield "|" + "---|" * (3 + len(rates))
    for model in models.values():
        needed = cluster.per_node * cluster.flops / model.flops
        cores = " | ".join(f"{needed / rate:,.1f}" for rate in rates.values())
        yield f"| {model.variant} | {SIZES[model.size]} | {needed:,.0f} | {cores} |"


if __name__ == "__main__":
    print("\n".join(estimate_lines(Cluster())))
