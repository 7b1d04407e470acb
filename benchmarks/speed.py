"""Speed and memory of a whole training step, against the same step made of the layers of Hugging Face transformers.

    python benchmarks/speed.py --out benchmarks/results                                  # every row, about half an hour on 2 cores
    python benchmarks/speed.py --rows mae-base --precision bf16 --pairs 7                # some rows
    python benchmarks/speed.py --device cuda --batch 64 128 256 --profile --out benchmarks/results            # on a GPU, then the same
    python benchmarks/speed.py --device cuda --batch 64 128 256 --profile --out benchmarks/results --compile  # through torch.compile

A step is targets, forward, backward, AdamW and, for JEPA, the target encoder's average, on given clips and masks: no footage is read.
Both sides have the same weights (ours are the peer's, through `hub.from_transformers`), clips, masks, batch, optimiser (AdamW, fused)
and allocator, and before anything is timed their first losses must agree (but for the dual rows, whose masks differ on purpose). Each
side lives in a process of its own; they step in turn, A B B A, so that a drift of the machine meets both, and the ratio is taken pair by
pair. `surgrec train` has the C library keep freed memory (surgrec/core/memory.py); here both sides do, or, with `--allocator ours`,
only ours, which is what a user of either meets.

The peers are what a competent user would write with those layers:

- MAE: `VideoMAEForPreTraining` as it is.
- JEPA: one target pass without gradients, all patches embedded once with gradients (by the model's own convolution), both masks on
  their visible tokens only from there on (the layers take a position mask), a mask token for every target, no sorting, L1, AdamW,
  averaging in one call over all parameters.

Columns: clips a second; useful operations (`surgrec/models/flops.py`: matrix products and attention of the tokens that are needed by
that side's masks, nothing that is computed twice); their rate over the rate of a large matrix product, measured between the
steps; and peak memory of one more step above what lies there before it (interpreter, parameters, optimiser), by the system's own count on
a CPU and by torch's on a GPU.
"""

from __future__ import annotations

import argparse
import copy
import ctypes
import datetime
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import surgrec.core.torchvision_guard  # noqa: F401  (transformers imports torchvision)
from surgrec.core.atomic import write_text
from surgrec.core.grid import TokenGrid
from surgrec.core.memory import keep_freed_memory
from surgrec.hub import from_transformers
from surgrec.masks.masks import Masker, MaskSet
from surgrec.masks.multiblock import BlockGroup, MultiBlockMasker
from surgrec.masks.tube import TubeMasker
from surgrec.models.flops import TRAINING_OVER_FORWARD, decoder_flops, encoder_flops, predictor_flops
from surgrec.models.sizes import size_named
from surgrec.objectives.jepa import JEPA
from surgrec.objectives.mae import MAE
from surgrec.optim.schedules import Schedule

PATCH, TUBELET, FRAMES = 16, 2, 16
P = 3 * TUBELET * PATCH**2
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # VideoMAE's port undoes this normalisation too
EMA = 0.99925
PREDICTOR = {"width": 384, "depth": 12}


@dataclass(frozen=True)
class Row:
    """What is measured: `objective` mae or jepa, an encoder size, clip side, whether ours decodes half (VideoMAE V2's dual masking)."""

    name: str
    objective: str
    size: str
    side: int
    batch: int
    is_dual: bool = False

    @property
    def grid(self) -> TokenGrid:
        return TokenGrid.of_clip(FRAMES, self.side, self.side, TUBELET, PATCH)

    def masker(self, is_dual: bool) -> Masker:
        if self.objective == "mae":
            return TubeMasker(self.grid, 0.9, 0, running_cells=is_dual)
        groups = [BlockGroup(8, 0.15, 0.25, 0.5), BlockGroup(2, 0.7, 0.0625, 0.6875)]
        return MultiBlockMasker(self.grid, groups, 0)


ROWS = (
    Row("mae-base", "mae", "base", 224, batch=8),
    Row("mae-base-dual", "mae", "base", 224, batch=8, is_dual=True),
    Row("jepa-base", "jepa", "base", 256, batch=2),
    Row("jepa-large", "jepa", "large", 256, batch=1),
)
# to try the script itself
SMALL = (Row("mae-nano", "mae", "nano", 64, batch=2), Row("jepa-nano", "jepa", "nano", 64, batch=2))


def useful_flops(row: Row, is_dual: bool) -> int:
    """Operations of one clip's step. Patches of visible tokens have no gradient of their own; the target encoder has none at all."""
    size, total = size_named(row.size), 0
    shape = {"width": size.width, "depth": size.depth, "mlp_ratio": size.mlp_ratio, "patch_values": P}
    for mask in row.masker(is_dual).draw([0]):
        context, target = mask.context.shape[1], mask.target.shape[1]
        total += TRAINING_OVER_FORWARD * encoder_flops(context, **shape) - 2 * context * P * size.width
        if row.objective == "mae":
            head = decoder_flops(context, target, encoder_width=size.width, patch_values=P, width=384, depth=4)
        else:
            head = predictor_flops(context, target, encoder_width=size.width, **PREDICTOR)
        total += TRAINING_OVER_FORWARD * head
    return total + (encoder_flops(row.grid.num_tokens, **shape) if row.objective == "jepa" else 0)


# -- the two sides; each a function from a clip batch and masks to the loss of one whole step


def peer_model(row: Row) -> Any:
    """The transformers model of a row, its weights drawn from one seed."""
    import transformers

    torch.manual_seed(0)
    size = size_named(row.size)
    if row.objective == "mae":
        config = transformers.VideoMAEConfig(
            image_size=row.side, patch_size=PATCH, num_frames=FRAMES, hidden_size=size.width, num_hidden_layers=size.depth,
            num_attention_heads=size.num_heads, intermediate_size=4 * size.width, decoder_hidden_size=384,
            decoder_num_hidden_layers=4, decoder_num_attention_heads=6, decoder_intermediate_size=1536, layer_norm_eps=1e-6,
            use_mean_pooling=False, norm_pix_loss=True,
        )  # fmt: skip
        return transformers.VideoMAEForPreTraining._from_config(config, attn_implementation="sdpa").train()
    config = transformers.VJEPA2Config(
        crop_size=row.side, patch_size=PATCH, frames_per_clip=FRAMES, hidden_size=size.width, num_hidden_layers=size.depth,
        num_attention_heads=size.num_heads, mlp_ratio=4.0, pred_hidden_size=384, pred_num_hidden_layers=12,
        pred_num_attention_heads=12, pred_num_mask_tokens=2,
    )  # fmt: skip
    return transformers.VJEPA2Model._from_config(config, attn_implementation="sdpa").train()


Loss = Callable[[Tensor, tuple[MaskSet, ...]], Tensor]


def peer(row: Row, device: str, is_compiled: bool) -> tuple[Loss, list[torch.nn.Parameter], Callable[[], None]]:
    """The peer's loss, its trained parameters, and what follows an update."""
    model = peer_model(row).to(device)
    if row.objective == "mae":
        forward = torch.compile(model) if is_compiled else model

        def reconstruct(video: Tensor, masks: tuple[MaskSet, ...]) -> Tensor:
            hidden = torch.ones(len(video), row.grid.num_tokens, dtype=torch.bool, device=device)
            return forward(video.transpose(1, 2), hidden.scatter(1, masks[0].context, False)).loss

        return reconstruct, list(model.parameters()), lambda: None

    encoder, predictor = model.encoder, model.predictor
    average = copy.deepcopy(encoder).requires_grad_(False)

    def layers(module: Any, tokens: Tensor, positions: Tensor | None) -> Tensor:
        for layer in module.layer:
            tokens = layer(tokens, positions)[0]
        return module.layernorm(tokens)

    def gathered(tokens: Tensor, ids: Tensor) -> Tensor:
        return tokens.gather(1, ids[..., None].expand(-1, -1, tokens.shape[-1]))

    def predict(video: Tensor, masks: tuple[MaskSet, ...]) -> Tensor:
        frames = video.transpose(1, 2)
        with torch.no_grad():
            wanted = layers(average, average.embeddings(frames), None).float()
            wanted = F.layer_norm(wanted, wanted.shape[-1:])
        patches, losses = encoder.embeddings(frames), []
        for mask in masks:
            context = layers(encoder, gathered(patches, mask.context), mask.context)
            context = predictor.embeddings.predictor_embeddings(context)
            target = predictor.embeddings.mask_tokens[0].expand(*mask.target.shape, -1)
            tokens = torch.cat((context, target.to(context.dtype)), dim=1)
            tokens = layers(predictor, tokens, torch.cat(tuple(mask), dim=1))
            predicted = predictor.proj(tokens[:, mask.context.shape[1] :])
            losses.append(F.l1_loss(predicted.float(), gathered(wanted, mask.target)))
        return torch.stack(losses).mean()

    def follow() -> None:
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(encoder.parameters()), 1 - EMA)

    return torch.compile(predict) if is_compiled else predict, list(model.parameters()), follow


def ours(row: Row, device: str, is_compiled: bool) -> tuple[Loss, list[torch.nn.Parameter], Callable[[], None]]:
    """Our objective with the peer's weights, called as the training step calls it."""
    learner = from_transformers(peer_model(row)).to(device)
    objective: MAE | JEPA
    if row.objective == "mae":
        objective = MAE(learner.encoder, learner.decoder, MEAN, STD)
    else:
        objective = JEPA(learner.encoder, learner.predictor, Schedule(EMA, 1))
    if is_compiled:
        for module in (objective.learner, *objective.frozen.values()):
            module.compile()

    def loss(video: Tensor, masks: tuple[MaskSet, ...]) -> Tensor:
        return objective.learner(video, masks, objective.targets(video, masks)).loss

    return loss, list(objective.learner.parameters()), lambda: objective.after_update(0)


# -- a side in its process


def work(spec: dict[str, Any]) -> None:
    """Build one side, then make a step for every line of standard input and answer with its time, loss and peak memory."""
    row, device = Row(**spec["row"]), spec["device"]
    is_ours, is_cuda, is_bf16 = spec["side"] == "ours", device == "cuda", spec["precision"] == "bf16"
    if not is_cuda and (is_ours or spec["allocator"] == "both"):
        keep_freed_memory()
    if is_cuda and not is_bf16:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    loss_of, parameters, follow = (ours if is_ours else peer)(row, device, spec["compile"])
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=True)
    masker, video = row.masker(spec["is_dual"]), torch.randn(row.batch, 3, FRAMES, row.side, row.side).to(device)
    first = 0
    for line in sys.stdin:
        profiler = kernel_profiler(is_cuda) if line.strip() == "profile" else nullcontext()
        masks = tuple(mask.to(torch.device(device)) for mask in masker.draw(range(first, first + row.batch)))
        first += row.batch
        floor = memory_floor(is_cuda) if line.strip() == "memory" else 0
        start = time.perf_counter()
        with profiler:
            with torch.autocast(device, torch.bfloat16, enabled=is_bf16):
                loss = loss_of(video, masks)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            follow()
            value = float(loss.detach())  # waits for a GPU
        seconds = time.perf_counter() - start
        answer = {"seconds": seconds, "loss": value}
        if floor:
            answer["bytes"] = memory_peak(is_cuda) - floor
        if isinstance(profiler, torch.profiler.profile):
            answer["kernels"] = largest_kernels(profiler, is_cuda)
        print(json.dumps(answer), flush=True)


def kernel_profiler(is_cuda: bool) -> torch.profiler.profile:
    activity = torch.profiler.ProfilerActivity
    return torch.profiler.profile(activities=[activity.CPU, *([activity.CUDA] if is_cuda else [])])


def largest_kernels(profiler: torch.profiler.profile, is_cuda: bool) -> dict[str, float]:
    """Shares of the step's time by operation, those above 1 %."""
    events = profiler.key_averages()
    times = {event.key: event.self_device_time_total if is_cuda else event.self_cpu_time_total for event in events}
    total = sum(times.values())
    return {
        name: time / total for name, time in sorted(times.items(), key=lambda item: -item[1]) if time > 0.01 * total
    }


def memory_floor(is_cuda: bool) -> int:
    """Bytes in use before a step; from here on the peak is counted."""
    if is_cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from what is resident now
    return _status("VmRSS")


def memory_peak(is_cuda: bool) -> int:
    return torch.cuda.max_memory_allocated() if is_cuda else _status("VmHWM")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


class SideError(Exception):
    """A side that did not live to answer."""


class Side:
    """A process that steps when told to."""

    def __init__(self, side: str, row: Row, options: argparse.Namespace, precision: str) -> None:
        is_dual = row.is_dual and side == "ours"
        spec = {
            "side": side, "row": asdict(row), "device": options.device, "precision": precision, "compile": options.compile,
            "is_dual": is_dual, "allocator": options.allocator,
        }  # fmt: skip
        command = [sys.executable, "-W", "ignore", __file__, "--worker", json.dumps(spec)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.steps: list[dict[str, Any]] = []

    def step(self, kind: str = "step") -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{kind}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SideError(f"a side ended with status {self.process.wait()}, most likely for want of memory")
        self.steps.append(json.loads(answer))
        return self.steps[-1]

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def matrix_rate(device: str, precision: str) -> float:
    """Operations a second of one 4096 x 4096 x 4096 product (8192 on a GPU)."""
    side, dtype = (8192 if device == "cuda" else 4096), torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = torch.randn(2, side, side, device=device).to(dtype)
    a @ b
    repeats = 20 if device == "cuda" else 1
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        a @ b
    if device == "cuda":
        torch.cuda.synchronize()
    return repeats * 2 * side**3 / (time.perf_counter() - start)


def measure(row: Row, precision: str, options: argparse.Namespace) -> dict[str, Any]:
    """One row: medians of both sides over the pairs that follow a warm-up pair, and of the pairs' ratios."""
    sides = {name: Side(name, row, options, precision) for name in ("peer", "ours")}
    rates = []
    for pair in range(options.pairs + options.warmup):
        for name in ("peer", "ours") if pair % 2 else ("ours", "peer"):
            sides[name].step()
        rates.append(matrix_rate(options.device, precision))
    # by itself, since counting from a floor gives all kept memory back to the system first
    memory = {name: side.step("memory")["bytes"] / 1e9 for name, side in sides.items()}
    kernels = {name: side.step("profile")["kernels"] for name, side in sides.items()} if options.profile else {}
    for side in sides.values():
        side.close()
    first = [side.steps[0]["loss"] for side in sides.values()]
    if not row.is_dual and abs(first[0] - first[1]) > (2e-2 if precision == "bf16" else 1e-4) * abs(first[0]):
        raise SystemExit(
            f"{row.name} {precision}: the first losses differ, {first[0]} and {first[1]}; nothing is compared"
        )
    timed = {name: side.steps[options.warmup : options.warmup + options.pairs] for name, side in sides.items()}
    rate, flops = statistics.median(rates), {"ours": useful_flops(row, row.is_dual), "peer": useful_flops(row, False)}
    result: dict[str, Any] = {
        "row": row.name, "precision": precision, "batch": row.batch, "pairs": options.pairs, "compile": options.compile,
        "first_losses": first, "allocator": options.allocator, "useful_gflops_per_clip": flops["ours"] / 1e9,
        "matrix_gflops_per_second": rate / 1e9,
        "speedup": statistics.median(
            theirs["seconds"] / mine["seconds"] for theirs, mine in zip(timed["peer"], timed["ours"], strict=True)
        ),
    }  # fmt: skip
    for name, steps in timed.items():
        seconds = statistics.median(step["seconds"] for step in steps)
        result[name] = {
            "seconds": [step["seconds"] for step in steps],
            "clips_per_second": row.batch / seconds,
            "share_of_matrix_rate": flops[name] * row.batch / seconds / rate,
            "peak_gigabytes": memory[name],
        }
        if kernels:
            result[name]["kernels"] = kernels[name]
    result["memory_ratio"] = result["ours"]["peak_gigabytes"] / result["peer"]["peak_gigabytes"]
    return result


def table(results: list[dict[str, Any]]) -> str:
    lines = [
        "| row | precision | batch | useful GFLOP a clip | clips/s ours | clips/s peer | speed-up | share of matrix rate ours | peer "
        "| peak GB ours | peer | memory ratio |",
        "|" + "---|" * 12,
    ]
    lines += [
        f"| {r['row']} | {r['precision']} | {r['batch']} | {r['useful_gflops_per_clip']:.0f} | {r['ours']['clips_per_second']:.3f} "
        f"| {r['peer']['clips_per_second']:.3f} | {r['speedup']:.2f} | {r['ours']['share_of_matrix_rate']:.0%} "
        f"| {r['peer']['share_of_matrix_rate']:.0%} | {r['ours']['peak_gigabytes']:.2f} | {r['peer']['peak_gigabytes']:.2f} "
        f"| {r['memory_ratio']:.2f} |"
        for r in results
    ]
    rates = {(r["row"], r["batch"], r["precision"]): r["ours"]["clips_per_second"] for r in results}
    notes = [
        f"- {name}, batch {batch}: bf16 is {rates[name, batch, 'bf16'] / rates[name, batch, 'fp32']:.2f} times our fp32"
        for name, batch, precision in rates
        if precision == "fp32" and (name, batch, "bf16") in rates
    ]
    notes += [
        f"- {r['row']} {r['precision']}, batch {r['batch']}, where our step's time goes: "
        + ", ".join(f"{kernel} {share:.0%}" for kernel, share in r["ours"]["kernels"].items())
        for r in results
        if "kernels" in r["ours"]
    ]
    return "\n".join([*lines, "", *notes]) + "\n"


def hardware(device: str) -> str:
    """The processor or GPU, its threads, and the versions that matter."""
    name = torch.cuda.get_device_name() if device == "cuda" else _cpu_name()
    import transformers

    return (
        f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, transformers {transformers.__version__}"
    )


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows", nargs="+", choices=[row.name for row in ROWS + SMALL], default=[row.name for row in ROWS]
    )
    parser.add_argument("--precision", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--pairs", type=int, default=5, help="timed pairs of steps (default 5)")
    parser.add_argument("--warmup", type=int, default=1, help="pairs before them (default 1)")
    parser.add_argument("--batch", type=int, nargs="+", help="clips a step, one row for each, instead of the row's own")
    parser.add_argument("--profile", action="store_true", help="after the timed pairs, where a step's time goes")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--allocator", choices=["both", "ours"], default="both", help="which side keeps freed memory, on a CPU"
    )
    parser.add_argument("--compile", action="store_true", help="both sides through torch.compile")
    parser.add_argument("--out", type=Path, help="folder for speed_DEVICE_DATE.json and .md")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(json.loads(options.worker))
        return
    results, load = [], os.getloadavg()[0]
    rows = [row for row in ROWS + SMALL if row.name in options.rows]
    for row, precision in itertools.product(rows, options.precision):
        for batch in options.batch or [row.batch]:
            try:
                results.append(measure(replace(row, batch=batch), precision, options))
            except SideError as error:
                print(f"{row.name} {precision}, batch {batch}: {error}; left out\n", flush=True)
                continue
            print(table(results[-1:]), flush=True)
    report = f"{datetime.date.today()}, {hardware(options.device)}, load before {load:.1f}, freed memory kept by {options.allocator}"
    print(f"{report}\n\n{table(results)}")
    if options.out:
        marks = ["speed", options.device, *(["compiled"] if options.compile else [])]
        marks += ["default_peer"] if options.allocator == "ours" else []
        stem = "_".join([*marks, str(datetime.date.today())])
        write_text(options.out / f"{stem}.json", json.dumps({"run": report, "rows": results}, indent=1) + "\n")
        write_text(options.out / f"{stem}.md", f"# Training steps against transformers\n\n{report}\n\n{table(results)}")


if __name__ == "__main__":
    main()
