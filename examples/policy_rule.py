"""A policy rule: an institution that answers under masks only.

In the product the field and its line would stand in ``client/cohortium_client/custodian/policy.py``, in ``Policy`` itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cohortium.study.study import Study
from cohortium_client.custodian.policy import Policy


@dataclass(frozen=True, kw_only=True)
class WithTrust(Policy):
    """trust: the only trust mode that is allowed; by default either."""

    trust: Literal["local", "secure-sum"] | None = None

    def _rules(self, study: Study) -> dict[str, str]:
        """A rule is its name and what breaks it, or nothing: ``check`` refuses with the first that is broken."""
        asked = study.privacy.trust
        broken = self.trust is not None and asked != self.trust
        return {**super()._rules(study), "trust": f"has the trust mode {asked!r}" if broken else ""}
