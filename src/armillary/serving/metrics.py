"""What the operator watches: Prometheus' counters and times, fed by the answering process and by the job table."""

import resource
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from armillary.serving.jobs import Jobs

SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)


class Metrics:
    """One registry for one server."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.answers = Counter("armillary_http_answers", "Answers by route and status", ["route", "status"],
                               registry=registry)  # fmt: skip
        self.http_seconds = Histogram("armillary_http_seconds", "Time to answer", ["route"], buckets=SECONDS,
                                      registry=registry)  # fmt: skip
        self.refusals = Counter("armillary_refusals", "Refusals by code", ["code"], registry=registry)
        self.jobs_over = Counter("armillary_jobs_over", "Jobs that ended", ["mode", "status"], registry=registry)
        self.waited = Histogram("armillary_job_waited_seconds", "Time in the queue", ["mode"], buckets=SECONDS,
                                registry=registry)  # fmt: skip
        self.worked = Histogram("armillary_job_worked_seconds", "Time of computing", ["mode"], buckets=SECONDS,
                                registry=registry)  # fmt: skip
        self.batch = Histogram("armillary_batch_jobs", "Jobs computed together", ["mode"], registry=registry,
                               buckets=(1, 2, 4, 8, 16, 32))  # fmt: skip
        self.status = Gauge("armillary_jobs", "Jobs in the table", ["status"], registry=registry)
        self.workers = Gauge("armillary_workers", "Workers that live", registry=registry)
        self.restarts = Counter("armillary_worker_restarts", "Workers that were started anew", registry=registry)
        self.memory = Gauge("armillary_resident_bytes", "Memory by process", ["process"], registry=registry)
        self.sockets = Gauge("armillary_sockets", "Open sockets", ["kind"], registry=registry)
        self._seen = 0

    def page(self, jobs: "Jobs", pids: dict[str, int]) -> bytes:
        """The metrics now, in Prometheus' text form."""
        for line in jobs.done_since(self._seen):
            self._seen = max(self._seen, line["number"])
            self.jobs_over.labels(line["mode"], line["status"]).inc()
            self.waited.labels(line["mode"]).observe(max(0.0, line["waited"]))
            self.worked.labels(line["mode"]).observe(line["worked"])
            self.batch.labels(line["mode"]).observe(line["batch"])
        counts = jobs.counts()
        for status in ("queued", "in_progress", "completed", "failed", "cancelled"):
            self.status.labels(status).set(counts.get(status, 0))
        self.workers.set(jobs.workers())
        for name, pid in pids.items():
            self.memory.labels(name).set(resident_bytes(pid))
        return generate_latest(self.registry)


def resident_bytes(pid: int) -> int:
    """Memory that a process holds now; 0 if it is gone or the system does not say."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * resource.getpagesize()
