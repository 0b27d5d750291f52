"""How numbers are written as text: ``format``, which is how 1234.5 would be.

    "1234,5"     a decimal comma                  "$1,234.5"     money
    "1.234,5"    and points between thousands     "($1,234.5)"   what is below zero stands in brackets
    "1 234,5"    or blanks                        "1.234,5-"     or has its sign behind it
    "1'234.5"    or apostrophes                   "1234.5%"      percent, as the number that stands there: 12% is 12

Any text may surround the digits. Each cell is read by itself: whether the surrounding text is there or not,
and whether thousands are parted, decides nothing; where they are parted, it is into groups of three. What does not fit is no
number, rather than another one: under "1234,5" the text ``1.5`` is none. Values that are numbers already are not texts and
stay as they are.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

_BLANKS = " \u00a0\u2009\u202f"  # plain, and three that do not break
_QUOTES = "'\u2019"
_DIGITS = re.compile(rf"1(?P<group>[,.{_BLANKS}{_QUOTES}]?)234(?P<point>[.,])5")
MAX_AROUND = 12  # characters before the digits, and behind
_DEFUSED = ("'-", "'+")
_PLAIN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_SIGNS = re.compile("[-\u2212\u2013]")
_NOT_A_DIGIT = re.compile(r"[^0-9]")


@dataclass(frozen=True)
class Written:
    """How numbers are written. group: the thousands separator. brackets, sign_last: how negative numbers are written."""

    before: str = ""
    group: str = ""
    point: str = "."
    behind: str = ""
    brackets: bool = False
    sign_last: bool = False

    @property
    def text(self) -> str:
        """The format: how 1234.5 is written, in brackets or with a trailing sign where negative numbers are."""
        digits = f"{self.before}1{self.group}234{self.point}5{self.behind}"
        return f"({digits})" if self.brackets else digits + "-" * self.sign_last

    @property
    def plain(self) -> bool:
        return self == Written()

    @property
    def _numeral(self) -> re.Pattern[str]:
        return _numeral(self.group, self.point)

    def number(self, text: str) -> float | None:
        """The number that a text reads as; None if it is not a number."""
        digits, negative = self._without_affixes(text)
        if digits is None or not self._numeral.fullmatch(digits):
            return None
        for part in _parts_of(self.group):
            digits = digits.replace(part, "")
        value = float(digits.replace(self.point, "."))
        return -value if negative else value

    def _without_affixes(self, text: str) -> tuple[str | None, bool]:
        """The text without what surrounds its digits, and whether it is negative."""
        text = text.strip()
        if text.startswith(_DEFUSED):  # by whoever writes for spreadsheets, as releases are
            text = text[1:]
        negative = False
        if text.startswith("(") and text.endswith(")"):
            text, negative = text[1:-1].strip(), True
        for around in (self.before.strip(), ""):  # a sign may stand before or behind what comes first
            text, sign = _without_sign(text)
            if sign and negative:
                return None, False
            negative = negative or sign
            if around and text.startswith(around):
                text = text[len(around) :].strip()
        text, negative = self._without_end(text, negative)
        return text, negative

    def _without_end(self, text: str, negative: bool) -> tuple[str, bool]:
        behind = self.behind.strip()
        for _ in range(2):
            if text.endswith(("-", "\u2212")) and not negative:
                text, negative = text[:-1].rstrip(), True
            if behind and text.endswith(behind):
                text = text[: -len(behind)].rstrip()
        return text, negative

    def write(self, value: float, decimals: int | None) -> str:
        """The number with ``decimals`` decimals; None: as many as it needs."""
        if decimals is None:
            decimals = max(0, -int(Decimal(repr(value)).normalize().as_tuple().exponent))
        digits = f"{abs(value):,.{decimals}f}".replace(",", "\0").replace(".", self.point).replace("\0", self.group)
        unsigned = f"{self.before}{digits}{self.behind}"
        if not _NOT_A_DIGIT.sub("", digits).strip("0") or value >= 0:
            return unsigned
        return f"({unsigned})" if self.brackets else unsigned + "-" if self.sign_last else "-" + unsigned


def _without_sign(text: str) -> tuple[str, bool]:
    if text.startswith("+"):
        return text[1:].lstrip(), False
    return (text[1:].lstrip(), True) if _SIGNS.match(text) else (text, False)


def _parts_of(group: str) -> str:
    return _BLANKS if group and group in _BLANKS else _QUOTES if group and group in _QUOTES else group


@cache
def _numeral(group: str, point: str) -> re.Pattern[str]:
    fraction, power = rf"(?:{re.escape(point)}[0-9]*)?", r"(?:[eE][-+]?[0-9]{1,3})?"
    parted = rf"[1-9][0-9]{{0,2}}(?:[{re.escape(_parts_of(group))}][0-9]{{3}})+|" if group else ""
    return re.compile(rf"(?:{parted}[0-9]+){fraction}{power}|{re.escape(point)}[0-9]+{power}")


def written(text: str) -> Written | None:
    """How numbers are written by a format; None if it is not a format."""
    found = _DIGITS.search(text)
    if found is None or found["group"] == found["point"]:
        return None
    before, behind = text[: found.start()], text[found.end() :]
    brackets = before.startswith("(") and behind.endswith(")")
    if brackets:
        before, behind = before[1:], behind[:-1]
    sign_last = behind.endswith("-")
    behind = behind.removesuffix("-")
    around = before + behind
    if len(before) > MAX_AROUND or len(behind) > MAX_AROUND or re.search(r'[0-9"\n\r\t+()-]', around):
        return None
    return Written(before, found["group"], found["point"], behind, brackets, sign_last)


def read_numbers(values: pd.Series, how: Written) -> pd.Series:
    """(rows,) float64 of a column, NaN where a cell is no number; texts are read as they are written, once each."""
    import pandas as pd  # whoever reads a schema alone, as the relay does, may do without

    if values.dtype.kind in "iufb" or isinstance(values.dtype, pd.CategoricalDtype):
        return pd.to_numeric(values, errors="coerce")
    places, distinct = pd.factorize(values, use_na_sentinel=True)
    read = np.array([*(_number(value, how) for value in distinct), np.nan], np.float64)
    return pd.Series(read[places], values.index)


def _number(value: object, how: Written) -> float:
    if isinstance(value, str):
        found = how.number(value)
        return np.nan if found is None else found
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else np.nan


def write_numbers(numbers: npt.NDArray[np.float64], decimals: int | None, how: Written) -> list[str]:
    distinct, places = np.unique(numbers, return_inverse=True)
    texts = [how.write(float(number), decimals) for number in distinct]
    return [texts[place] for place in places]


def is_plain(text: str) -> bool:
    """Whether a text is a number as programs write it."""
    return _PLAIN.fullmatch(text.strip()) is not None


# Telling how a column is written


_CURRENCIES = (
    "EUR USD GBP CHF JPY CNY SEK NOK DKK PLN CZK HUF RON AUD CAD NZD INR BRL MXN ZAR RUB TRY KRW ILS SGD HKD "
    "Kč zł kr kr. Fr. SFr. Rs Rs. R$ US$ A$ C$ Ft lei"
)
_UNITS = (
    "% ‰ kg g mg µg ug ng lb lbs oz km cm mm ft l L ml mL dl dL mg/dl mg/dL mmol/l mmol/L g/l g/L g/dl g/dL mmHg bpm "
    "°C °F hrs min sec days day years year yrs yr months month weeks kcal kJ kPa IU U/l U/L ms"
)
_BEFORE, _BEHIND = frozenset(_CURRENCIES.split()), frozenset(f"{_CURRENCIES} {_UNITS}".split())
_DISGUISED = re.compile(
    rf"(?P<open>\()?[-+\u2212]?(?P<before>[^\d\s.,()+-]{{0,4}}\.?[{_BLANKS}]?)[-\u2212]?(?P<digits>\d(?:[\d.,{_BLANKS}{_QUOTES}]*\d)?)"
    rf"(?P<behind>[{_BLANKS}]?[^\d\s()+-]{{0,8}}?)(?P<last>[-\u2212])?(?(open)\))"
)
_STYLES = (("", "."), (",", "."), (".", ","), ("", ","), (" ", ","), (" ", "."), ("'", "."), ("'", ","))


def inferred_format(texts: Collection[str], share: float) -> Written | None:
    """How numbers are written that a part ``share`` or more of different texts are, where they are not written plainly.

    None where they are no numbers, or what stands around them is neither money, nor percent, nor a unit. Where each has
    three digits behind its one comma, commas are taken to part thousands.
    """
    found = [m for text in texts if (m := _DISGUISED.fullmatch(text.strip())) and _are_known(m)]
    if not found or len(found) < share * len(texts):
        return None
    group, point = max(_STYLES, key=lambda style: _fitting(found, *style))
    how = Written(
        before=_commonest(m["before"] for m in found),
        group=_as_seen(found, group),
        point=point,
        behind=_commonest(m["behind"] for m in found),
        brackets=any(m["open"] for m in found),
        sign_last=not any(m["open"] for m in found) and any(m["last"] for m in found),
    )
    read = sum(how.number(text) is not None for text in texts)
    return None if how.plain or read < share * len(texts) or written(how.text) != how else how


def _are_known(found: re.Match[str]) -> bool:
    before, behind = found["before"].strip(_BLANKS), found["behind"].strip(_BLANKS)
    return (not before or before in _BEFORE or _is_sign(before)) and (
        not behind or behind in _BEHIND or _is_sign(behind)
    )


def _is_sign(text: str) -> bool:
    """Whether it is a currency's sign."""
    return len(text) == 1 and unicodedata.category(text) == "Sc"


def _fitting(found: Collection[re.Match[str]], group: str, point: str) -> int:
    pattern = _numeral(group, point)
    return sum(pattern.fullmatch(m["digits"]) is not None for m in found)


def _as_seen(found: Collection[re.Match[str]], group: str) -> str:
    """What parts thousands, in the very character, or nothing where nothing does."""
    seen = [c for m in found for c in m["digits"] if group and c in _parts_of(group)]
    return _commonest(seen) if seen else ""


def _commonest(texts: Iterable[str]) -> str:
    return Counter(texts).most_common(1)[0][0]


def looks_like_a_number(text: str) -> bool:
    """Whether a text is a number, plainly or in some disguise."""
    found = _DISGUISED.fullmatch(text.strip())
    return is_plain(text) or (found is not None and _are_known(found))


def three_digits_behind(texts: Iterable[str], point: str) -> bool:
    """Whether each text with the character has exactly three digits behind it: it may part thousands, or decimals."""
    seen = [text.strip() for text in texts if point in text]
    return bool(seen) and all(re.fullmatch(rf"[-+]?[1-9]\d{{0,2}}{re.escape(point)}\d{{3}}", text) for text in seen)
