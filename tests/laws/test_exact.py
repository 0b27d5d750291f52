"""Laws of exact arithmetic: sums of integers as Python adds them up, and rows that know nothing of their batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from adding import Adding, units_of
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from cohortium.neural import exact
from cohortium.neural.exact import (
    COLUMNS,
    ERROR_GRID,
    INPUT_GRID,
    LARGEST_ERROR,
    LARGEST_INPUT,
    LARGEST_WEIGHT,
    ONE_HOT_GRID,
    WEIGHT_GRID,
    WIDEST,
    Tabulated,
    on_grid,
)
from cohortium.neural.network import Layer, Recorded

SEEDS = st.integers(0, 2**32 - 1)
WIDTHS = (1, 2, 37, 301, 512)


def numbers(
    rng: np.random.Generator, shape: tuple[int, ...], grid: float, largest: float, extreme: bool
) -> torch.Tensor:
    """Multiples of 1 / grid: any, or the largest and its neighbours, of either sign."""
    most = int(grid * largest)
    drawn = rng.choice([most, most - 1, 1 - most, -most], shape) if extreme else rng.integers(-most, most + 1, shape)
    return torch.tensor(drawn).double() / grid


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """To the last bit; the two zeros are one."""
    return torch.equal(one + 0.0, other + 0.0)


# The constants


def test_every_sum_has_room() -> None:
    """Terms, the largest there are, and as many as there may be: below what float64, or float32, adds up exactly."""
    product = INPUT_GRID * LARGEST_INPUT * WEIGHT_GRID * LARGEST_WEIGHT
    bias = INPUT_GRID * WEIGHT_GRID * LARGEST_INPUT
    assert WIDEST * product + bias < 2**53
    assert ERROR_GRID * LARGEST_ERROR * WEIGHT_GRID * LARGEST_WEIGHT * WIDEST < 2**53
    assert (COLUMNS + 1) * ONE_HOT_GRID * LARGEST_WEIGHT < 2**24
    assert (INPUT_GRID * LARGEST_INPUT) ** 2 * WIDEST < 2**53
    for grid in (INPUT_GRID, WEIGHT_GRID, ERROR_GRID, ONE_HOT_GRID):
        assert math.log2(grid).is_integer()
    assert 2**13 * exact._WHOLE <= 2**53  # cells of a column


@pytest.mark.parametrize("largest", [LARGEST_INPUT, LARGEST_WEIGHT])
@given(values=st.lists(st.floats(width=64), min_size=1, max_size=20))
def test_a_grid_takes_any_number(largest: float, values: list[float]) -> None:
    given_in = torch.tensor(values, dtype=torch.float64)
    found = on_grid(given_in, 2.0**12, largest)
    assert found.dtype == torch.float64 and found.data_ptr() != given_in.data_ptr()
    for value, on in zip(values, found.tolist(), strict=True):
        assert (on * 2.0**12).is_integer() and abs(on) <= largest
        if math.isnan(value):
            assert on == 0
        elif abs(value) >= largest:
            assert on == math.copysign(largest, value)
        else:
            assert abs(on - value) <= 2.0**-13


# Linear layers


@pytest.mark.parametrize("extreme", [True, False])
@pytest.mark.parametrize("inputs", [1, 37, WIDEST])
def test_a_layer_is_what_integers_say(inputs: int, extreme: bool) -> None:
    rng = np.random.default_rng(inputs)
    x = numbers(rng, (5, inputs), INPUT_GRID, LARGEST_INPUT, extreme)
    weights = numbers(rng, (4, inputs), WEIGHT_GRID, LARGEST_WEIGHT, extreme)
    x[0], weights[0] = LARGEST_INPUT, LARGEST_WEIGHT  # nothing takes anything off
    biases = numbers(rng, (4,), WEIGHT_GRID * INPUT_GRID, LARGEST_INPUT, extreme)
    found = exact.linear(x, weights, biases)
    for i, row in enumerate(x.tolist()):
        for o, weight in enumerate(weights.tolist()):
            true = sum(Fraction(a) * Fraction(b) for a, b in zip(row, weight, strict=True)) + Fraction(biases[o].item())
            assert Fraction(found[i, o].item()) == true


@settings(max_examples=examples(30), deadline=None)
@given(seed=SEEDS, inputs=st.integers(1, 12), outputs=st.integers(1, 12), extreme=st.booleans())
def test_what_goes_back_through_a_layer_is_what_integers_say(
    seed: int, inputs: int, outputs: int, extreme: bool
) -> None:
    rng = np.random.default_rng(seed)
    x = numbers(rng, (3, inputs), INPUT_GRID, LARGEST_INPUT, extreme).requires_grad_()
    weights = numbers(rng, (outputs, inputs), WEIGHT_GRID, LARGEST_WEIGHT, extreme)
    errors = numbers(rng, (3, outputs), ERROR_GRID, LARGEST_ERROR, extreme)
    (back,) = torch.autograd.grad(exact.linear(x, weights, torch.zeros(outputs).double()), x, errors)
    for row, error in zip(back.tolist(), errors.tolist(), strict=True):
        for j, found in enumerate(row):
            true = sum(Fraction(e) * Fraction(w) for e, w in zip(error, weights[:, j].tolist(), strict=True))
            assert Fraction(found) == true
    wild = torch.tensor([[math.nan, math.inf, -math.inf][:outputs] + [1e300] * (outputs - 3)] * 3).double()
    (back,) = torch.autograd.grad(exact.linear(x, weights, torch.zeros(outputs).double()), x, wild)
    assert torch.isfinite(back).all()


@settings(max_examples=examples(30), deadline=None)
@given(seed=SEEDS, scale=st.sampled_from([1e-5, 1.0, 30.0]))
def test_errors_of_any_length_go_back_by_their_grid(seed: int, scale: float) -> None:
    """Put on its nearest point, of two the even one, and cut; then multiplied as integers say."""
    rng = np.random.default_rng(seed)
    x = torch.zeros(3, 4, dtype=torch.float64, requires_grad=True)
    weights = numbers(rng, (6, 4), WEIGHT_GRID, LARGEST_WEIGHT, False)
    errors = torch.tensor(rng.normal(0, scale, (3, 6)))
    (back,) = torch.autograd.grad(exact.linear(x, weights, torch.zeros(6).double()), x, errors)
    grid, most = int(ERROR_GRID), int(ERROR_GRID * LARGEST_ERROR)
    for row, error in zip(back.tolist(), errors.tolist(), strict=True):
        on = [Fraction(min(most, max(-most, round(Fraction(e) * grid))), grid) for e in error]
        for j, found in enumerate(row):
            assert Fraction(found) == sum(e * Fraction(w) for e, w in zip(on, weights[:, j].tolist(), strict=True))


def test_at_the_widest_what_goes_back_is_still_exact() -> None:
    rng = np.random.default_rng(2)
    x = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    weights = numbers(rng, (WIDEST, 3), WEIGHT_GRID, LARGEST_WEIGHT, True)
    weights[:, 0] = LARGEST_WEIGHT - 1 / WEIGHT_GRID
    errors = torch.full((2, WIDEST), LARGEST_ERROR - 1 / ERROR_GRID, dtype=torch.float64)
    (back,) = torch.autograd.grad(exact.linear(x, weights, torch.zeros(WIDEST).double()), x, errors)
    for j in range(3):
        true = sum(Fraction(e) * Fraction(w) for e, w in zip(errors[0].tolist(), weights[:, j].tolist(), strict=True))
        assert Fraction(back[0, j].item()) == Fraction(back[1, j].item()) == true


class OneLayer:
    """A network that is one layer. columns decides whether sums are added up in float32."""

    views, draws = 1, 0

    def __init__(self, layer: Layer, columns: int) -> None:
        self.layers, self.sizes = (layer,), (2,) * columns

    def loss(self, tape: Recorded, codes: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
        return tape.linear(self.layers[0].name, codes).sum(1)

    def default_clip(self, multiplier: float) -> float:
        return 1.0

    def evened(self, gradient: np.ndarray) -> np.ndarray:
        return gradient


@pytest.mark.parametrize("columns", [1, COLUMNS // 2, COLUMNS // 2 + 1, 200])
@pytest.mark.parametrize("extreme", [True, False])
def test_sums_of_a_few_weights_are_exact_in_float32_too(columns: int, extreme: bool) -> None:
    """Two ones a column, all weights and the bias the largest and of one sign: the longest sum that there can be."""
    rng, layer = np.random.default_rng(columns), Layer("one", 4 * columns, 3, True)
    flat = numbers(rng, (layer.parameters,), 2.0**20, LARGEST_WEIGHT, extreme)
    flat[: 4 * columns] = flat[-3] = 1e9  # of the first output, cut to the largest
    flat[4 * columns : 8 * columns] = flat[-2] = LARGEST_WEIGHT - 1 / ONE_HOT_GRID
    tape = Recorded(OneLayer(layer, columns), flat)
    _, weights, biases = tape._layers["one"]
    assert weights.dtype == (torch.float32 if 2 * columns <= COLUMNS else torch.float64)
    x = torch.tensor(rng.permuted(np.tile([1.0, 0.0], (7, 2 * columns)), axis=1))
    found = tape.linear("one", x)
    assert found.dtype == torch.float64
    for row, got in zip(x.tolist(), found.tolist(), strict=True):
        for o in range(3):
            true = sum(Fraction(w) for w, on in zip(weights[o].tolist(), row, strict=True) if on)
            assert Fraction(got[o]) == true + Fraction(biases[o].item())
    assert found[0, 0] >= 2 * columns * LARGEST_WEIGHT


ROWS: dict[str, Callable[[torch.Tensor, np.random.Generator], torch.Tensor]] = {
    "linear": lambda x, rng: exact.linear(
        exact.as_input(x),
        numbers(rng, (23, x.shape[1]), WEIGHT_GRID, LARGEST_WEIGHT, False),
        numbers(rng, (23,), WEIGHT_GRID, LARGEST_WEIGHT, False),
    ),
    "one hot in float32": lambda x, rng: exact.linear(
        (x > 2.0).float(),
        numbers(rng, (23, x.shape[1]), 2.0**5, LARGEST_WEIGHT, False).float(),
        numbers(rng, (23,), 2.0**5, LARGEST_WEIGHT, False).float(),
    ),
    "chances": lambda x, rng: exact.softmax(x, _blocks(x.shape[1])),
    "as input": lambda x, rng: exact.as_input(x),
    "tabulated": lambda x, rng: exact.normal_quantile(x.abs() % 1),
}


def _blocks(width: int) -> tuple[int, ...]:
    return (width,) if width < 5 else (2, width // 2, 1, width - width // 2 - 3)


def there_and_back(name: str, x: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of some rows the result, and what goes back through it."""
    upstream = torch.tensor(np.random.default_rng(1).normal(0, 3, (len(x), 600)))
    given_in = x[rows].clone().requires_grad_()
    out = ROWS[name](given_in, np.random.default_rng(7))
    if not out.requires_grad:
        return out, out
    (back,) = torch.autograd.grad(out, given_in, upstream[rows, : out.shape[1]].to(out.dtype))
    return out.detach(), back


def of_width(width: int, rows: int) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(width).normal(0, 3, (rows, width)))


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_rows_result_does_not_depend_on_the_batch_to_the_last_bit(name: str, width: int, threads: int) -> None:
    """Rows shuffled, single, and in batches of odd sizes; and what goes back through them, too."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        x = of_width(width, 301)
        everything = there_and_back(name, x, torch.arange(301))
        shuffled = torch.randperm(301, generator=torch.Generator().manual_seed(3))
        for rows in (shuffled, torch.tensor([5]), torch.arange(3, 40), torch.arange(300, 301), torch.arange(100, 301)):
            for whole, found in zip(everything, there_and_back(name, x, rows), strict=True):
                assert same(found, whole[rows])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("width", WIDTHS)
def test_a_rows_result_does_not_depend_on_the_order_of_adding(name: str, width: int) -> None:
    """Nor on anything else that processors differ in; there and back."""
    x, rows = of_width(width, 29), torch.arange(29)
    everything = there_and_back(name, x, rows)
    for seed in range(2):
        with Adding(seed):
            again = there_and_back(name, x, rows)
        for whole, found in zip(everything, again, strict=True):
            assert same(found, whole)


# What shows whether the order of adding matters


@settings(max_examples=examples(50))
@given(seed=SEEDS, kept=st.integers(1, 53), terms=st.integers(1, 30))
def test_a_sum_is_a_number_where_every_order_gives_the_same(seed: int, kept: int, terms: int) -> None:
    """Against Fractions: what is reported is the sum itself; and as long as all together have room, it is reported."""
    rng = np.random.default_rng(seed)
    integers = rng.integers(-(2 ** (kept - 1)), 2 ** (kept - 1), (2, terms), endpoint=True)
    x = torch.tensor(integers * 2.0 ** rng.integers(-40, 40, (2, 1)))
    with Adding(seed):
        sums, product = x.sum(1), x[:1] @ x[1:].T
    exactly = [[Fraction(v) for v in row] for row in x.tolist()]
    for row, found, whole in zip(exactly, sums.tolist(), integers.tolist(), strict=True):
        assert math.isnan(found) or Fraction(found) == sum(row)
        assert math.isfinite(found) or sum(map(abs, whole)) >= 2**53
    if math.isfinite(product.item()):
        assert Fraction(product.item()) == sum(a * b for a, b in zip(*exactly, strict=True))
    else:
        assert sum(abs(a * b) for a, b in zip(*integers.tolist(), strict=True)) >= 2**53


@given(st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False).filter(bool))
def test_a_numbers_unit_is_its_last_digit(value: float) -> None:
    unit = Fraction(float(units_of(torch.tensor([value], dtype=torch.float64))[0]))
    assert not unit or (Fraction(value) / unit).denominator == 1 == Fraction(value) / unit % 2


def test_sums_that_round_are_no_numbers() -> None:
    long = torch.tensor(np.random.default_rng(1).normal(0, 1, (3, 40)))
    short = on_grid(long, 2.0**14, 4.0)
    with Adding():
        rounding = [long.sum(1), long @ short.T, short @ long.T, short @ long[0], long.float().sum(1)]
        rounding += [(short * short).float().sum(1), short.float() @ short.float().T]
        rounding += [torch.addmm(long[:, :3] / 2**9, short, short.T)]
        rounding += [torch.zeros(3).double().index_add(0, torch.tensor([0, 1, 2] * 40), long.flatten())]
        sound = [short.sum(), short @ short.T, short.float().sum(1), long.float().sum(1, dtype=torch.float64)]
    assert all(found.isnan().all() for found in rounding)
    assert not any(found.isnan().any() for found in sound)


@pytest.mark.parametrize(
    "computed", [torch.exp, torch.tanh, lambda x: x.softmax(0), lambda x: x.mean(), lambda x: torch.add(x, x, alpha=3)]
)
def test_an_unknown_operation_is_refused(computed: Callable[[torch.Tensor], torch.Tensor]) -> None:
    with Adding(), pytest.raises(AssertionError, match="nobody has looked"):
        computed(torch.ones(3))


# Chances and their errors


@settings(max_examples=examples(60), deadline=None)
@given(
    seed=SEEDS,
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    scale=st.sampled_from([0.0, 1e-4, 1.0, 10.0, 1e3, 1e6]),
)
def test_chances_are_softmax(seed: int, sizes: list[int], scale: float) -> None:
    logits = torch.tensor(np.random.default_rng(seed).normal(0, scale, (4, sum(sizes)))).float().double()
    found = exact.softmax(logits, tuple(sizes))
    begin = 0
    for size in sizes:
        block = found[:, begin : begin + size].double()
        true = special.softmax(logits[:, begin : begin + size].numpy(), 1)
        assert np.abs(block.numpy() - true).max() < 1e-6
        assert (block >= 0).all() and (block.sum(1) - 1).abs().max() < 1e-6
        begin += size


@pytest.mark.parametrize("size", [1, 2, 1000, 4097])
def test_chances_of_many_equal_cells_are_equal(size: int) -> None:
    found = exact.softmax(torch.zeros(3, size), (size,))
    assert (found == found[0, 0]).all() and found[0, 0].item() == pytest.approx(1 / size, rel=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_error_of_cross_entropy_is_chances_less_the_observed(weighted: bool) -> None:
    sizes, rng = (3, 1, 6), np.random.default_rng(5)
    codes = torch.tensor(np.stack([rng.integers(0, s, 50) for s in sizes], 1))
    reported = exact.one_hot(codes, sizes)
    assert reported.sum(1).tolist() == [3.0] * 50
    logits = torch.tensor(rng.normal(0, 2, (50, 10)), requires_grad=True)
    by_column = torch.tensor(rng.integers(0, 4, (50, 3)) / 2)
    weights = by_column.repeat_interleave(torch.tensor(sizes), 1) if weighted else None
    loss = exact.cross_entropy(logits, reported, sizes, weights)
    assert loss.shape == (50,) and not loss.any()  # nobody may look at it
    upstream = torch.tensor(rng.normal(0, 1, 50))
    (found,) = torch.autograd.grad(loss, logits, upstream.to(loss.dtype), retain_graph=True)
    plain = exact._ordinary_cross_entropy(logits, reported, sizes, weights)
    (true,) = torch.autograd.grad(plain, logits, upstream)
    assert (found - true).abs().max() < 2e-6 * (1 + upstream.abs().max())
    assert true.abs().max() > 0.1


def test_public_rows_have_a_loss() -> None:
    logits, codes = torch.randn(20, 5, generator=torch.Generator().manual_seed(1)), torch.zeros(20, 2, dtype=torch.long)
    reported = exact.one_hot(codes, (2, 3))
    expected = -(logits[:, :2].log_softmax(1)[:, 0] + logits[:, 2:].log_softmax(1)[:, 0])
    torch.testing.assert_close(exact.cross_entropy(logits, reported, (2, 3)), expected)


# Tables


@given(st.floats(-3, 3), st.sampled_from([2.0**6, 2.0**12]))
def test_a_table_is_the_function_to_half_a_step(value: float, grid: float) -> None:
    sine = Tabulated(torch.sin, -2.0, 2.0, grid)
    x = torch.tensor([value], dtype=torch.float64, requires_grad=True)
    found = sine(x)
    (slope,) = torch.autograd.grad(found, x)
    cut = min(2.0, max(-2.0, value))
    assert abs(found.item() - math.sin(cut)) <= 0.5 / grid + 1e-15
    if abs(value) < 2 - 1 / grid:
        assert abs(slope.item() - math.cos(value)) <= 0.5 / grid + 1e-15
    elif abs(value) > 2:
        assert slope.item() == 0.0


@pytest.mark.parametrize("wild", [math.nan, math.inf, -math.inf, 1e300, -1e300])
def test_a_table_takes_any_number(wild: float) -> None:
    found = Tabulated(torch.sin, -2.0, 2.0)(torch.tensor([wild]).double())
    assert torch.isfinite(found).all()


def test_normal_numbers_from_uniform_ones() -> None:
    uniforms = torch.arange(1, 2**12, dtype=torch.float64) / 2**12
    assert np.abs(exact.normal_quantile(uniforms).numpy() - special.ndtri(uniforms.numpy())).max() < 1e-9
    assert exact.normal_quantile(torch.tensor([0.0, 1 - 2.0**-32])).abs().max() < 4.33
