"""The job table: what was asked, by whom, how far it is, what came of it. It survives every kill.

    queued -> in_progress -> completed | failed | cancelled

A worker claims jobs under a lease; whoever holds no lease any more cannot finish them, so that nothing is done twice
in a client's eyes. SQLite by default, Postgres by URL. Order: priority, then turns, of which a client that asks for
much gets no more than one that asks for little (start-time fair queueing, Goyal et al. 1996).
"""

import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sql
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from armillary.serving.tables import CLOCK, DONE, JOBS, PIECES, open_engine

LEASE_SECONDS = 15.0
MOST_ATTEMPTS = 3  # a job that took three workers with it is not tried again
OVER = ("completed", "failed", "cancelled")
RATE = "seconds a unit"  # of cost, in the clock's table: of all modes, and with a mode's name behind of that one
TELLING = 5  # per cent of a job after which its own pace tells more than others' did
LOST = (
    "the computing process ended three times while it worked on this: it may need more memory than there is. "
    "Ask for fewer frames or a smaller size."
)


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """What is asked for. ``request``: plain data. ``cost``: work, in million pixel evaluations. ``batch_key``: jobs
    with equal keys may be computed together. ``hidden``: not listed, gone once it is answered (chat, policy)."""

    owner: str
    kind: str
    mode: str
    request: Mapping[str, Any]
    cost: float
    batch_key: str
    priority: int = 0
    deadline: float | None = None
    hidden: bool = False
    idempotency_key: str | None = None
    id: str = field(default_factory=lambda: new_id())


@dataclass(frozen=True, kw_only=True)
class Job:
    """A row of the table. Times are seconds since 1970; ``progress`` is 0 to 100."""

    id: str
    owner: str
    kind: str
    mode: str
    status: str
    request: dict[str, Any]
    result: dict[str, Any]
    progress: int
    attempt: int
    priority: int
    turn: float
    cost: float
    created_at: float
    started_at: float | None
    completed_at: float | None
    expires_at: float | None
    deadline: float | None
    error_code: str | None
    error_message: str | None
    hidden: bool

    @property
    def over(self) -> bool:
        return self.status in OVER


def new_id() -> str:
    """A name that nobody can guess."""
    return f"job_{uuid.uuid4().hex}"


class Jobs:
    """The table. Every method is one transaction; all may be called from any thread and any process."""

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _write(self) -> Iterator[sql.Connection]:
        with self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _read(self) -> Iterator[sql.Connection]:
        with self._engine.connect().execution_options(reading=True) as connection:
            yield connection

    def create(self, new: NewJob, *, status: str = "queued", keep_seconds: float | None = None) -> Job:
        """Keep a job; the one that its owner made before under this idempotency key, if there is one."""
        row = {
            "id": new.id, "owner": new.owner, "kind": new.kind, "mode": new.mode, "status": status,
            "expires_at": None if keep_seconds is None else time.time() + keep_seconds,
            "request": json.dumps(new.request), "result": "{}", "batch_key": new.batch_key, "priority": new.priority,
            "cost": new.cost, "progress": 0, "attempt": 0, "created_at": time.time(), "deadline": new.deadline,
            "hidden": new.hidden, "idempotency_key": new.idempotency_key,
        }  # fmt: skip
        try:
            with self._write() as db:
                row["turn"] = self._turn(db, new.owner, new.cost)
                db.execute(JOBS.insert().values(row))
        except IntegrityError:
            with self._read() as db:
                same = (JOBS.c.owner == new.owner) & (JOBS.c.idempotency_key == new.idempotency_key)
                found = (
                    None if new.idempotency_key is None else db.execute(sql.select(JOBS).where(same)).mappings().first()
                )
            if found is None:
                raise
            return _job(found)
        return self.of_id(new.id)

    def _turn(self, db: sql.Connection, owner: str, cost: float) -> float:
        """When this owner's next job is due: after its own last one, and not before what is being served now."""
        now = _value(db, "served")
        last = sql.case((CLOCK.c.value > now, CLOCK.c.value), else_=now)
        return _set_value(db, f"owner {owner}", now + cost, instead=last + cost)

    def of_id(self, job_id: str, owner: str | None = None) -> Job:
        """The job, if it is this owner's; ``KeyError`` otherwise."""
        with self._read() as db:
            row = db.execute(sql.select(JOBS).where(JOBS.c.id == job_id)).mappings().first()
        if row is None or (owner is not None and row["owner"] != owner):
            raise KeyError(job_id)
        return _job(row)

    def listed(self, owner: str, *, after: str | None, limit: int, newest_first: bool, kind: str) -> list[Job]:
        """At most ``limit`` of an owner's jobs of a kind, from the one after ``after`` on; ``KeyError`` if unknown."""
        order = (JOBS.c.created_at, JOBS.c.id)
        wanted = sql.select(JOBS).where(JOBS.c.owner == owner, JOBS.c.kind == kind, ~JOBS.c.hidden)
        if after is not None:
            start = self.of_id(after, owner)
            here = sql.tuple_(*order)
            mark = sql.tuple_(sql.literal(start.created_at), sql.literal(start.id))
            wanted = wanted.where(here < mark if newest_first else here > mark)
        wanted = wanted.order_by(*(c.desc() if newest_first else c for c in order)).limit(limit)
        with self._read() as db:
            return [_job(row) for row in db.execute(wanted).mappings()]

    def waiting(self, owner: str | None = None) -> int:
        """How many jobs wait, or of one owner how many wait or run."""
        where = JOBS.c.status == "queued"
        if owner is not None:
            where = (JOBS.c.owner == owner) & JOBS.c.status.in_(("queued", "in_progress"))
        with self._read() as db:
            return int(db.execute(sql.select(sql.func.count()).select_from(JOBS).where(where)).scalar_one())

    def ahead(self, job: Job) -> tuple[int, float]:
        """How many jobs come before this one, and the seconds that they and it will take; 0 seconds if unknown.

        Reckoned from what jobs of the same mode took lately, or else any; once it is on its way, from its own pace.
        """
        before = (JOBS.c.status == "queued") & (
            (JOBS.c.priority > job.priority) | ((JOBS.c.priority == job.priority) & (JOBS.c.turn < job.turn))
        )
        running = JOBS.c.status == "in_progress"
        if job.status == "in_progress" and job.started_at is not None and job.progress >= TELLING:
            return 0, (time.time() - job.started_at) * (100 - job.progress) / job.progress
        of_mode = sql.select(JOBS.c.mode, sql.func.count(), sql.func.sum(JOBS.c.cost)).group_by(JOBS.c.mode)
        with self._read() as db:
            waiting, begun = (db.execute(of_mode.where(where)).all() for where in (before, running))
            told = db.execute(sql.select(CLOCK.c.name, CLOCK.c.value).where(CLOCK.c.name.like(f"{RATE}%"))).all()
        rates: dict[str, float] = {name: float(value) for name, value in told}

        def seconds(mode: str, cost: float) -> float:
            return rates.get(f"{RATE} {mode}", rates.get(RATE, 0.0)) * cost

        if job.status == "in_progress":
            return 0, seconds(job.mode, job.cost * (1 - job.progress / 100))
        work = sum(seconds(mode, float(cost)) for mode, _, cost in (*waiting, *begun))
        return sum(count for _, count, _ in waiting), work + seconds(job.mode, job.cost)

    def claim(self, worker: str, most: int) -> list[Job]:
        """The next job and up to ``most - 1`` that may be computed with it; they are this worker's for a lease.

        A job whose worker died is computed alone from then on: what kills workers takes no others with it.
        """
        now = time.time()
        with self._write() as db:
            self._settle(db, now)
            order = (JOBS.c.priority.desc(), JOBS.c.turn, JOBS.c.created_at)
            free = sql.select(JOBS).where(JOBS.c.status == "queued").order_by(*order)
            first = db.execute(free.limit(1).with_for_update(skip_locked=True)).mappings().first()
            if first is None:
                return []
            alike = free.where(JOBS.c.batch_key == first["batch_key"], JOBS.c.id != first["id"], JOBS.c.attempt == 0)
            most = 1 if first["attempt"] else most
            others = db.execute(alike.limit(most - 1).with_for_update(skip_locked=True)).mappings().all()
            rows = [first, *others]
            ids = [row["id"] for row in rows]
            values = {"status": "in_progress", "worker": worker, "attempt": JOBS.c.attempt + 1, "progress": 0,
                      "started_at": now, "lease_until": now + LEASE_SECONDS}  # fmt: skip
            db.execute(JOBS.update().where(JOBS.c.id.in_(ids)).values(values))
            _set_value(db, "served", max(_value(db, "served"), first["turn"] - first["cost"]))
            found = db.execute(sql.select(JOBS).where(JOBS.c.id.in_(ids))).mappings().all()
        claimed = {row["id"]: _job(row) for row in found}
        return [claimed[one] for one in ids]

    def renew(self, worker: str) -> None:
        """Say that the worker lives."""
        now = time.time()
        mine = (JOBS.c.worker == worker) & (JOBS.c.status == "in_progress")
        with self._write() as db:
            db.execute(JOBS.update().where(mine).values(lease_until=now + LEASE_SECONDS))
            _set_value(db, f"worker {worker}", now)

    def release(self, worker: str) -> None:
        """A worker is known to be gone: its jobs wait again at once."""
        mine = (JOBS.c.worker == worker) & (JOBS.c.status == "in_progress")
        with self._write() as db:
            db.execute(JOBS.update().where(mine).values(lease_until=0.0))
            db.execute(CLOCK.delete().where(CLOCK.c.name == f"worker {worker}"))
            self._settle(db, time.time())

    def workers(self) -> int:
        """How many workers have the model loaded and said lately that they live."""
        alive = CLOCK.c.name.like("worker %") & (CLOCK.c.value > time.time() - 2 * LEASE_SECONDS)
        with self._read() as db:
            return int(db.execute(sql.select(sql.func.count()).select_from(CLOCK).where(alive)).scalar_one())

    def settle(self) -> None:
        """Give back what dead workers held, end what is past its deadline."""
        with self._write() as db:
            self._settle(db, time.time())

    def _settle(self, db: sql.Connection, now: float) -> None:
        dead = (JOBS.c.status == "in_progress") & (JOBS.c.lease_until < now)
        end = {"status": "failed", "completed_at": now}
        gave_up = {**end, "error_code": "worker_lost", "error_message": LOST}
        db.execute(JOBS.update().where(dead, JOBS.c.attempt >= MOST_ATTEMPTS).values(gave_up))
        db.execute(JOBS.update().where(dead).values(status="queued", progress=0, worker=None))
        late = JOBS.c.status.in_(("queued", "in_progress")) & (JOBS.c.deadline < now)
        words = "the answer did not come before the deadline: ask for less, allow more time, or ask again later."
        db.execute(JOBS.update().where(late).values({**end, "error_code": "deadline_exceeded", "error_message": words}))

    def progress(self, jobs: Sequence[Job], share: float) -> None:
        """How far claimed jobs are, 0 to 1."""
        with self._write() as db:
            for job in jobs:
                db.execute(JOBS.update().where(_held(job)).values(progress=min(99, int(100 * share))))

    def show(self, job: Job, key: str) -> None:
        """There is something to see of a job that is not finished, in the file of that key."""
        with self._write() as db:
            db.execute(JOBS.update().where(_held(job)).values(result=json.dumps({"preview": key})))

    def say(self, job: Job, number: int, text: str) -> None:
        """Keep a piece of an answer that grows."""
        with self._write() as db:
            db.execute(PIECES.insert().values(job_id=job.id, attempt=job.attempt, number=number, text=text))

    def said(self, job: Job) -> str:
        """What the present attempt has said so far."""
        mine = (PIECES.c.job_id == job.id) & (PIECES.c.attempt == job.attempt)
        with self._read() as db:
            return "".join(db.execute(sql.select(PIECES.c.text).where(mine).order_by(PIECES.c.number)).scalars())

    def abandoned(self, jobs: Sequence[Job]) -> set[str]:
        """Which of the claimed jobs nobody waits for any more: cancelled, deleted, late, or given to another."""
        now = time.time()
        with self._read() as db:
            rows = db.execute(sql.select(JOBS).where(JOBS.c.id.in_([j.id for j in jobs]))).mappings()
            alive = {r["id"]: r for r in rows if r["status"] == "in_progress" and not (r["deadline"] or now) < now}
        return {job.id for job in jobs if job.id not in alive or alive[job.id]["attempt"] != job.attempt}

    def complete(self, job: Job, result: Mapping[str, Any], *, keep_seconds: float, batch: int) -> bool:
        """The job is done. False if it is no longer this attempt's: then the result must be thrown away."""
        now = time.time()
        values = {"status": "completed", "progress": 100, "completed_at": now, "result": json.dumps(result),
                  "expires_at": now + keep_seconds, "lease_until": None}  # fmt: skip
        return self._end(job, values, batch)

    def fail(self, job: Job, code: str, message: str, *, keep_seconds: float) -> bool:
        """The job cannot be done, and why."""
        now = time.time()
        values = {"status": "failed", "completed_at": now, "error_code": code, "error_message": message,
                  "expires_at": now + keep_seconds, "lease_until": None}  # fmt: skip
        return self._end(job, values, 1)

    def _end(self, job: Job, values: dict[str, Any], batch: int) -> bool:
        now = values["completed_at"]
        with self._write() as db:
            won = db.execute(JOBS.update().where(_held(job)).values(values)).rowcount == 1
            if won:
                started = job.started_at or now
                db.execute(DONE.insert().values(
                    job_id=job.id, mode=job.mode, status=values["status"], at=now, batch=batch,
                    waited=started - job.created_at, worked=now - started,
                ))  # fmt: skip
                if values["status"] == "completed" and job.cost > 0:
                    seen = (now - started) / batch / job.cost
                    for name in (RATE, f"{RATE} {job.mode}"):
                        old = _value(db, name)
                        _set_value(db, name, seen if not old else 0.8 * old + 0.2 * seen)
        return won

    def cancel(self, job_id: str, owner: str) -> Job:
        """End a job that is not over; the worker notices before its next evaluation. ``KeyError`` if unknown."""
        self.of_id(job_id, owner)
        alive = (JOBS.c.id == job_id) & JOBS.c.status.in_(("queued", "in_progress"))
        values = {"status": "cancelled", "completed_at": time.time(), "error_code": "cancelled",
                  "error_message": "cancelled by who asked for it."}  # fmt: skip
        with self._write() as db:
            db.execute(JOBS.update().where(alive).values(values))
        return self.of_id(job_id, owner)

    def delete(self, job_id: str, owner: str) -> None:
        """Forget a job; ``KeyError`` if unknown."""
        self.of_id(job_id, owner)
        self.drop([job_id])

    def drop(self, job_ids: Sequence[str]) -> None:
        """Forget rows; their files are the caller's."""
        with self._write() as db:
            db.execute(JOBS.delete().where(JOBS.c.id.in_(job_ids)))
            db.execute(PIECES.delete().where(PIECES.c.job_id.in_(job_ids)))

    def keep_on(self, job_id: str, seconds: float) -> None:
        """Keep a job for so long from now on: somebody still uses it."""
        with self._write() as db:
            db.execute(JOBS.update().where(JOBS.c.id == job_id).values(expires_at=time.time() + seconds))

    def expired(self, *, hidden_seconds: float, keep_seconds: float) -> list[str]:
        """Jobs whose time is over: kept long enough, or answered on the line a while ago.

        ``keep_seconds``: how long those are kept that no worker ended (cancelled, late, lost), to which none was given.
        """
        now = time.time()
        until = sql.func.coalesce(JOBS.c.expires_at, JOBS.c.completed_at + keep_seconds)
        stale = JOBS.c.hidden & (JOBS.c.completed_at < now - hidden_seconds)
        with self._read() as db:
            return list(db.execute(sql.select(JOBS.c.id).where((until < now) | stale)).scalars())

    def known(self, job_ids: Sequence[str]) -> set[str]:
        """Which of these are in the table."""
        with self._read() as db:
            return set(db.execute(sql.select(JOBS.c.id).where(JOBS.c.id.in_(job_ids))).scalars())

    def counts(self) -> dict[str, int]:
        """How many jobs there are in each status."""
        with self._read() as db:
            rows = db.execute(sql.select(JOBS.c.status, sql.func.count()).group_by(JOBS.c.status)).all()
        return {status: int(count) for status, count in rows}

    def done_since(self, number: int) -> list[dict[str, Any]]:
        """What ended after line ``number`` of the account: for metrics."""
        with self._read() as db:
            rows = db.execute(sql.select(DONE).where(DONE.c.number > number).order_by(DONE.c.number).limit(5000))
            return [dict(row) for row in rows.mappings()]


def _held(job: Job) -> sql.ColumnElement[bool]:
    return (JOBS.c.id == job.id) & (JOBS.c.attempt == job.attempt) & (JOBS.c.status == "in_progress")


def _value(db: sql.Connection, name: str) -> float:
    found = db.execute(sql.select(CLOCK.c.value).where(CLOCK.c.name == name)).scalar()
    return 0.0 if found is None else float(found)


def _set_value(db: sql.Connection, name: str, value: float, *, instead: Any = None) -> float:
    """Keep a value, or ``instead`` where the name has one already; in one statement, since others do the same."""
    kind = postgresql if db.dialect.name == "postgresql" else sqlite
    new = kind.insert(CLOCK).values(name=name, value=value)
    kept = new.on_conflict_do_update(index_elements=["name"], set_={"value": value if instead is None else instead})
    return float(db.execute(kept.returning(CLOCK.c.value)).scalar_one())


def _job(row: Mapping[Any, Any]) -> Job:
    fields = {name: row[name] for name in Job.__dataclass_fields__}
    fields |= {"request": json.loads(row["request"]), "result": json.loads(row["result"])}
    return Job(**fields)
