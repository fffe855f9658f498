"""Stratified allocation: divide whole members of strata among parts with given shares."""

import numpy as np

# Random orders of groups that span strata to try, of each kind.
_DRAWS = 20


def deal(strata: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Deal the members of each stratum out to parts.

    Args:
        strata: `(n,)` int, the stratum of every member, 0 … S − 1.
        shares: `(k,)`, the share of every part; their sum is 1.
        rng: Decides who goes where; how many go is fixed.

    Returns:
        `(n,)` int, the part of every member, 0 … k − 1.
    """
    counts = apportion(np.bincount(strata), shares)
    parts = np.empty(len(strata), dtype=np.intp)
    by_stratum = np.argsort(strata, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts.sum(axis=1))])
    for row, start, end in zip(counts, starts, starts[1:], strict=False):
        members = rng.permutation(by_stratum[start:end])
        parts[members] = np.repeat(np.arange(len(shares)), row)
    return parts


def apportion(counts: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return how many of each stratum each part gets.

    Every number is its exact quota rounded down or up; a unit left over goes to the part that is
    furthest behind in the sum over the strata so far. A part gets at least one of every stratum
    that is large enough for all parts.

    Args:
        counts: `(S,)` int, members of every stratum.
        shares: `(k,)` float, above 0; their sum is 1.

    Returns:
        `(S, k)` int; row s sums to `counts[s]`.

    >>> apportion(np.array([10, 10]), np.array([0.7, 0.15, 0.15]))
    array([[7, 2, 1],
           [7, 1, 2]])
    """
    quotas = np.outer(counts, shares)
    result = np.floor(quotas + 1e-9).astype(np.int64)
    behind = np.zeros(len(shares))
    for row, (quota, parts) in enumerate(zip(quotas, result, strict=True)):
        behind += quota - parts
        room = quota - parts > 1e-9
        left = int(counts[row] - parts.sum())
        first = np.argsort(np.where(room, -np.round(behind, 9), np.inf), kind="stable")[:left]
        parts[first] += 1
        behind[first] -= 1
        while counts[row] >= len(shares) and (parts == 0).any():
            most, none = np.argmax(parts), np.argmin(parts)
            parts[[most, none]] += -1, 1
            behind[[most, none]] += 1, -1
    return result


def deal_pure_groups(
    members: np.ndarray, shares: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Allocate groups of one stratum each in the numbers of `apportion`, with balanced images.

    Where groups are so unequal that these numbers leave a part more images from its share than one
    group has on average, the images decide instead of the numbers.

    Args:
        members: `(groups, S)` int, images of every group in every stratum; one above 0 in a row.
        shares: `(k,)`, as for `deal`.
        rng: As for `deal`.

    Returns:
        `(groups,)` int, the part of every group, 0 … k − 1.
    """
    stratum, sizes = members.argmax(axis=1), members.sum(axis=1)
    counts = apportion(np.bincount(stratum, minlength=members.shape[1]), shares)
    parts = np.empty(len(members), dtype=np.intp)
    for s, places in enumerate(counts):
        of_stratum = rng.permutation(np.flatnonzero(stratum == s))
        if len(set(sizes[of_stratum])) == 1:
            parts[of_stratum] = np.repeat(np.arange(len(shares)), places)
        else:
            largest_first = of_stratum[np.argsort(-sizes[of_stratum], kind="stable")]
            parts[largest_first] = _deal_unequal(sizes[largest_first], places, shares)
    return parts


def _deal_unequal(sizes: np.ndarray, places: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Allocate the groups of one stratum, the largest first, each to one of `places`."""
    parts = np.empty(len(sizes), dtype=np.intp)
    places, lacking = places.copy(), shares * sizes.sum()
    for group, size in enumerate(sizes):
        # To the part whose free places must hold the largest groups.
        need = np.where(places > 0, lacking / np.maximum(places, 1), -np.inf)
        part = parts[group] = int(np.argmax(need))
        places[part] -= 1
        lacking[part] -= size
    if np.abs(lacking).max() > sizes.mean():
        while _exchange(parts, sizes, lacking):
            pass
    return parts


def _exchange(parts: np.ndarray, sizes: np.ndarray, lacking: np.ndarray) -> bool:
    """Move or exchange groups of two parts, where that lowers the sum of `lacking²` most.

    Args:
        parts: `(groups,)` int, changed in place; no part loses its last group.
        sizes: `(groups,)` int.
        lacking: `(k,)` float, images that each part lacks; changed in place.

    Returns:
        Whether anything lowers the sum.
    """
    held = [np.flatnonzero(parts == part) for part in range(len(lacking))]
    # The first group of each size in a part; the first of all stands for none, -1.
    first = [np.r_[-1, groups[np.unique(sizes[groups], return_index=True)[1]]] for groups in held]
    images = [np.where(groups < 0, 0, sizes[groups]) for groups in first]
    best, change = -1e-6, None
    for a, b in np.argwhere(lacking[:, None] < lacking[None, :]):
        none = int(len(held[a]) == 1)  # its only group is exchanged, never moved
        moved = images[a][1:, None] - images[b][None, none:]
        gain = 2.0 * moved * (moved - (lacking[b] - lacking[a]))
        i, j = np.unravel_index(np.argmin(gain), gain.shape)
        if gain[i, j] < best:
            best, change = gain[i, j], (a, b, first[a][1 + i], first[b][none + j], moved[i, j])
    if change is None:
        return False
    a, b, given, taken, count = change
    parts[given] = b
    if taken >= 0:
        parts[taken] = a
    lacking[[a, b]] += count, -count
    return True


def deal_mixed_groups(
    members: np.ndarray, shares: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Allocate groups that span strata (a day, a series): largest first, to the part lacking most.

    If that leaves a part without a stratum, every part first gets the groups that bring all strata.

    Args:
        members: `(groups, S)` int, images of every group in every stratum.
        shares: `(k,)`, as for `deal`.
        rng: As for `deal`.

    Returns:
        `(groups,)` int, the part of every group; a part lacks a stratum if no draw gave it one.
    """
    sizes, unknown = members.sum(axis=1), np.full(len(members), -1, dtype=np.intp)
    for _ in range(_DRAWS):
        order = rng.permutation(len(members))
        parts = _fill(unknown, members, shares, order[np.argsort(-sizes[order], kind="stable")])
        if _all_present(parts, members, len(shares)):
            return parts
    for draw in range(_DRAWS):
        order = rng.permutation(len(members))
        largest_first = order[np.argsort(-sizes[order], kind="stable")]
        # The smallest groups are enough; other orders where these leave too few for the rest.
        seeded = _one_of_each(members, shares, order if draw else largest_first[::-1])
        parts = _fill(seeded, members, shares, largest_first)
        if _all_present(parts, members, len(shares)):
            return parts
    return parts


def _all_present(parts: np.ndarray, members: np.ndarray, count: int) -> bool:
    """Whether each part has each stratum."""
    return all(members[parts == part].sum(axis=0).all() for part in range(count))


def _fill(
    parts: np.ndarray, members: np.ndarray, shares: np.ndarray, order: np.ndarray
) -> np.ndarray:
    """Give the groups without a part (-1), in this order, to the part that lacks most."""
    parts, total = parts.copy(), members.sum(axis=0)
    lacking = np.outer(shares, total).astype(float)
    np.subtract.at(lacking, parts[parts >= 0], members[parts >= 0])
    for group in order[parts[order] < 0]:
        # Relative to the stratum: otherwise the small parts stay empty to the last.
        parts[group] = part = int(np.argmax((members[group] * lacking / total).sum(axis=1)))
        lacking[part] -= members[group]
    return parts


def _one_of_each(members: np.ndarray, shares: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Give each part, the smallest first, groups until it has every stratum; -1 for the others."""
    parts = np.full(len(members), -1, dtype=np.intp)
    has = members > 0
    weight = has / has.sum(axis=0)  # a stratum of few groups counts most
    for part in np.argsort(shares, kind="stable"):
        missing = np.ones(members.shape[1], dtype=bool)
        while missing.any():
            free = order[parts[order] < 0]
            brought = weight[free][:, missing].sum(axis=1)
            if not brought.any():
                break
            group = free[np.argmax(brought)]
            parts[group] = part
            missing &= ~has[group]
    return parts
