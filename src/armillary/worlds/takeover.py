"""An expert who takes over in the middle of a life: what should have been done from here?

plans_from    the actions of a life so far  ->  instructions, and the expert's next actions for each
corrected     a moment of that life  ->  an episode of its picture, with those plans
"""

from collections.abc import Sequence

import numpy as np

from armillary.records import Array, Episode, Moment
from armillary.worlds.arm import tip_and_turn
from armillary.worlds.captions import captions, report, seen_boxes
from armillary.worlds.experts import Expert
from armillary.worlds.tabletop import SPEC, Tabletop
from armillary.worlds.tabletop_tasks import possible_tasks

LOW, BEHIND, ALONG = 0.05, (0.03, 0.09), 0.03  # metres: the tip is at the table; behind a thing, and in line with it


class Successor(Expert):
    """Judges from the state how far the deed is: what is held is carried on, what is being pushed is pushed on."""

    def take_over(self, first: Moment, now: Moment) -> None:
        """Begin here. ``first``: how the life began, from which a push is measured."""
        self.reset()
        super().__call__(first)  # learns its task, and where things stood
        task, world = self._task, self._world
        assert task is not None
        number = world.names.index(task.target)
        place, tip = now.state["objects"][number], tip_and_turn(world.pose)[0]
        self._phase = "seek"
        if task.kind == "push":
            sign = -1.0 if task.place == "left" else 1.0
            behind = sign * (place[0] - tip[0])
            if tip[2] < LOW and BEHIND[0] < behind < BEHIND[1] and abs(place[1] - tip[1]) < ALONG:
                self._phase = "push"
        elif task.kind != "touch" and now.state["held"][number]:
            self._phase = "move"


def plans_from(seed: int, told: str, done: Sequence[Array], *, count: int, steps: int) -> tuple[list[str], Array]:
    """``told`` and at most ``count`` - 1 other instructions, and the expert's next actions for each, n steps 10.

    ``done``: what was done so far at the table of ``seed``, t 10. Nothing is drawn.
    """
    world, rng = Tabletop(views=()), np.random.default_rng([seed, len(done), 31])
    first = world.reset(seed, told)
    others = [task.words for task in possible_tasks(world.things, first.state["objects"]) if task.words != told]
    chosen = [told, *(others[i] for i in rng.permutation(len(others))[: count - 1])]
    plans = []
    for words in chosen:
        first = now = world.reset(seed, words)
        for action in done:
            now = world.step(action)
        expert, plan = Successor(world, seed=seed), []
        expert.take_over(first, now)
        for _ in range(steps):
            plan.append(np.asarray(expert(now), np.float32))
            now = world.step(plan[-1])
        plans.append(plan)
    return chosen, np.array(plans, np.float32)


def corrected(world: Tabletop, moment: Moment, seed: int, done: Sequence[Array], *, plans: int, steps: int) -> Episode:
    """The moment a life has come to by ``done``, as an episode of one picture with the expert's ``plans`` from there.

    As ``still_tabletop`` has them: ``recipe["plans"]`` the words, ``states["plans"]`` n steps 10. The world must be
    at that moment and draw the front camera's colours and segmentation.
    """
    words, actions = plans_from(seed, moment.instruction, done, count=plans, steps=steps)
    assert moment.segmentation is not None
    boxes = seen_boxes(world, moment.segmentation["front"])
    return Episode(
        world=SPEC.name, seed=seed, fps=SPEC.fps, embodiment=SPEC.embodiment,
        frames={"front": moment.frames["front"][None]}, actions=np.zeros((0, SPEC.action_size), np.float32),
        states={name: values[None] for name, values in moment.state.items()} | {"plans": actions},
        instruction=moment.instruction, boxes=[boxes], success=moment.success,
        captions={**captions(world, list(boxes), succeeded=False), "report 0": report(world, moment)},
        recipe={"world": SPEC.name, "seed": seed, "controller": "model", "done": len(done), "plans": words},
    )  # fmt: skip
