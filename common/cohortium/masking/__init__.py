"""Step 5: masks. The coordinator learns the sum of the noised answers and nothing else about them.

    cohort.py            the institutions of one sum; D, T, H, t; the session
    derivation.py        one secret per attempt, and the keys derived from it
    statements.py        what institutions sign; the board and its verification; leg advertise
    all_or_nothing.py    no institution may drop out (D = 0): one exchange a round
    dropout_tolerant.py  double masking (D > 0): share, mask, confirm, reveal
    total.py             the coordinator's running sum
    ring.py              integers modulo 2**32 or 2**64, and AES-256-CTR masks in them
    shamir.py            secret sharing over the field of 2**521 - 1 elements

Everything here is pure: it reads no clock, no file and no random generator. Secrets and boards come in, statements and
vectors go out, and each function refuses (MaskingError) what an honest coordinator would not ask, before it uses a secret.
"""

from cohortium.masking import all_or_nothing, dropout_tolerant
from cohortium.masking.cohort import Cohort, Context
from cohortium.masking.derivation import Seat, Secrets
from cohortium.masking.ring import Ring, ring_for
from cohortium.masking.statements import (
    Adverts,
    Statement,
    advertise,
    decode_board,
    encode_board,
    read_adverts,
    require_same_statement,
)
from cohortium.masking.total import Masked, MaskedSum, UnmaskedSum

__all__ = [
    "Adverts",
    "Cohort",
    "Context",
    "Masked",
    "MaskedSum",
    "Ring",
    "Seat",
    "Secrets",
    "Statement",
    "UnmaskedSum",
    "advertise",
    "all_or_nothing",
    "decode_board",
    "dropout_tolerant",
    "encode_board",
    "read_adverts",
    "require_same_statement",
    "ring_for",
]
