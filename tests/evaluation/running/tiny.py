"""A benchmark of seconds: videos whose colour tells their class, encoders of a few weights, one task of each form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import torch

from surgrec.corpus.unchanged import sha256_of
from surgrec.data.preprocess import PreprocessSpec
from surgrec.evaluation.attentive import AttentiveSettings
from surgrec.evaluation.protocols.attentive import Attentive
from surgrec.evaluation.protocols.finetune import FinetuneSettings
from surgrec.evaluation.protocols.temporal import TemporalSettings
from surgrec.evaluation.results import Results
from surgrec.evaluation.running.entrant import Entrant, Seen, majority, nothing_seen, stratified_random, viewed
from surgrec.evaluation.running.plan import Plan
from surgrec.evaluation.running.protocols import KEYS, Settings
from surgrec.evaluation.tasks.task import Clip, ClipTask, DenseTask, NamedSplit, Recording
from surgrec.features.baseline import FrozenModel, weights_sha256
from surgrec.hub.preprocess import ClipPreprocess
from surgrec.models.encoder import Encoder

NUM_VIDEOS, FPS, SECONDS = 12, 5, 4
COLOURS = ((200, 40, 40), (40, 40, 200))
CLASSES = ("red", "blue")
QUICK = ("knn", "linear", "few_shot_10", "frame_linear")
"""Protocols of seconds."""
SETTINGS = Settings(
    attentive=Attentive(AttentiveSettings(num_steps=4, learning_rates=(1e-3,))),
    temporal=TemporalSettings(num_stages=1, num_layers=2, channels=8, num_epochs=2, learning_rates=(1e-3,)),
    finetune=FinetuneSettings(num_epochs=1, batch_size=8, learning_rates=(1e-3,)),
)


def write_videos(folder: Path) -> list[Path]:
    """Each half red and half blue, in turns with either first."""
    folder.mkdir(parents=True, exist_ok=True)
    return [write_video(folder / f"{number:02d}.mp4", number) for number in range(NUM_VIDEOS)]


def write_video(path: Path, number: int) -> Path:
    """One of them; the number decides its pixels."""
    draws = np.random.default_rng(number)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for index in range(FPS * SECONDS):
            colour = COLOURS[(number + (2 * index >= FPS * SECONDS)) % 2]
            frame = np.clip(np.array(colour) + draws.normal(0, 15, (32, 32, 3)), 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def clip_task(videos: list[Path], name: str = "halves") -> ClipTask:
    """A clip of each half of each video; a video is a group."""
    clips = tuple(
        Clip(video, f"video_{number:02d}", start, start + 1.5, (number + half) % 2, f"group{number}")
        for number, video in enumerate(videos)
        for half, start in enumerate((0.2, 2.2))
    )
    rows = np.arange(2 * NUM_VIDEOS)
    return ClipTask(name, "Halves", "other", CLASSES, clips, (split_of(rows // 2),))


def dense_task(videos: list[Path]) -> DenseTask:
    """The colour every half second."""
    times = np.arange(0.25, SECONDS, 0.5)
    recordings = tuple(
        Recording(video, f"video_{number:02d}", f"group{number}", times, (number + (times >= SECONDS / 2)) % 2)
        for number, video in enumerate(videos)
    )
    return DenseTask("moments", "Moments", "other", "phase", CLASSES, recordings, (split_of(np.arange(NUM_VIDEOS)),))


def split_of(groups: np.ndarray) -> NamedSplit:
    """By the number of the group: a half, a sixth, a third."""
    train, validation, test = (
        np.flatnonzero((groups >= low) & (groups < high)) for low, high in ((0, 6), (6, 8), (8, 12))
    )
    return NamedSplit("seed0", "seeded", train, validation, test)


def model(seed: int, frames: int = 4) -> FrozenModel:
    """A few random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = Encoder(
            width=16, depth=1, num_heads=2, num_frames=frames, height_pixels=16, width_pixels=16, patch=8,
            positions="sincos_3d", qkv_bias="qkv", init="trunc_normal",
        )  # fmt: skip
    clip = ClipPreprocess(frames, 0.3, PreprocessSpec(16, 16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)))
    return FrozenModel(encoder.eval().requires_grad_(False), clip, f"tiny {seed}", weights_sha256(encoder))


def entrant(
    name: str = "ours", load: Callable[[int], FrozenModel] = lambda seed: model(7), videos: Sequence[Path] = ()
) -> Entrant:
    """`videos`: which it was pretrained on."""
    seen = Seen(frozenset(map(sha256_of, videos)), is_whole=True)
    return Entrant(name, f"Our {name}", "ours", load, seen=lambda: seen)


def plan(folder: Path, videos: list[Path], **changes: object) -> Plan:
    """All kinds of entrants, tasks and protocols."""
    ours = entrant(videos=[videos[0], videos[11]])
    drawn = Entrant("drawn", "Random weights", "random", model, is_drawn=True, seen=nothing_seen)
    whole = Plan(
        "tiny",
        folder / "benchmark",
        folder / "features",
        (clip_task(videos), dense_task(videos)),
        (ours, drawn, viewed(ours, "middle frame"), viewed(ours, "shuffled frames"), majority(), stratified_random()),
        KEYS,
        SETTINGS,
        num_seeds=2,
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def numbers_of(results: Results) -> Results:
    """Without what a clock says."""
    cells = tuple(replace(cell, seconds=0.0) for cell in results.cells)
    return replace(results, cells=cells, environment={})
