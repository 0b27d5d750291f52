"""What is wrong with a document, in words for its author; pydantic's own messages are for programmers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from cohortium.system.nearest import offered

_SHOWN = 12
OWN_WORDS = "own"  # the kind of a failure whose words were found where it was noticed


def first_problem(error: ValidationError, of: object = None) -> tuple[str, str]:
    """(place, problem) of the first failure, in words. of: the type that was validated, to name the entries it has."""
    problems = error.errors(include_url=False, include_input=True)
    unknown = (p for p in problems if p["type"] == "unexpected_keyword_argument")
    problem = next(unknown, problems[0])  # a name that is written wrong is missing, too
    place = ".".join(str(part) for part in problem["loc"] if _is_place(part)) or "top level"
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "unexpected_keyword_argument":
        return place, _unknown(problem["loc"], of)
    words = _WORDS.get(kind)
    return place, words(context, problem["input"]) if words else _UNFIT


def in_words(what: str) -> PydanticCustomError:
    """The error of a validator of ours: ``first_problem`` passes its text on unchanged."""
    return PydanticCustomError(OWN_WORDS, "{what}", {"what": what})


_UNFIT = "it is not what belongs here"


def _is_place(part: int | str) -> bool:
    """Whether a document has it: not a type that was tried, or a kind that was chosen by the document itself."""
    return isinstance(part, int) or not any(sign in part for sign in "[(-")


def _unknown(place: tuple[int | str, ...], of: object) -> str:
    """Of an entry that is not known: those that are."""
    known = _entries(of, place[:-1])
    what = "there is no such entry"
    return f"{what}. {offered(place[-1], known, 'Entries are')}".rstrip(".") if known else what


def _entries(of: object, place: tuple[int | str, ...]) -> list[str]:
    """Names of the entries that the type has at a place; none where it is not a section."""
    options = _types(of)
    for part in place:
        options = [t for option in options for t in _step(option, part)]
    sections = [t for t in options if is_dataclass(t)]
    return [f.name for f in fields(sections[0])] if len(sections) == 1 else []


def _types(of: object) -> list[Any]:
    """The classes that a type hint allows."""
    parts = get_args(of)
    return [t for part in parts for t in _types(part)] if parts else [of]


def _step(of: Any, part: int | str) -> list[Any]:
    """The types of an entry, or of an element; of a union of sections that one whose kind is named."""
    if isinstance(part, int):
        return [of]
    if not is_dataclass(of):
        return []
    if any(f.name == "kind" and f.default == part for f in fields(of)):
        return [of]
    hint = get_type_hints(of).get(part)
    return [] if hint is None else _types(hint)


def _options(context: Mapping[str, Any], given: object) -> str:
    there = [word.strip("'\" ") for word in str(context["expected"]).replace(" or ", ", ").split(",")]
    return f"it is none of what it may be. {offered(given, there)}".rstrip(".")


def _tag(context: Mapping[str, Any], given: object) -> str:
    there = [word.strip("'\" ") for word in str(context["expected_tags"]).split(",")]
    return f"there is no {context['discriminator'].strip(chr(39))} {context['tag']!r}. {offered(context['tag'], there)}".rstrip(
        "."
    )


def _filled(text: str) -> Callable[[Mapping[str, Any], object], str]:
    return lambda context, given: text.format(**context)


_NUMBER, _WHOLE, _TEXT = "it is not a number", "it is not a whole number", "it is not a text"
_DATE, _MOMENT = "it is not a date such as 2026-01-31", "it is not a moment such as 2026-01-31 or 2026-01-31T12:00:00"
_LIST, _SECTION, _TRUTH = "it is not a list", "it is not a section", "it is neither true nor false"
_WORDS: dict[str, Callable[[Mapping[str, Any], object], str]] = {
    "missing": _filled("it is missing"),
    "missing_argument": _filled("it is missing"),
    "missing_keyword_only_argument": _filled("it is missing"),
    "extra_forbidden": _filled("there is no such entry"),
    "literal_error": _options,
    "union_tag_invalid": _tag,
    "union_tag_not_found": lambda context, given: f"its {context['discriminator'].strip(chr(39))} is missing",
    "greater_than_equal": _filled("it is below {ge}"),
    "greater_than": _filled("it is not above {gt}"),
    "less_than_equal": _filled("it is above {le}"),
    "less_than": _filled("it is not below {lt}"),
    "finite_number": _filled("it is not a finite number"),
    "too_short": _filled("it has fewer than {min_length} entries"),
    "too_long": _filled("it has more than {max_length} entries"),
    "string_too_short": _filled("it has fewer than {min_length} letters"),
    "string_too_long": _filled("it has more than {max_length} letters"),
    "string_pattern_mismatch": _filled("it is not written as it must be, which is {pattern}"),
    "value_error": lambda context, given: str(context["error"]),
    "assertion_error": lambda context, given: str(context["error"]),
    **dict.fromkeys(("float_type", "float_parsing"), _filled(_NUMBER)),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), _filled(_WHOLE)),
    **dict.fromkeys(("string_type", "string_sub_type", "string_unicode"), _filled(_TEXT)),
    **dict.fromkeys(("bool_type", "bool_parsing"), _filled(_TRUTH)),
    **dict.fromkeys(("tuple_type", "list_type", "set_type", "iterable_type"), _filled(_LIST)),
    **dict.fromkeys(
        ("dataclass_type", "model_type", "model_attributes_type", "dict_type", "dataclass_exact_type"),
        _filled(_SECTION),
    ),
    **dict.fromkeys(
        ("date_type", "date_parsing", "date_from_datetime_parsing", "date_from_datetime_inexact"), _filled(_DATE)
    ),
    **dict.fromkeys(("datetime_type", "datetime_parsing", "datetime_from_date_parsing"), _filled(_MOMENT)),
    "path_type": _filled("it is not a path"),
    "is_instance_of": _filled("it is not a {class}"),
    OWN_WORDS: _filled("{what}"),
}
