"""The job table: nothing is lost, nothing is done twice, nobody is served before his turn.

``ARMILLARY_DATABASE``: URL of another database on which the same laws are tried; its job tables are emptied.
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from armillary.serving import jobs as table
from armillary.serving import tables
from armillary.serving.jobs import Jobs, NewJob

OTHER = os.environ.get("ARMILLARY_DATABASE")


@pytest.fixture(params=["sqlite", "other"] if OTHER else ["sqlite"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.sqlite'}"
    engine = tables.open_engine(OTHER)
    tables.META.drop_all(engine)
    engine.dispose()
    return OTHER


@pytest.fixture
def jobs(url):
    one = Jobs(url)
    yield one
    one.close()


def test_several_processes_may_make_the_tables_at_once_and_share_the_jobs(url):
    with ThreadPoolExecutor(6) as pool:
        opened = list(pool.map(Jobs, [url] * 6))
        for n in range(30):
            opened[n % 6].create(new(batch_key=str(n)))
        claimed = list(pool.map(lambda n: opened[n % 6].claim(f"w{n}", 1), range(30)))
    ids = [job.id for found in claimed for job in found]
    assert len(ids) == len(set(ids)) == 30
    for one in opened:
        one.close()


def new(owner="ann", **how):
    told = {"kind": "video", "mode": "text-to-video", "request": {}, "cost": 1.0, "batch_key": "a", **how}
    return NewJob(owner=owner, **told)


def test_a_job_goes_through_its_life_and_keeps_what_came_of_it(jobs):
    made = jobs.create(new(request={"a": 1}))
    assert (made.status, made.request, jobs.waiting("ann"), jobs.waiting()) == ("queued", {"a": 1}, 1, 1)
    (claimed,) = jobs.claim("w", 4)
    assert (claimed.id, claimed.status, claimed.attempt) == (made.id, "in_progress", 1)
    jobs.progress([claimed], 0.5)
    assert jobs.of_id(made.id).progress == 50
    assert jobs.complete(claimed, {"files": {}}, keep_seconds=60, batch=1)
    done = jobs.of_id(made.id, "ann")
    assert (done.status, done.progress, done.result) == ("completed", 100, {"files": {}})
    assert jobs.claim("w", 4) == []


def test_what_a_dead_worker_held_waits_again_and_its_late_result_is_thrown_away(jobs):
    jobs.create(new())
    (lost,) = jobs.claim("dead", 1)
    jobs.release("dead")
    (again,) = jobs.claim("alive", 1)
    assert again.id == lost.id and again.attempt == 2
    assert not jobs.complete(lost, {"by": "dead"}, keep_seconds=60, batch=1)
    assert jobs.complete(again, {"by": "alive"}, keep_seconds=60, batch=1)
    assert jobs.of_id(lost.id).result == {"by": "alive"}


def test_a_silent_worker_loses_its_lease(jobs, monkeypatch):
    jobs.create(new())
    jobs.claim("silent", 1)
    assert jobs.claim("other", 1) == []
    monkeypatch.setattr(table, "LEASE_SECONDS", -1.0)  # as if that time were over
    jobs.renew("silent")
    assert len(jobs.claim("other", 1)) == 1


def test_a_job_that_takes_three_workers_with_it_is_given_up(jobs):
    made = jobs.create(new())
    for worker in ("a", "b", "c"):
        assert len(jobs.claim(worker, 1)) == 1
        jobs.release(worker)
    assert jobs.claim("d", 1) == []
    assert jobs.of_id(made.id).error_code == "worker_lost"


def test_what_kills_its_worker_is_computed_alone_and_takes_no_others_with_it(jobs):
    deadly, *others = [jobs.create(new()).id for _ in range(3)]
    assert [job.id for job in jobs.claim("a", 8)] == [deadly, *others]
    jobs.release("a")
    fresh = jobs.create(new()).id
    done = []
    while claimed := jobs.claim("b", 8):
        if deadly in [job.id for job in claimed]:
            jobs.release("b")
            continue
        done.append([job.id for job in claimed])
        for job in claimed:
            jobs.complete(job, {}, keep_seconds=60, batch=len(claimed))
    assert done == [[others[0]], [others[1]], [fresh]]
    assert jobs.of_id(deadly).error_code == "worker_lost"


def test_whoever_asks_for_much_does_not_keep_the_others_waiting(jobs):
    for n in range(20):
        jobs.create(new("greedy", batch_key=str(n)))
    for n in range(2):
        jobs.create(new("modest", batch_key=f"m{n}"))
    served = []
    for _ in range(6):
        (job,) = jobs.claim("w", 1)
        served.append(job.owner)
        jobs.complete(job, {}, keep_seconds=60, batch=1)
    assert served.count("modest") == 2 and served.index("modest") <= 2


def test_who_slept_does_not_save_up_turns(jobs):
    for n in range(6):
        jobs.create(new("early", batch_key=str(n)))
        (job,) = jobs.claim("w", 1)
        jobs.complete(job, {}, keep_seconds=60, batch=1)
    for n in range(4):
        jobs.create(new("late", batch_key=f"l{n}"))
    jobs.create(new("early", batch_key="e"))
    served = [jobs.claim("w", 1)[0].owner for _ in range(3)]
    assert "early" in served


def test_priority_goes_first(jobs):
    jobs.create(new("ann"))
    urgent = jobs.create(new("bob", priority=5, batch_key="b"))
    assert [job.id for job in jobs.claim("w", 1)] == [urgent.id]


def test_only_what_is_alike_is_claimed_together_whoever_asked(jobs):
    alike = [jobs.create(new(f"client {n}", batch_key="same")).id for n in range(3)]
    jobs.create(new("other", batch_key="another"))
    assert sorted(job.id for job in jobs.claim("w", 8)) == sorted(alike)


def test_a_request_sent_twice_is_one_job(jobs):
    first = jobs.create(new(idempotency_key="k"))
    assert jobs.create(new(idempotency_key="k")).id == first.id
    assert jobs.create(new("bob", idempotency_key="k")).id != first.id


def test_many_first_requests_of_one_client_at_once_are_as_many_jobs(jobs):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: jobs.create(new("bob", request={"n": n})), range(16)))
    assert len({job.id for job in made}) == 16
    assert [job.request["n"] for job in made] == list(range(16))
    assert sorted(job.turn for job in made) == [float(n) for n in range(1, 17)], "each has a turn of its own"


def test_cancelled_jobs_are_noticed_by_who_computes_them(jobs):
    made = [jobs.create(new()) for _ in range(2)]
    claimed = jobs.claim("w", 2)
    assert jobs.abandoned(claimed) == set()
    jobs.cancel(made[0].id, "ann")
    assert jobs.abandoned(claimed) == {made[0].id}
    jobs.delete(made[1].id, "ann")
    assert jobs.abandoned(claimed) == {job.id for job in made}
    assert not any(jobs.complete(job, {}, keep_seconds=60, batch=2) for job in claimed)


def test_a_deadline_ends_what_waits_and_what_runs(jobs):
    late = jobs.create(new(deadline=time.time() - 1))
    jobs.settle()
    assert jobs.of_id(late.id).error_code == "deadline_exceeded"


def ended(jobs, how):
    """The id of a job that has ended so."""
    made = jobs.create(new(deadline=time.time() - 1 if how == "deadline_exceeded" else None))
    if how == "cancelled":
        jobs.cancel(made.id, "ann")
    elif how == "deadline_exceeded":
        jobs.settle()
    elif how == "worker_lost":
        for worker in ("a", "b", "c"):
            jobs.claim(worker, 1)
            jobs.release(worker)
    else:
        (job,) = jobs.claim("w", 1)
        assert (
            jobs.complete(job, {}, keep_seconds=60, batch=1)
            if how is None
            else jobs.fail(job, how, "", keep_seconds=60)
        )
    told = jobs.of_id(made.id)
    assert (told.over, told.error_code) == (True, how)
    return made.id


@pytest.mark.parametrize("how", [None, "server_error", "cancelled", "deadline_exceeded", "worker_lost"])
def test_however_a_job_ended_it_is_kept_for_a_while_and_then_goes(jobs, how, monkeypatch):
    gone = ended(jobs, how)
    waiting = jobs.create(new())
    assert jobs.expired(hidden_seconds=120, keep_seconds=60) == []
    now = time.time()
    monkeypatch.setattr(table.time, "time", lambda: now + 50)
    assert jobs.expired(hidden_seconds=120, keep_seconds=60) == []
    monkeypatch.setattr(table.time, "time", lambda: now + 70)
    assert jobs.expired(hidden_seconds=120, keep_seconds=60) == [gone]
    assert not jobs.of_id(waiting.id).over


def test_a_stranger_s_job_is_not_there(jobs):
    made = jobs.create(new("ann"))
    for ask in (jobs.of_id, jobs.cancel, jobs.delete):
        with pytest.raises(KeyError):
            ask(made.id, "bob")
    assert jobs.listed("bob", after=None, limit=5, newest_first=True, kind="video") == []


def test_pages_of_the_list_meet_without_gap_or_double(jobs):
    made = [jobs.create(new()).id for _ in range(7)]
    for newest_first in (True, False):
        found, after = [], None
        while page := jobs.listed("ann", after=after, limit=3, newest_first=newest_first, kind="video"):
            found += [job.id for job in page]
            after = found[-1]
        assert found == (made[::-1] if newest_first else made)


def test_the_expected_time_comes_from_what_was_measured(jobs):
    jobs.create(new(cost=2.0))
    (job,) = jobs.claim("w", 1)
    time.sleep(0.05)
    jobs.complete(job, {}, keep_seconds=60, batch=1)
    place, seconds = jobs.ahead(jobs.create(new(cost=4.0)))
    assert place == 0 and 0.08 < seconds < 2.0
    jobs.create(new(mode="policy", cost=0.01))
    for one in jobs.claim("w", 1), jobs.claim("w", 1):
        time.sleep(0.05)
        jobs.complete(one[0], {}, keep_seconds=60, batch=1)
    dear = jobs.ahead(jobs.create(new(cost=4.0)))[1]
    assert dear < 2.0, "what a unit of another mode takes says nothing of this one's"
    (job,) = jobs.claim("w", 1)
    jobs.progress([job], 0.5)
    begun = time.time() - job.started_at
    assert begun <= jobs.ahead(jobs.of_id(job.id))[1] <= time.time() - job.started_at, "half is done"


def test_what_grows_is_kept_piece_by_piece_and_a_new_attempt_begins_anew(jobs):
    jobs.create(new(kind="chat"))
    (first,) = jobs.claim("w", 1)
    jobs.say(first, 0, "hel")
    jobs.release("w")
    (second,) = jobs.claim("v", 1)
    assert jobs.said(second) == ""
    jobs.say(second, 0, "hel")
    jobs.say(second, 1, "lo")
    assert jobs.said(second) == "hello"
