"""Real footage from file to number. Seconds of the same videos are held out: it shows that all parts fit, and nothing of an encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from surgrec.evaluation.attentive import AttentiveSettings
from surgrec.evaluation.clips import VideoClips, clip_times
from surgrec.evaluation.encode import encode_clips
from surgrec.evaluation.metrics import balanced_accuracy
from surgrec.evaluation.protocols.attentive import Attentive
from surgrec.evaluation.protocols.held_out import held_out
from surgrec.evaluation.splits import Split
from surgrec.features.baseline import load_any
from surgrec.video.probe import probe

DOMAINS = ("cataract", "endoscopy", "laparoscopy", "robotic")
PER_VIDEO = 9


@pytest.mark.slow
def test_an_attentive_probe_tells_domains_apart_on_held_out_seconds(clips: Path) -> None:
    videos = [(path, label) for label, name in enumerate(DOMAINS) for path in sorted((clips / name).glob("*.mp4"))]
    starts = [clip_times(0.0, probe(path).duration_seconds, PER_VIDEO) for path, _ in videos]
    source = VideoClips(
        [path for path, _ in videos for _ in range(PER_VIDEO)],
        [float(start) for own in starts for start in own],
        [float(start + own[1]) for own in starts for start in own],  # which is one ninth of the video
        [None] * (len(videos) * PER_VIDEO),
    )
    labels = np.repeat([label for _, label in videos], PER_VIDEO)
    rows = np.arange(len(labels))
    split = Split(rows[rows % 3 == 0], rows[rows % 3 == 1], rows[rows % 3 == 2])
    tokens = encode_clips(load_any("trivial:histogram", "cpu", num_frames=4), source, rows.tolist())
    few = AttentiveSettings(num_steps=100, learning_rates=(3e-3, 1e-3))
    result = held_out(tokens, labels, rows.astype(str), [split], Attentive(few), len(DOMAINS))
    assert float(balanced_accuracy(result.counts.sum(0))) > 0.75
