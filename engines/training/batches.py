"""Pictures by their position in a training: the same ones whoever makes them, in however many processes.

Position p is made with a generator of its own, seeded by (seed, p). So a training that is resumed goes on with the
pictures that it would have seen, and neither the number of loader processes nor of trainers changes any of them.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from engines.errors import DatasetError
from engines.training.datasets import Augmentation, Example, Mixture
from engines.training.losses import Objects

Target: TypeAlias = Objects | Tensor  # what is known of one picture
# One picture of an image (its index), of a size (width, height): a function of the generator's state.
MakePicture: TypeAlias = Callable[[Mixture, int, int, int, Augmentation, np.random.Generator], Example]
MakeTarget: TypeAlias = Callable[[Example], Target]


@dataclass(frozen=True, slots=True)
class Batch:
    """`images` (B, 3, H, W) uint8 BGR, channels last in memory; what is known of each; which images they are of."""

    images: Tensor
    targets: list[Target]
    sources: list[int]

    def pin_memory(self) -> Batch:
        """The images where a GPU can fetch them by itself; called by the loader."""
        return Batch(self.images.pin_memory(), self.targets, self.sources)


@dataclass(frozen=True, slots=True)
class Share:
    """The part of every batch that is this process's: `batch` pictures in all, `rank` of `world` processes."""

    batch: int
    rank: int = 0
    world: int = 1

    def positions(self, step: int) -> range:
        """The positions of the pictures of a step that are this process's."""
        own = self.batch // self.world
        first = step * self.batch + self.rank * own
        return range(first, first + own)


class Pictures(Dataset[tuple[Example, int]]):
    """The pictures of a training by position, without end."""

    def __init__(
        self, mixture: Mixture, size: tuple[int, int], augmentation: Augmentation, seed: int, make: MakePicture
    ) -> None:
        self.mixture, self._size, self._augmentation, self._seed = mixture, size, augmentation, seed
        self._make = make

    def __getitem__(self, position: int) -> tuple[Example, int]:
        rng = np.random.default_rng((self._seed, position))
        source = self.mixture.draw(rng)
        return self._make(self.mixture, source, *self._size, self._augmentation, rng), source

    def __getitems__(self, positions: list[int]) -> list[tuple[Example, int]] | DatasetError:
        """Those of a batch, or what is wrong with one: raised in a loader's process it would lose its kind."""
        try:
            return [self[position] for position in positions]
        except DatasetError as fault:
            return fault


class Steps(Sampler[list[int]]):
    """The positions of one step after the other: never listed, for a training by the clock has steps without end."""

    def __init__(self, share: Share, steps: range) -> None:
        self._share, self._steps = share, steps

    def __iter__(self) -> Iterator[list[int]]:
        return (list(self._share.positions(step)) for step in self._steps)


def batches(
    pictures: Pictures,
    share: Share,
    target: MakeTarget,
    *,
    first_step: int,
    steps: int,
    workers: int,
    pin: bool = False,
) -> Iterator[Batch]:
    """Give this process's batch of each step from `first_step` on, made ahead by `workers` processes (0: by this).

    Raises `DatasetError` for the batch of an image that cannot be read, when it is that batch's turn.
    """
    if workers:
        # A forked process has no threads but believes that OpenCV's pool is there, and waits for it for ever. Workers
        # are as many as there are cores to use: none of them needs a pool.
        cv2.setNumThreads(0)
    loader = DataLoader(
        pictures,
        batch_sampler=Steps(share, range(first_step, first_step + steps)),
        num_workers=workers,
        collate_fn=partial(collate, target),
        worker_init_fn=_leave_interrupts_to_the_trainer,
        pin_memory=pin,
        prefetch_factor=3 if workers else None,
        # Its own: a loader draws a seed as it begins, and from torch's generator a resumed training would so draw other
        # dropout than the one that was never stopped.
        generator=torch.Generator(),
    )
    return map(_sound, iter(loader))


def _sound(made: Batch | DatasetError) -> Batch:
    if isinstance(made, DatasetError):
        raise made
    return made


def collate(target: MakeTarget, pictures: list[tuple[Example, int]] | DatasetError) -> Batch | DatasetError:
    """Put pictures of one size together; pass on what is wrong with one."""
    if isinstance(pictures, DatasetError):
        return pictures
    stacked = np.stack([example.image for example, _ in pictures])
    return Batch(
        torch.from_numpy(stacked).permute(0, 3, 1, 2),
        [target(example) for example, _ in pictures],
        [source for _, source in pictures],
    )


def _leave_interrupts_to_the_trainer(_worker: int) -> None:
    """Ctrl-C reaches all processes of a terminal: the trainer ends its step first, and needs its pictures for that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
