"""How a style's statistics are compared, by the choice of `--statistics`.

All are of sums that add over tiles: Gram sums [R, C, C], and the features' own sums as a row more, [R, C + 1, C], where
a comparison needs them. Normalised they are the second moments G and the means mu of the features; S = G - mu mu^T.
A and m are the target's, e = tr A the mean power of its features. Each part of an error is relative: 1 for a picture
without any features.

    gram     ||G - A||^2 / ||A||^2, as Gatys et al. 2016
    moments  the same, and (|mu - m|^2 + |sigma - sigma*|^2) / e, sigma^2 the diagonal of S; as Li et al. 2017,
             "Demystifying Neural Style Transfer", have it by itself
    w2       (|mu - m|^2 + tr(S + S* - 2 (S*^1/2 S S*^1/2)^1/2)) / e: the squared Wasserstein-2 distance of the Gaussian
             distributions with these moments (Dowson & Landau 1982), over the target's from nothing

The latter two have no slope where a variance vanishes, as all do that a flat style or few cells leave open. So both
sides are blurred alike: BLUR * e / C is added to each variance.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

import kernels

# Of a feature's mean power. Half of the variances of a deep layer are above 0.02 of it; with less than a thousandth
# float32 has too few digits for the smallest.
BLUR = 1e-3
# Of what is foreseen of a level, when the Gram sums of bfloat16 or a tile's changes have made it no covariance: blurred
# by as many times as much as it takes.
MORE_BLUR = (1, 100)
# The smallest singular value of two covariances' factors that is still taken to 1, over all of them together.
LEAST = 1e-5


def style_term(
    statistics: str, found: torch.Tensor, target: torch.Tensor, weight: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(weight times the relative error [R], its slopes) of normalised sums [R, rows, C]. slopes [R, rows, C]: what
    `kernels.gram_backward_` takes. Nothing is read from the device."""
    if statistics == "gram":
        return kernels.style_term(found, target, weight)
    return (_moments if statistics == "moments" else _wasserstein)(found, target, weight)


def _power(target: torch.Tensor) -> torch.Tensor:
    """e of each region [R]; 1 where a dead layer has none."""
    power = target.diagonal(0, -2, -1).sum(-1)
    return torch.where(power > 0, power, 1.0)


def _moments(found: torch.Tensor, target: torch.Tensor, weight: float) -> tuple[torch.Tensor, torch.Tensor]:
    c, power = found.shape[-1], _power(target)
    loss, slope = kernels.style_term(found[:, :c], target[:, :c], weight)
    blur, factor = (BLUR / c * power)[:, None], (weight / power)[:, None]

    def moments(sums: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(means, deviations) [R, C]."""
        mean = sums[:, c]
        return mean, ((sums.diagonal(0, -2, -1) - mean.square()).clamp(min=0) + blur).sqrt()

    (mean, deviation), (wanted_mean, wanted_deviation) = moments(found), moments(target)
    moved, wider = mean - wanted_mean, deviation - wanted_deviation
    loss = loss + (factor * (moved.square() + wider.square())).sum(-1)
    per_variance = wider / deviation
    slope.diagonal(0, -2, -1).add_(factor * per_variance)
    return loss, torch.cat([slope, (2 * factor * (moved - per_variance * mean))[:, None]], 1)


def _wasserstein(found: torch.Tensor, target: torch.Tensor, weight: float) -> tuple[torch.Tensor, torch.Tensor]:
    c, power = found.shape[-1], _power(target)
    factor, mean, wanted_mean = weight / power, found[:, c], target[:, c]
    both = torch.stack([found, target])
    covariances = both[..., :c, :] - both[..., c, :, None] * both[..., c, None, :]
    (ours, theirs), factors = _blurred(covariances, BLUR / c * power)
    across, moved = transport(*factors), mean - wanted_mean
    traces = (ours + theirs).diagonal(0, -2, -1).sum(-1)
    loss = factor * (moved.square().sum(-1) + traces - 2 * (ours * across).sum((-2, -1)))
    slope = across.neg_()
    slope.diagonal(0, -2, -1).add_(1)
    of_mean = moved - (slope @ mean[..., None])[..., 0]
    return loss, factor[:, None, None] * torch.cat([slope, 2 * of_mean[:, None]], 1)


def _blurred(covariances: torch.Tensor, blur: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """[2, R, C, C], blurred by so much [R] or as much more as makes both definite, and their lower factors."""
    most = blur + torch.linalg.matrix_norm(covariances).sum(0)
    tried = torch.stack([*(times * blur for times in MORE_BLUR), most])
    blurred = covariances.repeat(len(tried), 1, 1, 1, 1)
    blurred.diagonal(0, -2, -1).add_(tried[:, None, :, None])
    factors, info = torch.linalg.cholesky_ex(blurred)
    definite = (info == 0).all(1)[..., None, None]
    found = blurred[-1], factors[-1]
    for enough, *other in zip(definite[:-1].flip(0), blurred[:-1].flip(0), factors[:-1].flip(0), strict=True):
        found = torch.where(enough, other[0], found[0]), torch.where(enough, other[1], found[1])
    return found


def transport(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """The symmetric T with T S T = S* of each two covariances, which carries the one Gaussian to the other:
    S*^1/2 (S*^1/2 S S*^1/2)^-1/2 S*^1/2. ours: L, theirs: R, lower triangles [.., C, C], S = L L^T, S* = R R^T.

    On a CPU by eigenvectors in float64, which takes half the time there, of 512 channels.
    """
    found = _by_eigenvectors(ours, theirs) if ours.device.type == "cpu" else by_products(ours, theirs)
    return (found + found.mT) / 2


def _by_eigenvectors(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """R (B^T B)^-1/2 R^T, B = L^T R."""
    wide, right = ours.double(), theirs.double()
    across = wide.mT @ right
    values, vectors = torch.linalg.eigh(across.mT @ across)
    values = torch.maximum(values, values[..., -1:] * torch.finfo(torch.float64).eps)
    turned = right @ vectors
    return ((turned * values.rsqrt()[..., None, :]) @ turned.mT).to(ours.dtype)


def by_products(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """L^-T U R^T, where U is the orthogonal factor of L^T R. That one is found by products alone, which a GPU does
    without waiting: X <- X p(X^T X) (Higham 2008, "Functions of Matrices", 8.3), x p(x^2) in each step the polynomial
    that brings all singular values nearest to 1, in half of what Newton and Schulz's would take.
    """
    x = ours.mT @ theirs
    x = x / torch.linalg.matrix_norm(x, keepdim=True)
    for constant, linear, square in _polynomials(1e-13 if x.dtype == torch.float64 else 1e-7):
        product = x.mT @ x
        factor = torch.baddbmm(product, product, product, beta=linear, alpha=square)
        factor.diagonal(0, -2, -1).add_(constant)
        x = x @ factor
    return torch.linalg.solve_triangular(ours.mT, x @ theirs.mT, upper=True)


@cache
def _polynomials(error: float) -> tuple[tuple[float, float, float], ...]:
    """(a, b, c) of the a x + b x^3 + c x^5 that, one after the other, take LEAST .. 1 to 1 up to the error. None of it
    goes beyond 1, and where the next one is steep there, not quite to 1: rounding would grow."""
    found, least = [], LEAST
    while 1 - least > error:
        polynomial, worst = _nearest_to_one(least)
        most = (1 + worst) * (1.01 if worst > 0.01 else 1)
        found.append(tuple(float(one / most) for one in polynomial))
        least = (1 - worst) / most
    return tuple(found)  # type: ignore[arg-type]


def _nearest_to_one(least: float) -> tuple[np.ndarray, float]:
    """(a, b, c) whose values on least .. 1 are nearest to 1, and how far off they are: by Remez's exchange."""
    signs, low, high = np.array([1, -1, 1, -1]), least + (1 - least) / 4, least + (1 - least) * 3 / 4
    for _ in range(100):
        at = np.array([least, low, high, 1])
        *polynomial, worst = np.linalg.solve(np.stack([at, at**3, at**5, signs], 1), np.ones(4))
        _, linear, square = polynomial
        spread = np.sqrt(max(9 * linear**2 - 20 * polynomial[0] * square, 0))
        before = low, high
        low, high = (np.sqrt((-3 * linear + side * spread) / (10 * square)) for side in (-1, 1))
        if np.allclose(before, (low, high), rtol=0, atol=1e-14):
            break
    return np.array(polynomial), abs(float(worst))
