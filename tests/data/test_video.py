"""Frames by number, whatever the encoder did: B-frames, seeks in any order, files cut and joined."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest

from smolkit.data.decoding import VideoFile
from smolkit.data.stats import (
    column_stats,
    frame_histogram,
    histogram_stats,
    merge_stats,
    sampled_frames,
    thinning,
)
from smolkit.data.video import (
    VideoEncoder,
    available_codecs,
    choose_codec,
    cut,
    frame_count,
)
from smolkit.report import SmolkitError


def drawn(n: int) -> np.ndarray:
    """A picture whose brightness tells its number."""
    return np.full((32, 32, 3), 30 + (37 * n) % 190, np.uint8)


def told(image: np.ndarray) -> float:
    return float(image.mean())


@pytest.fixture(scope="module")
def b_frames(tmp_path_factory):
    """60 frames of H.264 with B-frames and long groups, as foreign recorders make them."""
    path = tmp_path_factory.mktemp("video") / "b.mp4"
    with av.open(str(path), "w") as out:
        options = {"bf": "3", "g": "20", "b_strategy": "0", "crf": "10"}
        stream = out.add_stream("libx264", rate=30, options=options)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for n in range(60):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(drawn(n), format="rgb24")))
        out.mux(stream.encode(None))
    return path


def test_any_order_of_reading_gives_the_same_frames(b_frames):
    video = VideoFile(b_frames, 30)
    forward = list(video.read(range(60)))
    assert all(abs(told(image) - told(drawn(n))) < 5 for n, image in enumerate(forward))
    for n in np.random.default_rng(0).permutation(60):
        assert np.array_equal(next(video.read([n])), forward[n]), n
    repeated = list(video.read([4, 4, 9, 9]))
    assert np.array_equal(repeated[1], forward[4]) and np.array_equal(repeated[3], forward[9])
    with pytest.raises(SmolkitError, match="frame 60"):
        next(video.read([60]))


@pytest.mark.parametrize("codec", available_codecs())
def test_cutting_copies_packets(tmp_path, codec):
    encoder, path = VideoEncoder(32, 32, 30, codec), tmp_path / "cut.mp4"
    for n in range(40):
        encoder.add(drawn(n))
    path.write_bytes(whole := encoder.finish())
    frames = list(VideoFile(path, 30).read(range(40)))
    path.write_bytes(cut(whole, 27))
    assert frame_count(path) == 27
    kept = list(VideoFile(path, 30).read(range(27)))
    assert all(np.array_equal(a, b) for a, b in zip(kept, frames[:27], strict=True))


def test_times_in_the_file_are_lerobots(tmp_path):
    encoder = VideoEncoder(32, 32, 30)
    for n in range(3):
        encoder.add(drawn(n))
    with av.open(io.BytesIO(encoder.finish())) as container:
        stream = container.streams.video[0]
        assert stream.time_base.denominator == 30 * 512
        assert sorted(packet.pts for packet in container.demux(stream) if packet.size) == [0, 512, 1024]


def test_an_unknown_encoder_is_named():
    with pytest.raises(SmolkitError, match="SK414"):
        choose_codec("mjpeg")


def test_a_histogram_tells_what_the_pixels_tell():
    rng = np.random.default_rng(0)
    images = [np.clip(rng.normal(90, 40, (20, 30, 3)), 0, 255).astype(np.uint8) for _ in range(4)]
    found = histogram_stats(sum(frame_histogram(image) for image in images), 4)
    wanted = column_stats(np.stack(images).reshape(-1, 3) / 255)
    for name in set(wanted) - {"count"}:
        assert np.allclose(found[name].ravel(), wanted[name]), name


def test_sampling_is_lerobots():
    assert [len(sampled_frames(n)) for n in (1, 50, 100, 1000)] == [1, 50, 100, 177]
    assert [thinning(*size) for size in ((96, 96), (480, 640), (300, 200))] == [1, 4, 2]


def test_merged_moments_are_exact():
    rows = np.random.default_rng(1).normal(size=(50, 3)) * [1, 10, 100]
    merged, whole = merge_stats([column_stats(rows[:7]), column_stats(rows[7:])]), column_stats(rows)
    assert all(np.allclose(merged[name], whole[name]) for name in ("min", "max", "mean", "std", "count"))
