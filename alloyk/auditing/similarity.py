"""Find near-duplicates: an exposure saved again, brightened, reduced to 8 bits or resized.

Radiographs of one set-up look alike, so a perceptual hash reports all of them as duplicates. Noise
and finest detail, however, differ between exposures. The signature of an image contains only these,
with edges clipped to their level. After the mean signature of the data set (the detector's fixed
pattern) is subtracted, the correlation between two exposures is 0 ± 0.06. The signs of the
signature are a 1,024-bit hash that finds candidate pairs; the correlation decides.
"""

from collections.abc import Iterator

import numpy as np

from alloyk.auditing.blocks import ROWS, sample_of
from alloyk.auditing.candidates import candidate_pairs

SIMILAR = 0.5
"""Minimum correlation of near-duplicates."""

# Pairs of that correlation differ in acos(0.5) / π = 1/3 of the signs, in 43 ± 5 of the 128 in the
# first two words and in 341 ± 15 of all 1,024; unrelated pairs in half of them.
FIRST_WORDS, FIRST_BITS = 2, 54
HASH_BITS = 400

# With fewer images, the fixed pattern cannot be estimated.
MIN_IMAGES = 8

BLOCK = 256
MAX_COMPARED = 20_000
"""With more images, not every image is compared with every other one."""
MAX_PAIRS = 100_000


def near_duplicates(
    signatures: np.ndarray, rows: np.ndarray | None = None
) -> list[tuple[int, int, float]]:
    """Find near-duplicate pairs of images.

    Up to 20,000 images, every pair is compared, in one to two seconds for 10,000 images. With
    more images, only candidate pairs are compared: the time is linear, and pairs below a
    correlation of 0.8 are missed increasingly often, see `candidates`.

    Args:
        signatures: `(n, 1024)`, from `alloyk.auditing.measure`; rows of zeros (images without
            contrast, unreadable ones) are never part of a pair.
        rows: `(m,)` int, the rows to compare, sorted; None: all.

    Returns:
        (row, later row, correlation), the most similar first; at most 100,000 pairs, and none
        among fewer than 8 images.
    """
    rows = np.arange(len(signatures)) if rows is None else rows
    rows = rows[np.any(signatures, axis=1)[rows]]
    if len(rows) < MIN_IMAGES:
        return []
    common = np.median(signatures[sample_of(rows)], axis=0).astype(np.float32)
    words = _sign_words(signatures, rows, common)
    found: dict[tuple[int, int], float] = {}
    for first, second in _compared_pairs(signatures, rows, common, words):
        similarity = _correlation(signatures, rows[first], rows[second], common)
        some = similarity >= SIMILAR
        pairs = zip(rows[first[some]].tolist(), rows[second[some]].tolist(), strict=True)
        found.update(zip(pairs, similarity[some].tolist(), strict=True))
        if len(found) >= MAX_PAIRS:
            break
    ordered = sorted(found, key=lambda pair: (-round(found[pair], 6), pair))
    return [(*pair, found[pair]) for pair in ordered[:MAX_PAIRS]]


def _sign_words(signatures: np.ndarray, rows: np.ndarray, common: np.ndarray) -> np.ndarray:
    """The signs of each signature without the common part, `(m, 16)` uint64."""
    words = np.empty((len(rows), signatures.shape[1] // 64), np.uint64)
    for start in range(0, len(rows), ROWS):
        part = signatures[rows[start : start + ROWS]] > common
        words[start : start + ROWS] = np.packbits(part, axis=1).view(np.uint64)
    return words


def _compared_pairs(
    signatures: np.ndarray, rows: np.ndarray, common: np.ndarray, words: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Numbers of rows whose correlation is computed."""
    if len(rows) <= MAX_COMPARED:
        for start in range(0, len(rows), BLOCK):
            yield _close_pairs(words, start)
        return
    for first, second in candidate_pairs(signatures, rows, common):
        close = np.bitwise_count(words[first] ^ words[second]).sum(axis=1, dtype=np.uint16)
        yield first[close <= HASH_BITS], second[close <= HASH_BITS]


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
