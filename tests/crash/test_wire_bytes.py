"""What crosses the sockets in a complete run, every byte in both directions: no value, no count, no metric, one length.

The custodians run over tables full of canaries, in every place from which a value might slip into a message.
"""

from __future__ import annotations

import re
import secrets
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from invariants import check_finished
from processes import SWEEP, TRAINING, Federation, federation, study
from tap import Exchange, frames, payload
from visits import people

from cohortium.federation import wire
from cohortium.study.generators import Autoregressive, Sweep
from cohortium.study.plan import plan

HEX = re.compile(rb"[0-9a-f]{32,}")  # digests, keys, signatures and salts, in which short numbers occur by chance
NUMBERS = [10**17 + secrets.randbelow(10**16) for _ in range(200)]
TEXTS = [f"canary-{secrets.token_hex(8)}" for _ in range(800)]
IDS, CATEGORIES, EXTRA, ODD = TEXTS[:300], TEXTS[300:500], TEXTS[500:700], TEXTS[700:]
CANARIES = [
    *(text.encode(how) for text in TEXTS for how in ("utf-8", "utf-16-le")),
    *(form for n in NUMBERS for form in (str(n).encode(), struct.pack("<q", n), struct.pack("<d", n))),
]
generators = pytest.mark.parametrize("generator", [SWEEP, TRAINING], ids=["sweep", "autoregressive"])


def with_canaries(rows: int, seed: int) -> pd.DataFrame:
    """People whose identifiers, categories, numbers and columns that nobody asked for are canaries here and there."""
    table = people(rows, seed).astype({"age": object, "id": object})
    some = np.random.default_rng(seed).permutation(rows)
    for column, values in (("id", IDS), ("sex", CATEGORIES), ("age", NUMBERS)):
        here = some[: min(rows, len(values))]
        table.loc[here, column] = np.array(values[: len(here)], object)
    table[EXTRA[0]] = np.resize(np.array(EXTRA, object), rows)
    return table


def add_bad_rows(table: Path) -> None:
    """Rows with too few and too many cells, quotes that stand alone, and cells that are no numbers."""
    with table.open("a") as file:
        for i, odd in enumerate(ODD):
            file.write([f"{odd}\n", f"{odd},f,{odd},a,2020-01-01,True,{odd},1,{odd},2\n"][i % 2])


def without_a_column(table: Path) -> None:
    """No row decides whether a table is answered from, so it takes a header that lacks a column."""
    head, rest = table.read_text().split("\n", 1)
    table.write_text("\n".join(["absent," + head.partition(",")[2], rest]))


def rename(running: Federation, name: str, **source: object) -> None:
    """Let the institution's table be a file with a canary's name, described by ``source``."""
    table = running.files / f"{name}.csv"
    table.rename(running.files / f"{EXTRA[1]}-{name}.csv")
    described = running.folder(name) / "institution.toml"
    text = described.read_text().replace(f"{name}.csv", f"{EXTRA[1]}-{name}.csv")
    extra = "".join(f"{k} = {str(v).lower()}\n" for k, v in source.items())
    described.write_text(text.replace("[source]\n", f"[source]\n{extra}"))


def crossed(running: Federation) -> list[Exchange]:
    running.settle()
    return [e for tap in running.taps.values() for e in tap.exchanges if e.asked]


def raw(exchanges: list[Exchange]) -> bytes:
    """Every byte, as it came and with the messages put together again from their frames."""
    streams = [bytes(s) for e in exchanges for s in (e.asked, e.sent)]
    return b"\n".join([*streams, *(payload(s) for s in streams)])


def found(data: bytes) -> list[bytes]:
    return [canary for canary in CANARIES if canary in data]


@generators
def test_no_canary_crosses_and_every_answer_has_one_length(generator: Sweep | Autoregressive) -> None:
    """North has 100 rows and south 10,000; what they sent is of the same lengths in the same order."""
    assert len(TEXTS) + len(NUMBERS) == 1000
    tables = {"north": with_canaries(100, 0), "south": with_canaries(10_000, 1)}
    with federation(study(generator), tables) as running:
        for name in tables:
            add_bad_rows(running.files / f"{name}.csv")
            rename(running, name)
        running.finish()
        check_finished(running)
        exchanges = crossed(running)
        assert found(raw(exchanges)) == []
        assert set(found(raw(exchanges) + IDS[7].encode())) == {IDS[7].encode()}
        assert len(exchanges) >= 2 * plan(running.study).rounds
        lengths = {n: [len(e.answer or b"") for e in crossed_of(running, n)] for n in tables}
        assert lengths["north"] == lengths["south"]
        assert all(lengths["north"])


def crossed_of(running: Federation, name: str) -> list[Exchange]:
    return [e for e in running.taps[name].exchanges if e.request is not None]


def test_no_canary_crosses_when_the_table_cannot_be_read() -> None:
    """The refusal is a code; neither the wire nor the coordinator's screen shows more."""
    with federation(study(SWEEP), {n: with_canaries(300, 0) for n in ("north", "south")}) as running:
        running.serve_all()
        without_a_column(running.files / "north.csv")
        coordinator = running.go_on()
        assert coordinator.wait() == 16
        assert "refused by north (E_CUSTODIAN)" in coordinator.output
        assert found(raw(crossed(running)) + coordinator.output.encode()) == []
        assert "E_SCHEMA_MISSING" in running.custodians["north"].output
        assert crossed_of(running, "north")[0].answer == wire.encode_refusal(wire.Refusal("north", "E_CUSTODIAN"))


# Counts


@dataclass(frozen=True)
class Parts:
    """An exchange taken apart: ``rest`` is all but the noised numbers, the model they led to, and hexadecimal digits."""

    rest: bytes
    numbers: bytes


def parts(asked: bytes, reported: bytes, of: Exchange, width: int) -> Parts:
    answer = wire.decode_answer(of.answer or b"", width)
    assert isinstance(answer, wire.Answer)
    assert of.request is not None
    values, state = answer.reply.values.astype("<i8").tobytes(), of.request.state
    frame = b"".join(head + (b"" if head[3] == 0 else body) for s in (asked, reported) for head, body in frames(s))
    data = payload(asked).replace(state, b"") + payload(reported).replace(values, b"")
    assert len(data) < 4096  # the numbers were found, and are out
    return Parts(HEX.sub(b"", frame + data), values + state)


def counts_in(these: Parts, counts: tuple[int, ...]) -> list[int]:
    """The counts that are sent, as text or as an integer.

    Among the noised numbers as text alone: any of them may be equal to a count by chance. How many there are follows from
    the study, which ``decode_answer`` has checked.
    """
    forms = {n: (str(n).encode(), struct.pack("<I", n), struct.pack(">I", n)) for n in counts}
    return [n for n in counts if any(f in these.rest for f in forms[n]) or forms[n][0] in these.numbers]


@generators
def test_no_row_count_and_no_metric_crosses(generator: Sweep | Autoregressive) -> None:
    """Numbers of rows and of persons of five digits, which in some kilobytes of other things occur once in 10^7 runs."""
    tables = {"north": people(20_011, 0), "south": people(30_013, 1)}
    counts = tuple(n for t in tables.values() for n in (len(t), t["id"].nunique()))
    assert min(counts) > 10_000
    with federation(study(generator), tables) as running:
        running.finish()
        running.settle()
        for name in tables:
            for number, exchange in enumerate(crossed_of(running, name)):
                asked, reported = bytes(exchange.asked), bytes(exchange.sent)
                if number == plan(running.study).rounds:  # that the run has ended, and that this was received
                    assert counts_in(Parts(HEX.sub(b"", asked + reported), b""), counts) == []
                    continue
                width = plan(running.study).phase(number).query.width
                assert counts_in(parts(asked, reported, exchange, width), counts) == []
                for leak in leaks(reported, counts[0]):
                    assert counts[0] in counts_in(parts(asked, leak, exchange, width), counts)
        headers = {b for e in crossed(running) for head, b in frames(bytes(e.sent)) if head[3] == 1}
        assert len(headers) <= 2  # gRPC's own, before an answer and after it: whoever answers, and whatever it says


def leaks(reported: bytes, count: int) -> list[bytes]:
    """The stream with a count planted: in a message's header, in a frame of gRPC's headers, as an integer.

    The first moves what comes behind, noised numbers included, of which one may be like another count.
    """
    trailer = f"x-rows: {count}".encode()
    return [
        reported.replace(b'"type":"reply"', f'"rows":{count},"type":"reply"'.encode()),
        reported + len(trailer).to_bytes(3, "big") + b"\x01\x04\x00\x00\x00\x01" + trailer,
        reported + b"\x00\x00\x04\x00\x00\x00\x00\x00\x01" + struct.pack("<I", count),
        reported + b"\x00\x00\x04\x00\x00\x00\x00\x00\x01" + struct.pack(">I", count),
    ]
