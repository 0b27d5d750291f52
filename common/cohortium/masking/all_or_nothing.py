"""Masked sums of all or nothing (D = 0): pair masks alone, one exchange a round after one set of keys for the run.

    run      advertise   one X25519 key, signed                        -> the board of adverts, the same for everybody
    round    mask        x + the pair masks of this attempt            -> the coordinator adds up all K

Institution i sends y_i = x_i + the sum over j > i of PRG(s_ij) - the sum over j < i of PRG(s_ij). The sum of all y is
the sum of all x. Without one of them, the masks that it shares with the others stay in.

*Why no self mask.* The double masking of Bonawitz et al. 2017 (section 4) adds one because there the pair keys of
somebody who seems missing are revealed: without it, a coordinator that only says so could unmask a late answer. Here no
key and no seed ever leaves an institution, in no leg and whatever happens; there is no leg in which it could. So if
somebody is missing, every answer stays masked for good, the round is void and the next attempt is another one.

*Why one key serves a run.* A pair key s_ij is HKDF-SHA256 of the exchanged secret with the view (the digest of all
adverts) as salt and an info of study, run, round, attempt, the digest of what is asked, and both names. Another
attempt, or another question (a model state that only some were shown, say), is another key. Institutions with different
views or questions have independent masks and the sum is noise.

*What the coordinator and T colluders see* of h >= 2 honest institutions is their sum and nothing else: the graph of pair
keys that they do not know is complete among the honest. With h = 1, K - 1 colluders, they know x itself, which has all
of the needed noise then (H = 1). Their word decides nothing: each institution checks the board by itself.

Pre-conditions, the caller's to keep: one advert a run and one masked answer an attempt, ever, kept durably and repeated
byte for byte; charged before it leaves.
"""

from __future__ import annotations

from cohortium.masking.cohort import Cohort, Context
from cohortium.masking.derivation import Seat, pair_masks
from cohortium.masking.ring import Ring
from cohortium.masking.statements import Adverts, require_enough, require_own_advert, view_error
from cohortium.masking.total import Masked, MaskedSum, UnmaskedSum, masked
from cohortium.privacy.discrete_gaussian import Noised


def mask(seat: Seat, adverts: Adverts, context: Context, question: str, noised: Noised, ring: Ring) -> Masked:
    """The round's leg. question: digest of what this institution is asked. context: the round's attempt.

    MaskingError E_KEYS, E_VIEW (statements.py) before anything is computed from ``noised``.
    """
    require_ready(seat, adverts, context)
    others = {name: key for name, key in adverts.mask_keys.items() if name != seat.name}
    private = seat.secrets.mask_key(seat.context)
    bound = (context.document(), question)
    return masked(noised, ring, pair_masks(private, seat.name, others, adverts.salt, *bound))


def require_ready(seat: Seat, adverts: Adverts, context: Context) -> None:
    """All that ``mask`` refuses for, to be asked before a charge and before any row is read."""
    require_own_advert(seat, adverts)
    if context.of_run != adverts.context or context.is_of_run:
        raise view_error(seat.name, "the round is not one of the run that the keys are of")


def unmask(total: MaskedSum, cohort: Cohort) -> UnmaskedSum:
    """The sum; MaskingError E_COHORT unless the answers of all K institutions are in it."""
    require_enough(cohort, total.survivors, cohort.size)
    return UnmaskedSum(total.opened([]))
