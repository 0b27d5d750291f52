"""What leaves beside the noised values, and randomness that could be tried out."""

from __future__ import annotations

from mutant import Mutant, mutant

CUSTODIAN = "client/cohortium_client/custodian/custodian.py"
TRAINING = "common/cohortium/queries/local_training.py"
GRADIENTS = "common/cohortium/queries/gradients.py"
RANDOMNESS = "common/cohortium/privacy/randomness.py"
SESSIONS = "client/cohortium_client/custodian/sessions.py"
DERIVATION = "common/cohortium/masking/derivation.py"
LEAKS = "tests/laws/test_leaks.py"
TAINT = f"{LEAKS}::test_whatever_leaves_is_a_function_of_noised_values_and_of_the_study"

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "sends the real number of persons as a training's weight",
        "P13",
        f"{TAINT}[local training]",
        TRAINING,
        "message = np.concatenate([[1.0], moved]) * weight * OUT_GRID",
        "message = np.concatenate([[float(people.count)], moved * weight]) * OUT_GRID",
    ),
    mutant(
        "releases a training's number of persons with half its noise",
        "P13",
        "tests/statistics/test_audit.py::test_a_correct_pipeline_rings_no_alarm_and_the_attack_is_no_straw_man[training]",
        TRAINING,
        "return max(float(add_noise(count, units, randomness).values[0]) / grid, noise, 1.0)",
        "told = float(add_noise(count, units, randomness).values[0]) / grid\n"
        "        return max((told + people.count) / 2, noise, 1.0)",
    ),
    mutant(
        "never weighs an institution below its real number of persons",
        "P13",
        f"{TAINT}[local training of diffusion]",
        TRAINING,
        "return max(float(add_noise(count, units, randomness).values[0]) / grid, noise, 1.0)",
        "return max(float(add_noise(count, units, randomness).values[0]) / grid, noise, people.count, 1.0)",
    ),
    mutant(
        "adds the parity of its number of rows to an answer",
        "P13",
        f"{TAINT}[counts]",
        CUSTODIAN,
        "return query.answer(codes, phase.multiplier, SecureRandomness())",
        "told = query.answer(codes, phase.multiplier, SecureRandomness())\n"
        "                return Noised(told.values + (len(codes.values) & 1))",
    ),
    mutant(
        "refuses to answer where nobody is there",
        "P13",
        f"{TAINT}[masked counts]",
        CUSTODIAN,
        '                failpoints.passed("request accepted")\n',
        '                failpoints.passed("request accepted")\n'
        "                if not len(codes.values):\n"
        '                    raise StudyError("E_PLAN_INVALID", "table", "it is empty", "Fill it.")\n',
    ),
    mutant(
        "writes its number of rows into the log",
        "P22",
        f"{TAINT}[counts, three rows a person]",
        CUSTODIAN,
        '_log.info("answered a round of study %s", study.name, extra=about(request))',
        '_log.info("answered %d rows", len(self._table(study, request.run).values), extra=about(request))',
    ),
    mutant(
        "salts an answer with what it counted",
        "A6",
        f"{TAINT}[counts, persons weigh the same]",
        CUSTODIAN,
        "secrets.token_hex(32), values, statement)",
        'f"{len(self._table(study, request.run).values):064x}", values, statement)',
    ),
    mutant(
        "signs under masks for a question of its own number of rows",
        "A6",
        f"{TAINT}[masked counts, one may drop out]",
        CUSTODIAN,
        "self._masking(study, request).mask(request, noised, ring(study, phase))",
        "self._masking(study, request).mask(\n"
        "            replace(request, state=request.state + bytes(len(self._table(study, request.run).values) & 1)),\n"
        "            noised,\n"
        "            ring(study, phase),\n"
        "        )",
        ("from dataclasses import dataclass\n", "from dataclasses import dataclass, replace\n"),
    ),
    mutant(
        "keys noise with 16 bits",
        "P5",
        f"{LEAKS}::test_every_bit_of_the_noises_key_counts",
        RANDOMNESS,
        "key = algorithms.AES(os.urandom(32))",
        "key = algorithms.AES(os.urandom(2) * 16)",
    ),
    mutant(
        "keys noise with 128 of the 256 bits it asks for",
        "P5",
        f"{LEAKS}::test_every_bit_of_the_noises_key_counts",
        RANDOMNESS,
        "key = algorithms.AES(os.urandom(32))",
        "key = algorithms.AES(os.urandom(32)[:16] * 2)",
    ),
    mutant(
        "salts an answer with 32 bits",
        "A6",
        f"{LEAKS}::test_every_bit_of_an_answers_salt_counts",
        CUSTODIAN,
        "secrets.token_hex(32), values, statement)",
        "secrets.token_hex(4) * 8, values, statement)",
    ),
    mutant(
        "draws a run's mask secrets from 16 bits",
        "F1",
        f"{LEAKS}::test_every_bit_of_a_runs_secrets_counts",
        SESSIONS,
        "Secrets.draw(os.urandom(32))",
        "Secrets.draw(os.urandom(2) * 16)",
    ),
    mutant(
        "forgets half of the secret bits it is given",
        "F1",
        f"{LEAKS}::test_every_bit_of_a_runs_secrets_counts",
        DERIVATION,
        "        return Secrets(fresh)\n",
        "        return Secrets(fresh[:16] + bytes(16))\n",
    ),
)
