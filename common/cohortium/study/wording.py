"""Who sees what, in words: the source of every such sentence in reports, forecasts, previews, manifests and accounts.

A sentence that is true in one trust mode is false in the other, and a false sentence is a false promise. So each follows
from the study's numbers (``Cast``), and a test compares docs/privacy.md with the same sentences, letters for numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cohortium.study.study import Study

Adversary = Literal["public", "coordinator", "coordinator-with-some", "coordinator-with-all-others"]
Kind = Literal["federation", "simulation", "not-private"]
Number = int | str

PUBLIC: Adversary = "public"
COORDINATOR: Adversary = "coordinator"
WITH_SOME: Adversary = "coordinator-with-some"
WITH_ALL_OTHERS: Adversary = "coordinator-with-all-others"
ADVERSARIES: tuple[Adversary, ...] = (PUBLIC, COORDINATOR, WITH_SOME, WITH_ALL_OTHERS)


@dataclass(frozen=True)
class Cast:
    """Who takes part in a study, and what is counted on. A letter in place of a number stands for any number above 1.

    institutions: K. dropouts: D. colluders: T. least: how many must have answered before a sum is opened. honest: H.
    pooled: a simulation whose institutions were one process, and made no masks.
    """

    trust: Literal["local", "secure-sum"]
    institutions: Number
    dropouts: Number = 0
    colluders: Number = 0
    least: Number = 0
    honest: Number = 1
    pooled: bool = False

    @classmethod
    def of(cls, study: Study, masked: bool = True) -> Cast:
        p, pooled = study.privacy, not masked and study.privacy.trust == "secure-sum"
        least = len(study.institutions) if pooled else study.answers_needed
        return cls(p.trust, len(study.institutions), p.dropouts, p.colluders, least, study.honest, pooled)

    @property
    def masked(self) -> bool:
        """Whether the promise is about sums rather than messages, whether or not masks were made."""
        return self.trust == "secure-sum"

    def towards(self, adversary: Adversary) -> str:
        """The adversary in words."""
        match adversary:
            case "public":
                return "the public"
            case "coordinator":
                return "the coordinator"
            case "coordinator-with-some":
                return f"the coordinator together with {self._some}"
            case "coordinator-with-all-others":
                return "the coordinator together with all other institutions"

    @property
    def _some(self) -> str:
        if not self.masked:
            return "some other institutions"
        return "one institution" if self.colluders in (0, 1) else f"up to {self.colluders} institutions"

    def sees(self, adversary: Adversary) -> str:
        """What the adversary has and lacks."""
        return self._sees_under_masks(adversary) if self.masked else self._sees_messages(adversary)

    def _sees_messages(self, adversary: Adversary) -> str:
        alone = self.institutions == 1
        match adversary:
            case "public":
                everybody = "the institution" if alone else "every institution"
                return (
                    f"the release and nothing else: the coordinator publishes no more, and {everybody} added its noise"
                )
            case "coordinator":
                return "every message of the institution" if alone else "every message of every institution"
            case _ if alone:
                return "every message of the institution; there is no other to know more"
            case "coordinator-with-some":
                return "every message, and all that those institutions know, of which none holds the person"
            case "coordinator-with-all-others":
                return "every message, and all that every institution knows which does not hold the person"

    def _sees_under_masks(self, adversary: Adversary) -> str:
        match adversary:
            case "public":
                return f"the release and nothing else: the coordinator publishes no more, and {self._honest} added their shares of the noise"
            case "coordinator" if self.pooled:
                return f"the sums over all {self.institutions} institutions, as masks would let a coordinator; here whoever ran it saw all"
            case "coordinator":
                return f"messages under masks, of which nothing can be opened but the sum over {self._summed}"
            case "coordinator-with-some":
                few = self.colluders in (0, 1)
                whose = (
                    "that institution knows, its noise included"
                    if few
                    else "those institutions know, their noise included"
                )
                holds = "it does not hold the person" if few else "none of them holds the person"
                return f"the same sums, and all that {whose}; {holds}"
            case "coordinator-with-all-others" if self.pooled:
                return "every message, and all that every institution knows which does not hold the person"
            case "coordinator-with-all-others":
                return "every message without its mask, and all that every institution knows which does not hold the person"

    @property
    def _honest(self) -> str:
        return f"at least {self.honest} of {self.institutions} institutions"

    @property
    def _summed(self) -> str:
        everybody = f"all {self.institutions} institutions"
        return everybody if self.dropouts == 0 else f"those that answered, at least {self.least} of {everybody}"

    @property
    def noise(self) -> str:
        """How what leaves an institution is noised, and what that is worth, as a sentence."""
        if not self.masked:
            who = "The institution" if self.institutions == 1 else "Each institution"
            return f"{who} adds the full noise before anything leaves it, so the promise holds towards the coordinator too."
        if self.pooled:
            return (
                f"{UNMASKED} Each institution added a share of the noise. The noise of {self.honest} of {self.institutions} "
                f"institutions is counted on, as where {self.dropouts} may be missing when a sum is opened, and "
                f"{self.colluders} may tell the coordinator all they know."
            )
        return (
            "Each institution adds a share of the noise and masks what leaves it: the coordinator can open the sum alone. "
            f"The noise of {self.honest} of {self.institutions} institutions is counted on: {self.dropouts} may be missing "
            f"when it is opened, and {self.colluders} may tell the coordinator all they know."
        )

    @property
    def travels(self) -> str:
        """What the coordinator receives, as a sentence."""
        if not self.masked:
            which = (
                "the institution's answers"
                if self.institutions == 1
                else f"each of the {self.institutions} institutions' answers"
            )
            return f"The coordinator sees {which}, every one under the full noise."
        return f"Answers are masked. {self.noise}"

    @property
    def outputs(self) -> str:
        """What the promise is about, as the subject of a sentence in the singular."""
        return "the sum of every round, and all that was released," if self.masked else "all that was sent and released"

    @property
    def tester(self) -> str:
        """What a membership test would be run on."""
        if self.pooled:
            return "the sums,"
        if self.masked:
            return "what the coordinator sees, messages under masks and their sums,"
        return "all that was sent,"

    @property
    def left(self) -> str:
        """What left each institution, as a sentence."""
        if self.masked and not self.pooled:
            return "Only these noised whole numbers left it, under masks, and the signed keys and statements that the masks need."
        return "Only these noised whole numbers left it."

    @property
    def beside(self) -> tuple[str, ...]:
        """What travels with an institution's numbers."""
        if not self.masked:
            return BESIDE
        keys = "a public key of its masks for each run, signed"
        if self.dropouts != 0:
            keys = (
                "for each attempt, signed: public keys of its masks, encrypted shares of its mask's secrets for the others, "
                "whom it masked for, who has answered, and one share of every other institution's mask or mask key"
            )
        return (*BESIDE, keys)


UNMASKED = (
    "No masks were made: all institutions were simulated in one process, which added up their noised answers itself. Masks "
    "cancel in a sum, so that the sums, their noise and what they cost are those of the masked protocol; but nothing that an "
    "institution answered was hidden from whoever ran it."
)
"""What a simulation of many institutions does in place of masks."""
BESIDE = (
    "the study's digest, the run, round and attempt",
    "the institution's name",
    "32 random bytes",
    "a receipt: hashes of the message and of the ledger's last entry, and the institution's signature on them",
)
GENERAL: dict[str, Cast] = {
    "local": Cast("local", "K"),
    "secure-sum": Cast("secure-sum", "K", "D", "T", "L", "H"),
}
"""With letters for numbers, as in docs/privacy.md."""

KINDS: dict[Kind, str] = {
    "federation": (
        "Federation: every institution's own custodian answered, with its own key. That a key is the institution's is to be "
        "checked by another way."
    ),
    "simulation": (
        "Simulation: whoever ran it held all tables and made the institutions' keys. No institution has agreed to anything. "
        "Towards whoever ran it nothing is protected; the guarantees hold towards everybody else who gets the release."
    ),
    "not-private": "Not private: it was made from the tables without noise, and nothing is promised to anybody in them.",
}
"""What came of a study, by what ran it."""
UNRECORDED = (
    "Of what kind it is was not recorded: it was made by a version that did not tell federations from simulations, and may be "
    "the one or the other."
)


def kind_words(kind: Kind | None) -> str:
    """None: a release from before kinds were recorded."""
    return UNRECORDED if kind is None else KINDS[kind]
