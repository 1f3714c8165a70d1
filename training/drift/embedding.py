"""Embedding drift: whether live images look, to the network, like those it was validated on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float32]

PERMUTATIONS = 999

_LEAST_WIDTH = 1e-9
"""Of the kernel, where most images are the same to the network."""


@dataclass(frozen=True)
class EmbeddingDrift:
    """The outcome of the two-sample test."""

    mmd: float
    """Maximum mean discrepancy, squared and unbiased: about 0 without drift, and then as often
    below as above; at most 2."""
    p_value: float
    """Share of random divisions of all images that differ at least as much, in (0, 1]."""


def embedding_drift(
    reference: Rows, live: Rows, permutations: int = PERMUTATIONS, seed: int = 0
) -> EmbeddingDrift:
    """Compare two sets of images by the maximum mean discrepancy of their embeddings.

    The kernel is exp(-d^2 / m) of the distance d, with m the median of all d^2. Where the two
    sets come from one distribution, each p-value is as likely as any other.

    Args:
        reference: finite, shape (images, dimensions), at least two images.
        live: finite, shape (other images, dimensions), at least two.
        permutations: random divisions to compare with, at least 1.
        seed: of the divisions.

    Source: Gretton et al., "A Kernel Two-Sample Test", JMLR 2012: equation 3 and section 3.2.
    """
    kernel = _kernel(np.concatenate([reference, live]))
    is_live = np.zeros(len(kernel), np.float32)
    is_live[len(reference) :] = 1
    random = np.random.default_rng(seed)
    divisions = random.permuted(np.tile(is_live, (permutations, 1)), axis=1)
    discrepancies = _discrepancies(kernel, np.concatenate([is_live[None], divisions]))
    observed, others = discrepancies[0], discrepancies[1:]
    # Sums of single precision: what differs by less than their error does not differ.
    at_least = int((others >= observed - 1e-7).sum())
    return EmbeddingDrift(float(observed), (1 + at_least) / (1 + permutations))


def _kernel(rows: Rows) -> Rows:
    """Gaussian kernel of all pairs, shape (images, images), with nothing on its diagonal."""
    centred = (rows - rows.mean(axis=0, dtype=np.float64)).astype(np.float32)
    # By a product of matrices, which takes a tenth of the time that distances do one by one.
    norms = np.square(centred).sum(axis=1)
    squares = np.maximum(norms[:, None] + norms - 2 * (centred @ centred.T), 0)
    width = max(float(np.median(squares[np.tri(len(rows), k=-1, dtype=bool)])), _LEAST_WIDTH)
    kernel: Rows = np.exp(-squares / np.float32(width))
    np.fill_diagonal(kernel, 0)
    return kernel


def _discrepancies(kernel: Rows, is_live: Rows) -> npt.NDArray[np.float64]:
    """Squared, unbiased discrepancy under each division of the images.

    Args:
        kernel: of all pairs, without its diagonal.
        is_live: shape (divisions, images), 1 for live ones and 0 for the reference; as many of
            either in each division.
    """
    live = int(is_live[0].sum())
    reference = len(kernel) - live
    # Less its mean, a sum of single precision has digits left for what differs.
    centre = kernel.sum(dtype=np.float64) / (len(kernel) * (len(kernel) - 1))
    centred = kernel - np.float32(centre)
    np.fill_diagonal(centred, 0)
    products = is_live @ centred
    within_live = np.einsum("ij,ij->i", products, is_live, dtype=np.float64)
    of_live = products.sum(axis=1, dtype=np.float64)
    across = of_live - within_live
    within_reference = centred.sum(dtype=np.float64) - of_live - across
    discrepancies: npt.NDArray[np.float64] = (
        within_reference / (reference * (reference - 1))
        + within_live / (live * (live - 1))
        - 2 * across / (live * reference)
    )
    return discrepancies
