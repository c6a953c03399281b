"""The metrics that Prometheus scrapes from /metrics."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepdigits.serving.champions import ChampionWatch

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
LEFT = 499  # counted if the client disconnected before the response; other servers use this status too


class Telemetry:
    """Metrics of one server. Paths outside `paths` share one label, so that nobody can fill memory with new ones."""

    def __init__(self) -> None:
        self.paths: frozenset[str] = frozenset()
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "deepdigits_requests", "Requests answered", ("path", "method", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "deepdigits_request_seconds", "Time to answer", ("path",), buckets=BUCKETS, registry=self.registry
        )
        self.images = Counter("deepdigits_images", "Images read or drawn", ("model",), registry=self.registry)
        self.versions = Gauge("deepdigits_model_version", "Version being served", ("model",), registry=self.registry)
        self.reloads = Gauge("deepdigits_reloads", "Times the champions changed", registry=self.registry)
        self.failures = Gauge("deepdigits_reload_failures", "Times the store failed", registry=self.registry)
        broken = "deepdigits_broken_champion", "A champion that cannot be served"
        self.broken = Gauge(*broken, ("model", "version"), registry=self.registry)

    def note(self, path: str, method: str, status: int, seconds: float) -> None:
        self.requests.labels(path, method, str(status)).inc()
        self.seconds.labels(path).observe(seconds)

    def render(self, watch: ChampionWatch) -> bytes:
        self.versions.clear()
        for served in watch.current.values():
            self.versions.labels(served.name).set(served.version)
        self.broken.clear()
        for one in watch.broken.values():
            self.broken.labels(one.name, one.version).set(1)
        self.reloads.set(watch.reloads)
        self.failures.set(watch.failures)
        return generate_latest(self.registry)


class Measured:
    """The middleware that counts and times requests."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry):
        self.app, self.telemetry = app, telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        route = scope["path"].removeprefix(scope.get("root_path", ""))
        path = route if route in self.telemetry.paths else "other"
        method = scope["method"] if scope["method"] in ("GET", "POST", "HEAD", "OPTIONS") else "other"
        start, status = time.perf_counter(), LEFT

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except Exception:
            status = 500
            raise
        finally:
            self.telemetry.note(path, method, status, time.perf_counter() - start)
