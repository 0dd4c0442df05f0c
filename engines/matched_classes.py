"""Which class of a network is which of a dataset, and what both are called together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from engines.errors import DatasetError


@dataclass(frozen=True, slots=True)
class MatchedClasses:
    """`names` of the classes that are judged; for each class of either side its index among them, -1 for none."""

    names: tuple[str, ...]
    of_bundle: tuple[int, ...]
    of_dataset: tuple[int, ...]


def match_classes(
    bundle: Sequence[str],
    dataset: Sequence[str],
    pairs: Sequence[tuple[str, str]] = (),
    sides: tuple[str, str] = ("bundle", "dataset"),
) -> MatchedClasses:
    """Pair the classes of a bundle and a dataset, or of what `sides` calls them in errors.

    `pairs` of (bundle's class, dataset's class) come first; classes that none of them names are paired with their
    equals, whatever their case. Several classes of one side paired with one of the other are judged as that one; a
    name is the dataset's unless several of the dataset's are one. Raises `DatasetError` for a name that is unknown,
    for pairs that make several of one side the same as several of the other, and where nothing pairs.
    """
    links = [
        (_find(b, bundle, f"--map {b}={d}", sides[0]), _find(d, dataset, f"--map {b}={d}", sides[1])) for b, d in pairs
    ]
    mapped = {b for b, _ in links}, {d for _, d in links}
    spelled = {name.casefold(): position for position, name in enumerate(bundle) if position not in mapped[0]}
    for position, name in enumerate(dataset):
        if position not in mapped[1] and name.casefold() in spelled:
            links.append((spelled[name.casefold()], position))
    if not links:
        raise DatasetError(
            f"the {sides[1]}",
            f"has none of the {sides[0]}'s classes by name (it has {', '.join(dataset)[:200]})",
            f"say which are the same with --map {sides[0].upper()}_CLASS={sides[1].upper()}_CLASS",
        )
    names: list[str] = []
    of_bundle, of_dataset = [-1] * len(bundle), [-1] * len(dataset)
    for bundle_side, dataset_side in sorted(_groups(links), key=lambda group: min(group[1])):
        if len(bundle_side) > 1 and len(dataset_side) > 1:
            raise DatasetError(
                "--map",
                f"makes {_listed(bundle, bundle_side)} of the {sides[0]} the same as {_listed(dataset, dataset_side)}",
                "give one class of one side for several of the other",
            )
        for position in bundle_side:
            of_bundle[position] = len(names)
        for position in dataset_side:
            of_dataset[position] = len(names)
        names.append(dataset[min(dataset_side)] if len(dataset_side) == 1 else bundle[min(bundle_side)])
    return MatchedClasses(tuple(names), tuple(of_bundle), tuple(of_dataset))


def _find(name: str, known: Sequence[str], where: str, side: str) -> int:
    for position, candidate in enumerate(known):
        if candidate == name:
            return position
    folded = [candidate.casefold() for candidate in known]
    if name.casefold() in folded:
        return folded.index(name.casefold())
    near = get_close_matches(name.casefold(), folded, n=1)
    hint = f"did you mean {known[folded.index(near[0])]!r}?" if near else f"it has {', '.join(known)[:200]}"
    raise DatasetError(where, f"{name!r} is no class of the {side}", hint)


def _groups(links: Sequence[tuple[int, int]]) -> list[tuple[set[int], set[int]]]:
    """What hangs together, as (bundle's classes, dataset's classes)."""
    groups: list[tuple[set[int], set[int]]] = []
    for b, d in links:
        touched = [group for group in groups if b in group[0] or d in group[1]]
        groups = [group for group in groups if group not in touched]
        groups.append(({b}.union(*(g[0] for g in touched)), {d}.union(*(g[1] for g in touched))))
    return groups


def _listed(names: Sequence[str], positions: set[int]) -> str:
    return " and ".join(names[position] for position in sorted(positions))
