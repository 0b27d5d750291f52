"""Untrusted texts, made harmless where they are shown: in a spreadsheet and on a terminal.

The author of a study names columns and categories, an institution its population, anybody a file. A spreadsheet runs a
cell that begins like a formula (OWASP ASVS 1.2.10), also in what it folds into the same letters, as full-width forms are; a
terminal obeys control characters, and marks of direction or of no width make a text look like another. A schema has no
such names and categories (schema.py). What is written or printed passes through ``for_spreadsheet`` and
``for_terminal`` all the same: a user's own table has whatever names it has.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

SIGNS = ("=", "+", "-", "@", "\u2212")  # the last: a minus sign, which some programs read as the hyphen
_FORMULA = "would be run as a formula by a spreadsheet"
_FORMS: tuple[Literal["NFC", "NFD", "NFKC", "NFKD"], ...] = ("NFC", "NFD", "NFKC", "NFKD")
_AMOUNT = re.compile(r"[-+](?P<signs>[^\w\s]?)[0-9](?:[0-9.,' \u00a0\u2009\u202f\u2019]*[0-9])? ?%?")
_SIGNED = re.compile(r"[-+]{1,4}|[-+][0-9]{1,15}(?:\.[0-9]{1,15})?", re.ASCII)  # a result, a grade: nothing to run
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # controls; direction, no width; half a letter; breaks of lines


def is_unseen(letter: str) -> bool:
    """Whether a character is invisible but has an effect: controls, direction marks, zero-width characters, line breaks."""
    return unicodedata.category(letter) in _UNSEEN


def has_unseen(text: str) -> bool:
    return any(map(is_unseen, text))


def starts_formula(text: str) -> bool:
    """Whether a spreadsheet may run the text: it begins with a formula's sign, in any normal form, after blanks and unseen letters.

    Signs alone and signed numbers run nothing.
    """
    if not text or (text[0].isascii() and text[0].isalnum()):  # nearly all of them
        return False
    if _SIGNED.fullmatch(text):
        return False
    return any(_bare(unicodedata.normalize(form, text)).startswith(SIGNS) for form in _FORMS)


def _bare(text: str) -> str:
    start = next((i for i, c in enumerate(text) if not c.isspace() and not is_unseen(c)), len(text))
    return text[start:]


def trouble(text: str) -> str:
    """Why the text may name nothing in a schema, in words; empty if it may."""
    if has_unseen(text):
        return "has control characters, or other invisible ones"
    if not text.strip():
        return "has no letters that anybody sees"
    return _FORMULA if starts_formula(text) or text.startswith(SIGNS) else ""


def trouble_of_value(text: str) -> str:
    """The same of a category: one may be ``+``, ``--`` or ``+1``, which nothing runs."""
    return "" if _SIGNED.fullmatch(text) else trouble(text)


def for_spreadsheet(text: str) -> str:
    """The text as a cell or heading of a CSV file: an apostrophe in front of what a spreadsheet would run.

    Breaks of lines within it are line feeds, around which writers put quotation marks; a bare carriage return could begin a
    row, and a formula after it.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if _is_amount(text):
        return text
    return "'" + text if starts_formula(text) or text[:1] in ("\t", "\n") else text


def _is_amount(text: str) -> bool:
    """Whether the text is one number, of money or percent perhaps: its sign begins no formula."""
    amount = _AMOUNT.fullmatch(text)
    return amount is not None and all(unicodedata.category(c) == "Sc" for c in amount["signs"])


def for_terminal(text: str) -> str:
    """The text as one line on a screen: what a terminal would obey, or nobody would see, written out as Python does."""
    return "".join(_written_out(c) if is_unseen(c) else c for c in text)


def _written_out(letter: str) -> str:
    return repr(letter)[1:-1]
