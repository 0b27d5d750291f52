"""The institutions of one sum, how many of them may be missing or collude, and the session of a statement."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from cohortium.errors import StudyError

SMALLEST = 3  # with two, each learns the other's answer from the sum
LARGEST_DROPOUT_TOLERANT = (
    200  # shares grow with K²: at 200 institutions the board of one attempt is 13 MB, sent to each of them
)


@dataclass(frozen=True)
class Context:
    """The session that a statement is for: a round's attempt, or a whole run where round and attempt are None.

    study: the study's digest, hex. run: the run's identifier, hex.
    """

    study: str
    run: str
    round: int | None = None
    attempt: int | None = None

    @property
    def of_run(self) -> Context:
        return replace(self, round=None, attempt=None)

    @property
    def is_of_run(self) -> bool:
        return self.round is None and self.attempt is None

    def document(self) -> dict[str, str | int | None]:
        return {"study": self.study, "run": self.run, "round": self.round, "attempt": self.attempt}


@dataclass(frozen=True)
class Cohort:
    """The study's K institutions and what it tolerates.

    keys: Ed25519 public key (``ed25519:`` and hex) by the institution's name, as pinned in the study.
    dropouts: D; that many may be missing when the sum is opened. 0: all or nothing (all_or_nothing.py), else double masking
    (dropout_tolerant.py). colluders: T; that many may tell the coordinator all they know, or leave out their noise.
    """

    keys: dict[str, str]
    dropouts: int = 0
    colluders: int = 0

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self.keys))

    @property
    def size(self) -> int:
        """K."""
        return len(self.keys)

    @property
    def honest(self) -> int:
        """H = K - D - T: the honest shares of the noise that are in every sum that is ever opened, at least."""
        return self.size - self.dropouts - self.colluders

    @property
    def threshold(self) -> int:
        """The paper's t, here floor(2K/3) + 1: the shares that reconstruct a secret, and the confirmations that open a sum."""
        return 2 * self.size // 3 + 1

    @property
    def least(self) -> int:
        """So many must be on every board and among the survivors: all where D = 0, else max(t, H + T, 3)."""
        return max(self.threshold, self.honest + self.colluders, SMALLEST) if self.dropouts else self.size

    def abscissa(self, name: str) -> int:
        """Where the institution's Shamir shares are evaluated: its place, 1 to K, in the order of names."""
        return self.names.index(name) + 1

    def check(self) -> None:
        """StudyError E_PLAN_PRIVACY, E_PLAN_INVALID or E_PLAN_LIMIT where no sum of this cohort would be safe."""
        if not all(self.keys.values()) or len(set(self.keys.values())) < self.size:
            raise StudyError(
                "E_PLAN_INVALID",
                "study.institutions",
                "for masked sums each institution needs a key of its own",
                "Put every institution's public key into the study.",
            )
        self.check_numbers()

    def check_numbers(self) -> None:
        """The part of ``check`` that needs no keys yet."""
        if problem := self._problem():
            raise StudyError("E_PLAN_PRIVACY", "study.privacy", *problem)
        if self.dropouts and self.size > LARGEST_DROPOUT_TOLERANT:
            raise StudyError(
                "E_PLAN_LIMIT",
                "privacy.dropouts",
                f"of more than {LARGEST_DROPOUT_TOLERANT} institutions none may drop out",
                "Set dropouts = 0, or let fewer institutions take part.",
            )

    def _problem(self) -> tuple[str, str] | None:
        K, D, T = self.size, self.dropouts, self.colluders
        if K < SMALLEST:
            return f"a masked sum of fewer than {SMALLEST} institutions hides nothing", 'Choose trust = "local".'
        if min(D, T) < 0 or self.honest < 1:
            return "dropouts and colluders leave no honest institution", "Declare fewer of them."
        if D and 3 * T >= K:
            # Two survivor sets with t confirmations each share more than K/3 institutions. With T < K/3 one of those
            # is honest and has signed once, so the sets are the same. With more colluders it need not be.
            return "where institutions may drop out, colluders must be fewer than a third", "Declare fewer of them."
        if D and self.threshold > K - D:
            return f"with {D} dropouts too few are left to open the sum", "Declare fewer dropouts."
        return None
