"""What a column's name indicates about its values: codes of a code book, things that have numbers, quantities, or identifiers.

A name is taken apart into words: at blanks, signs, digits and capital letters, and where small words are written together
(``patientunitstayid``). What it is about is its head: in English the last word of a compound (``cost_code`` is a code,
``company_size`` a size), the last before a preposition (``days_in_hospital``), or a word of counting at the front
(``num_procedures``). A name only ever adds to what the numbers themselves look like, as people give names for all sorts of reasons.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Literal

About = Literal["code", "thing", "quantity", "identifier", ""]


def _set(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


_CODES = _set(  # of a code book, or of places
    "code codes cd icd cpt hcpcs drg msdrg atc ndc loinc snomed opcs ops diag dx diagnosis diagnose naics naicsp sic isic nace soc socp isco",
    "indp occp zip zipcode zcta postal postcode plz fips puma tract county geoid msa cbsa mcc sku ean isbn hs",
)
_THINGS = _set(  # that are numbered
    "hospital clinic ward department dept room bed practice provider physician doctor surgeon nurse careunit service specialty procedure proc",
    "disposition discharge admission drug medication organism antibiotic specimen industry occupation occ job profession employer company firm",
    "agent agency broker branch store shop outlet merchant vendor supplier seller insurer payer payor product article brand category class type",
    "kind group status state region district zone precinct municipality city town country nation nationality language race ethnicity religion",
    "origin birthplace school college course major station sensor device machine terminal channel campaign airline airport carrier route",
    "facility site center centre warehouse location",
)
_STAFF = _set(
    "practice provider physician doctor surgeon nurse agent broker employer seller"
)  # whose names are persons'
_QUANTITIES = _set(
    "age count counts amount amt total sum mean avg average median min max score scores rate ratio price cost costs charge charges income",
    "wage wages salary balance weight wt height bmi pressure temp temperature time duration second seconds minute minutes hour hours day days",
    "week weeks month months year years yr yrs length los size distance dist percent percentage pct share volume population pop density dose",
    "area value val qty quantity lat latitude lon lng long longitude sales revenue profit gain loss earnings debt limit tax fee payment pay",
    "spend points speed power energy current voltage humidity width depth thickness frequency freq interval delay budget capacity visits stays",
    "procedures diagnoses admissions children persons people date timestamp km mi ms kg cm mm usd eur gbp",
)
_COUNTED = _set("n no num number nr count total sum mean avg average median min max share pct percent")  # in front
_NUMBERED = _set("number num nr nbr no")  # behind
_IDS = _set("id ids uuid guid uid pid eid key index seq serial rownum recno")
_PERSONAL = _set(
    "ssn mrn nhs passport iban account email mail phone telephone mobile fax name names surname firstname lastname fullname username",
    "address street subject patient person customer client",
)
_EPISODES = _set("encounter stay visit case record episode order invoice transaction ticket booking hadm icustay")
_BETWEEN = _set("in of at since from to per by for with on until before after between")
_FILLERS = _set("unit health system care main sub first last prev previous new old home work birth the all user is")
_KNOWN = _CODES | _THINGS | _QUANTITIES | _IDS | _PERSONAL | _EPISODES | _FILLERS


@cache
def words_of(name: str) -> tuple[str, ...]:
    """The words of a name, in small letters."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name).lower()
    return tuple(part for word in re.findall(r"[a-z]+", apart) for part in _parts(word))


def _parts(word: str) -> tuple[str, ...]:
    """Words that are written together, as few as possible; the word itself where it is none of known ones."""
    best: list[tuple[str, ...] | None] = [(), *[None] * len(word)]
    for end in range(1, len(word) + 1):
        for start in range(end):
            before, part = best[start], word[start:end]
            if before is not None and part in _KNOWN and (len(part) > 1 or len(word) == 1):
                found, known = (*before, part), best[end]
                best[end] = found if known is None or len(found) < len(known) else known
    return best[-1] or (word,)


@cache
def about(name: str) -> About:
    """What the values of a column of that name are likely to be; empty where the name does not indicate it."""
    words = words_of(name)
    if not words:
        return ""
    if words[0] in _COUNTED and len(words) > 1:
        return "quantity"
    head = next((k for k, word in enumerate(words) if k and word in _BETWEEN), len(words))
    known = [word for word in words[:head] if word in _KNOWN - _FILLERS] or [w for w in words if w in _KNOWN - _FILLERS]
    if not known:
        return "identifier" if is_numbered(name) else ""
    return _kind([*known, words[head - 1]] if words[head - 1] in _NUMBERED and words[head - 1] != known[-1] else known)


def _kind(known: list[str]) -> About:
    """By the last of the known words; one of numbering takes what it numbers from the others."""
    last, others = known[-1], frozenset(known[:-1])
    if last in _IDS or last in _NUMBERED:
        if others & (_CODES | _THINGS) and not others & (_PERSONAL | _EPISODES):
            return "code"
        if last in _IDS or others & (_PERSONAL | _EPISODES):
            return "identifier"
        return "quantity" if others & _QUANTITIES else ""
    if last in _CODES:
        return "code"
    if last in _QUANTITIES:
        return "quantity"
    if last in {"name", "names"} and others & (_THINGS - _STAFF) and not others & (_PERSONAL | _STAFF):
        return "thing"
    return "identifier" if last in _PERSONAL or last in _EPISODES else "thing"


def is_numbered(name: str) -> bool:
    """Whether the name ends in a word of numbering, also one written together with an unknown one: ``xyzid``."""
    words = words_of(name)
    return bool(words) and (words[-1] in _IDS or (words[-1].endswith("id") and len(words[-1]) > 4))


def names_persons(name: str) -> bool:
    """Whether a word of the name is about persons, their addresses or accounts."""
    return not _PERSONAL.isdisjoint(words_of(name))
