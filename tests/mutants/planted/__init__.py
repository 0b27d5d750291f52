"""The mutants, by the rooms of the house they are planted in.

Left out, because they break no promise: keeping the first m rows of a person instead of m drawn ones (which rows are
kept still follows from that person's rows alone), at most m rows a person in training (the clip bounds any number),
a scale that is not shrunk to the clip before rounding (whatever is too long after rounding counts as zero), and a
second look-up of an attempt inside the ledger's transaction (the custodian has looked already, and answers one
request at a time).
"""

from __future__ import annotations

from collections.abc import Mapping

from mutant import Mutant

from planted import (
    accounts,
    agreements,
    attempts,
    bounds,
    claims,
    clocks,
    compaction,
    coordinator,
    custody,
    documents,
    doors,
    drafts,
    evaluating,
    events,
    files,
    imputing,
    kept,
    leaks,
    ledger,
    masking,
    membership,
    network,
    noise,
    onway,
    operations,
    pooled,
    readers,
    restoring,
    simulations,
    training,
    unprotected,
    untouched,
    using,
)

ROOMS: Mapping[str, tuple[Mutant, ...]] = {
    "Noise and randomness": noise.MUTANTS,
    "What one person may change": bounds.MUTANTS,
    "What a person's events may change": events.MUTANTS,
    "What an evaluation claims and shows": evaluating.MUTANTS,
    "Exact arithmetic": training.EXACT_MUTANTS,
    "Rows, cells and persons as they are read": readers.MUTANTS,
    "Training": training.MUTANTS,
    "Accounts and guarantees": accounts.MUTANTS,
    "The ledger": ledger.MUTANTS,
    "A ledger that is restored": restoring.MUTANTS,
    "What is kept, and for how long": compaction.MUTANTS,
    "Who has agreed to what": agreements.MUTANTS,
    "Clocks, and truthful checks": clocks.MUTANTS,
    "What leaves the institution": custody.MUTANTS,
    "What leaves beside the noised values": leaks.MUTANTS,
    "Masks": masking.MUTANTS,
    "What others have written": documents.MUTANTS,
    "Attempts, sessions and caps": attempts.MUTANTS,
    "Who is in a federation": membership.MUTANTS,
    "The way out, and what is reported of it": network.MUTANTS,
    "Who reaches what over Flower": doors.MUTANTS,
    "Answers on their way": onway.MUTANTS,
    "Logs, metrics and preflights": operations.MUTANTS,
    "The coordinator and the release": coordinator.MUTANTS,
    "What a release claims": claims.MUTANTS,
    "Studies without privacy": unprotected.MUTANTS,
    "Files that had none": untouched.MUTANTS,
    "Commands and Python": using.MUTANTS,
    "Simulations, and who sees what": simulations.MUTANTS,
    "Simulations of many institutions": pooled.MUTANTS,
    "Drafts, and names that others chose": drafts.MUTANTS,
    "Files as people have them": files.MUTANTS,
    "Values as people have them": kept.MUTANTS,
    "Tables of one's own: what is there, and what counts": imputing.MUTANTS,
}
