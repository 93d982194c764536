"""Wanda, SparseGPT, RTN and GPTQ as their papers' equations read, in float64: slow, plain, and free of junkdna.

No Cholesky factor, no lazy batches and no thresholds: the inverse Hessian loses one row and column at a time, and
weights are chosen by sorting, with ties by position. Weights are (out, in), inputs are (tokens, in) and masks are True
where a weight is kept. A sparsity is a ``Fraction`` or its text ("0.35"), so that counts are exact; a count is Python's
``round`` of the exact product. ``torch.round`` rounds halves to even as well.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import torch
from torch import Tensor

Sparsity = Fraction | str | None


def wanda_mask(
    weight: Tensor, inputs: Tensor, *, sparsity: Sparsity = None, n: int | None = None, m: int | None = None
) -> Tensor:
    """Sun et al. 2024 (arXiv 2306.11695), eq. 1: S_ij = |w_ij| ||x_j||_2, compared within each output row.

    Either round(sparsity * in) weights of each row go, or all but the ``n`` largest of each ``m`` consecutive inputs.
    """
    score = weight.double().abs() * inputs.double().square().sum(dim=0).sqrt()
    if m is None:
        return ~_smallest(score, _count(sparsity, score.shape[1]))
    blocks = score.reshape(-1, _divisor(m, score.shape[1]))
    return ~_smallest(blocks, m - n).reshape(score.shape)


def sparsegpt(
    weight: Tensor,
    inputs: Tensor,
    *,
    sparsity: Sparsity = None,
    n: int | None = None,
    m: int | None = None,
    block: int = 128,
    damping: float = 0.01,
    bits: int | None = None,
    group: int = 128,
    scale: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Frantar & Alistarh 2023 (arXiv 2301.00774), eq. 3 and algorithm 1: the new weights and the mask.

    The score of w_ij is w_ij^2 / [inv(H[j:, j:])]_00. At each ``block`` of columns the round(sparsity * out * columns)
    smallest of it go; or, at each ``m`` columns, the m - n smallest of each row. Both see the weights as they are at
    that moment. With ``bits`` the kept weights are rounded at their column (section 3.5), on the grid of the ``group``
    of columns as it began, the weights that are pruned later included.

    ``scale`` multiplies the Hessian and matters only with dead inputs, see ``_prepared``.
    """
    weight, hessian = _prepared(weight, inputs, damping, scale)
    first_rows = _first_rows(hessian)
    left = torch.stack([row[0] for row in first_rows])
    rows, columns = weight.shape
    mask = torch.ones_like(weight, dtype=torch.bool)
    span = block if m is None else _divisor(m, columns)
    width = None if bits is None else _group_width(columns, group)
    grid: tuple[Tensor, Tensor] | None = None

    def settle(current: Tensor, column: int) -> Tensor:
        nonlocal grid
        if column % span == 0:
            part = slice(column, min(column + span, columns))
            score = current[:, part].square() / left[part]
            if m is None:
                gone = _smallest(score.reshape(1, -1), _count(sparsity, score.numel()))
            else:
                gone = _smallest(score, m - n)
            mask[:, part] = ~gone.reshape(score.shape)
        values = current[:, column]
        if width is not None:
            if column % width == 0:
                grid = _grid(current[:, column : column + width], bits)
            values = _on_grid(values, *grid, bits)
        return torch.where(mask[:, column], values, torch.zeros(rows, dtype=torch.float64))

    return _eliminated(weight, first_rows, settle), mask


def rtn(weight: Tensor, bits: int, group: int = 128) -> Tensor:
    """Round to nearest: each weight on the min-max grid of its row and ``group`` of consecutive inputs, dequantized.

    ``ValueError`` if the width exceeds the group and is no multiple of it.
    """
    weight = weight.double()
    width = _group_width(weight.shape[1], group)
    return torch.cat([_rounded(part, bits) for part in weight.split(width, dim=1)], dim=1)


def gptq(
    weight: Tensor,
    inputs: Tensor,
    bits: int,
    *,
    group: int = 128,
    damping: float = 0.01,
    act_order: bool = False,
    scale: float = 1.0,
) -> Tensor:
    """Frantar et al. 2023 (arXiv 2210.17323), eq. 2 and 3: each column rounded, its error passed on; dequantized.

    The grid of a group comes from the weights as they are when it begins. With ``act_order`` the columns go by
    decreasing diagonal of the Hessian, ties by position, and the grids of all groups (in the original order) come from
    the weights before any elimination.
    """
    weight, hessian = _prepared(weight, inputs, damping, scale)
    columns = weight.shape[1]
    width = _group_width(columns, group)
    if not act_order:
        grid: tuple[Tensor, Tensor] | None = None

        def settle(current: Tensor, column: int) -> Tensor:
            nonlocal grid
            if column % width == 0:
                grid = _grid(current[:, column : column + width], bits)
            return _on_grid(current[:, column], *grid, bits)

        return _eliminated(weight, _first_rows(hessian), settle)

    order = hessian.diagonal().argsort(descending=True, stable=True)
    grids = [_grid(part, bits) for part in weight.split(width, dim=1)]

    def settle_static(current: Tensor, column: int) -> Tensor:
        return _on_grid(current[:, column], *grids[int(order[column]) // width], bits)

    found = torch.empty_like(weight)
    found[:, order] = _eliminated(weight[:, order], _first_rows(hessian[order][:, order]), settle_static)
    return found


def output_error(weight: Tensor, new: Tensor, inputs: Tensor) -> float:
    """||X (W - W')^T||_F^2, what all of these methods try to keep small."""
    return float((inputs.double() @ (weight.double() - new.double()).T).square().sum())


def _count(sparsity: Sparsity, of: int) -> int:
    return round(Fraction(sparsity) * of)


def _divisor(m: int, columns: int) -> int:
    if columns % m:
        raise ValueError(f"width {columns} is not divisible by {m}")
    return m


def _group_width(columns: int, group: int) -> int:
    return columns if columns < group else _divisor(group, columns)


def _smallest(score: Tensor, count: int) -> Tensor:
    """True at the ``count`` smallest of each row; of equal ones, at those that come first."""
    order = score.argsort(dim=1, stable=True)
    return torch.zeros_like(score, dtype=torch.bool).scatter_(1, order[:, :count], True)


def _prepared(weight: Tensor, inputs: Tensor, damping: float, scale: float) -> tuple[Tensor, Tensor]:
    """A copy of the weights, and the damped Hessian of ||X (w - w')||^2 for one row: H = scale * X^T X, (in, in).

    An input that is always 0 gets H_jj = 1 and weights of 0. This 1 then counts in the mean of the diagonal, of which
    ``damping`` is a share: only through it does a common factor of the Hessian change the result.
    """
    weight, inputs = weight.double().clone(), inputs.double()
    hessian = scale * (inputs.T @ inputs)
    dead = hessian.diagonal() == 0
    hessian.diagonal()[dead] = 1
    weight[:, dead] = 0
    hessian.diagonal().add_(damping * hessian.diagonal().mean())
    return weight, hessian


def _first_rows(hessian: Tensor) -> list[Tensor]:
    """For each j the first row of inv(H[j:, j:]), the inverse Hessian of the columns not yet settled.

    GPTQ's eq. 3: to drop column 0 from H, take the outer product of H^-1's row 0 over [H^-1]_00 off H^-1.
    """
    inverse, rows = torch.linalg.inv(hessian), []
    while len(inverse):
        rows.append(inverse[0])
        inverse = inverse[1:, 1:] - torch.outer(inverse[1:, 0], inverse[0, 1:]) / inverse[0, 0]
    return rows


def _eliminated(weight: Tensor, first_rows: list[Tensor], settle: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Settle the columns from left to right; those to the right make up for each error as well as they can.

    ``settle(current weights, column)`` gives the final values of a column. Optimal brain surgeon, Hassibi & Stork 1992:
    w[k] -= (w[j] - q[j]) / [H^-1]_jj * [H^-1]_jk for all k > j.
    """
    current = weight.clone()
    for column, row in enumerate(first_rows):
        final = settle(current, column)
        error = (current[:, column] - final) / row[0]
        current[:, column] = final
        current[:, column + 1 :] -= torch.outer(error, row[1:])
    return current


def _grid(weights: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Scale and zero point (out,) of the asymmetric grid of each row; its range takes in 0."""
    low, high = weights.amin(dim=1).clamp(max=0), weights.amax(dim=1).clamp(min=0)
    scale = torch.where(high == low, 1.0, (high - low) / (2**bits - 1))
    return scale, (-low / scale).round()


def _on_grid(values: Tensor, scale: Tensor, zero: Tensor, bits: int) -> Tensor:
    """The nearest grid point to one value (out,) of each row."""
    return (((values / scale).round() + zero).clamp(0, 2**bits - 1) - zero) * scale


def _rounded(weights: Tensor, bits: int) -> Tensor:
    scale, zero = _grid(weights, bits)
    return torch.stack([_on_grid(column, scale, zero, bits) for column in weights.T], dim=1)
