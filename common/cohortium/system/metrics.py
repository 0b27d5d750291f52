"""Metrics in Prometheus' text format: served over HTTP, or written into a file for node_exporter to read (docs/metrics.md).

Only what a process hands over is exposed: no memory or processor time, which Prometheus' default registry would add.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

from prometheus_client import CollectorRegistry, Metric, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from cohortium.errors import InputError
from cohortium.system.address import Address
from cohortium.system.files import write_whole
from cohortium.system.listening import host_of
from cohortium.system.logs import without_text

EVERY = 15.0  # seconds between two writings of a file
PATIENCE = 10.0  # seconds that a caller may keep silent
Taken = Callable[[], Iterable[Metric]]
Rows = Iterable[tuple[tuple[str, ...], float]]
_log = logging.getLogger("cohortium.metrics")


def gauge(name: str, what: str, rows: Rows, *labels: str) -> Metric:
    """A metric that goes up and down. rows: values under the labels' values."""
    return _filled(GaugeMetricFamily(name, what, labels=labels), rows)


def counter(name: str, what: str, rows: Rows, *labels: str) -> Metric:
    """A metric that only grows until its process restarts. name: without ``_total``, which is added."""
    return _filled(CounterMetricFamily(name, what, labels=labels), rows)


def _filled(family: Any, rows: Rows) -> Metric:
    for labels, value in rows:
        family.add_metric(labels, value)
    metric: Metric = family
    return metric


def is_loopback(address: Address) -> bool:
    """Whether only this machine reaches it."""
    return address.host == "localhost" or (address.ip is not None and address.ip.is_loopback)


@contextmanager
def served(taken: Taken, address: Address) -> Iterator[None]:
    """Answer ``GET /metrics`` at the address inside the block; InputError E_METRICS if it cannot be bound."""
    try:
        server, thread = start_http_server(address.port, host_of(address), _registry(taken))
    except OSError as error:
        what = error.strerror or "the system refused it"
        raise InputError("E_METRICS", str(address), what, "Choose another address for the metrics.") from None
    server.handle_error = _unheard  # type: ignore[assignment] # a caller that left; Python would print a traceback
    patient = {"timeout": PATIENCE}
    server.RequestHandlerClass = type("Handler", (server.RequestHandlerClass,), patient)  # type: ignore[arg-type]
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def written(taken: Taken, path: Path, every: float = EVERY) -> Iterator[None]:
    """Write the file now, every ``every`` seconds inside the block, and at its end. OSError if it cannot be written now."""
    registry, done = _registry(taken), Event()

    def again() -> None:
        while not done.wait(every):
            _write(registry, path)

    write_whole(path, generate_latest(registry), 0o644)
    thread = Thread(target=again, name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        _write(registry, path)


def _write(registry: CollectorRegistry, path: Path) -> None:
    try:
        write_whole(path, generate_latest(registry), 0o644)
    except OSError as error:
        _log.warning("the metrics' file could not be written: %s", error.strerror)


class _Collector:
    """What Prometheus asks. A metric that fails is no reason to print a text that may hold anything."""

    def __init__(self, taken: Taken) -> None:
        self._taken = taken

    def collect(self) -> Iterable[Metric]:
        try:
            return list(self._taken())
        except Exception as error:  # noqa: BLE001 - the web server would print its text
            _log.error("metrics could not be taken: %s", without_text(error))
            return []


def _registry(taken: Taken) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Collector(taken))
    return registry


def _unheard(*_: object) -> None:
    """Nothing is written down."""
