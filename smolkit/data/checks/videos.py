"""Are the pictures those of the rows? One pass over each video's packets, then three pictures of each episode decoded.

    codes, faults = ask(gather(Path("outputs/red_cube")))

Packets tell the number and the time of every frame and which are key frames, at a fraction of decoding's cost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import av
import numpy as np

from smolkit.data.checks.facts import Facts, Fault, Faults, some
from smolkit.data.columns import read_columns
from smolkit.data.decoding import VideoFile
from smolkit.data.files import damaged
from smolkit.data.layout import Episode, inside
from smolkit.data.pictures import decode_image
from smolkit.data.splice import Video
from smolkit.data.stats import frame_histogram
from smolkit.report import SmolkitError

SAME_RATE = 5e-4                   # 29.97 is not 30: after 17 s it is a frame behind
CODES = {"SK462", "SK463", "SK464", "SK465", "SK466"}
# Decoded: of each camera at most so many episodes, of each episode at least so many pictures, up to so many in all.
MOST_EPISODES, PICTURES, MOST_PICTURES = 500, 5, 2000


def ask(facts: Facts) -> tuple[set[str], list[Fault]]:
    """The rules that could be asked, and what they found; notes the levels of the decoded pictures in `facts`."""
    if not facts.info.camera_keys or not facts.episodes:
        return set(), []
    found = [fault for key, file, episodes in _files(facts) for fault in _file(facts, key, file, episodes)]
    found += [fault for key in facts.info.camera_keys for fault in _pictures(facts, key)]
    return CODES if facts.info.video_keys else {"SK464", "SK466"}, found


def _files(facts: Facts) -> Iterator[tuple[str, str, list[Episode]]]:
    """Camera, mp4, and the episodes that it shows, in the order of their times."""
    files: dict[tuple[str, str], list[Episode]] = defaultdict(list)
    for episode in facts.episodes:
        for key, span in episode.videos.items():
            files[key, span.file].append(episode)
    for (key, file), episodes in files.items():
        yield key, file, sorted(episodes, key=lambda episode: episode.videos[key].from_s)


def _ranges(facts: Facts, key: str, file: str, episodes: list[Episode]) -> Faults:
    """In one file episodes lie end to end, each as long as its rows."""
    fps, end_s = facts.info.fps, 0.0
    for episode in episodes:
        span = episode.videos[key]
        if round((span.to_s - span.from_s) * fps) != episode.length:
            yield Fault("SK462", f"{key}: {span.to_s - span.from_s:.3f} s of episode {episode.index}, which has "
                                 f"{episode.length} frames")
        if abs(span.from_s - end_s) * fps >= 0.5:
            yield Fault("SK462", f"{file}: episode {episode.index} from {span.from_s:.3f} s, what is before it ends at "
                                 f"{end_s:.3f} s")
        end_s = span.to_s


def _file(facts: Facts, key: str, file: str, episodes: list[Episode]) -> Faults:
    """Its packets against the rows, its header against info.json."""
    yield from _ranges(facts, key, file, episodes)
    video = facts.attempt("SK466", _indexed, facts, file)
    if video is None:
        return
    rows, shown, fps = sum(episode.length for episode in episodes), np.sort(video.numbers), facts.info.fps
    if len(shown) != rows:
        yield Fault("SK463", f"{file} has {len(shown)} frames for {rows} rows")
    elif not np.array_equal(shown, np.arange(rows)):
        strange = int(np.flatnonzero(shown != np.arange(rows))[0])
        yield Fault("SK463", f"{file}: frame {strange} is at {shown[strange] / fps:.3f} s")
    keys = set(video.numbers[video.keys].tolist())
    lost = [e.index for e in episodes if round(e.videos[key].from_s * fps) not in keys]
    if lost:
        yield Fault("SK465", f"{file}: none at the start of episode {some(lost)}")
    yield from _as_told(facts, key, file, video)
    video.close()


def _indexed(facts: Facts, file: str) -> Video:
    path = inside(facts.root, file)
    try:
        return Video(path, facts.info.fps)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise damaged(path, str(error)) from error


def _as_told(facts: Facts, key: str, file: str, video: Video) -> Faults:
    """Against the feature's shape, and against its `info` as far as that goes."""
    feature, stream, rate = facts.info.features[key], video.stream, float(video.stream.average_rate)
    told = {"video.height": stream.height, "video.width": stream.width, "video.pix_fmt": stream.pix_fmt,
            "video.codec": stream.codec_context.codec.canonical_name,
            "video.fps": facts.info.fps if abs(rate / facts.info.fps - 1) < SAME_RATE else round(rate, 3)}
    said = feature.extra.get("info") or feature.extra.get("video_info")
    height, width, _ = feature.hwc()
    wanted = {"video.fps": facts.info.fps, **(said if isinstance(said, dict) else {})}
    for name, value in told.items():
        if name in wanted and wanted[name] != value:
            yield Fault("SK464", f"{file}: {name.removeprefix('video.')} {value}, info.json says {wanted[name]}")
    if (stream.height, stream.width) != (height, width):
        yield Fault("SK464", f"{file}: {stream.height}x{stream.width}, the feature is {height}x{width}")


def _pictures(facts: Facts, key: str) -> Faults:
    """Some pictures of each episode (of a small dataset all), the first and the last among them."""
    feature = facts.info.features[key]
    chosen = np.unique(np.linspace(0, len(facts.episodes) - 1, MOST_EPISODES).round().astype(int))
    read = _from_video if feature.is_video else _from_rows
    each = max(PICTURES, MOST_PICTURES // (len(chosen) * len(facts.info.camera_keys)))
    levels = np.zeros((3, 256), int)
    opened: dict[str, Any] = {}                                        # one file at a time
    for episode in (facts.episodes[place] for place in chosen):
        steps = np.unique(np.linspace(0, episode.length - 1, each).round().astype(int))[:episode.length]
        try:
            for picture in read(facts, key, episode, steps, opened):
                if picture.dtype == np.uint8:                          # depth has more levels
                    levels += frame_histogram(np.broadcast_to(picture, (*picture.shape[:2], 3)))
        except SmolkitError as error:
            yield Fault("SK466", facts.short(f"episode {episode.index}: {error.expected}: {error.found}"))
    facts.levels[key] = levels


def _from_video(facts: Facts, key: str, episode: Episode, steps: np.ndarray, opened: dict) -> Iterable[np.ndarray]:
    span = episode.videos[key]
    if span.file not in opened:
        for video in opened.values():
            video.close()
        opened.clear()
        opened[span.file] = VideoFile(inside(facts.root, span.file), facts.info.fps)
    channels = 1 if facts.info.features[key].hwc()[2] == 1 else 3
    return opened[span.file].read((round(span.from_s * facts.info.fps) + steps).tolist(), channels=channels)


def _from_rows(facts: Facts, key: str, episode: Episode, steps: np.ndarray, opened: dict) -> Iterable[np.ndarray]:
    """Pictures that lie in the data file itself."""
    file, feature = episode.data_file, facts.info.features[key]
    if file not in opened:
        opened.clear()
        opened[file] = read_columns(facts.root / file, {key: feature})[key]
    start = episode.from_index - min(e.from_index for e in facts.episodes if e.data_file == file)
    cells = opened[file][start:start + episode.length]
    return (decode_image(cells[step], feature) for step in steps if step < len(cells))
