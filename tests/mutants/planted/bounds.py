"""A person who changes an answer by more than is accounted for, or other persons' rows along with it."""

from __future__ import annotations

from mutant import Mutant, mutant

PERSONS = "common/cohortium/persons.py"
MARGINALS = "common/cohortium/queries/marginals.py"
TRAINING = "common/cohortium/queries/local_training.py"
MADE = "common/cohortium/neural/made.py"
STATE = "common/cohortium/neural/state.py"
ENCODING = "common/cohortium/encoding.py"
QUERIES = "tests/contracts/test_queries.py"
CROWD = f"{QUERIES}::TestContract::test_ten_thousand_rows_of_one_person_are_bounded"
KILLERS = "tests/mutants/test_killers.py"
CLIPPING = """\
    shrink = clip * FIXED / ladder.norms_of_persons(fixed).clamp(min=clip * FIXED) * (1 - 1e-9)
    scaled = fixed * (shrink * (units / (clip * FIXED)))[:, None]
    nearest = scaled.round()
    shorter = torch.where((ladder.norms_of_persons(nearest) > units)[:, None], scaled.trunc(), nearest)
    integers = torch.where((ladder.norms_of_persons(shorter) > units)[:, None], 0.0, shorter)
"""

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "clips no gradient",
        "3.2 (c)",
        f"{QUERIES}::test_a_long_gradient_is_shortened_and_keeps_its_direction",
        TRAINING,
        CLIPPING,
        "    integers = (fixed * (units / (clip * FIXED))).round()\n",
    ),
    mutant(
        "rounds after clipping and does not look again",
        "P30",
        f"{KILLERS}::test_a_single_row_is_never_longer_than_the_clip[819]",
        TRAINING,
        CLIPPING,
        "    shrink = clip * FIXED / ladder.norms_of_persons(fixed).clamp(min=clip * FIXED) * (1 - 1e-9)\n"
        "    integers = (fixed * (shrink * (units / (clip * FIXED)))[:, None]).round()\n",
    ),
    mutant(
        "clips every row of a person instead of the person",
        "P27",
        f"{CROWD}[first-training, four rows a person]",
        TRAINING,
        "return torch.zeros_like(rows).index_add(0, self.owners, rows)[self.owners]",
        "return rows",
    ),
    mutant(
        "does not check the average of a person's rows once it is rounded",
        "P30",
        f"{QUERIES}::test_an_average_that_stays_too_long_counts_as_zero",
        TRAINING,
        "    integers = torch.where((squares > units**2)[owners][:, None], 0.0, integers)\n",
        "",
    ),
    mutant(
        "forgets in the norm of a person's gradients that rows add up",
        "P27",
        f"{QUERIES}::test_no_rounding_and_no_cancelling_makes_an_average_longer_than_the_clip[5]",
        TRAINING,
        "            total.index_add_(0, self.owners[one], times * products)\n",
        "            total.index_add_(0, self.owners[one], products if times == 1.0 else 0.0 * products)\n",
    ),
    mutant(
        "passes a gradient on that is not a number",
        "P19",
        f"{QUERIES}::test_rows_without_a_finite_gradient_contribute_nothing",
        TRAINING,
        "torch.where(finite, error.double(), 0.0).mul(FIXED).round()",
        "error.double().mul(FIXED).round()",
    ),
    mutant(
        "answers at a model state that is not finite",
        "P19",
        f"{QUERIES}::test_a_state_that_is_not_finite_is_refused[nan-parameters]",
        STATE,
        "if not all(np.isfinite(t).all() for t in tensors.values()):",
        "if not tensors:",
    ),
    mutant(
        "normalises errors by the batch",
        "P18",
        f"{QUERIES}::test_the_sum_is_the_sum_of_single_persons",
        TRAINING,
        "    error = model.chances(parameters, codes) - x\n    ladder",
        "    error = model.chances(parameters, codes) - x\n    error = error - error.mean(0)\n    ladder",
    ),
    mutant(
        "lets the size of a batch decide how a gradient rounds",
        "P3, P18",
        f"{QUERIES}::test_chances_of_a_row_do_not_depend_on_the_batch_to_the_last_bit[1-sizes4]",
        MADE,
        "        for j, start in enumerate(self.starts):\n            logits += by_input[codes[:, j] + start]\n",
        "        logits = logits + self.one_hot(codes) @ by_input\n",
    ),
    mutant(
        "draws batches of a fixed size",
        "P1",
        f"{QUERIES}::test_samples_are_poisson_samples",
        TRAINING,
        "        chosen = happens(rate, self.count, coins)\n",
        "        chosen = np.zeros(self.count, bool)\n"
        "        chosen[np.argsort(coins.words(self.count))[: round(rate * self.count)]] = True\n",
    ),
    mutant(
        "draws one sample for all steps",
        "P1",
        f"{QUERIES}::test_samples_are_poisson_samples",
        TRAINING,
        "        chosen = happens(rate, self.count, coins)\n",
        '        if not hasattr(self, "chosen"):\n'
        "            self.chosen = happens(rate, self.count, coins)\n"
        "        chosen = self.chosen\n",
    ),
    mutant(
        "leaves out the last persons of a large batch",
        "P2",
        f"{QUERIES}::test_the_micro_batch_changes_nothing",
        TRAINING,
        "for first in range(0, int(owners[-1]) + 1 if len(owners) else 0, size):",
        "for first in range(0, 1 if len(owners) else 0, size):",
    ),
    mutant(
        "counts all rows of a person where it promises m",
        "P27",
        f"{CROWD}[any-pairs, three rows a person]",
        MARGINALS,
        "self._count(at_most(codes, self.rows_per_person, coins))",
        "self._count(codes)",
    ),
    mutant(
        "counts m + 1 rows of a person",
        "P9, P27",
        f"{CROWD}[first-pairs, three rows a person]",
        PERSONS,
        "kept = np.sort(order[rank < rows_per_person])",
        "kept = np.sort(order[rank <= rows_per_person])",
    ),
    mutant(
        "takes rows sorted by person for rows of different persons",
        "P27",
        f"{CROWD}[any-pairs, three rows a person]",
        PERSONS,
        "(persons[1:] > persons[:-1]).all()",
        "(persons[1:] >= persons[:-1]).all()",
    ),
    mutant(
        "forgets m in the sensitivity",
        "P27",
        f"{CROWD}[first-pairs, three rows a person]",
        MARGINALS,
        "return self.rows_per_person * self.grid * math.sqrt(math.fsum(self.weights)) * (1 + 1e-12)",
        "return self.grid * math.sqrt(math.fsum(self.weights)) * (1 + 1e-12)",
    ),
    mutant(
        "forgets in the sensitivity that a row is in every table",
        "P26",
        f"{CROWD}[first-pairs]",
        MARGINALS,
        "return self.rows_per_person * self.grid * math.sqrt(math.fsum(self.weights)) * (1 + 1e-12)",
        "return self.rows_per_person * self.grid * (1 + 1e-12)",
    ),
    mutant(
        "rounds the shares of a person's rows up",
        "P30",
        "tests/laws/test_persons.py::test_every_person_has_all_units_and_no_row_two_more_than_another",
        PERSONS,
        "given[order] = units // rows + (rank < units % rows)",
        "given[order] = -(-units // rows)",
    ),
    mutant(
        "lets the row before decide what a row's units are",
        "P27",
        "tests/laws/test_persons.py::test_nobodys_units_or_rows_depend_on_another_person",
        PERSONS,
        "given[order] = units // rows + (rank < units % rows)",
        "given[order] = units // rows + (np.roll(rank, 1) < units % rows)",
    ),
    mutant(
        "takes rows without a person for one person's",
        "P27",
        "tests/test_custodian.py::test_rows_without_a_person_are_nobodys",
        ENCODING,
        "known = ~words.str.lower().isin(MISSING_WORDS).to_numpy(dtype=bool)",
        "known = np.ones(len(words), bool)",
    ),
    mutant(
        "reads a column's bounds from the data",
        "P10",
        "tests/test_encoding.py::test_an_outlier_changes_neither_digest_nor_widths",
        ENCODING,
        "steps = (np.clip(numbers, column.lower, column.upper) - column.lower) * 10**column.decimals",
        "steps = (numbers - np.nanmin(numbers)) / (np.nanmax(numbers) - np.nanmin(numbers)) * column.upper",
    ),
    mutant(
        "reads a column's categories from the data",
        "P10",
        f"{KILLERS}::test_a_category_means_the_same_whoever_else_is_there",
        ENCODING,
        "index = {category_key(c): i for i, c in enumerate(column.categories)}",
        "seen = sorted({category_key(v) for v in values.dropna()})\n"
        "    index = {c: i for i, c in enumerate(seen[: len(column.categories)])}",
    ),
    mutant(
        "fills a missing value with what other rows have",
        "P11",
        f"{KILLERS}::test_a_missing_value_means_the_same_whoever_else_is_there",
        ENCODING,
        "np.where(cells == INVALID, column.values if column.nullable else INVALID, cells)",
        "np.where(cells == INVALID, np.bincount(cells[cells >= 0], minlength=1).argmax(), cells)",
    ),
    mutant(
        "drops rows with missing values once there are many of them",
        "P11",
        f"{KILLERS}::test_a_missing_value_means_the_same_whoever_else_is_there",
        ENCODING,
        "np.where(cells == INVALID, column.values if column.nullable else INVALID, cells)",
        "np.where(cells == INVALID, column.values if 2 * (cells == INVALID).sum() < len(cells) else INVALID, cells)",
    ),
)
