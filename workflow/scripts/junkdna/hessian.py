"""Second moments of a layer's inputs and what the layer-wise solvers need of them.

The output error of a linear layer with inputs X (tokens, in) is ``|| X (W - W')^T ||^2``; its Hessian with respect to
each row of W is ``2 X^T X``, the same for all rows (Hassibi and Stork 1993; Frantar and Alistarh 2023). Constant
factors cancel in every solver here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from junkdna.files import DataError

log = logging.getLogger(__name__)

PANEL = 256  # rows of the Hessian at a time: only blocks on or below the diagonal are computed
TOKENS = 32  # squared at a time: so few float64 copies stay in the cache
CUDA_TOKENS = 4096  # a GPU wants few and large operations
RETRIES = 4
LEAST = 128  # columns of a triangle that is inverted in one call


class SquaredNorms:
    """Sum of squares of each input feature, float64 of shape (in,)."""

    def __init__(self, width: int, device: torch.device) -> None:
        self.value = torch.zeros(width, dtype=torch.float64, device=device)

    def add(self, inputs: torch.Tensor) -> None:
        """Count in inputs of shape (tokens, in)."""
        for tokens in inputs.split(CUDA_TOKENS if inputs.is_cuda else TOKENS):
            self.value += tokens.double().square_().sum(0)

    def finish(self) -> torch.Tensor:
        return self.value


class Gram:
    """X^T X, float32 of shape (in, in), held as panels of the blocks on or below the diagonal."""

    def __init__(self, width: int, device: torch.device) -> None:
        stops = [min(start + PANEL, width) for start in range(0, width, PANEL)]
        self.panels = [torch.zeros((stop - 1) % PANEL + 1, stop, device=device) for stop in stops]

    def add(self, inputs: torch.Tensor) -> None:
        """Count in inputs of shape (tokens, in)."""
        with _fast_products(inputs.dtype == torch.bfloat16):
            inputs = inputs.float()
            for panel in self.panels:
                rows, stop = panel.shape
                panel.addmm_(inputs[:, stop - rows : stop].T, inputs[:, :stop])

    def diagonal(self) -> torch.Tensor:
        """Squared norms of the inputs, (in,)."""
        return torch.cat([panel.diagonal(panel.shape[1] - panel.shape[0]) for panel in self.panels])

    def finish(self) -> torch.Tensor:
        """The whole symmetric matrix."""
        width = self.panels[-1].shape[1]
        whole = self.panels[-1].new_empty(width, width)
        for panel in self.panels:
            rows, stop = panel.shape
            start = stop - rows
            square = panel[:, start:]
            square.copy_(square.tril() + square.tril(-1).T)
            whole[start:stop, :stop] = panel
            whole[:start, start:stop] = panel[:, :start].T
        return whole


@contextmanager
def _fast_products(allowed: bool) -> Iterator[None]:
    """Let a CPU multiply float32 matrices as bfloat16, and a GPU as TF32, summing in float32, if they can.

    Nothing is lost where the elements came from bfloat16, and the matrix units are several times as fast.
    """
    settings = {torch.backends.mkldnn.matmul: "bf16", torch.backends.cuda.matmul: "tf32"} if allowed else {}
    before = [backend.fp32_precision for backend in settings]
    for backend, precision in settings.items():
        backend.fp32_precision = precision
    try:
        yield
    finally:
        for backend, precision in zip(settings, before, strict=True):
            backend.fp32_precision = precision


def factor(
    gram: Gram, damping: float, name: str, order: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Upper Cholesky factor U of the inverse of the damped Hessian, ``(H + d mean(diag H) I)^-1 = U^T U``.

    Row i of U times ``1 / U[i, i]`` is the OBS update of the columns after i once all before it are fixed, and
    ``U[i, i]^2`` the leading element of the inverse of the Hessian that is left then.

    Args:
        gram: X^T X, (in, in); its panels stay until a damping did, and are dropped then. Beside them there is one
            matrix, which turns from H into U in place.
        damping: d; raised tenfold, at most RETRIES times, while the matrix is not positive definite in float32.
        name: of the layer, for errors.
        order: of the inputs in H and U, (in,); their own if None.

    Returns:
        U, and which inputs never occurred (bool, (in,)), in that order: nothing depends on their weights.

    Raises:
        DataError: not finite, or not positive definite with the largest damping either.
    """
    diagonal = gram.diagonal()
    if not bool(torch.isfinite(diagonal).all()):  # no element of X^T X is larger than the largest of its diagonal
        raise DataError(f"{name}: its inputs on the calibration data hold NaN or infinite values")
    dead, mean = diagonal == 0, diagonal.mean()
    diagonal[dead] = 1
    if order is not None:
        diagonal, dead = diagonal[order], dead[order]
    for attempt in range(RETRIES + 1):
        shift = damping * 10**attempt * mean
        upper = gram.finish()
        if order is not None:
            upper = upper[order][:, order]
        upper.diagonal().copy_(diagonal + shift)
        # Reversed, H = R R^T with R upper triangular, so U = R^-1: one Cholesky and one triangular inverse.
        _reverse(upper)
        lower = upper.T  # symmetric; in columns, as LAPACK wants what it is to overwrite
        _, failed = torch.linalg.cholesky_ex(lower, out=(lower, torch.empty(0, dtype=torch.int32, device=lower.device)))
        if not failed:
            gram.panels.clear()
            _invert(lower)
            _reverse(upper)
            _transpose(upper)
            return upper, dead
        log.warning("%s: Hessian not positive definite with damping %g; trying ten times as much", name, shift / mean)
    raise DataError(f"{name}: Hessian not positive definite with damping {shift / mean:g}; use more calibration data")


def _reverse(square: torch.Tensor) -> None:
    """Reverse rows and columns in place."""
    size = len(square)
    for start in range(0, size // 2, PANEL):
        stop = min(start + PANEL, size // 2)
        first, last = square[start:stop], square[size - stop : size - start]
        kept = first.flip(0, 1)
        first.copy_(last.flip(0, 1))
        last.copy_(kept)
    if size % 2:
        middle = square[size // 2]
        middle.copy_(middle.flip(0))


def _transpose(square: torch.Tensor) -> None:
    """Transpose in place."""
    tiles = [slice(start, start + PANEL) for start in range(0, len(square), PANEL)]
    for number, rows in enumerate(tiles):
        for columns in tiles[: number + 1]:
            kept = square[rows, columns].T.contiguous()
            square[rows, columns] = square[columns, rows].T.clone()
            square[columns, rows] = kept


def _invert(lower: torch.Tensor) -> None:
    """Replace a lower triangular matrix by its inverse: half by half, without the zeros that a solver multiplies."""
    if len(lower) <= LEAST:
        eye = torch.eye(len(lower), dtype=lower.dtype, device=lower.device)
        lower.copy_(torch.linalg.solve_triangular(lower, eye, upper=False))
        return
    half = len(lower) // 2
    first, second, below = lower[:half, :half], lower[half:, half:], lower[half:, :half]
    _invert(first)
    _invert(second)
    torch.addmm(below, second @ below, first, beta=0, alpha=-1, out=below)
