"""Rows of a dataset that is not on this disk: its files are fetched when their episodes come up.

    stream = Stream(on_hub("owner/name").fetch, delta_timestamps={"action": [0.0, 0.1]})
    loader = DataLoader(stream, batch_size=16, num_workers=2)        # torch's; workers share the episodes

The first item comes after the tables and one or two files, not after the whole download; the next files arrive while
the present ones are read. The order is shuffled in two steps, as no buffer of pictures could: episodes, file by file,
then all rows of `together` episodes, which stay encoded until a row's turn comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from smolkit.data.columns import open_table
from smolkit.data.layout import load_layout
from smolkit.data.reader import Dataset, select
from smolkit.data.schema import EPISODES_PATH, INFO_PATH, TASKS_PATH, fill, load_info

Fetch = Callable[[str], Path]              # a file's path in the dataset -> the same file below a folder on this disk
ROWS_AT_ONCE = 16                          # decoded together, each file once from front to back


class Stream:
    """Items as `Dataset` gives them (tensors, unless as_torch=False), each row once a turn, for a torch DataLoader.

    `options` are Dataset's. Every turn has another order; the same `seed` (with workers: the same
    torch.manual_seed) gives the same turns.
    """

    def __init__(self, fetch: Fetch, episodes: Sequence[int] | None = None, *, shuffle: bool = True, seed: int = 0,
                 together: int = 8, as_torch: bool = True, **options: Any):
        from torch.utils.data import IterableDataset

        IterableDataset.register(Stream)           # a DataLoader asks; deriving would load torch with this module
        self._fetch, self._shuffle, self._seed, self._together = fetch, shuffle, seed, together
        self._options, self._turn = {**options, "as_torch": as_torch}, 0
        self.root = fetch_tables(fetch)
        self.layout = load_layout(self.root)
        self.episodes = select(self.layout, episodes)

    def __len__(self) -> int:
        return sum(episode.length for episode in self.episodes)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        from torch.utils.data import get_worker_info

        worker = get_worker_info()
        turn = self._turn if worker is None else worker.seed - worker.id       # workers are new every turn
        self._turn += 1
        rng = np.random.default_rng([self._seed, turn])
        mine = self._order(rng)
        if worker is not None:
            mine = np.array_split(mine, worker.num_workers)[worker.id]         # neighbours share their files
        blocks = [mine[i:i + self._together].tolist() for i in range(0, len(mine), self._together)]
        with ThreadPoolExecutor(1) as ahead:
            coming = [ahead.submit(self._get, block) for block in blocks[:1]]
            for number, block in enumerate(blocks):
                coming.pop().result()
                coming = [ahead.submit(self._get, later) for later in blocks[number + 1:number + 2]]
                yield from self._rows(block, rng)

    def _order(self, rng: np.random.Generator) -> np.ndarray:
        """Episode numbers; those of one data file stay together, so that few files are needed at a time."""
        indices = np.array([episode.index for episode in self.episodes])
        if not self._shuffle:
            return indices
        files = np.unique([episode.data_file for episode in self.episodes], return_inverse=True)[1]
        return indices[np.lexsort([rng.random(len(files)), rng.permutation(files.max() + 1)[files]])]

    def _get(self, block: Sequence[int]) -> None:
        for index in block:
            episode = self.layout.episodes[index]
            for file in (episode.data_file, *(span.file for span in episode.videos.values())):
                if not (self.root / file).is_file():
                    self._fetch(file)

    def _rows(self, block: Sequence[int], rng: np.random.Generator) -> Iterator[dict[str, Any]]:
        dataset = Dataset(self.root, sorted(block), **self._options)
        rows = rng.permutation(len(dataset)) if self._shuffle else np.arange(len(dataset))
        for start in range(0, len(rows), ROWS_AT_ONCE):
            yield from dataset.__getitems__(rows[start:start + ROWS_AT_ONCE])
        dataset.close()


def fetch_tables(fetch: Fetch) -> Path:
    """Fetches what stands below meta/ and is needed for reading; returns the dataset's folder on this disk."""
    root = fetch(INFO_PATH).parents[1]
    info = load_info(root)
    if info.version < (3, 0):
        for name in ("meta/tasks.jsonl", "meta/episodes.jsonl"):
            fetch(name)
        return root
    fetch(TASKS_PATH)
    rows = number = 0
    while rows < info.total_episodes:              # how many files there are stands nowhere; their rows do
        rows += open_table(fetch(fill(EPISODES_PATH, "", *divmod(number, info.chunks_size)))).metadata.num_rows
        number += 1
    return root
