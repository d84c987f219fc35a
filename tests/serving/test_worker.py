"""Workers share a table: each job is done once, a bad request harms no other, a lost table is waited for."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sqlalchemy.exc import OperationalError
from tiny import small_checkpoint

import armillary
from armillary.media import write_video
from armillary.sampling import speak
from armillary.serving.bell import WorkerBell
from armillary.serving.files import Files
from armillary.serving.jobs import Jobs, NewJob
from armillary.serving.settings import Limits
from armillary.serving.worker import Worker
from armillary.tokenizers.chat import film_seconds

ASK = {"mode": "text-to-image", "prompt": "a cube", "size": [32, 32], "steps": 1, "guidance": 1.0}


@pytest.fixture(scope="module")
def omni(tmp_path_factory):
    return armillary.load(small_checkpoint(tmp_path_factory.mktemp("work") / "small"), dtype="float32")


class Ended(BaseException):
    """There is nothing more to do."""


class UntilIdle(WorkerBell):
    """A bell that ends a worker once it has nothing to do."""

    def wait(self, seconds):
        raise Ended


@pytest.fixture
def hire(omni, tmp_path):
    url = f"sqlite:///{tmp_path / 'jobs.sqlite'}"

    def hire(name, kind=Jobs):
        return Worker(omni=omni, jobs=kind(url), files=Files(str(tmp_path / "files")), bell=UntilIdle(connected=False),
                      limits=Limits(batch=4), name=name)  # fmt: skip

    return hire


def put(jobs, key="a", **asked):
    new = NewJob(owner="ann", kind="video", mode="text-to-image", request={"asks": [{**ASK, **asked}], "piece": None},
                 cost=1.0, batch_key=key)  # fmt: skip
    return jobs.create(new).id


def work(worker):
    with pytest.raises(Ended):
        worker.run()


def test_two_workers_share_the_jobs_of_one_table_and_do_none_twice(hire):
    first, second = hire("one"), hire("two")
    made = [put(first.jobs, key=str(n)) for n in range(8)]
    turns, done = threading.Barrier(2), {"one": 0, "two": 0}

    def share(worker):
        turns.wait()
        while worker.once():
            done[worker.name] += 1

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(share, (first, second)))
    assert sum(done.values()) == 8 and min(done.values()) >= 1
    told = [first.jobs.of_id(one) for one in made]
    assert {(job.status, job.attempt) for job in told} == {("completed", 1)}
    assert len(first.jobs.done_since(0)) == 8


def test_what_cannot_be_computed_fails_alone_and_says_why(hire):
    worker = hire("one")
    good, bad, other = put(worker.jobs), put(worker.jobs, prompt="x " * 4100), put(worker.jobs)
    assert worker.once(), "the three are one batch"
    told = {name: worker.jobs.of_id(one) for name, one in (("good", good), ("bad", bad), ("other", other))}
    assert {name: job.status for name, job in told.items()} == {
        "good": "completed", "bad": "failed", "other": "completed"}  # fmt: skip
    assert told["bad"].error_code == "invalid_request" and "at most 4096 are read" in told["bad"].error_message
    assert worker.files.read(told["good"].result["files"]["image.png"]).startswith(b"\x89PNG")


def test_what_a_worker_of_the_same_name_left_is_taken_up_again(hire):
    dead, again = hire("host-1"), hire("host-1")
    left = put(dead.jobs)
    assert dead.jobs.claim("host-1", 1)
    work(again)
    assert again.jobs.of_id(left).status == "completed"


class Flaky(Jobs):
    """A table that is away once, in the middle of a job."""

    away = 1

    def complete(self, job, result, **how):
        if self.away:
            self.away -= 1
            raise OperationalError("complete", {}, OSError("the line is down"))
        return super().complete(job, result, **how)


def test_a_table_that_is_away_for_a_while_costs_no_job(hire):
    worker = hire("one", Flaky)
    asked = put(worker.jobs)
    work(worker)
    told = worker.jobs.of_id(asked)
    assert (told.status, told.attempt) == ("completed", 2)


def test_the_reasoner_is_told_a_film_s_own_times(hire, tmp_path, monkeypatch):
    told, worker = [], hire("one")
    monkeypatch.setattr(speak, "film_seconds", lambda *shown: told.append(film_seconds(*shown)) or told[-1])
    pixels = np.random.default_rng(0).integers(0, 256, (31, 32, 32, 3), dtype=np.uint8)
    film = write_video(tmp_path / "film.mp4", pixels, 30.0)
    video = {"input": "0.bin", "kind": "video", "field": "video"}
    asked = {"mode": "reason", "prompt": "what is there?", "video": video}
    new = NewJob(owner="ann", kind="video", mode="reason", request={"asks": [asked]}, cost=1.0, batch_key="")
    worker.files.write(f"{new.id}/in/0.bin", film.read_bytes())
    worker.jobs.create(new)
    assert worker.once() and worker.jobs.of_id(new.id).status == "completed"
    assert told == [pytest.approx([1 / 6, 5 / 6], abs=0.05)], "it lasts a second, of which two halves are shown"
    worker.omni.imagine("reason", prompt="what is there?", video=str(film))
    assert told[1] == told[0]
