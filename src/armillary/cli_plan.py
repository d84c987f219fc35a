"""The verbs that tell and change nothing: what a request will cost, what a machine can do, the way of an episode."""

from pathlib import Path
from typing import Any, Literal

from armillary.cli_parts import Matrices, Offload, Size
from armillary.errors import RequestError


def plan(
    checkpoint: str,
    mode: str = "text-to-video",
    /,
    *,
    frames: int | None = None,
    size: Size | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    text: int | None = None,
    dtype: Literal["bfloat16", "float32"] = "bfloat16",
    decode: bool | None = None,
    controls: int | None = None,
    sound: bool = False,
    fps: float | None = None,
    weights: Matrices = "plain",
    offload: Offload = "none",
    guided_steps: int | None = None,
    things: int | None = None,
    memory_gib: float | None = None,
    tflops: float | None = None,
    price_per_hour: float | None = None,
) -> None:
    """Say what a request will cost before anything loads: memory, seconds, money, and what would make it fit.

    Args:
        checkpoint: A bundled name, a folder, or a published model that is not here, such as nano or edge.
        mode: A mode of `armillary imagine`, such as text-to-video or policy.
        frames: How long the film is: 4k+1.
        size: Height and width in pixels.
        steps: Evaluations of the generator.
        guidance: 1 runs the generator once a step, anything else twice.
        text: Tokens of the prompt.
        dtype: What is computed in.
        decode: Whether frames are decoded; with actions one may do without.
        controls: How many control films hold a transfer; one if you do not say.
        sound: The film is heard, too.
        fps: Frames a second, which say how long its sound is.
        weights: int8 keeps the towers' matrices as whole numbers.
        offload: towers or layers: only the one at work is in memory. The time that files are read again is not counted.
        guided_steps: At how many of the steps guidance is on; all if left out.
        things: How many things the words name, where the checkpoint paints them one by one; one if you do not say.
            Each is counted as often as it may be tried, what the reasoner is asked about it is not.
        memory_gib: Memory of another machine than this one.
        tflops: Arithmetic it really reaches, in TFLOP/s; say both, or nothing for this machine.
        price_per_hour: What an hour of the machine costs, in any money.
    """
    if (memory_gib is None) != (tflops is None):
        raise RequestError("--memory-gib and --tflops describe another machine together: say both, or neither.")
    for name, number in (("memory-gib", memory_gib), ("tflops", tflops), ("price-per-hour", price_per_hour)):
        if number is not None and not number > 0:
            raise RequestError(f"--{name} {number:g}: give a number above 0.")
    from armillary import plan as planner

    more: dict[str, Any] = {"steps": steps, "guidance": guidance, "text": text, "dtype": dtype, "decode": decode}
    more |= {"weights": weights, "offload": offload, "guided_steps": guided_steps, "controls": controls}
    more |= {"sound": sound, "fps": fps, "things": things}
    job = planner.request_of(checkpoint, mode, frames=frames, size=size, **more)
    work = planner.work_of(job)
    if memory_gib is None or tflops is None:
        machine = planner.this_machine(job)
    else:
        machine = planner.Machine(towers=tflops * 1e12, codec=tflops * 1e12, room=int(memory_gib * planner.GIB))
    told = planner.foresee(work, machine)
    gib = planner.GIB
    beside = f", and as many of each of {job.controls} controls" if job.controls else ""
    if (how := job.painted) is not None:
        beside += f"; painted: the bare place in {how.bare_steps} steps, {how.things} things, {how.tries} tries at most"
    print(f"asked    {job.mode.name}, {job.frames} frames of {job.size[0]}x{job.size[1]}, {job.steps} steps, guidance "
          f"{job.guidance:g}: {job.tokens} tokens{beside}")  # fmt: skip
    if job.acted:
        print("acted    words that tell a deed are acted out here, which is not counted: see docs/acting.md")
    print(f"memory   {told.peak / gib:.2f} GiB at most, of which weights {work.weights / gib:.2f}; "
          f"there are {machine.room / gib:.2f}: it {'fits' if told.fits else 'does not fit'}")  # fmt: skip
    stages = ", ".join(f"{name} {seconds:.2f}" for name, seconds in told.seconds.items())
    kind = "measured here just now" if machine.measured else "as you say"
    print(f"seconds  {told.total_seconds:.2f} ({stages}); arithmetic {machine.towers / 1e12:.3g} TFLOP/s, {kind}")
    if price_per_hour is not None:
        print(f"cost     {told.total_seconds / 3600 * price_per_hour:.4g}")
    for words in told.advice:
        print(f"advice   {words}")


def explain(checkpoint: str = "tiny", /, *, seed: int = 0) -> None:
    """Follow one episode from the world to a gradient and to an imagined film: every record on the way, its shapes.

    Args:
        checkpoint: A bundled model, a checkpoint folder, or tiny: the smallest one, its weights random.
        seed: Of the episode, an expert's on the tabletop.
    """
    from armillary.explain import explain as follow

    follow(checkpoint, seed=seed)


def doctor(*, review: bool = False, folder: Path = Path()) -> None:
    """Say what this machine can do, and what would help where it cannot. Exit code 1 if something needed is missing.

    Args:
        review: Also list every package needed with its licence, what goes over the network, and what is stored.
        folder: Where results would be written; its disk is looked at.
    """
    from armillary import doctor as looks

    missing = False
    for finding in [*looks.examine(folder), *(looks.review() if review else ())]:
        missing |= finding.needed and bool(finding.remedy)
        print(f"{finding.name}: {finding.value}" + (f"\n  -> {finding.remedy}" if finding.remedy else ""), flush=True)
    if missing:
        raise SystemExit(1)
