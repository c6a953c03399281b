"""What Prometheus reads at /metrics."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepdigits.serving.champions import ChampionWatch

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
PATHS = ("/", "/v1/classify", "/v1/generate", "/v1/models", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json")


class Telemetry:
    """Counts of one server; `paths` that are not ours count together, so that nobody can fill the memory with them."""

    def __init__(self) -> None:
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

    def note(self, path: str, method: str, status: int, seconds: float) -> None:
        self.requests.labels(path, method, str(status)).inc()
        self.seconds.labels(path).observe(seconds)

    def render(self, watch: ChampionWatch) -> bytes:
        self.versions.clear()
        for served in watch.current.values():
            self.versions.labels(served.name).set(served.version)
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
        path = scope["path"] if scope["path"] in PATHS else "other"
        method = scope["method"] if scope["method"] in ("GET", "POST", "HEAD", "OPTIONS") else "other"
        start, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            self.telemetry.note(path, method, status, time.perf_counter() - start)
