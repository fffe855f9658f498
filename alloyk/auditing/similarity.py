"""Find near-duplicates: an exposure saved again, brightened, reduced to 8 bits or resized.

Radiographs of one set-up look alike, so a perceptual hash reports all of them as duplicates. Noise
and finest detail, however, differ between exposures. The signature of an image contains only these,
with edges clipped to their level. After the mean signature of the data set (the detector's fixed
pattern) is subtracted, the correlation between two exposures is 0 ± 0.06. The signs of the
signature are a 1,024-bit hash that finds candidate pairs; the correlation decides.
"""

import numpy as np

SIMILAR = 0.5
"""Minimum correlation of near-duplicates."""

# Pairs of that correlation differ in acos(0.5) / π = 1/3 of the signs, in 43 ± 5 of the 128 in the
# first two words and in 341 ± 15 of all 1,024; unrelated pairs in half of them.
FIRST_WORDS, FIRST_BITS = 2, 54
HASH_BITS = 400

# With fewer images, the fixed pattern cannot be estimated.
FEWEST = 8

BLOCK = 256
MOST_PAIRS = 100_000


def near_duplicates(signatures: np.ndarray) -> list[tuple[int, int, float]]:
    """Find near-duplicate pairs of images.

    The time is quadratic in the number of images: one to two seconds for 10,000.

    Args:
        signatures: `(n, 1024)`, from `alloyk.auditing.measure`; rows of zeros (images without
            contrast, unreadable ones) are never part of a pair.

    Returns:
        (row, later row, correlation), the most similar first; at most 100,000 pairs, and none
        among fewer than 8 images.
    """
    rows = np.flatnonzero(signatures.any(axis=1))
    if len(rows) < FEWEST:
        return []
    common = np.median(signatures[rows], axis=0).astype(np.float32)
    words = np.packbits(signatures[rows] > common, axis=1).view(np.uint64)
    found: list[tuple[int, int, float]] = []
    for start in range(0, len(rows), BLOCK):
        first, second = _close_pairs(words, start)
        similarity = _correlation(signatures, rows[first], rows[second], common)
        some = similarity >= SIMILAR
        columns = (rows[first[some]], rows[second[some]], similarity[some])
        found += zip(*(column.tolist() for column in columns), strict=True)
        if len(found) >= MOST_PAIRS:
            break
    return sorted(found, key=lambda pair: (-round(pair[2], 6), pair[:2]))[:MOST_PAIRS]


def _close_pairs(words: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of close hashes whose first row is in the block that begins at `start`."""
    block = words[start : start + BLOCK]
    differing = np.zeros((len(block), len(words) - start), np.uint8)
    for word in range(FIRST_WORDS):
        differing += np.bitwise_count(block[:, None, word] ^ words[None, start:, word])
    first, second = np.nonzero(differing <= FIRST_BITS)
    later = second > first
    first, second = first[later] + start, second[later] + start
    differing = np.bitwise_count(words[first] ^ words[second]).sum(axis=1, dtype=np.uint16)
    close = differing <= HASH_BITS
    return first[close], second[close]


def _correlation(signatures, first, second, common) -> np.ndarray:
    """Correlation of pairs of signatures without their common part."""
    found = np.empty(len(first), np.float32)
    for start in range(0, len(first), BLOCK):
        part = slice(start, start + BLOCK)
        one, two = (signatures[rows[part]] - common for rows in (first, second))
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
        found[part] = np.einsum("ij,ij->i", one, two) / np.maximum(lengths, 1e-6)
    return found
