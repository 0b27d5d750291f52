"""A clock that shows what a test wants, to everything of the product that asks what time it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from unittest import mock

from cohortium.ledger import store
from cohortium.study import expiry
from cohortium_client.custodian import amending, answerable

DAY_0 = datetime(2026, 10, 1, 12, tzinfo=UTC)


def day(number: int) -> datetime:
    return DAY_0 + timedelta(days=number)


@contextmanager
def clock(moment: datetime) -> Iterator[None]:
    class Fixed(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override] # a plain one will do
            return moment.astimezone(tz)

    with ExitStack() as stack:
        for module in (store, answerable, amending, expiry):
            stack.enter_context(mock.patch.object(module, "datetime", Fixed))
        yield
