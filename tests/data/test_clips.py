"""Laws of the clip reader: the right moments, and the failure policy."""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from surgrec.core.errors import UserError
from surgrec.corpus.manifest import Manifest
from surgrec.data.clips import Clip, ClipReader, ClipSpec
from surgrec.data.errors import DataError
from surgrec.data.mixture import Mixture
from surgrec.data.sampler import Sampler
from surgrec.video import open_readers
from surgrec.video.decode import Region, open_video
from tests.data.conftest import manifest_of

SPEC = ClipSpec(num_frames=4, frame_interval_seconds=0.3)
Break = Callable[[dict[str, str]], Manifest]


def reader_of(manifest: Manifest, spec: ClipSpec = SPEC, max_attempts: int = 8) -> ClipReader:
    sampler = Sampler(Mixture(manifest, "temperature"), 0, spec.span_seconds)
    return ClipReader(manifest, sampler, spec, max_attempts=max_attempts)


def test_the_spec_is_in_seconds() -> None:
    np.testing.assert_allclose(SPEC.offsets_seconds, [0, 0.3, 0.6, 0.9])
    assert SPEC.span_seconds == pytest.approx(0.9)
    for frames, interval in [(0, 0.3), (4, 0.0), (4, float("nan"))]:
        with pytest.raises(UserError, match="interval above 0"):
            ClipSpec(frames, interval)


def test_a_clip_holds_the_frames_on_display_at_its_times(corpus: Manifest) -> None:
    reader = reader_of(corpus)
    for position in range(8):
        clip = reader.read(position)
        draw = reader.sampler.draw(np.array([position]))
        assert (clip.row, clip.start_seconds) == (draw.rows[0], draw.start_seconds[0])
        with open_video(corpus.path_of(clip.row)) as video:
            frames = video.read(np.arange(40) / 10).pixels
        shown = np.floor((clip.start_seconds + SPEC.offsets_seconds) * 10 + 1e-4).astype(int)
        np.testing.assert_array_equal(clip.pixels.numpy(), frames[shown])
        assert clip.pixels.dtype == torch.uint8
        assert clip.failures == ()


def test_frames_are_shrunk_to_the_short_side(corpus: Manifest) -> None:
    clip = reader_of(corpus, ClipSpec(2, 0.1, short_side_pixels=32)).read(0)
    assert min(clip.pixels.shape[1:3]) == 32


def test_a_clip_longer_than_its_video_repeats_the_last_frame(corpus: Manifest) -> None:
    clip = reader_of(corpus, ClipSpec(num_frames=8, frame_interval_seconds=1.0)).read(0)
    assert clip.start_seconds == 0.0
    assert torch.equal(clip.pixels[5], clip.pixels[7])
    assert not torch.equal(clip.pixels[2], clip.pixels[3])


@pytest.mark.parametrize("reason", ["missing", "corrupt"])
def test_a_failed_video_is_replaced_within_its_source(corpus: Manifest, with_broken: Break, reason: str) -> None:
    broken = {"alpha_01": reason, "beta_00": reason}
    whole, damaged = reader_of(corpus), reader_of(with_broken(broken))
    clips: list[tuple[Clip, Clip]] = [(whole.read(position), damaged.read(position)) for position in range(40)]
    num_failures = 0
    for good, clip in clips:
        assert clip.source_index == good.source_index
        wanted = str(corpus.video_ids[good.row])
        if wanted not in broken:
            assert (clip.row, clip.failures) == (good.row, ())
            assert torch.equal(clip.pixels, good.pixels)
            continue
        num_failures += 1
        (failure,) = clip.failures
        assert failure.video_id == wanted
        assert failure.position == clip.position
        assert failure.source == corpus.sources[clip.row]
        assert failure.replaced_by == corpus.video_ids[clip.row] != wanted
        assert failure.reason == reason or (reason == "corrupt" and failure.reason == "not_a_video")
    assert num_failures > 5


def test_a_clip_tells_which_video_was_slow_and_it_may_be_one_that_failed(
    corpus: Manifest, with_broken: Break, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = reader_of(with_broken({"alpha_01": "missing"}))
    fine, replaced = (
        next(clip for clip in map(reader.read, range(100)) if bool(clip.failures) == has_failed)
        for has_failed in (False, True)
    )
    assert fine.slowest_row == fine.row and fine.slowest_seconds > 0
    clock = iter([0.0, 9.0, 10.0, 12.0])  # its own reading takes 2 s, that of the missing one 9
    monkeypatch.setattr("surgrec.data.clips.time.perf_counter", lambda: next(clock))
    again = reader.read(replaced.position)
    assert (reader.name_of(again.slowest_row), again.slowest_seconds) == ("alpha_01", 9.0) != again.row


def test_a_video_is_not_tried_twice(with_broken: Break) -> None:
    manifest = with_broken({f"alpha_{index:02d}": "missing" for index in range(5)})
    reader = reader_of(manifest)
    in_alpha = [
        clip
        for clip in map(reader.read, range(40))
        if reader.sampler.mixture.table.sources[clip.source_index] == "alpha"
    ]
    assert in_alpha
    for clip in in_alpha:
        assert manifest.video_ids[clip.row] == "alpha_05"
        tried = [failure.video_id for failure in clip.failures]
        assert len(tried) == len(set(tried)) <= 5
    assert max(len(clip.failures) for clip in in_alpha) > 1


def position_in(reader: ClipReader, source: str) -> int:
    """The first position whose source is `source`."""
    index = reader.sampler.mixture.table.sources.index(source)
    return int(np.argmax(reader.sampler.draw(np.arange(1000)).source_index == index))


def test_a_source_that_cannot_be_read_ends_the_run_with_a_sentence(with_broken: Break) -> None:
    reader = reader_of(with_broken({"gamma_00": "missing", "gamma_01": "corrupt"}))
    with pytest.raises(DataError) as caught:
        reader.read(position_in(reader, "gamma"))
    for words in ("'gamma'", "gamma_00 (missing: ", "gamma_01 (not_a_video: ", "mend them, or index it again"):
        assert words in str(caught.value)


def test_only_where_all_files_are_away_the_folder_may_not_be_mounted(with_broken: Break) -> None:
    reader = reader_of(with_broken({"gamma_00": "missing", "gamma_01": "missing"}))
    with pytest.raises(DataError, match="check that its folder is mounted, then index it again"):
        reader.read(position_in(reader, "gamma"))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
@pytest.mark.parametrize("where", ["stat", "open"])
def test_what_the_system_refuses_of_a_file_costs_that_video_and_tells_no_path(
    number: int, where: str, corpus: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = {str(corpus.path_of(row)) for row, name in enumerate(corpus.video_ids) if name in ("alpha_01", "beta_00")}
    original = Path.stat if where == "stat" else open_readers.open_video

    def refuse(path: Path, *options: Any, **named: Any) -> Any:
        if str(path) in refused:
            raise OSError(number, os.strerror(number), str(path))
        return original(path, *options, **named)  # type: ignore[operator]

    monkeypatch.setattr(*((Path, "stat") if where == "stat" else (open_readers, "open_video")), refuse)
    reader = reader_of(corpus)
    failures = [failure for position in range(40) for failure in reader.read(position).failures]
    assert {failure.video_id for failure in failures} == {"alpha_01", "beta_00"}
    assert {failure.reason for failure in failures} == {"missing"}
    assert all(os.strerror(number) in failure.detail for failure in failures)
    assert not any(path in failure.detail for failure in failures for path in refused)


def test_a_file_of_another_size_than_was_indexed_is_not_read(corpus: Manifest, tmp_path: Path) -> None:
    """A shorter file under the old name would give stills of its last frame."""
    rows = corpus.table.to_pylist()
    for row in rows:
        row["usable"] = [(interval["start_seconds"], interval["end_seconds"]) for interval in row["usable"]]
        row["size_bytes"] = (Path(row["root"]) / row["path"]).stat().st_size - (row["video_id"] == "alpha_01")
    reader = reader_of(manifest_of(rows))
    failures = [failure for position in range(40) for failure in reader.read(position).failures]
    assert {(failure.video_id, failure.reason) for failure in failures} == {("alpha_01", "changed")}


def test_attempts_are_limited(with_broken: Break) -> None:
    reader = reader_of(with_broken({f"alpha_{index:02d}": "missing" for index in range(6)}), max_attempts=2)
    with pytest.raises(DataError, match="none of 2 videos tried at position"):
        reader.read(position_in(reader, "alpha"))


def test_an_unknown_decoder_is_not_a_failed_video(corpus: Manifest) -> None:
    reader = reader_of(corpus)
    reader.decoder = "nonesuch"
    with pytest.raises(UserError, match="nonesuch"):
        reader.read(0)


class Crops:
    """A rectangle of its own for every position."""

    def bounding(self, position: int, height: int, width: int) -> Region:
        top, left = position % (height // 2), 3 * position % (width // 2)
        return Region(top, left, height - top - position % 5, width - left - 1)


def test_a_part_of_the_frames_is_bitwise_that_of_the_whole(corpus: Manifest) -> None:
    """With videos kept open or not, in any order, also from a reader that travelled to another process."""
    whole = reader_of(corpus)
    part = ClipReader(corpus, whole.sampler, SPEC, regions=Crops(), open_readers_bytes=10**8)
    expected = [whole.read(position) for position in range(12)]
    for reader in (part, pickle.loads(pickle.dumps(part))):
        for position in [*range(12), *range(11, -1, -1)]:
            one, other = reader.read(position), expected[position]
            height, width = other.pixels.shape[1:3]
            top, left, rows, columns = Crops().bounding(position, height, width)
            assert (one.top, one.left, one.frame_height, one.frame_width) == (top, left, height, width)
            assert torch.equal(one.pixels, other.pixels[:, top : top + rows, left : left + columns])
            assert (one.row, one.start_seconds, one.failures) == (other.row, other.start_seconds, other.failures)
    assert (other.top, other.left, other.frame_height, other.frame_width) == (0, 0, 0, 0)


def test_videos_stay_open_within_the_limit_and_until_they_are_closed(corpus: Manifest) -> None:
    whole = reader_of(corpus)
    reader = ClipReader(corpus, whole.sampler, SPEC, open_readers_bytes=2_500_000)
    for position in range(10):
        assert torch.equal(reader.read(position).pixels, whole.read(position).pixels)
        assert reader._readers is not None and reader._readers.held_bytes <= 2_500_000
    assert len(reader._readers) >= 1
    assert pickle.loads(pickle.dumps(reader))._readers is None
    reader.close()
    assert reader._readers is None
