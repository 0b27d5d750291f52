"""Noise that is too small, of the wrong shape, or not secret."""

from __future__ import annotations

from mutant import Mutant, mutant

NOISE = "common/cohortium/privacy/discrete_gaussian.py"
RANDOMNESS = "common/cohortium/privacy/randomness.py"
COUNTS = "common/cohortium/queries/counts.py"
CUSTODIAN = "client/cohortium_client/custodian/custodian.py"
QUERIES = "tests/contracts/test_queries.py"
WIDE = "tests/statistics/test_noise.py"
KILLERS = "tests/mutants/test_killers.py"

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "adds noise that is too small by sqrt(K)",
        "3.2 (b)",
        f"{KILLERS}::test_a_custodian_draws_the_noise_it_charges[sweep]",
        CUSTODIAN,
        "query.answer(codes, phase.multiplier, SecureRandomness())",
        "query.answer(codes, phase.multiplier / len(study.institutions) ** 0.5, SecureRandomness())",
    ),
    mutant(
        "adds no noise",
        "3.2 (a)",
        f"{QUERIES}::test_each_table_gets_the_noise_of_its_weight",
        NOISE,
        "return Noised(bounded.values + np.concatenate(noise) if noise else bounded.values)",
        "return Noised(bounded.values)",
    ),
    mutant(
        "adds noise to all parts of a vector on the scale of its finest",
        "P30",
        "tests/statistics/test_noise.py::test_each_run_of_a_vector_gets_its_own_scale",
        NOISE,
        "discrete_gaussian(base * scale, length, randomness)",
        "discrete_gaussian(base * bounded.scales.smallest, length, randomness)",
    ),
    mutant(
        "scales a table's noise by its weight instead of the root of its weight",
        "P30",
        f"{KILLERS}::test_noise_has_the_scale_that_the_sensitivity_is_stated_for",
        COUNTS,
        "Scales(tuple((n, 1 / math.sqrt(w or most)) for",
        "Scales(tuple((n, 1 / (w or most)) for",
    ),
    mutant(
        "cuts the noise's tail at three standard deviations",
        "P4",
        "tests/statistics/test_noise.py::test_the_slack_covers_tail_digits_and_normaliser[3.0]",
        NOISE,
        "_TAIL = 12",
        "_TAIL = 3",
    ),
    mutant(
        "leaves out the coarse part of wide noise",
        "P4, 3.2 (b)",
        f"{WIDE}::test_two_parts_are_drawn_as_documented",
        NOISE,
        "return _looked_up(4.0 * step, count, randomness) + step * coarse",
        "return _looked_up(4.0 * step, count, randomness)",
    ),
    mutant(
        "leaves gaps in wide noise",
        "P4",
        f"{WIDE}::test_every_residue_occurs_in_wide_noise",
        NOISE,
        "return _looked_up(4.0 * step, count, randomness) + step * coarse",
        "return step * coarse",
    ),
    mutant(
        "draws the coarse part of wide noise in too small steps",
        "3.2 (b)",
        f"{WIDE}::test_draws_follow_the_definition[20000.7]",
        NOISE,
        "return _looked_up(4.0 * step, count, randomness) + step * coarse",
        "return _looked_up(4.0 * step, count, randomness) + step // 2 * coarse",
    ),
    mutant(
        "draws both parts of wide noise from the same randomness",
        "P5",
        f"{WIDE}::test_two_parts_are_drawn_as_documented",
        NOISE,
        "    coarse = _looked_up(math.sqrt((sigma / step) ** 2 - 16), count, randomness)\n",
        "    kept = randomness.words(count)\n"
        '    randomness = type("Again", (), {"words": staticmethod(lambda many: kept[:many])})()\n'
        "    coarse = _looked_up(math.sqrt((sigma / step) ** 2 - 16), count, randomness)\n",
    ),
    mutant(
        "counts the look-ups of wide noise once",
        "P32",
        f"{WIDE}::test_as_many_look_ups_are_counted_as_are_made",
        NOISE,
        "return count if sigma <= LARGEST_TABLE else 2 * count",
        "return count",
    ),
    mutant(
        "counts rounded noise as if it were continuous",
        "P31",
        "tests/statistics/test_noise.py::test_the_rounding_may_not_take_more_than_the_noise_has",
        NOISE,
        "return multiplier * math.sqrt(1 - ROUNDING_VARIANCE / smallest**2)",
        "return multiplier",
    ),
    mutant(
        "draws from a fixed seed",
        "P5",
        "tests/statistics/test_noise.py::test_secure_randomness_takes_no_seed_and_does_not_repeat",
        RANDOMNESS,
        "key = algorithms.AES(os.urandom(32))",
        "key = algorithms.AES(bytes(32))",
    ),
    mutant(
        "uses one noise key for all answers of a process",
        "P5, P6",
        "tests/client/custodian/test_custodian.py::test_a_new_run_is_new_noise_and_a_new_charge",
        RANDOMNESS,
        "def _rekey(self) -> None:\n        key = algorithms.AES(os.urandom(32))",
        "def _rekey(self, key: algorithms.AES = algorithms.AES(os.urandom(32))) -> None:",
    ),
    mutant(
        "lets a forked process draw its parent's noise",
        "P5",
        "tests/statistics/test_noise.py::test_a_forked_child_draws_other_words",
        RANDOMNESS,
        "if os.getpid() != self._process:",
        "if os.getpid() == 0:",
    ),
    mutant(
        "rounds the chance of being sampled up",
        "P1",
        "tests/statistics/test_noise.py::test_a_chance_is_never_rounded_up",
        RANDOMNESS,
        "return randomness.words(count) < np.uint64(int(probability * 2**64))",
        "return randomness.words(count) <= np.uint64(int(probability * 2**64))",
    ),
    mutant(
        "adds new noise to the same attempt when it is asked again",
        "P6",
        "tests/client/custodian/test_custodian.py::test_bad_input_33_a_lost_message_is_sent_again_byte_by_byte",
        CUSTODIAN,
        "        sealed = self._sealed(request, *(kept or self._answered(study, request, phase)))\n",
        "        if kept:\n"
        "            values, statement = self._values(study, request, phase)\n"
        "            header = (request.study, request.run, request.round, request.attempt, self.identity.name)\n"
        "            again = wire.Reply(*header, secrets.token_hex(32), values, statement)\n"
        "            return self._sealed(request, kept[0], wire.encode_reply(again))\n"
        "        sealed = self._sealed(request, *self._answered(study, request, phase))\n",
    ),
)
