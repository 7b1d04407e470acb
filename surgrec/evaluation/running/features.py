"""Features of a task's clips and operations, computed once.

In: a model, a task. Out: tensors. It is its own file because of one promise: what is read here was computed by these very weights, from
these very pixels. Features lie under a digest of all that decides them:

    FOLDER/MODEL/VIDEO.safetensors

MODEL: of the encoder's weights and architecture, the libraries that run it, its preprocessing and geometry, the view, the layout, the
numbers' precision. VIDEO: of the video's bytes.
Inside, each tensor is named by its window. So a changed release, another clip length or a replaced video never read old features, and
benchmarks may share one folder.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from surgrec.core.atomic import atomic_path, remove_old_leftovers
from surgrec.core.errors import UserError
from surgrec.evaluation.clips import ClipSource, KeptClips, Room, VideoClips, View, ViewedClips
from surgrec.evaluation.encode import Kept, encode_clips_as
from surgrec.evaluation.moments import encode_moments
from surgrec.evaluation.running.contents import Contents
from surgrec.evaluation.tasks.task import Clip, ClipTask, Recording
from surgrec.features.baseline import FrozenModel
from surgrec.features.extractor import Layout, Precision
from surgrec.video.errors import VideoError

FORMAT = 2  # raise it whenever the same model and pixels begin to give other features
_CLIPS_AT_ONCE = 64  # between two writes: so much is lost where the process dies


class Features:
    """`folder`: where features are kept; `layout`: what is kept of a clip's tokens, `with_change`: with `change` beside it; the rest as in
    `encode_clips`.
    """

    def __init__(
        self,
        folder: Path,
        layout: Layout = "time",
        batch_size: int = 8,
        precision: Precision = "float32",
        with_change: bool = False,
    ) -> None:
        self.folder, self.layout, self.batch_size, self.precision = folder, layout, batch_size, precision
        self.layouts: tuple[Kept, ...] = (layout, "change") if with_change else (layout,)
        self.contents = Contents(folder / "contents.json")
        self._room, self._clips = Room(), dict[str, KeptClips]()

    def of_clips(
        self, model: FrozenModel, task: ClipTask, view: View = "all frames", seed: int = 0, layout: Kept | None = None
    ) -> Tensor:
        """Features of all clips of the task in their order, in one of the layouts (none: the first); see `encode_clips`.

        `seed`: of the order of shuffled frames. One forward pass gives all layouts that are kept. Raises `UserError` for a clip that
        cannot be read.
        """
        drawers = {each: self._drawer(model, view, each) for each in self.layouts}
        drawer = drawers[layout or self.layout]
        source = ViewedClips(self.clips_of(task), view, seed)
        names = [
            _name(clip, f"-{seed}-{row}" if view == "shuffled frames" else "") for row, clip in enumerate(task.clips)
        ]
        files = [drawer / f"{self.contents.of(clip.video)}.safetensors" for clip in task.clips]
        self.contents.save()
        kept = {file: _read(file) for file in set(files)}
        # videos stay together, so that each is opened for a stretch of clips and written once
        missing = sorted(
            (row for row in range(len(files)) if names[row] not in kept[files[row]]), key=lambda row: files[row]
        )
        for first in range(0, len(missing), _CLIPS_AT_ONCE):
            rows = missing[first : first + _CLIPS_AT_ONCE]
            values = encode_clips_as(self.layouts, model, source, rows, self.batch_size, self.precision)
            for each, found in zip(self.layouts, values, strict=True):
                fresh: dict[Path, dict[str, Tensor]] = {}
                for row, value in zip(rows, found, strict=True):
                    fresh.setdefault(drawers[each] / files[row].name, {})[names[row]] = value.contiguous()
                for file, tensors in fresh.items():
                    _write(file, tensors)
                    if drawers[each] == drawer:
                        kept[file] |= tensors
        return torch.stack([kept[file][name] for file, name in zip(files, names, strict=True)])

    def clips_of(self, task: ClipTask) -> ClipSource:
        """The task's clips, which stay in memory for the next encoder while there is room."""
        if task.name not in self._clips:
            self._clips[task.name] = KeptClips(clip_source(task), self._room)
        return self._clips[task.name]

    def of_recording(self, model: FrozenModel, recording: Recording) -> tuple[Tensor, npt.NDArray[np.bool_]]:
        """Mean tokens (n, D) at the moments of a recording, each of the clip that ends there, and which are valid (n,).

        Raises `UserError` where nothing of it can be read.
        """
        file = self._drawer(model, "all frames", "pooled") / f"{self.contents.of(recording.video)}.safetensors"
        self.contents.save()
        kept, name = _read(file), _name_of_moments(recording)
        if name not in kept:
            try:
                kept[name], _ = encode_moments(
                    model,
                    recording.video,
                    recording.times_seconds,
                    frames_fps=recording.frames_fps,
                    batch_size=self.batch_size,
                    precision=self.precision,
                )
            except VideoError as error:
                raise UserError(
                    f"{recording.video_id} cannot be read ({error}); mend the file or leave it out"
                ) from None
            _write(file, kept)
        features = kept[name]
        return features, torch.isfinite(features).all(1).numpy()

    def _drawer(self, model: FrozenModel, view: View, layout: Kept) -> Path:
        facts = {"format": FORMAT, "model": model.facts, "view": view, "layout": layout, "precision": self.precision}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:24]
        return self.folder / digest


def clip_source(task: ClipTask) -> VideoClips:
    """The task's clips, read from its videos."""
    videos, starts, ends, rates = (
        [getattr(clip, name) for clip in task.clips] for name in ("video", "start_seconds", "end_seconds", "frames_fps")
    )
    return VideoClips(videos, starts, ends, rates, video_ids=[clip.video_id for clip in task.clips])


def _name(clip: Clip, more: str) -> str:
    end = "end" if clip.end_seconds is None else f"{clip.end_seconds:.6f}"
    rate = "" if clip.frames_fps is None else f"@{clip.frames_fps:g}"
    return f"clip-{clip.start_seconds:.6f}-{end}{rate}{more}"


def _name_of_moments(recording: Recording) -> str:
    digest = hashlib.blake2b(np.round(recording.times_seconds, 6).tobytes(), digest_size=8).hexdigest()
    rate = "" if recording.frames_fps is None else f"@{recording.frames_fps:g}"
    return f"moments-{digest}{rate}"


def _read(file: Path) -> dict[str, Tensor]:
    """What is kept of a video; nothing where the file is damaged, which is then computed anew."""
    if not file.is_file():
        return {}
    try:
        return dict(load_file(file))
    except (SafetensorError, OSError):
        return {}


def _write(file: Path, tensors: dict[str, Tensor]) -> None:
    """With what another process has added meanwhile; where both write at once, one of them is computed again later."""
    file.parent.mkdir(parents=True, exist_ok=True)
    remove_old_leftovers(file.parent)
    with atomic_path(file) as temporary:
        save_file(_read(file) | tensors, temporary, metadata={"format": "pt"})
