"""The exception tree, with stable codes.

CohortiumError
├── InputError        a table, a file or a setting cannot be used    exit 10
├── SchemaError       a schema is wrong, or a table does not fit it  exit 11
├── StudyError        a study is wrong or not to be trusted          exit 12
├── BudgetError       a charge would pass a population's cap         exit 13
├── LedgerError       the ledger cannot be read, written or trusted  exit 14
├── WireError         a message is malformed, repeated or too late   exit 15
├── FederationError   an institution is missing or answered an error exit 16
├── ReleaseError      a release is refused, touched or not readable  exit 17
├── SecretError       a secret lies where it must not                exit 18
├── AccountingError   a guarantee could not be computed twice        exit 19
├── PolicyError       an institution's own rules forbid it           exit 20
├── AuditError        an audit contradicts a claim                   exit 21
├── MaskingError      the masked sum cannot go on safely             exit 22
├── NotPrivateError   there is no privacy where there must be some   exit 23
└── MembershipError   who is in a federation is in doubt             exit 24

Every error states where, what, and the next step. None carries a data value: texts name columns, lines,
bytes and limits, which are public or stay on the institution's own screen, and only ``code`` ever travels.
"""

from __future__ import annotations

from typing import Any, ClassVar

CODES: dict[str, str] = {
    "E_ARGUMENT": "an argument has a type or value that is not accepted",
    "E_INPUT_NOT_FOUND": "the file does not exist or cannot be opened",
    "E_SOURCE": "the source is described wrongly, or the database refused or aborted the query",
    "E_DATABASE": "the database does not answer, or does not admit the account",
    "E_MAPPING": "the mapping does not fit the schema, or contradicts itself",
    "E_IO": "the system refused to read or write a file",
    "E_INTERRUPTED": "a signal ended the command before it was done",
    "E_EMPTY": "the file has no bytes, not even a header",
    "E_ENCODING": "the text is not UTF-8",
    "E_CSV_PARSE": "the file is not well-formed CSV or Parquet",
    "E_FORM": "how the file is written is ambiguous, or not supported",
    "E_LIMIT": "a cell, row or header is larger than allowed",
    "E_SCHEMA_DUP": "two columns have the same name",
    "E_SCHEMA_MISSING": "the table lacks a column of the schema",
    "E_MISFIT": "no row of the table fits the schema",
    "E_UNDECLARED": "the table has values that the schema does not declare, which it may not have",
    "E_EVALUATION": "there is too little to evaluate synthetic rows by",
    "E_SCHEMA_INVALID": "the schema contradicts itself or is malformed",
    "E_REVIEW": "the schema is a draft that was read off rows, and nobody has reviewed all of it",
    "E_PRIVACY_UNIT": "several rows per person are declared, but no person column",
    "E_PLAN_PRIVACY": "the study's privacy parameters give no meaningful guarantee",
    "E_PLAN_LIMIT": "the study asks for more than can be answered",
    "E_PLAN_INVALID": "the study is malformed",
    "E_PLAN_UNTRUSTED": "the message belongs to a study this institution has not agreed to",
    "E_EXPIRED": "the study's last day is over, or counts as over at the institution",
    "E_NOT_IN_STUDY": "this institution does not take part in the study",
    "E_INSTITUTION": "the institution's folder or its institution.toml is wrong",
    "E_POLICY": "the institution's policy forbids it, or its policy file is wrong",
    "E_APPROVAL": "a person at the institution must approve the run first",
    "E_ANSWERED": "the study has been answered, and the institution's policy allows one answer to each",
    "E_BUDGET": "the charge would pass the population's cap",
    "E_LEDGER_CORRUPT": "the ledger's chain of entries is broken",
    "E_LEDGER_ROLLED_BACK": "the ledger, or the sessions of masked sums, lack entries that they once had",
    "E_LEDGER_UNAVAILABLE": "the ledger cannot be opened, locked or written",
    "E_CLOCK": "the machine's clock and the moments in the institution's ledger contradict each other",
    "E_RESTORE": "the ledger may not be restored in this way, or the request for it is not valid",
    "E_RESTORED": "the study was agreed to before the institution's ledger was restored, and may have been answered",
    "E_VERSION": "the message or file has a version that this side does not support",
    "E_WIRE": "the message cannot be decoded",
    "E_STATE_SHAPE": "the model state has the wrong tensors, shapes or types",
    "E_STATE_INVALID": "the model state has values that are not finite",
    "E_REPLAY": "the message repeats an attempt with other content",
    "E_ENDED": "the run has ended at the institution, which no longer keeps its answers",
    "E_ROUND_ORDER": "the round is not the study's next one",
    "E_RUN": "the folder of a run is missing, in use, or damaged",
    "E_MISSING_INSTITUTION": "an institution of the study did not answer",
    "E_INSTITUTION_REFUSED": "an institution answered with an error code",
    "E_CUSTODIAN": "the custodian failed; see its own log",
    "E_CUSTODIAN_GONE": "the custodian cannot be reached",
    "E_SOCKET": "the custodian's socket cannot be opened, or another one serves there",
    "E_GATE": "the release gate refused the release",
    "E_RELEASE_NOT_FOUND": "there is no release in this folder",
    "E_RELEASE_TOUCHED": "a file of the release is not what was signed",
    "E_RELEASE_EXISTS": "the folder already holds something else",
    "E_CONDITION": "a condition names no column or value of the schema, or an impossible one",
    "E_ANSWER": "a question to a release has no answer, or none with an interval",
    "E_SECRET": "a secret was given in the clear or lies in a readable file",
    "E_ACCOUNTING": "the two accountants do not support the claim",
    "E_AUDIT": "an audit found more than is claimed, or other noise than is claimed",
    "E_KEYS": "a key or statement of a masked sum is forged, repeated, malformed or another session's",
    "E_COHORT": "too few institutions take part in a masked sum, or are left to open it",
    "E_VIEW": "the institutions of a masked sum were shown different statements, or are asked for something that contradicts them",
    "E_REVEALED": "the institution has revealed its shares in another attempt at the round",
    "E_OPEN_RUNS": "too many runs of masked sums are open at the institution",
    "E_NOT_PRIVATE": "the study or release has no privacy protection at all",
    "E_FEDERATION": "the coordinator's folder or its federation.toml is wrong",
    "E_KIT": "the join kit was altered, is not one, or is another federation's",
    "E_PROXY": "the proxy on the way to the coordinator is described wrongly, or does not let the connection through",
    "E_LINK": "the coordinator's server cannot be reached, or rejects the signature or secret shown to it",
    "E_MEMBER": "the institution is not, or cannot be, a member of this federation by these keys",
    "E_CERTIFICATE": "a certificate has expired, is another's, or cannot be made",
    "E_FLOWER": "this version of Flower has other internals than the one this was built on",
    "E_METRICS": "metrics cannot be served at this address",
    "E_SYSTEM": "this system lacks what serving a federation needs",
    "E_PROCESS": "a process that serves or runs a study keeps ending",
    "E_GENERATOR": "no generator of this kind is installed",
}


class CohortiumError(Exception):
    """Base of the tree: a stable code, where it happened, what is wrong, and the next step.

    code: one of ``CODES``, for programs to rely on. where: a file and entry, an argument, a place in a protocol. what, fix: for
    people; no text has a data value in it. KeyError for a code that is not declared.

    >>> import cohortium
    >>> try:
    ...     cohortium.load_release("nowhere")
    ... except cohortium.CohortiumError as error:
    ...     error.code, error.where
    ('E_RELEASE_NOT_FOUND', 'nowhere')
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, code: str, where: str, what: str, fix: str) -> None:
        if code not in CODES:
            raise KeyError(f"undeclared error code {code}")
        self.code, self.where, self.what, self.fix = code, where, what, fix
        super().__init__(f"{code}: {where}: {what}. {fix}")

    def as_dict(self) -> dict[str, str]:
        return {"code": self.code, "where": self.where, "what": self.what, "fix": self.fix}

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickling in users' process pools, and ``copy``: keeps the fields, whatever a subclass's constructor takes."""
        return _as_it_was, (type(self), self.args), vars(self)


def _as_it_was(kind: type[CohortiumError], args: tuple[object, ...]) -> CohortiumError:
    """An error of a kind without its constructor, which has checked it once; its attributes come after."""
    return kind.__new__(kind, *args)


class InputError(CohortiumError):
    exit_code = 10


class SchemaError(CohortiumError):
    exit_code = 11


class StudyError(CohortiumError):
    exit_code = 12


class BudgetError(CohortiumError):
    exit_code = 13


class LedgerError(CohortiumError):
    exit_code = 14


class WireError(CohortiumError):
    exit_code = 15


class FederationError(CohortiumError):
    exit_code = 16


class ReleaseError(CohortiumError):
    exit_code = 17


class SecretError(CohortiumError):
    exit_code = 18


class AccountingError(CohortiumError):
    exit_code = 19


class PolicyError(CohortiumError):
    exit_code = 20


class AuditError(CohortiumError):
    exit_code = 21


class MaskingError(CohortiumError):
    exit_code = 22


class NotPrivateError(CohortiumError):
    exit_code = 23


class MembershipError(CohortiumError):
    exit_code = 24
