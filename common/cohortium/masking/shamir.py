"""Shamir's secret sharing (1979) over the field of 2⁵²¹ - 1 elements, which holds 256-bit secrets in one element.

Whatever t - 1 shares are, every secret is consistent with them, and equally many polynomials for each. Python's
integers do not compute in constant time; who can time them sits on the institution's own machine (out of scope).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

PRIME = 2**521 - 1
SIZE = 66  # bytes of an element


def split(secret: int, coefficients: Sequence[int], xs: Iterable[int], prime: int = PRIME) -> dict[int, int]:
    """The polynomial secret + c₁x + c₂x² + ... at each of ``xs``; 1 + len(coefficients) of them give the secret back.

    Pre-conditions: the coefficients are secret, uniform below ``prime`` and used for this secret only; the secret is
    below ``prime``; xs are distinct, from 1 to prime - 1, at least as many as are needed (ValueError).
    """
    points = _distinct(xs, prime)
    if not 0 <= secret < prime or not all(0 <= c < prime for c in coefficients) or len(points) <= len(coefficients):
        raise ValueError("the secret or a coefficient is no element, or there are too few shares")
    return {x: _value((secret, *coefficients), x, prime) for x in points}


def combine(shares: Mapping[int, int], at: int = 0, prime: int = PRIME) -> int:
    """The value at ``at`` (at 0: the secret) of the polynomial through exactly these shares; wrong ones are not noticed.

    Pre-condition: t shares at distinct xs from 1 to prime - 1, values below ``prime`` (ValueError).
    """
    points = _distinct(shares, prime)
    if not points or not all(0 <= y < prime for y in shares.values()):
        raise ValueError("a share is no element of the field, or there is none")
    return sum(w * shares[x] for w, x in zip(_weights(points, at, prime), points, strict=True)) % prime


def _distinct(xs: Iterable[int], prime: int) -> tuple[int, ...]:
    points = tuple(xs)
    if len(set(points)) < len(points) or not all(0 < x < prime for x in points):
        raise ValueError("shares stand at distinct places other than zero")
    return points


def _value(polynomial: Sequence[int], x: int, prime: int) -> int:
    value = 0
    for coefficient in reversed(polynomial):
        value = (value * x + coefficient) % prime
    return value


@lru_cache(maxsize=64)
def _weights(points: tuple[int, ...], at: int, prime: int) -> tuple[int, ...]:
    """Lagrange's weights: the product over the other points q of (at - q) / (p - q)."""
    found = []
    for p in points:
        above = below = 1
        for q in points:
            if q != p:
                above, below = above * (at - q) % prime, below * (p - q) % prime
        found.append(above * pow(below, -1, prime) % prime)
    return tuple(found)
