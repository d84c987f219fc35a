"""The bell between the processes: no news is lost, and many who wait cost the table no more than a few."""

import asyncio

from armillary.serving import bell
from armillary.serving.bell import Bell


def test_what_rings_while_nobody_awaits_it_is_not_lost(monkeypatch):
    monkeypatch.setattr(bell, "LOOK_SECONDS", 60.0)

    async def story():
        one = Bell()
        with one.listening("job") as news:
            one.ring("job")  # as if while the listener looked at the table
            await asyncio.wait_for(news(), 5)
            one.ring("another")
            again = asyncio.ensure_future(news())
            await asyncio.sleep(0.05)
            assert not again.done(), "each ring is heard once, and only by whom it is for"
            one.ring(bell.ALL)
            await asyncio.wait_for(again, 5)

    asyncio.run(story())


def test_without_a_bell_the_table_is_looked_at_now_and_then(monkeypatch):
    monkeypatch.setattr(bell, "LOOK_SECONDS", 0.01)

    async def story():
        with Bell().listening("job") as news:
            await asyncio.wait_for(news(), 5)

    asyncio.run(story())


def test_the_more_wait_the_less_often_each_looks():
    one = Bell()
    alone = one.patience
    ears = [one.listening(f"job {n}") for n in range(64)]
    for ear in ears:
        ear.__enter__()
    assert one.patience == 64 / bell.FEW * alone
    for ear in ears:
        ear.__exit__(None, None, None)
    assert one.patience == alone
