"""What datasets of other recorders hold: every detail read exactly, or refused; never another row or picture."""

from __future__ import annotations

import copy
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from smolkit.data.columns import read_columns
from smolkit.data.convert import convert
from smolkit.data.decoding import VideoFile
from smolkit.data.frame_cache import cached_frames
from smolkit.data.hub import on_hub
from smolkit.data.layout import load_layout, numbers
from smolkit.data.pictures import decode_image
from smolkit.data.reader import Dataset
from smolkit.data.schema import Feature
from smolkit.data.store import Limits
from smolkit.data.streaming import Stream
from smolkit.data.video import VideoEncoder
from smolkit.report import SmolkitError
from tests.data.recording import new

FRONT, WRIST = "observation.images.front", "observation.images.wrist"
LENGTHS = [5, 7, 6]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Three episodes, each in files of its own."""
    return new(tmp_path_factory.mktemp("reading") / "set", LENGTHS, limits=Limits(episodes=1))


@pytest.fixture
def root(whole, tmp_path) -> Path:
    return shutil.copytree(whole, tmp_path / "set")


def edited(root: Path, **changes) -> dict:
    """info.json with changes, written back."""
    path = root / "meta/info.json"
    info = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(info))
    return info


def table_of(root: Path, change: Callable[[pa.Table], pa.Table], name: str = "data/chunk-000/file-000.parquet") -> None:
    pq.write_table(change(pq.ParquetFile(root / name).read()), root / name)


def set_column(table: pa.Table, key: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(key), key, values)


def as_v2(root: Path, out: Path, version: str, chunk: str, size: int) -> Path:
    """The recording laid out as LeRobot 0.3 and third parties do it, `size` episodes in a chunk."""
    layout = load_layout(root)
    data = f"data/chunk-{{{chunk}:03d}}/episode_{{episode_index:06d}}.parquet"
    video = f"videos/chunk-{{{chunk}:03d}}/{{video_key}}/episode_{{episode_index:06d}}.mp4"
    files: dict[str, str] = {}
    for episode in layout.episodes:
        names = {chunk: episode.index // size, "episode_index": episode.index}
        files[data.format(**names)] = episode.data_file
        files |= {video.format(video_key=key, **names): span.file for key, span in episode.videos.items()}
    for new_name, old_name in files.items():
        (out / new_name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / old_name, out / new_name)
    (out / "meta").mkdir()
    shutil.copy(root / "meta/info.json", out / "meta/info.json")
    edited(out, codebase_version=version, data_path=data, video_path=video, chunks_size=size)
    shutil.copy(root / "meta/stats.json", out / "meta/stats.json")
    lines = {"tasks": [{"task_index": i, "task": task} for i, task in enumerate(layout.tasks)],
             "episodes": [{"episode_index": e.index, "length": e.length, "tasks": e.tasks} for e in layout.episodes]}
    for name, rows in lines.items():
        (out / f"meta/{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return out


def assert_same(one: Dataset, other: Dataset) -> None:
    left, right = one.to_arrays(), other.to_arrays()
    assert left.tasks == right.tasks and left.columns.keys() == right.columns.keys()
    assert all(np.array_equal(left.columns[key], right.columns[key]) for key in left.columns)
    assert left.frames and all(np.array_equal(left.frames[key], right.frames[key]) for key in left.frames)


@pytest.mark.parametrize("version, chunk", [("v2.0", "chunk_index"), ("v2.1", "episode_chunk")])
def test_v2_in_chunks_reads_and_converts_to_the_same(whole, tmp_path, version, chunk):
    old = as_v2(whole, tmp_path / "old", version, chunk, size=2)
    assert (old / "data/chunk-001/episode_000002.parquet").is_file()
    assert_same(Dataset(old), Dataset(whole))
    convert(old, tmp_path / "new")
    made = Dataset(tmp_path / "new")
    assert_same(made, Dataset(whole))
    assert made.info.codebase_version == "v3.0"
    assert {"q01", "std"} <= made.stats()[FRONT].keys() & made.stats()["action"].keys()
    with pytest.raises(SmolkitError, match="SK442"):
        convert(tmp_path / "new", tmp_path / "newer")


def as_pictures(root: Path, mode: str = "RGB", key: str = FRONT) -> np.ndarray:
    """Turns the camera's video into PNGs inside the tables; returns its frames as they then are, (N, H, W, C)."""
    dataset = Dataset(root)
    frames = dataset.to_arrays(cameras=[key]).frames[key]
    frames = frames if mode == "RGB" else frames[..., :1] if mode == "L" else frames[..., :1].astype(np.uint16) * 200
    feature = {"dtype": "image", "shape": [frames.shape[3], *frames.shape[1:3]],
               "names": ["channels", "height", "width"], "info": {"is_depth_map": mode == "I;16"}}
    edited(root, features=edited(root)["features"] | {key: feature})
    for episode in dataset.episodes:
        cells = []
        for frame in frames[episode.from_index:episode.to_index]:
            memory = io.BytesIO()
            Image.fromarray(frame if mode == "RGB" else frame[..., 0]).save(memory, "PNG")
            cells.append({"bytes": memory.getvalue(), "path": "frame-000000.png"})
        table_of(root, lambda table, cells=cells: table.append_column(key, pa.array(cells)), episode.data_file)
    return frames


@pytest.mark.parametrize("mode", ["RGB", "L", "I;16"])
def test_pictures_inside_the_tables(root, mode):
    frames = as_pictures(root, mode)
    dataset = Dataset(root)
    assert np.array_equal(dataset.to_arrays().frames[FRONT], frames)
    assert dataset[11][FRONT].dtype == (np.uint16 if mode == "I;16" else np.uint8)
    assert np.array_equal(dataset.frames(FRONT, [11, 2, 2]), frames[[11, 2, 2]])
    assert dataset.frames(FRONT, [3], size=(16, 24)).shape == (1, 16, 24, 1 if mode != "RGB" else 3)
    item = Dataset(root, as_torch=True, delta_timestamps={FRONT: [0.0], WRIST: [0.0], "action": [0.0]})[4]
    assert item[FRONT].shape[0] == 1 and item[FRONT].ndim == 4 and item[WRIST].ndim == 3 and item["action"].ndim == 2


def test_a_picture_larger_than_promised_is_never_unpacked():
    memory = io.BytesIO()
    Image.new("1", (4_000, 4_000)).save(memory, "PNG")
    for encoded in (memory.getvalue(), memory.getvalue()[:200], b"", b"II*\0" + bytes(40)):
        with pytest.raises(SmolkitError, match="SK404"):
            decode_image(encoded, Feature("image", (32, 32, 3)))


@pytest.mark.parametrize("where", [{"info": {"is_depth_map": True}}, {"info": {"video.is_depth_map": True}},
                                   {"video_info": {"video.is_depth_map": True}}])
def test_depth_is_marked_in_three_places(where):
    assert Feature("video", (32, 32, 1), None, where).pixel_dtype == "uint16"
    assert Feature("video", (32, 32, 3), None, where).is_depth and not Feature("video", (32, 32, 3)).is_depth


def test_depth_of_12_bits_keeps_them(root, tmp_path):
    codec = next((name for name in ("libx265", "ffv1") if name in av.codecs_available), None)
    levels = [(np.arange(32 * 48).reshape(32, 48) * 2 + n).astype(np.uint16) for n in range(LENGTHS[0])]
    with av.open(str(root / "depth.mp4"), "w", format="mp4") as out:
        stream = out.add_stream(codec, rate=10, options={"x265-params": "lossless=1:log-level=0"})
        stream.width, stream.height, stream.pix_fmt = 48, 32, "gray12le"
        for level in levels:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(level, format="gray12le")))
        out.mux(stream.encode(None))
    shutil.move(root / "depth.mp4", root / Dataset(root).episodes[0].videos[FRONT].file)
    features = edited(root)["features"]
    features[FRONT] |= {"shape": [32, 48, 1], "info": {"is_depth_map": True}}
    edited(root, features=features)
    assert np.array_equal(Dataset(root).frames(FRONT, range(5))[..., 0], levels)
    assert Dataset(root, as_torch=True)[2][FRONT].max() == levels[2].max()
    features[FRONT]["info"] = {}
    edited(root, features=features)
    with pytest.raises(SmolkitError, match="SK404"):                  # eight bits would be another picture
        Dataset(root).frames(FRONT, [0])


def test_a_video_of_another_rate_shows_the_moments_or_nothing(tmp_path):
    encoder = VideoEncoder(32, 32, 30)
    for n in range(12):
        encoder.add(np.full((32, 32, 3), 20 * n, np.uint8))
    (tmp_path / "30.mp4").write_bytes(encoder.finish())
    slow = [image.mean() for image in VideoFile(tmp_path / "30.mp4", 10).read(range(4))]
    assert np.allclose(slow, [0, 60, 120, 180], atol=6)
    with pytest.raises(SmolkitError, match="SK404"):
        list(VideoFile(tmp_path / "30.mp4", 60).read([1]))


@pytest.mark.parametrize("column, value", [("to_timestamp", 0.3), ("from_timestamp", 0.14)])
def test_an_episode_with_fewer_frames_than_rows_shows_none(root, column, value):
    def change(table: pa.Table) -> pa.Table:
        name = f"videos/{FRONT}/{column}"
        values = table.column(name).to_pylist()
        return set_column(table, name, pa.array([value, *values[1:]]))

    table_of(root, change, "meta/episodes/chunk-000/file-000.parquet")
    dataset = Dataset(root)
    assert dataset.episode(0)["action"].shape == (5, 6) and dataset.frames(FRONT, [5]).shape == (1, 32, 48, 3)
    with pytest.raises(SmolkitError, match="SK406.*episode 0"):
        dataset.frames(FRONT, [0])


def lists(rows: list[list[float] | None]) -> pa.Array:
    return pa.array(rows, pa.list_(pa.float64()))


@pytest.mark.parametrize("values, shape", [
    (pa.array(np.arange(3), pa.int32()), (1,)), (lists([[0.0], [1.0], [2.0]]), (1,)), (pa.array([0, 1, 2.0]), ()),
    (lists([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]), (2,)),
    (pa.array([[[n], [n]] for n in range(3)], pa.list_(pa.list_(pa.float32(), 1))), (2, 1))])
def test_every_spelling_of_numbers(values, shape):
    found = read_columns(io.BytesIO(parquet(values)), {"x": Feature("float32", shape)})["x"]
    assert found.dtype == np.float32 and np.array_equal(found.reshape(3, -1)[:, -1], np.arange(3))


@pytest.mark.parametrize("values, feature", [
    (lists([[0.0], [1.0, 1.0, 1.0]]), Feature("float32", (2,))), (lists([None, [1.0] * 4]), Feature("float32", (2,))),
    (lists([[0.0, None], [1.0, 1.0]]), Feature("float32", (2,))), (pa.array([0, None]), Feature("int64", (1,))),
    (pa.array([0.5, 1.0]), Feature("int64", (1,))), (pa.array([0, 300]), Feature("uint8", (1,))),
    (pa.array(["0", "1"]), Feature("float32", (1,))), (pa.array([0.0, 1.0]), Feature("float32", (2,)))])
def test_ragged_empty_and_rounded_rows_are_refused(values, feature):
    with pytest.raises(SmolkitError, match="SK404"):
        read_columns(io.BytesIO(parquet(values)), {"x": feature})


def parquet(values: pa.Array) -> bytes:
    memory = io.BytesIO()
    pq.write_table(pa.table({"x": values}), memory)
    return memory.getvalue()


def test_rows_stay_in_order_where_files_alternate(root):
    """Episodes 0 and 2 in one file, 1 in another: what no recorder writes, but an edit may."""
    files = [f"data/chunk-000/file-{n:03d}.parquet" for n in range(3)]
    table_of(root, lambda table: pa.concat_tables([table, pq.ParquetFile(root / files[2]).read()]), files[0])
    last = sorted((root / "meta/episodes").rglob("*.parquet"))[-1].relative_to(root).as_posix()
    table_of(root, lambda table: set_column(table, "data/file_index", pa.array(
        [0 if episode == 2 else episode for episode in table.column("episode_index").to_pylist()])), last)
    assert load_layout(root).episodes[2].data_file == files[0]
    assert np.array_equal(Dataset(root).columns["index"], np.arange(18))


def test_files_are_ordered_by_number_and_cameras_by_names():
    paths = [Path(f"chunk-{chunk}/file-{file}.parquet") for chunk, file in ((1000, "000"), (999, "1000"), (999, "999"))]
    assert sorted(paths, key=numbers) == paths[::-1]
    named = Feature("video", (3, 480, 640), {"axes": ["channels", "height", "width"]})
    assert named.hwc() == (480, 640, 3)


def test_a_batch_is_its_items_in_any_order(root):
    deltas = {"action": [-0.1, 0.0, 0.2], FRONT: [-0.2, 0.0]}
    dataset, rows = Dataset(root, delta_timestamps=deltas), [17, 0, 5, 5, 11]
    whole = dataset.batch(rows)
    for place, row in enumerate(rows):
        for key, value in dataset[row].items():
            assert np.array_equal(whole[key][place], value), key
    everything = dataset.to_arrays().frames[FRONT]
    assert np.array_equal(whole[FRONT][1], everything[[0, 0]]) and whole[f"{FRONT}_is_pad"][1].tolist() == [True, False]
    assert np.array_equal(whole[FRONT][0], everything[[15, 17]])
    again = copy.deepcopy(dataset)                                     # what a spawned worker gets
    assert np.array_equal(again[17][FRONT], dataset[17][FRONT])


@pytest.mark.parametrize("row", [-1, 18])
def test_rows_that_do_not_exist(root, row):
    with pytest.raises(SmolkitError, match="SK409"):
        Dataset(root).frames(FRONT, [row])


def test_links_stay_in_the_folder_or_in_the_hubs_cache(root, tmp_path):
    file = Dataset(root).episodes[0].data_file
    snapshot = shutil.copytree(root, tmp_path / "hub/snapshots/0123")
    (tmp_path / "hub/blobs").mkdir()
    shutil.move(snapshot / file, tmp_path / "hub/blobs/rows")
    (snapshot / file).symlink_to(Path("../../../../blobs/rows"))
    assert len(Dataset(snapshot)) == 18
    shutil.move(root / file, tmp_path / "elsewhere")
    (root / file).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SmolkitError, match="SK405") as caught:
        Dataset(root)
    assert file in str(caught.value)


def test_small_frames_are_kept_and_never_stale(root, tmp_path):
    cache = tmp_path / "frames"
    before = Dataset(root).to_arrays(size=(16, 16), cache=cache)
    assert np.array_equal(before.frames[FRONT], Dataset(root).to_arrays(size=(16, 16)).frames[FRONT])
    kept = next(path for path in cache.iterdir() if np.array_equal(np.load(path), before.frames[FRONT]))
    stamp = kept.stat().st_mtime_ns
    os.utime(kept, ns=(stamp - 10**9, stamp - 10**9))
    Dataset(root).to_arrays(size=(16, 16), cache=cache)
    assert len(list(cache.iterdir())) == 2 and kept.stat().st_mtime_ns > stamp - 10**9        # used, not made
    half = kept.read_bytes()[:-9]
    kept.unlink()                                                      # `before` still maps the old file
    kept.write_bytes(half)
    assert np.array_equal(Dataset(root).to_arrays(size=(16, 16), cache=cache).frames[FRONT], before.frames[FRONT])
    path = root / Dataset(root).episodes[0].videos[FRONT].file
    told, content = path.stat(), path.read_bytes()
    encoder = VideoEncoder(32, 48, 10)
    for _ in range(5):
        encoder.add(np.zeros((32, 48, 3), np.uint8))
    black = encoder.finish()
    path.write_bytes(black + bytes(max(0, len(content) - len(black))))
    os.utime(path, ns=(told.st_atime_ns, told.st_mtime_ns))            # another film of the same age
    assert Dataset(root).to_arrays(size=(16, 16), cache=cache).frames[FRONT][0].max() < 20


def test_the_cache_is_bounded(root, tmp_path):
    dataset, one = Dataset(root), 18 * 16 * 16 * 3
    for place, key in enumerate((FRONT, WRIST)):
        cached_frames(dataset, key, (16, 16), tmp_path, most_bytes=one + 500 + place)
    assert len(list(tmp_path.glob("*.npy"))) == 1
    with pytest.raises(SmolkitError, match="SK441"):
        cached_frames(dataset, FRONT, (32, 32), tmp_path, most_bytes=one)


class Folder:
    """A source of files that counts what was asked for."""

    def __init__(self, source: Path, here: Path):
        self.source, self.here, self.asked = source, here, []

    def __call__(self, file: str) -> Path:
        (self.here / file).parent.mkdir(parents=True, exist_ok=True)
        self.asked.append(file)
        return Path(shutil.copy(self.source / file, self.here / file))


@pytest.mark.parametrize("version", ["v3.0", "v2.0"])
def test_a_stream_gives_every_row_once_and_fetches_what_it_needs(whole, tmp_path, version):
    source = whole if version == "v3.0" else as_v2(whole, tmp_path / "old", version, "episode_chunk", size=2)
    fetch = Folder(source, tmp_path / "here")
    stream, dataset = Stream(fetch, [0, 2], together=1, as_torch=False), Dataset(source)
    assert not any(file.startswith(("data", "videos")) for file in fetch.asked)
    turns = [[item for item in stream] for _ in range(2)]
    for turn in turns:
        assert sorted(int(item["index"]) for item in turn) == [*range(5), *range(12, 18)] and len(turn) == len(stream)
        for item in turn[:3]:
            assert np.array_equal(item[FRONT], dataset[int(item["index"])][FRONT])
    assert [item["index"] for item in turns[0]] != [item["index"] for item in turns[1]]
    assert len([file for file in fetch.asked if not file.startswith("meta")]) == 6      # nothing of episode 1


def test_a_stream_comes_from_the_hub(hub, whole):
    hub.add("robots/cube", whole, tag="v3.0")
    stream = Stream(on_hub("robots/cube").fetch, [2], as_torch=False)
    assert not any(".mp4" in name for name in hub.asked)
    assert sorted(int(item["index"]) for item in stream) == list(range(12, 18))
    assert len({name for name in hub.asked if ".mp4" in name}) == 2


def test_workers_share_a_stream(whole, tmp_path):
    torch = pytest.importorskip("torch")
    stream = Stream(Folder(whole, tmp_path / "here"), together=2, threads=1)
    loader = torch.utils.data.DataLoader(stream, batch_size=None, num_workers=2)
    assert sorted(int(item["index"]) for item in loader) == list(range(18))
