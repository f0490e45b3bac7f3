"""One camera of an edited dataset: its frames into new files, the statistics of its pictures, and what is to be told.

    with Camera(plan, root, "observation.images.front", known) as camera:
        span, stats = camera.take(piece, table)                       # once for every piece, in order
    camera.total().stats(), camera.notes

Statistics stay the recorder's where the pictures stayed: it saw them before they were compressed. Where pictures
changed, and where the recorder's can't be true, they come from decoded frames, up to 50 an episode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from av.video.reformatter import VideoReformatter

from smolkit.data.layout import VideoSpan
from smolkit.data.pictures import decode_image
from smolkit.data.recover import camera_totals
from smolkit.data.schema import EXTRA_PATH, read_object
from smolkit.data.splice import Encoding, Splicer, Video
from smolkit.data.stats import Stats, complete, frame_histogram, impossible, merge_stats, thinning
from smolkit.data.store import CameraStats, Limits

if TYPE_CHECKING:
    from smolkit.data.edit import Piece, Plan

LOOKED_AT, OPEN_VIDEOS = 50, 8
Known = Sequence[Mapping[int, Mapping[str, Stats]]]              # of each source: episode -> camera -> its statistics


class Camera(AbstractContextManager):
    """What one camera of a plan needs; `copied` and `encoded` count its frames."""

    def __init__(self, plan: Plan, root: Path, key: str, known: Known):
        self.plan, self.root, self.key, self.info, self.known = plan, root, key, plan.info, known
        self.name = plan.name(key)
        self.feature, first = self.info.features[self.name], plan.sources[0].info
        self.changed = self.feature.is_video and (plan.encoding is not None or self.info.fps != first.fps)
        self.copied, self.encoded, self.notes = 0, 0, {}
        self._splicer = Splicer(lambda number: root / self._file(number), self.info.fps,
                                Limits.of(self.info).video_bytes)
        self._videos: dict[Path, Video] = {}
        self._parts: list[CameraStats] = []
        self._reformat = VideoReformatter().reformat

    def take(self, piece: Piece, table: pa.Table) -> tuple[VideoSpan | None, Stats]:
        """Puts the piece's frames where its rows will point, and looks at them if need be."""
        if not self.feature.is_video:
            cells = table.column(self.name)
            return None, self._stats(piece, lambda few: (decode_image(cells[int(i)].as_py()["bytes"], self.feature)
                                                         for i in few))
        with self._source(piece) as (video, numbers):
            bridged = self._splicer.bridged
            number, at = self._splicer.add(video, int(numbers[0]), int(numbers[-1]) + 1)
            self._count(len(numbers), len(numbers) if self.changed else self._splicer.bridged - bridged)
            span = VideoSpan(self._file(number), at / self.info.fps, (at + len(numbers)) / self.info.fps,
                             *divmod(number, self.info.chunks_size))
            return span, self._stats(piece, lambda few: self._looked_at(video, numbers[few]))

    def total(self) -> CameraStats:
        """Over the whole result: histograms where there are some, the sources' where all their pictures stayed."""
        parts = self._parts
        if self.plan.complete and self.feature.is_video and all(part.histogram is None for part in parts):
            parts = [camera_totals(layout, extra_of(layout.root))[self.key] for layout in self.plan.sources
                     if layout.info.version >= (3, 0)] or parts
        frames = sum(part.frames for part in parts)
        if all(part.histogram is not None for part in parts):
            return CameraStats(frames, sum(part.histogram for part in parts))
        return CameraStats(frames, None, merge_stats([part.stats() for part in parts]))

    @contextmanager
    def _source(self, piece: Piece) -> Iterator[tuple[Video, np.ndarray]]:
        """The mp4 with the piece's frames and their numbers in it: the source's, or one encoded for this."""
        layout = self.plan.sources[piece.source]
        span, fps = layout.episodes[piece.episode].videos[self.key], layout.info.fps
        video, numbers = self._open(layout.root / span.file, fps), round(span.from_s * fps) + self.plan.picks(piece)
        if not self.changed:
            yield video, numbers
            return
        encoding = self.plan.encoding or Encoding(video.stream.codec_context.codec.canonical_name)
        with TemporaryDirectory(dir=self.root) as scratch:
            path = Path(scratch, "video.mp4")
            encoding.write(video, numbers.tolist(), path, self.info.fps)
            with closing(Video(path, self.info.fps)) as made:
                yield made, np.arange(len(numbers))

    def _open(self, path: Path, fps: int) -> Video:
        """The last used ones stay open: their index is read once."""
        self._videos[path] = self._videos.pop(path, None) or Video(path, fps)
        if len(self._videos) > OPEN_VIDEOS:
            self._videos.pop(next(iter(self._videos))).close()
        return self._videos[path]

    def _count(self, frames: int, encoded: int) -> None:
        self.copied, self.encoded = self.copied + frames - encoded, self.encoded + encoded
        if encoded and not self.changed:
            worst = self._splicer.worst
            self.notes["bridge"] = (f"{self.name}: {self.encoded} frames between a cut and the next key frame were "
                                    f"encoded again, {f'up to {worst} of 255 off' if worst else 'without loss'}; "
                                    f"all others are copies")

    def _stats(self, piece: Piece, pictures: Callable[[np.ndarray], Iterable[np.ndarray]]) -> Stats:
        known = self.known[piece.source].get(piece.episode, {}).get(self.key)
        known = known if known is not None and complete(known, self.feature.hwc()[2]) else None
        wrong = known is not None and impossible(known)
        same = self.plan.whole(piece) and not self.changed and not self.plan.recount
        if known is not None and (self.feature.is_depth or (same and not wrong)):
            self._parts.append(CameraStats(int(np.ravel(known["count"])[0]), None, known))
            return known
        frames = len(self.plan.picks(piece))
        few = np.unique(np.linspace(0, frames - 1, min(frames, LOOKED_AT)).round().astype(int))
        part = CameraStats(len(few), sum(frame_histogram(picture) for picture in pictures(few)))
        if wrong:
            self.notes["std"] = (f"{self.name}: the source's std of pictures can't be true, LeRobot 0.4.4 overflows "
                                 f"there (episode {piece.episode}: {np.ravel(known['std'])[0]:.4f}; from its frames: "
                                 f"{np.ravel(part.stats()['std'])[0]:.4f}); statistics were made from frames")
        self._parts.append(part)
        return part.stats()

    def _looked_at(self, video: Video, numbers: np.ndarray) -> Iterator[np.ndarray]:
        """These frames, thinned while they are converted: every k-th pixel, as LeRobot looks at them."""
        height, width, channels = self.feature.hwc()
        step, kind = thinning(height, width), "gray" if channels == 1 else "rgb24"
        for number in numbers.tolist():
            frame = next(video.frames(number, number + 1))
            small = self._reformat(frame, -(-width // step), -(-height // step), kind, interpolation="POINT")
            yield (image := small.to_ndarray()).reshape(*image.shape[:2], -1)

    def _file(self, number: int) -> str:
        return self.info.video_file(self.name, *divmod(number, self.info.chunks_size))

    def __exit__(self, *_: object) -> None:
        self._splicer.close()
        for video in self._videos.values():
            video.close()


def extra_of(root: Path) -> dict[str, Any]:
    """meta/smolkit.json; {} for other recorders' datasets."""
    path = root / EXTRA_PATH
    return read_object(path) if path.is_file() else {}
