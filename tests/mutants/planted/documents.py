"""JSON and TOML of others that is read without bounds, or as another reader would not read it."""

from __future__ import annotations

from mutant import Mutant, mutant

DOCUMENTS = "common/cohortium/system/documents.py"
WIRE = "common/cohortium/federation/wire.py"
TESTS = "tests/laws/test_documents.py"

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "reads JSON that is nested as deep as anybody likes",
        "untrusted documents",
        f"{TESTS}::test_beyond_it_nothing_is[33-lists]",
        DOCUMENTS,
        "if _depth(_without_strings(data)) > MAX_DEPTH:",
        "if False:",
    ),
    mutant(
        "counts lists alone as nesting",
        "untrusted documents",
        f"{TESTS}::test_beyond_it_nothing_is[33-objects]",
        DOCUMENTS,
        '_BRACKETS = b"[]{}"\n_STEPS = bytes.maketrans(_BRACKETS, bytes((1, 255, 1, 255)))',
        '_BRACKETS = b"[]"\n_STEPS = bytes.maketrans(_BRACKETS, bytes((1, 255)))',
    ),
    mutant(
        "takes what is after an escaped quotation mark for a string's inside",
        "untrusted documents",
        f"{TESTS}::test_beyond_it_nothing_is[33-lists]",
        DOCUMENTS,
        '    marks = data.replace(b"\\\\\\\\", b"").replace(b\'\\\\"\', b"")\n',
        "    marks = data\n",
    ),
    mutant(
        "takes brackets in strings for nesting",
        "untrusted documents",
        f"{TESTS}::test_what_stands_in_strings_is_not_counted[lists]",
        DOCUMENTS,
        'return b"".join(marks.split(b\'"\')[::2])',
        "return marks",
    ),
    mutant(
        "reads TOML that is nested as deep as anybody likes",
        "untrusted documents",
        f"{TESTS}::test_toml_beyond_it_is_not[arrays]",
        DOCUMENTS,
        "if _depth(stripped.encode()) > MAX_DEPTH or _LONG_NAME.search(stripped):",
        "if _LONG_NAME.search(stripped):",
    ),
    mutant(
        "reads TOML's names of any number of parts",
        "untrusted documents",
        f"{TESTS}::test_toml_beyond_it_is_not[a name]",
        DOCUMENTS,
        "if _depth(stripped.encode()) > MAX_DEPTH or _LONG_NAME.search(stripped):",
        "if _depth(stripped.encode()) > MAX_DEPTH:",
    ),
    mutant(
        "reads the header of a message by itself",
        "untrusted documents",
        f"{TESTS}::test_a_statement_may_be_as_deep_as_the_limit_says[objects]",
        WIRE,
        "header = parse_json(data[8 : 8 + length], longest)",
        'header = __import__("json").loads(data[8 : 8 + length])',
    ),
    mutant(
        "lets the last of two fields of one name count",
        "untrusted documents",
        f"{TESTS}::test_what_two_readers_could_read_differently_is_refused[a name twice]",
        DOCUMENTS,
        "if len(document) != len(fields):",
        "if False:",
    ),
    mutant(
        "reads numbers that are not finite",
        "untrusted documents",
        f"{TESTS}::test_what_two_readers_could_read_differently_is_refused[more than a float holds]",
        DOCUMENTS,
        "if not math.isfinite(number):",
        "if False:",
    ),
    mutant(
        "reads half a surrogate pair, which nobody can write",
        "untrusted documents",
        f"{TESTS}::test_what_two_readers_could_read_differently_is_refused[half a surrogate pair]",
        DOCUMENTS,
        "if _HALF_A_PAIR.search(data):",
        "if False:",
    ),
    mutant(
        "reads documents of any length",
        "untrusted documents",
        f"{TESTS}::test_no_more_is_read_than_is_allowed",
        DOCUMENTS,
        "    if len(data) > longest:\n",
        "    if False:\n",
    ),
)
