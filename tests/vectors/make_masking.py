"""Writes ``masking.json``: masked sums worked out step by step, without the code they test.

    python tests/vectors/make_masking.py

This is the protocol a second time: keys, shares, masks, statements, from RFC 5869 and the protocol of docs/threat-model.md 4.2.
Change it only together with the version of the protocol.
"""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FORMAT = "cohortium masking 1"
DOMAIN = b"cohortium masking 1\n"
P = 2**521 - 1
STUDY, RUN, QUESTION = "5d" * 32, "ab" * 16, "0c" * 32
NAMES = ["east", "north", "south", "west"]
VALUES = {"east": [0, 1, -1, 7], "north": [5, -5, 100, 0], "south": [-(2**20), 2**20, 3, -3], "west": [9, 9, 9, 9]}
LOW_ORDER = "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"  # a point of order 8


def text(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def hkdf(secret: bytes, salt: bytes, label: str, *bound: Any) -> bytes:
    """RFC 5869, one block."""
    extracted = hmac.digest(salt or bytes(32), secret, "sha256")
    return hmac.digest(extracted, DOMAIN + text([label, *bound]) + b"\x01", "sha256")


def stream(key: bytes, size: int) -> bytes:
    return Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(size))


def words(key: bytes, bits: int, width: int) -> list[int]:
    data, size = stream(key, width * bits // 8), bits // 8
    return [int.from_bytes(data[k * size : (k + 1) * size], "little") for k in range(width)]


def public(private: bytes) -> str:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw().hex()


def exchange(private: bytes, other: str) -> bytes:
    key = X25519PublicKey.from_public_bytes(bytes.fromhex(other))
    return X25519PrivateKey.from_private_bytes(private).exchange(key)


def identity(name: str) -> bytes:
    return hashlib.sha256(b"identity " + name.encode()).digest()


def seed(name: str) -> bytes:
    return hashlib.sha256(b"seed " + name.encode()).digest()


def signed(document: dict[str, Any]) -> dict[str, Any]:
    bare = {k: v for k, v in document.items() if k != "signature"}
    key = Ed25519PrivateKey.from_private_bytes(identity(bare["institution"]))
    return {**bare, "signature": key.sign(b"cohortium masking statement 1\n" + text(bare)).hex()}


class Play:
    """One session of the first ``size`` institutions; ``whole``: D = 0 and keys for the run."""

    def __init__(self, size: int, whole: bool) -> None:
        self.names, self.whole = NAMES[:size], whole
        self.at = {"study": STUDY, "run": RUN, "round": None if whole else 2, "attempt": None if whole else 0}
        self.round = {**self.at, "round": 2, "attempt": 0}
        self.threshold = 2 * size // 3 + 1
        self.own = {
            n: {k: hkdf(seed(n), b"", k, self.at) for k in ("mask key", "encryption key", "self seed")} for n in NAMES
        }
        self.adverts = [self.say(n, "advertise", self.advert(n)) for n in self.names]
        self.view = sha(text(self.adverts))
        self.salt = bytes.fromhex(self.view)

    def say(self, name: str, leg: str, body: dict[str, Any]) -> dict[str, Any]:
        return signed({"institution": name, "leg": leg, **self.at, "body": body})

    def advert(self, name: str) -> dict[str, str]:
        kinds = ["mask"] if self.whole else ["mask", "encryption"]
        return {kind: public(self.own[name][kind + " key"]) for kind in kinds}

    def shares_of(self, name: str, what: str) -> dict[str, int]:
        data = stream(hkdf(seed(name), b"", "coefficients", self.at, what), 66 * (self.threshold - 1))
        parts = [data[k : k + 66] for k in range(0, len(data), 66)]
        secret = self.own[name]["self seed" if what == "seed" else "mask key"]
        polynomial = [int.from_bytes(secret, "big"), *((int.from_bytes(p, "little") % 2**521) % P for p in parts)]
        return {n: sum(c * (x + 1) ** k for k, c in enumerate(polynomial)) % P for x, n in enumerate(self.names)}

    def share(self, name: str) -> dict[str, Any]:
        reported = text([self.at, name, self.own[name]["self seed"].hex()])
        sealed = {n: self.seal(name, n) for n in self.names if n != name}
        commitment = sha(DOMAIN + b"commitment\n" + reported)
        return self.say(name, "share", {"view": self.view, "commitment": commitment, "shares": sealed})

    def seal(self, name: str, other: str) -> str:
        secret = exchange(self.own[name]["encryption key"], public(self.own[other]["encryption key"]))
        key = hkdf(secret, self.salt, "shares", self.at, name, other)
        plain = b"".join(self.shares_of(name, what)[other].to_bytes(66, "big") for what in ("seed", "key"))
        return AESGCM(key).encrypt(bytes(12), plain, DOMAIN + text([name, other, self.view])).hex()

    def masked(self, name: str, among: list[str], bits: int, bound: list[Any], with_self: bool) -> list[int]:
        values = list(VALUES[name])
        for other in among:
            if other != name:
                secret = exchange(self.own[name]["mask key"], public(self.own[other]["mask key"]))
                key = hkdf(secret, self.salt, "pair mask", *bound, min(name, other), max(name, other))
                sign = 1 if name < other else -1
                values = [v + sign * w for v, w in zip(values, words(key, bits, 4), strict=True)]
        if with_self:
            own = words(hkdf(self.own[name]["self seed"], self.salt, "self mask", *bound, name), bits, 4)
            values = [v + w for v, w in zip(values, own, strict=True)]
        return [v % 2**bits for v in values]


def whole_vector() -> dict[str, Any]:
    play = Play(3, whole=True)
    bound = [play.round, QUESTION]
    vectors = {str(b): {n: play.masked(n, play.names, b, bound, False) for n in play.names} for b in (32, 64)}
    return {"adverts": play.adverts, "view": play.view, "masked": vectors}


def double_vector() -> dict[str, Any]:
    """Four institutions; the last one shares and then drops out."""
    play = Play(4, whole=False)
    survivors, dropped = play.names[:3], play.names[3:]
    shares = [play.share(n) for n in play.names]
    board = sha(text([play.view, *shares]))
    bound = [play.at, QUESTION, board]
    vectors = {str(b): {n: play.masked(n, play.names, b, bound, True) for n in survivors} for b in (32, 64)}
    answers = [play.say(n, "mask", {"shares": board, "question": QUESTION}) for n in survivors]
    about = sha(text([board, *answers]))
    confirmations = [play.say(n, "confirm", {"answers": about}) for n in survivors]
    reveals = [play.say(n, "reveal", revealed(play, n, about, survivors, dropped)) for n in survivors]
    legs = {"adverts": play.adverts, "shares": shares, "answers": answers}
    legs |= {"confirmations": confirmations, "reveals": reveals}
    total = [sum(VALUES[n][k] for n in survivors) for k in range(4)]
    return {**legs, "view": play.view, "board": board, "about": about, "masked": vectors, "sum": total}


def revealed(play: Play, name: str, about: str, survivors: list[str], dropped: list[str]) -> dict[str, Any]:
    def element(of: str, what: str) -> str:
        return play.shares_of(of, what)[name].to_bytes(66, "big").hex()

    return {
        "answers": about,
        "seeds": {n: element(n, "seed") for n in survivors},
        "keys": {n: element(n, "key") for n in dropped},
    }


Board = list[dict[str, Any]]


def touched(board: Board, place: int, change: Callable[[dict[str, Any]], Any], sign: bool = True) -> Board:
    """The board with one statement changed, and signed again by whoever it names unless ``sign`` is False."""
    found = copy.deepcopy(board)
    change(found[place])
    if sign:
        found[place] = signed(found[place])
    return found


def put(field: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda statement: statement.update({field: value})


def body(field: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda statement: statement["body"].update({field: value})


def drop(field: str) -> Callable[[dict[str, Any]], Any]:
    return lambda statement: statement["body"].pop(field)


def everywhere(board: Board, digits: int) -> dict[str, tuple[Board, str]]:
    """What no leg may accept. The reader is the first institution on the board; the second is dishonest."""
    flipped = lambda s: ("0" if s[0] != "0" else "1") + s[1:]  # noqa: E731
    other = "9" * digits
    found = {
        "an unsigned change": (touched(board, 1, body("rows", "47"), sign=False), "E_KEYS"),
        "a touched signature": (touched(board, 1, put("signature", flipped(board[1]["signature"])), False), "E_KEYS"),
        "an upper-case signature": (
            touched(board, 1, put("signature", board[1]["signature"].upper()), False),
            "E_KEYS",
        ),
        "no signature": (touched(board, 1, put("signature", ""), False), "E_KEYS"),
        "another's signature": (touched(board, 1, put("signature", board[2]["signature"]), False), "E_KEYS"),
        "signed by somebody else": (touched(board, 1, put("institution", "south"), False), "E_KEYS"),
        "a foreign institution": ([*board, signed({**board[1], "institution": "elsewhere"})], "E_KEYS"),
        "an institution twice": ([*board, board[1]], "E_KEYS"),
        "the own statement twice": ([*board, board[0]], "E_KEYS"),
        "the own statement touched": (
            touched(board, 0, put("signature", flipped(board[0]["signature"])), False),
            "E_KEYS",
        ),
        "too few": (board[:2], "E_COHORT"),
        "nobody": ([], "E_COHORT"),
        "an empty body": (touched(board, 1, put("body", {})), "E_KEYS|E_VIEW"),
        "one more field": (touched(board, 1, body("rows", "47")), "E_KEYS|E_VIEW"),
        "another study's": (touched(board, 1, put("study", other[:64])), "E_KEYS"),
        "another run's": (touched(board, 1, put("run", other[:32])), "E_KEYS"),
        "another leg's": (touched(board, 1, put("leg", "reveal" if board[1]["leg"] != "reveal" else "mask")), "E_KEYS"),
    }
    if board[0]["round"] is not None:
        found["another round's"] = (touched(board, 1, put("round", 3)), "E_KEYS")
        found["another attempt's"] = (touched(board, 1, put("attempt", 1)), "E_KEYS")
    return found


def bad_adverts(board: Board, kinds: list[str]) -> dict[str, tuple[Board, str]]:
    found = everywhere(board, 64)
    own, second = board[0]["body"], board[1]["body"]
    for kind in kinds:
        for name, key in {
            "all zero": "00" * 32,
            "one": "01" + "00" * 31,
            "of low order": LOW_ORDER,
            "zero, spelled otherwise": (2**255 - 19).to_bytes(32, "little").hex(),
            "zero, with the top bit": "00" * 31 + "80",
            "another institution's": own[kind],
            "another institution's, with the top bit": own[kind][:62] + f"{int(own[kind][62:], 16) | 0x80:02x}",
            "too short": second[kind][:62],
            "too long": second[kind] + "00",
            "in upper case": second[kind].upper(),
            "no hex": "zz" * 32,
            "a number": 47,
            "a list": [second[kind]],
            "null": None,
        }.items():
            found[f"{kind} key {name}"] = (touched(board, 1, body(kind, key)), "E_KEYS")
        found[f"no {kind} key"] = (touched(board, 1, drop(kind)), "E_KEYS")
        theirs = public(hashlib.sha256(b"in the middle").digest())
        found[f"own {kind} key replaced, unsigned"] = (touched(board, 0, body(kind, theirs), sign=False), "E_KEYS")
        found[f"own {kind} key replaced, signed"] = (touched(board, 0, body(kind, theirs)), "E_KEYS")
        found[f"{kind} key replaced in the middle"] = (touched(board, 1, body(kind, theirs), sign=False), "E_KEYS")
    if len(kinds) == 2:
        found["one key for both"] = (touched(board, 1, body("encryption", second["mask"])), "E_KEYS")
        crossed = touched(board, 1, body("encryption", board[2]["body"]["mask"]))
        found["another's key for the other purpose"] = (crossed, "E_KEYS")
        found["only keys to mask"] = ([signed({**s, "body": {"mask": s["body"]["mask"]}}) for s in board], "E_KEYS")
    missing = "E_COHORT" if len(kinds) == 1 else "E_VIEW"
    found["without the own"] = (board[1:], missing)
    return found


def bad_shares(board: Board, view: str) -> dict[str, tuple[Board, str]]:
    found = everywhere(board, 64)
    first, sealed = board[0]["institution"], board[1]["body"]["shares"]
    for_first = sealed[first]
    wrong = {n: s for n, s in sealed.items() if n != first}
    for name, shares in {
        "without the reader": wrong,
        "for a foreigner": {**sealed, "elsewhere": for_first},
        "for itself": {**sealed, board[1]["institution"]: for_first},
        "too short": {**sealed, first: for_first[:-2]},
        "too long": {**sealed, first: for_first + "00"},
        "no hex": {**sealed, first: "zz" + for_first[2:]},
        "a list": list(sealed.values()),
        "numbers": dict.fromkeys(sealed, 47),
        "none": {},
        "null": None,
    }.items():
        found[f"shares {name}"] = (touched(board, 1, body("shares", shares)), "E_KEYS")
    swapped = {**sealed, first: sealed[board[2]["institution"]]}
    found["another's shares for the reader"] = (touched(board, 1, body("shares", swapped)), "E_KEYS")
    changed = {**sealed, first: ("0" if for_first[0] != "0" else "1") + for_first[1:]}
    found["shares touched, and signed"] = (touched(board, 1, body("shares", changed)), "E_KEYS")
    found["shares touched on the way"] = (touched(board, 1, body("shares", changed), sign=False), "E_KEYS")
    found["a split view"] = (touched(board, 1, body("view", "77" * 32)), "E_VIEW")
    found["the view in upper case"] = (touched(board, 1, body("view", view.upper())), "E_KEYS")
    found["no commitment"] = (touched(board, 1, drop("commitment")), "E_KEYS")
    found["the commitment cut"] = (touched(board, 1, body("commitment", "ab")), "E_KEYS")
    found["the own commitment replaced, signed"] = (touched(board, 0, body("commitment", "77" * 32)), "E_KEYS")
    found["without the own"] = (board[1:], "E_VIEW")
    return found


def bad_answers(board: Board) -> dict[str, tuple[Board, str]]:
    found = everywhere(board, 64)
    found["another question"] = (touched(board, 1, body("question", "77" * 32)), "E_VIEW")
    found["the own for another question"] = (touched(board, 0, body("question", "77" * 32)), "E_VIEW")
    found["another board of shares"] = (touched(board, 1, body("shares", "77" * 32)), "E_VIEW")
    found["the own for another board of shares"] = (touched(board, 0, body("shares", "77" * 32)), "E_VIEW")
    found["survivors below H + T"] = (board[1:], "E_COHORT")
    return found


def bad_confirmations(board: Board) -> dict[str, tuple[Board, str]]:
    found = everywhere(board, 64)
    found["of other survivors"] = (touched(board, 1, body("answers", "77" * 32)), "E_VIEW")
    found["of one that has dropped out"] = ([*board, signed({**board[1], "institution": "west"})], "E_VIEW")
    found["all of other survivors"] = ([signed({**s, "body": {"answers": "77" * 32}}) for s in board], "E_VIEW")
    return found


def bad_reveals(board: Board) -> dict[str, tuple[Board, str]]:
    found = everywhere(board, 64)
    seeds, keys = board[1]["body"]["seeds"], board[1]["body"]["keys"]
    found["for other survivors"] = (touched(board, 1, body("answers", "77" * 32)), "E_VIEW")
    found["of one that has dropped out"] = ([*board, signed({**board[1], "institution": "west"})], "E_VIEW")
    found["both kinds of one"] = (touched(board, 1, body("keys", {**keys, "east": seeds["east"]})), "E_KEYS")
    found["no seed of one"] = (
        touched(board, 1, body("seeds", {n: s for n, s in seeds.items() if n != "east"})),
        "E_KEYS",
    )
    found["no key of one"] = (touched(board, 1, body("keys", {})), "E_KEYS")
    found["seeds as a list"] = (touched(board, 1, body("seeds", list(seeds.values()))), "E_KEYS")
    for name, value in {
        "wrong by one": f"{(int(seeds['east'], 16) + 1) % P:0132x}",
        "too large": f"{P:0132x}",
        "no hex": "zz" * 66,
        "too short": "00" * 65,
        "a number": 47,
    }.items():  # three reveals, three needed: nothing to make up for a wrong one
        found[f"a share {name}"] = (touched(board, 1, body("seeds", {**seeds, "east": value})), "E_COHORT")
    found["a share of a key wrong"] = (touched(board, 1, body("keys", {"west": "01" * 66})), "E_COHORT")
    return found


def bad_bytes(board: Board) -> dict[str, str]:
    """What is no board of statements at all, whoever signed it: E_WIRE."""
    one = board[1]
    variants: dict[str, Any] = {
        "an object": {"statements": board},
        "a number": 47,
        "null": None,
        "a list of numbers": [47],
        "a statement without a leg": [{k: v for k, v in one.items() if k != "leg"}],
        "a statement of an unknown leg": [{**one, "leg": "gossip"}],
        "one more field": [{**one, "rows": 47}],
        "a round without an attempt": [{**one, "attempt": None}],
        "a negative round": [{**one, "round": -1}],
        "a round too large": [{**one, "round": 2**31}],
        "a round in words": [{**one, "round": "2"}],
        "a round that is true": [{**one, "round": True}],
        "a round with a fraction": [{**one, "round": 2.0}],
        "a body that is a list": [{**one, "body": []}],
        "a body that is text": [{**one, "body": "{}"}],
        "a name that is a number": [{**one, "institution": 47}],
        "a study that is null": [{**one, "study": None}],
        "a signature that is a list": [{**one, "signature": [one["signature"]]}],
        "out of order": board[::-1],
    }
    found = {name: text(v).hex() for name, v in variants.items()}
    good = text(board)
    found["nothing"] = ""
    found["cut"] = good[:-1].hex()
    found["with a space"] = (good + b" ").hex()
    found["with spaces within"] = json.dumps(board, sort_keys=True).encode().hex()
    found["a field twice"] = good.replace(b'"leg":', b'"leg":"mask","leg":', 1).hex()
    found["an escaped letter"] = good.replace(b'"leg"', b'"le\\u0067"', 1).hex()
    found["NaN"] = good.replace(b'"round":2', b'"round":NaN', 1).hex()
    found["half a surrogate pair"] = good.replace(b'"run":"ab', b'"run":"\\ud800', 1).hex()
    found["no UTF-8"] = good.replace(b'"run":"ab', b'"run":"\xff', 1).hex()
    return found


def main() -> None:
    whole, double = whole_vector(), double_vector()
    bad: list[dict[str, Any]] = []
    for leg, boards in {
        "whole advertise": bad_adverts(whole["adverts"], ["mask"]),
        "advertise": bad_adverts(double["adverts"], ["mask", "encryption"]),
        "share": bad_shares(double["shares"], double["view"]),
        "mask": bad_answers(double["answers"]),
        "confirm": bad_confirmations(double["confirmations"]),
        "reveal": bad_reveals(double["reveals"]),
    }.items():
        bad += [{"leg": leg, "name": name, "code": code, "board": board} for name, (board, code) in boards.items()]
    key = bytes(range(32))
    document = {
        "format": FORMAT,
        "identities": {n: identity(n).hex() for n in NAMES},
        "seeds": {n: seed(n).hex() for n in NAMES},
        "question": QUESTION,
        "values": VALUES,
        "stream": {"key": key.hex(), "32": words(key, 32, 9), "64": words(key, 64, 9)},
        "shamir": [
            {
                "secret": s,
                "coefficients": c,
                "shares": {x: sum(k * x**e for e, k in enumerate([s, *c])) % P for x in (1, 2, 5, 50)},
            }
            for s, c in ((2**256 - 1, [P - 1, 2**520]), (0, [1, 2, 3]), (47, []))
        ],
        "whole": whole,
        "double": double,
        "bad": bad,
        "malformed": bad_bytes(double["adverts"]),
    }
    path = Path(__file__).with_name("masking.json")
    path.write_text(json.dumps(document, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
