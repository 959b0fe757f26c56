"""The people that the reader learns from: a drawn set that grows, on disk or held on a GPU."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import torch

from .reader_network import GROUPS
from .sets import Shard, read_shards
from .world.words import PHRASES

LOOK_S = 1.0  # between two looks for new shards, on a GPU
REMADE = 0.3  # the share of pictures from the autoencoder, where there are any
# Pictures of one render share their pose and light: see `draw_set.draw_person`.
RENDERS = (0, 0, 1, 1, 2, 2, 3, 4)
FAMILY = ("who", "skin")  # what a batch's people often have in common, so that faces have to tell


@dataclass(frozen=True)
class Samples:
    """Some pictures and what is known of them.

    pictures: (n, 3, side, side) in -1..1, on any device; all else is on the processor.
    landmarks: (n, 9, 2) in 0..1.  codes: (n, groups) int64.  numbers: (n, 23).  people, renders:
    (n,), which person and which of their renders.
    """

    pictures: torch.Tensor
    landmarks: torch.Tensor
    codes: torch.Tensor
    numbers: torch.Tensor
    people: torch.Tensor
    renders: torch.Tensor


def codes_of(look: dict[str, str]) -> list[int]:
    """A look's values as indices into the values of each group."""
    return [list(PHRASES[group]).index(look[group]) for group in GROUPS]


class People:
    """The people of a growing set, and where their pictures lie: on disk, or on the GPU.

    remade: a folder with shards' pictures as the autoencoder gives them back, NUMBER.npy each;
    only where the pictures lie on disk.
    """

    def __init__(
        self, folder: Path, remade: Path | None = None, hold: torch.device | None = None
    ) -> None:
        self.folder, self.remade, self.hold = folder, remade, hold
        self.shards: tuple[Shard, ...] = ()  # as they came, which need not be their order
        self.people: list[tuple[int, list[int]]] = []  # the shard and the rows of each
        self.codes: list[np.ndarray] = []  # of a shard, (n, groups)
        self.numbers: list[np.ndarray] = []
        self.families: dict[tuple[str, ...], list[int]] = {}
        self.first: list[int] = []  # of a shard, among the pictures that are held
        self.held = torch.empty((0, 256, 256, 3), dtype=torch.uint8, device=hold)
        self.arrived: SimpleQueue[tuple[Shard, np.ndarray]] = SimpleQueue()
        if hold is not None:
            threading.Thread(target=_follow, args=(folder, self.arrived), daemon=True).start()

    def read_more(self) -> None:
        """Take in the shards that have come; one is waited for where there is none yet."""
        if self.hold is None:
            known = set(self.shards)
            for shard in read_shards(self.folder, self.shards):
                if shard not in known:
                    self._add(shard)
            return
        while not self.shards or not self.arrived.empty():
            shard, images = self.arrived.get()
            self._hold(images)
            self._add(shard)

    def _add(self, shard: Shard) -> None:
        number = len(self.shards)
        self.shards += (shard,)
        self.codes.append(np.array([codes_of(meta["look"]) for meta in shard.meta]))
        self.numbers.append(np.array([meta["numbers"] for meta in shard.meta], np.float32))
        rows: dict[int, list[int]] = {}
        for row, meta in enumerate(shard.meta):
            rows.setdefault(meta["person"], []).append(row)
        for mine in rows.values():
            family = tuple(shard.meta[mine[0]]["look"][group] for group in FAMILY)
            self.families.setdefault(family, []).append(len(self.people))
            self.people.append((number, mine))

    def _hold(self, images: np.ndarray) -> None:
        start = len(self) if self.shards else 0
        self.first.append(start)
        if start + len(images) > len(self.held):  # twice the room, that it is seldom moved
            larger = self.held.new_empty((max(4096, 2 * (start + len(images))), 256, 256, 3))
            larger[:start] = self.held[:start]
            self.held = larger
        self.held[start : start + len(images)] = torch.from_numpy(images).to(self.held.device)

    def __len__(self) -> int:
        return sum(map(len, self.codes))

    def choose(self, rng: np.random.Generator, people: int, shots: int) -> list[tuple[int, int]]:
        """(person, which picture), `shots` of each person; every other time half are one family."""
        chosen = rng.permutation(len(self.people))
        if rng.random() < 0.5:
            names = sorted(self.families)
            sizes = np.array([len(self.families[name]) for name in names])
            family = self.families[names[rng.choice(len(names), p=sizes / sizes.sum())]]
            kin = rng.permutation(family)[: people // 2]
            chosen = np.concatenate([kin, chosen[~np.isin(chosen, kin)]])
        return [
            (int(person), int(shot))
            for person in chosen[:people]
            for shot in rng.permutation(len(self.people[person][1]))[:shots]
        ]

    def picture(self, shard: int, row: int, rng: np.random.Generator) -> np.ndarray:
        """(256, 256, 3) uint8, now and then as the autoencoder gives it back."""
        if self.remade is not None and rng.random() < REMADE:
            path = self.remade / f"{self.shards[shard].folder.name}.npy"
            if path.exists():
                return np.load(path, mmap_mode="r")[row]
        return self.shards[shard].images[row]

    def samples(self, chosen: list[tuple[int, int]], rng: np.random.Generator) -> Samples:
        """The chosen pictures as they lie on disk, 256 px."""
        places = [(self.people[p][0], self.people[p][1][shot]) for p, shot in chosen]
        if self.hold is None:
            rows = np.stack([self.picture(shard, row, rng) for shard, row in places])
            images = torch.from_numpy(rows)
        else:
            at = torch.tensor([self.first[shard] + row for shard, row in places])
            images = self.held[at.to(self.held.device)]
        marks = np.stack([self.shards[shard].landmarks[row] for shard, row in places])
        return Samples(
            images.permute(0, 3, 1, 2).float().div_(127.5).sub_(1),
            torch.from_numpy(marks),
            torch.from_numpy(np.stack([self.codes[shard][row] for shard, row in places])),
            torch.from_numpy(np.stack([self.numbers[shard][row] for shard, row in places])),
            torch.tensor([person for person, _ in chosen]),
            torch.tensor([RENDERS[shot] for _, shot in chosen]),
        )


def _follow(folder: Path, arrived: SimpleQueue[tuple[Shard, np.ndarray]]) -> None:
    """Read each shard of a growing set once, as it comes, and never end."""
    known: set[Path] = set()
    while True:
        for place in sorted(set(folder.glob("[0-9]*")) - known):
            try:
                shard = Shard(place)
                images = np.array(shard.images)
                shard.__dict__["landmarks"] = np.array(shard.landmarks)  # no file stays open
                arrived.put((shard, images))
            except (OSError, ValueError):
                continue  # not whole yet
            known.add(place)
        time.sleep(LOOK_S)
