"""Features are computed once, and never read for other weights or other pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from surgrec.core.errors import UserError
from surgrec.evaluation.encode import encode_clips
from surgrec.evaluation.running import features as kept
from surgrec.evaluation.running.features import Features
from surgrec.evaluation.tasks.task import ClipTask
from surgrec.features.baseline import FrozenModel
from tests.evaluation.running import tiny


@pytest.fixture
def task(tmp_path: Path) -> ClipTask:
    return tiny.clip_task(tiny.write_videos(tmp_path / "videos"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of clips that were encoded, call by call."""
    counts: list[int] = []
    real = kept.encode_clips_as

    def counting(layouts: object, model: FrozenModel, clips: object, rows: Sequence[int], *more: object) -> object:
        counts.append(len(rows))
        return real(layouts, model, clips, rows, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(kept, "encode_clips_as", counting)
    return counts


def test_what_is_kept_is_what_the_encoder_gives(task: ClipTask, tmp_path: Path, asked: list[int]) -> None:
    model = tiny.model(1)
    first = Features(tmp_path / "kept").of_clips(model, task)
    assert sum(asked) == len(task.clips) and first.shape == (24, 2, 16)
    again = Features(tmp_path / "kept").of_clips(model, task)
    assert sum(asked) == len(task.clips) and torch.equal(first, again)
    clip = task.clips[5]
    alone = encode_clips(model, kept.clip_source(task), [5], layout="time")
    assert clip.label in (0, 1) and torch.allclose(alone[0], first[5], atol=1e-6)


def test_one_forward_pass_gives_every_layout_that_is_kept(task: ClipTask, tmp_path: Path, asked: list[int]) -> None:
    model = tiny.model(1)
    both = Features(tmp_path / "both", with_change=True)
    time, change = both.of_clips(model, task), both.of_clips(model, task, layout="change")
    assert sum(asked) == len(task.clips)
    assert torch.equal(time, Features(tmp_path / "time").of_clips(model, task))
    assert torch.equal(
        change, Features(tmp_path / "change", "pooled", with_change=True).of_clips(model, task, layout="change")
    )
    assert torch.allclose(change[:, :16], time.mean(1), atol=1e-6)


def test_other_weights_geometry_view_and_layout_have_their_own(
    task: ClipTask, tmp_path: Path, asked: list[int]
) -> None:
    model = tiny.model(1)
    slower = replace(model, preprocess=replace(model.preprocess, frame_interval_seconds=0.1))
    found = [
        Features(tmp_path / "kept").of_clips(model, task),
        Features(tmp_path / "kept").of_clips(tiny.model(2), task),
        Features(tmp_path / "kept").of_clips(model, task, "middle frame"),
        Features(tmp_path / "kept").of_clips(model, task, "shuffled frames", 0),
        Features(tmp_path / "kept").of_clips(model, task, "shuffled frames", 1),
    ]
    assert sum(asked) == len(found) * len(task.clips)
    for place, one in enumerate(found):
        assert not any(torch.equal(one, other) for other in found[place + 1 :])
    Features(tmp_path / "kept").of_clips(slower, task)
    assert Features(tmp_path / "kept", "pooled").of_clips(model, task).shape == (24, 16)
    assert sum(asked) == 7 * len(task.clips)


def test_every_forward_pass_is_of_as_many_clips(task: ClipTask, tmp_path: Path) -> None:
    """Sums over another number of clips round otherwise: what is there already must not change what is computed now."""
    model, sizes = tiny.model(1), set[int]()
    model.encoder.register_forward_pre_hook(lambda _module, inputs: sizes.add(len(inputs[0])))
    whole = Features(tmp_path / "one", batch_size=5).of_clips(model, task)
    few = replace(task, clips=task.clips[:3], splits=())
    Features(tmp_path / "two", batch_size=5).of_clips(model, few)
    assert torch.equal(Features(tmp_path / "two", batch_size=5).of_clips(model, task), whole)
    assert sizes == {5}


def test_a_video_is_what_its_bytes_are(task: ClipTask, tmp_path: Path, asked: list[int]) -> None:
    """Moved, it is the same; replaced under its name, it is another."""
    model, features = tiny.model(1), Features(tmp_path / "kept")
    before = features.of_clips(model, task)
    for clip in task.clips[::2]:
        clip.video.rename(tmp_path / f"moved_{clip.video.name}")
    moved = replace(
        task, clips=tuple(replace(clip, video=tmp_path / f"moved_{clip.video.name}") for clip in task.clips)
    )
    assert torch.equal(Features(tmp_path / "kept").of_clips(model, moved), before)
    assert sum(asked) == len(task.clips)
    tiny.write_video(moved.clips[0].video, 99)
    after = Features(tmp_path / "kept").of_clips(model, moved)
    assert sum(asked) == len(task.clips) + 2
    assert not torch.allclose(after[:2], before[:2]) and torch.equal(after[2:], before[2:])


def test_no_name_of_a_video_is_kept(task: ClipTask, tmp_path: Path) -> None:
    features = Features(tmp_path / "kept")
    features.of_clips(tiny.model(1), task)
    said = " ".join(str(path.relative_to(tmp_path / "kept")) for path in (tmp_path / "kept").rglob("*"))
    said += (tmp_path / "kept" / "contents.json").read_text()
    assert not any(clip.video.name in said or clip.video_id in said for clip in task.clips)


def test_a_damaged_file_is_computed_anew(task: ClipTask, tmp_path: Path, asked: list[int]) -> None:
    features = Features(tmp_path / "kept")
    before = features.of_clips(tiny.model(1), task)
    file = next((tmp_path / "kept").rglob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:50])
    assert torch.equal(features.of_clips(tiny.model(1), task), before)
    assert sum(asked) == len(task.clips) + 2


def test_a_video_that_is_gone_is_told_without_its_name(task: ClipTask, tmp_path: Path) -> None:
    gone = replace(task, clips=(replace(task.clips[0], video=tmp_path / "patient.mp4"), *task.clips[1:]))
    with pytest.raises(UserError, match="not where the task says") as told:
        Features(tmp_path / "kept").of_clips(tiny.model(1), gone)
    assert "patient" not in str(told.value)


def test_moments_of_an_operation_are_kept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = tiny.dense_task(tiny.write_videos(tmp_path / "videos"))
    features, recording = Features(tmp_path / "kept"), task.recordings[0]
    values, is_valid = features.of_recording(tiny.model(1), recording)
    assert values.shape == (8, 16) and is_valid.all()
    monkeypatch.setattr(kept, "encode_moments", None)
    assert torch.equal(features.of_recording(tiny.model(1), recording)[0], values)
    with pytest.raises(TypeError):  # other moments are to be computed
        features.of_recording(tiny.model(1), replace(recording, times_seconds=recording.times_seconds + 0.1))
