"""Files that were made, or damaged, so that reading them costs more than they weigh or reaches other files."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from surgrec.corpus.isolated import Limits, OutOfMemory, map_isolated
from surgrec.video.container import CONTAINERS, DECODERS, MAX_PIXELS
from surgrec.video.decode import open_video
from surgrec.video.errors import VideoError
from surgrec.video.probe import VideoInfo, probe
from tests.video.make_videos import indices_in, picture_of

PathOf = Callable[[str], Path]


def reason_of(path: Path) -> str:
    with pytest.raises(VideoError) as caught:
        probe(path)
    return caught.value.reason


def probe_or_error(path: Path) -> VideoInfo | VideoError:
    """For a worker process."""
    try:
        return probe(path)
    except VideoError as error:
        return error


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """An HTTP server of this machine: its address and what was asked of it."""
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_error(404)

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", requests
    server.shutdown()
    server.server_close()


def hls(*addresses: str) -> str:
    entries = "".join(f"#EXTINF:9.0,\n{address}\n" for address in addresses)
    return f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n{entries}#EXT-X-ENDLIST\n"


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_playlists_and_scripts_open_nothing(
    suffix: str, coded: PathOf, asked: tuple[str, list[str]], tmp_path: Path
) -> None:
    """Whatever they are called, and though what they name is a good video."""
    good, (address, requests) = coded("h264, ts"), asked
    for number, content in enumerate(
        (
            hls(str(good)),
            hls(f"file://{good}"),
            hls(f"{address}/x.ts"),
            f"ffconcat version 1.0\nfile '{good}'\n",
            f"ffconcat version 1.0\nfile {address}/x.ts\n",
            f"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><BaseURL>{address}/</BaseURL></MPD>",
            f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n{address}",
        )
    ):
        path = tmp_path / f"{number}{suffix}"
        path.write_text(content)
        assert reason_of(path) == "not_a_video", content
    assert requests == []


def test_a_name_that_looks_like_an_address_is_a_name(coded: PathOf, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "concat:a.mp4|b.mp4").write_bytes(coded("h264 with B frames").read_bytes())
    (tmp_path / "http:").mkdir()
    (tmp_path / "http:/a.mp4").write_bytes(coded("h264 with B frames").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert probe(Path("concat:a.mp4|b.mp4")).num_frames == 300
    assert probe(Path("http:/a.mp4")).num_frames == 300


def test_media_in_another_file_is_not_followed(coded: PathOf, tmp_path: Path) -> None:
    """A QuickTime data reference of type alis whose path names a good file: nothing of it is read."""
    outside = tmp_path / "outside.mp4"
    outside.write_bytes(coded("h264 with B frames").read_bytes())
    data = bytearray(outside.read_bytes())
    at = data.index(b"dref") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    data[at + size - 12 + 4 : at + size - 12 + 8] = b"alis"
    data[at + size - 1] = 0  # the flag "in this file" is taken away
    moved = tmp_path / "reference.mov"
    moved.write_bytes(data)
    outside.unlink()
    try:
        assert probe(moved).num_frames == 300  # what it holds itself
    except VideoError as error:
        assert error.reason in ("truncated", "corrupt", "not_a_video", "no_frames")


def test_what_is_not_on_the_lists_is_refused(tmp_path: Path) -> None:
    """A format (NUT) and a codec (QuickTime animation) that FFmpeg reads well."""

    def write(name: str, codec: str, pixels: str) -> Path:
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = 128, 96, pixels
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture_of(3), format="rgb24")))
            container.mux(stream.encode(None))
        return tmp_path / name

    assert probe(write("good.mov", "mpeg4", "yuv420p")).num_frames == 1
    assert reason_of(write("a.nut", "mpeg4", "yuv420p")) == "not_a_video"
    assert reason_of(write("a.mov", "qtrle", "rgb24")) == "unsupported_codec"


def test_the_lists_hold_names_that_this_ffmpeg_knows() -> None:
    known = {name for formats in av.formats_available for name in formats.split(",")}
    assert set(CONTAINERS) <= known
    missing = [name for name in DECODERS if name not in av.codecs_available]
    assert set(missing) <= {"libaom-av1"}, missing  # which build has which AV1 decoder differs


def giant(path: Path, side: int) -> Path:
    """One flat picture of `side` x `side`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = side, side, "yuv420p"
        frame = av.VideoFrame(side, side, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_a_picture_of_giant_size_is_not_decoded(tmp_path: Path) -> None:
    assert MAX_PIXELS < 8000 * 8000
    path = giant(tmp_path / "giant.mp4", 8000)
    assert path.stat().st_size < 1_000_000
    assert reason_of(path) in ("too_large", "corrupt")  # MPEG-4: FFmpeg forgets the size and fails while decoding
    with pytest.raises(VideoError):
        open_video(path).read([0.0])


def test_a_declared_giant_is_refused_by_its_header(coded: PathOf, tmp_path: Path) -> None:
    """Width and height in the header of a stream that is small: FFmpeg takes the header's word until it decodes."""
    data = bytearray(coded("mpeg4, mp4").read_bytes())
    at = data.index(b"mp4v") + 4 + 24
    assert data[at : at + 4] == (128).to_bytes(2, "big") + (96).to_bytes(2, "big")
    data[at : at + 4] = 2 * (30_000).to_bytes(2, "big")
    path = tmp_path / "declares.mp4"
    path.write_bytes(data)
    try:
        assert (probe(path).width, probe(path).height) == (128, 96)  # the stream itself is what counts
    except VideoError as error:
        assert error.reason == "too_large"


def test_a_table_that_expands_to_gigabytes_runs_into_the_memory_limit(coded: PathOf, tmp_path: Path) -> None:
    """An mp4 of some kilobytes whose sample table claims 400 million samples of one byte each."""
    data = bytearray(coded("h264 with B frames").read_bytes())
    count = 400_000_000

    def patch(box: bytes, offset: int, value: int) -> None:
        at = data.index(box) + 4 + offset
        data[at : at + 4] = value.to_bytes(4, "big")

    patch(b"stsz", 4, 1)  # one size for all
    patch(b"stsz", 8, count)
    patch(b"stts", 8, count)
    patch(b"stsc", 12, count)  # samples in each chunk
    path = tmp_path / "table.mp4"
    path.write_bytes(data)
    limits = Limits(seconds=60, memory_bytes=1 << 30, file_bytes=0)
    ((_, result),) = map_isolated(probe_or_error, [path], 1, lambda item: limits)
    assert isinstance(result, VideoError | OutOfMemory), result


def test_very_many_small_packets_are_read_in_time(tmp_path: Path) -> None:
    """Many packets are no reason to refuse a video, and no reason to hang."""
    path = tmp_path / "many.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25, options={"g": "12"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        frame = av.VideoFrame.from_ndarray(picture_of(5), format="rgb24")
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        packets = [*stream.encode(frame), *stream.encode(None)]
        data = bytes(packets[0])
        for number in range(100_000):
            packet = av.Packet(data)
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 25), stream, True
            container.mux(packet)
    limits = Limits(seconds=60, memory_bytes=1 << 30, file_bytes=0)
    ((_, result),) = map_isolated(probe_or_error, [path], 1, lambda item: limits)
    assert isinstance(result, VideoInfo), result
    assert result.num_frames == 100_000
    with open_video(path) as video:
        assert indices_in(video.read([3000.0]).pixels) == [5]
    assert np.isclose(result.duration_seconds, 4000)
