"""Show what a run would see and cost, without training.

    python -m surgrec.preview +variant=jepa +experiment=quickstart
    python -m surgrec.preview +variant=mae mix.manifests=[corpus.parquet] name=look backbone=large runtime=ddp

In: the options of `surgrec train`. Out: pictures in the run folder's `previews/`, and the mixture, memory and operations on the console.
No GPU and no other process is needed, and the run folder stays free for a run.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surgrec.config.application import run_application
from surgrec.config.compose import headline
from surgrec.config.footage import course_of, provide_footage, resolve_footage, standing
from surgrec.config.phases import Phase, phases_of, rate_of
from surgrec.config.schema import Config, JEPAConfig
from surgrec.core.wording import counted

if TYPE_CHECKING:
    from surgrec.config.build import DataPath
    from surgrec.config.estimate import Cost
    from surgrec.data.clips import Clip

NUM_CLIPS = 8
NUM_MASKED_CLIPS = 2
_SCHEDULE_POINTS = 1000
_GPU_GIGABYTES = (24, 40, 80)


def preview(config: Config) -> int:
    """Print and draw what the configured run would see and cost."""
    resolve_footage(config)
    provide_footage(config)
    from surgrec.config.build import build_data, build_reader, left_out_sentence, run_folder
    from surgrec.config.estimate import estimate

    data, folder, phases = build_data(config), run_folder(config).previews, phases_of(config)
    print(headline(config))
    known = f"test material: {standing(config).sentence}"
    print("\n".join(["", *mixture_lines(config, data), *filter(None, [left_out_sentence(data)]), known, ""]))
    for phase in phases:
        title = phase_lines(phase) if len(phases) > 1 else []
        print("\n".join([*title, *cost_lines(phase.config, estimate(phase.config)), ""]), flush=True)
    files = []
    for phase in phases:
        its = build_reader(phase.config, data.manifest, data.mixture)
        first = phase.span.first_position // config.data.repeats
        clips = [its.reader.read(first + number) for number in range(NUM_CLIPS)]
        for clip in clips:
            for failure in clip.failures:
                print(f"could not read {failure.video_id} ({failure.reason}); {failure.replaced_by} takes its place")
        files += draw(phase, its, clips, folder)
    files += draw_whole(config, data, folder)
    print("pictures")
    for file in files:
        print(f"  {file}")
    print("the same options with `surgrec train` start the run")
    return 0


# -- in words


def mixture_lines(config: Config, data: DataPath) -> list[str]:
    """One line a source, most hours first: its hours, share, clips drawn and passes over its footage in the whole run, as expected; then
    the shares of what lies above sources, how they change, and how much footage the run sees in effect."""
    from surgrec.data.shares import effective_number

    table, phases = data.mixture.table, phases_of(config)
    num_clips = sum(phase.span.num_steps * phase.span.batch for phase in phases) // config.data.repeats
    drawn = data.mixture.hours_drawn(course_of(config))

    def line(source: str, videos: int, hours: float, share: float, hours_drawn: float) -> str:
        passes = hours_drawn / hours
        return f"  {source:<28}{videos:>7}{hours:>10,.3f}{share:>8.1%}{share * num_clips:>15,.0f}{passes:>13,.1f}"

    rows = zip(table.sources, table.num_videos, table.hours, table.shares, drawn, strict=True)
    effective = effective_number(table.shares, table.hours)
    return [
        f"mixture ({_policy(config, table.rehearsed)}): {', then '.join(_clips_of(phase) for phase in phases)}",
        f"  {'source':<28}{'videos':>7}{'hours':>10}{'share':>8}{'clips':>15}{'passes':>13}",
        *(line(*row) for row in sorted(rows, key=lambda row: -row[2]) if row[1]),
        line("all", table.num_videos.sum(), table.hours.sum(), 1.0, drawn.sum()),
        f"  effective footage        {effective:,.3f} hours, {effective / table.hours.sum():.0%} of all (docs/sampling.md)",
        *_node_lines(data),
    ]


def _policy(config: Config, rehearsed: tuple[str, ...]) -> str:
    """The mixture's policy in words."""
    node = config.mix
    words = [node.policy.value + (f", alpha {node.alpha:g}" if node.policy == "temperature" else "")]
    if node.max_passes is not None:
        words.append(f"at most {node.max_passes:g} passes")
    if rehearsed:
        words.append(f"{node.rehearsal_share:.0%} of all clips are rehearsal: {', '.join(rehearsed)}")
    return "; ".join(words)


def _node_lines(data: DataPath) -> list[str]:
    """Shares of the nodes above sources (of the top level of clusters their number and range), at the beginning and the end."""
    import numpy as np

    strata = data.mixture.strata
    lines = []
    for number, level in enumerate(strata.levels[:-1] if len(strata.shares) == 1 else strata.levels):
        nodes = sorted({names[number] for names in strata.names})
        index = np.array([nodes.index(names[number]) for names in strata.names])
        first, last = (np.bincount(index, weights=shares) for shares in (strata.shares[0], strata.shares[-1]))
        if level.startswith("cluster "):
            lines.append(f"  {level:<24} {len(nodes)} nodes, shares {first.min():.2%} to {first.max():.2%}")
            continue
        told = [
            f"{node} {begin:.1%}" + (f" -> {end:.1%}" if len(strata.shares) > 1 else "")
            for node, begin, end in zip(nodes, first, last, strict=True)
        ]
        lines.append(f"  share of each {level:<10} {', '.join(told)}")
    return lines


def _clip_seconds(phase: Phase) -> float:
    return phase.config.data.num_frames * phase.config.data.frame_interval_seconds


def _clips_of(phase: Phase) -> str:
    """How many clips of which length a phase draws at each step."""
    repeats = phase.config.data.repeats
    several = f", each in {repeats} of {phase.span.batch} samples" if repeats > 1 else ""
    clips = phase.span.batch // repeats
    return f"{counted(phase.span.num_steps, 'step')} of {counted(clips, 'clip')}, {_clip_seconds(phase):.2f} seconds each{several}"


def phase_lines(phase: Phase) -> list[str]:
    """What holds in a phase: steps, clip, learning rate; and what a new clip means to positions that are added."""
    data, augment, rate, span = phase.config.data, phase.config.augment, rate_of(phase.config), phase.span
    lines = [
        f"phase {phase.number}: steps {span.first_step} to {span.stop_step}",
        f"  clips                    {data.num_frames} frames every {data.frame_interval_seconds:g} s, "
        f"{augment.crop_pixels} pixels, {span.batch} a step",
        f"  learning rate            {rate.at(0):.3g} to {rate.at(span.num_steps):.3g}",
    ]
    if phase.number and phase.config.backbone.positions != "rope":
        lines.append("  positions                those of this clip's own grid; see docs/continue_pretraining.md")
    return lines


def cost_lines(config: Config, cost: Cost) -> list[str]:
    """Parameters, memory of one process, operations; how they were counted, and what was not."""
    from surgrec.config.build import accumulation_of
    from surgrec.config.device import in_words
    from surgrec.config.estimate import HOW, NOT_COUNTED
    from surgrec.data.loader import PositionPlan

    masks = "; ".join(f"{context} seen, {target} predicted" for context, target in cost.tokens)
    counts = ", ".join(f"{name.replace('_', ' ')} {count / 1e6:.1f} M" for name, count in cost.counts.items())
    micro = PositionPlan(
        config.data.global_batch_size, accumulation=accumulation_of(config, 1), repeats=config.data.repeats
    ).micro_batch_size
    fits = ", ".join(f"{cost.clips_that_fit(size * 1e9)} in {size} GB" for size in _GPU_GIGABYTES)
    hours = cost.run_flops / 1e14 / 3600
    return [
        f"model ({cost.num_tokens} tokens a clip: {masks})",
        f"  parameters               {counts}",
        f"memory of one process, estimated, {'bf16' if cost.is_bf16 else 'float32'}",
        f"  parameters and optimiser {in_words(cost.state_bytes)}",
        f"  activations of a clip    {in_words(cost.clip_bytes)}",
        f"  one process, {micro} clips at once: {in_words(cost.state_bytes + micro * cost.clip_bytes)}; processes, "
        f"runtime.accumulation and runtime.device_batch_size divide the clips",
        f"  clips that fit at once   {fits}",
        "operations",
        f"  a clip                   {cost.clip_flops / 1e9:,.1f} GFLOP",
        f"  the run                  {cost.run_flops:.2e} FLOP, {hours:,.1f} device-hours at 100 TFLOP/s",
        f"  counted: {HOW}",
        f"  not counted: {NOT_COUNTED}.",
    ]


# -- in pictures


def draw(phase: Phase, data: DataPath, clips: list[Clip], folder: Path) -> list[Path]:
    """Write clips.png and masks.png of a phase, whose number is in the name from 1 on; returns the files."""
    import numpy as np

    from surgrec.config.build import build_augment, build_grid, build_masker
    from surgrec.training.pictures import to_pixels
    from surgrec.training.sheets import clip_sheet, mask_sheet, save_figure

    config, table = phase.config, data.mixture.table
    augment = build_augment(config)
    positions = np.array([clip.position for clip in clips]) * config.data.repeats
    places = [clip.place for clip in clips]
    pixels = to_pixels(augment([clip.pixels for clip in clips], positions, places=places), augment.spec)
    captions = [
        f"{data.manifest.id_of(clip.row)} of {table.sources[clip.source_index]}, from {clip.start_seconds:.2f} s"
        for clip in clips
    ]
    masks = build_masker(config).draw(positions[:NUM_MASKED_CLIPS])
    figures = {
        "clips": clip_sheet(pixels, captions),
        "masks": mask_sheet(pixels[:NUM_MASKED_CLIPS], masks, build_grid(config)),
    }
    ending = f"_phase_{phase.number}" if phase.number else ""
    return [save_figure(figure, folder / f"{name}{ending}.png") for name, figure in figures.items()]


def draw_whole(config: Config, data: DataPath, folder: Path) -> list[Path]:
    """Write mixture.png and schedules.png, over all phases; returns the files."""
    from surgrec.training.sheets import mixture_chart, save_figure, schedule_chart

    table = data.mixture.table
    figures = {
        "mixture": mixture_chart(table.sources, table.hours, table.shares),
        "schedules": schedule_chart(*schedules(config)),
    }
    return [save_figure(figure, folder / f"{name}.png") for name, figure in figures.items()]


def schedules(config: Config) -> tuple[Any, dict[str, Any]]:
    """Steps, and over them the learning rate, the weight decay and, where there are such, the target encoder's momentum and the
    weight of the loss on context tokens.
    """
    import numpy as np

    from surgrec.config.build import build_context_weight, build_momentum, build_plan

    plan = build_plan(config)
    curves: dict[str, Any] = {"learning rate": plan.rate, "weight decay": plan.weight_decay}
    if isinstance(config.objective, JEPAConfig):
        curves["momentum of the target encoder"] = build_momentum(config, config.objective)
        if (weight := build_context_weight(config.objective)) is not None:
            curves["weight of the context loss"] = weight
    steps = np.unique(np.linspace(0, plan.steps - 1, _SCHEDULE_POINTS).round().astype(np.int64))
    return steps, {name: np.array([curve.at(int(step)) for step in steps]) for name, curve in curves.items()}


def main() -> int:
    """Entry point of `surgrec preview` and `python -m surgrec.preview`."""
    return run_application(preview, __doc__)


if __name__ == "__main__":
    sys.exit(main())
