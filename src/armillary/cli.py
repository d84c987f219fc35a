"""The command line: one verb for each stage of the data's way.

    armillary simulate tabletop data/table --episodes 50
    armillary imagine text-to-video out/film --prompt "the arm pushes the red cube to the left tray"
    armillary ask "What is the gripper holding?" --image frame.png

A verb is a function: its docstring is its help, its parameters are the options, and it imports its room when it is
called. A mistake of the user's is one sentence and exit code 2, one of ours exit code 1; set ARMILLARY_TRACE=1 to
see where it happened. What a verb writes appears whole or not at all.
"""

import inspect as signatures
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Literal

import tyro

import armillary
from armillary.cli_data import controls, export, factory, inspect, simulate, worlds
from armillary.cli_drive import drive
from armillary.cli_parts import (
    Controls,
    Json,
    Matrices,
    Offload,
    Size,
    Upsample,
    Weights,
    as_flags,
    check_suite,
    pairs,
    progress,
    told_sound,
    told_upsample,
    write_text,
)
from armillary.cli_plan import doctor, explain, plan
from armillary.errors import ArmillaryError, RequestError
from armillary.modes import Asked
from armillary.serving.settings import ServeSettings

TRACE = "ARMILLARY_TRACE"
_AS_SHIPPED = ServeSettings()
_AS_PYTHON_WARNS = warnings.formatwarning


def train(run: str, /, *settings: str) -> None:
    """Make a model, or go on from one. `armillary train RUN --help` shows every setting of a run, each a flag.

    A run that was stopped goes on where it was. Example: armillary train finetune --from pico --data PATH
    --embodiment FILE.toml --out runs/mine. On N processes: torchrun --nproc-per-node N -m armillary train RUN
    Pico from nothing, stage by stage: armillary train pico (--list says the stages).

    Args:
        run: A name from runs.py (a wrong one lists them), or FILE.py:function for a run of your own.
        settings: Flags that change the run's settings.
    """
    from armillary.run_kinds import start
    from armillary.runs import find_run

    chosen = find_run(run)()
    settled = tyro.cli(
        type(chosen), default=chosen, args=settings, prog=f"armillary train {run}", config=(tyro.conf.AvoidSubcommands,)
    )
    start(settled, report=lambda line: print(line, flush=True))


def imagine(
    mode: str,
    out: Path,
    /,
    *,
    checkpoint: str = "pico",
    prompt: str | None = None,
    upsample: Upsample = None,
    upsample_model: str | None = None,
    negative_prompt: str | None = None,
    image: Path | None = None,
    last_image: Path | None = None,
    video: Path | None = None,
    sound: bool = False,
    heard: Path | None = None,
    actions: Path | None = None,
    state: tuple[float, ...] | None = None,
    embodiment: str | None = None,
    controls: Controls = (),
    control_weights: Weights = (),
    control_guidance: float | None = None,
    given_frames: int | None = None,
    stretch: int | None = None,
    overlap: int | None = None,
    frames: int | None = None,
    size: Size | None = None,
    fps: float | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    guidance_between: tuple[float, float] | None = None,
    reuse: float | None = None,
    steady: float | None = None,
    shift: float | None = None,
    solver: Literal["unipc", "euler"] | None = None,
    dialect: Literal["native", "diffusers"] | None = None,
    seed: int = 0,
    acting: str | None = None,
    adapter: str | None = None,
    outputs: tuple[str, ...] | None = None,
    device: str | None = None,
    dtype: str | None = None,
    weights: Matrices = "plain",
    offload: Offload = "none",
) -> None:
    """Say what happens: film, picture or actions, in any mode. What is left out takes the mode's own value.

    Writes into OUT: vision.mp4 or vision.png, sound.wav, actions.json (physical units), answer.txt, as far as there
    are any; sample_args.json (the request, settled) and provenance.json (weights, versions).

    Args:
        mode: text-to-image, image-edit, text-to-video, image-to-video, video-to-video, first-last-frame,
            sound-to-video, forward-dynamics, inverse-dynamics, policy, video-to-sound, transfer or reason.
        out: A new folder.
        checkpoint: A bundled model or a checkpoint folder.
        prompt: What is to be seen, or done.
        upsample: Write the prompt out first: yes, by the checkpoint's reasoner; no; or the URL of a chat endpoint
            (docs/upsampling.md). Where it is left out, as the checkpoint usually does.
        upsample_model: Which of the endpoint's models; its key is read from ARMILLARY_UPSAMPLE_KEY.
        negative_prompt: What is not to be seen.
        image: The first picture, or the one that is to be changed.
        last_image: The last picture, for first-last-frame.
        video: The film to go on from, or to read actions off, or of which edges and blur are made for a transfer.
        sound: The film is to be heard, too, where the checkpoint can make sound.
        heard: What is heard, for sound-to-video and policy: WAV, FLAC, MP3, Ogg or a film with sound.
        actions: A JSON file: rows of numbers in the embodiment's units, or an actions.json that this verb wrote.
        state: Where the body is before its first action, a number for each channel of its actions.
        embodiment: Whose actions: a name or a .toml file.
        controls: KIND=FILM, of edge, blur, depth, segmentation and map; again for another. Edge and blur may be auto,
            or auto:low to auto:very_high, and are made of --video. `armillary controls` makes such films.
        control_weights: KIND=NUMBER, how much a control counts beside others.
        control_guidance: How strongly controls hold; 1 is as they are seen.
        given_frames: How many first frames of --video a transfer begins with.
        stretch: Frames of a transfer that are made at once, 4k+1; a longer film is made in stretches.
        overlap: Frames that a stretch shares with the one before.
        frames: How many, 4k+1.
        size: Height and width in pixels, multiples of 32.
        fps: Frames a second.
        steps: Of the solver.
        guidance: How strongly the prompt pulls; 1 is not at all.
        guidance_between: The lowest and the highest level, 0 data and 1 noise, at which it pulls: quicker, not exact.
        reuse: How much the first layer's share may change before the other layers are run anew: quicker, not exact.
        steady: How unlike what stands still a film may be and is yet shown as its first picture has it; 0: never.
        shift: Moves the solver's steps towards noise.
        solver: Which one.
        dialect: Whose prompts and levels, where the public implementations differ; native is how weights were trained.
        seed: Of the noise: the same seed gives the same film.
        acting: Who does what the prompt tells, planned and then foreseen: a body, or none (docs/acting.md).
        adapter: What the generator wears: one of the checkpoint's by name, none, or the folder of a LoRA of your own
            (docs/adapters.md). Where it is left out, what the checkpoint wears in that mode.
        outputs: What to return, of video, sound and actions; the rest is not computed.
        device: cpu or cuda.
        dtype: bfloat16 or float32.
        weights: int8 keeps the towers' matrices as whole numbers: smaller and faster on a processor, not exact.
        offload: towers or layers: only the one at work is in memory, exact and slower.
    """
    said = {name: value for name, value in locals().items() if value is not None and value is not False}
    given = {name: value for name, value in said.items() if name in Asked.__annotations__}
    from armillary.sampling.adapters import name_of
    from armillary.sampling.keep import check_new, keep_rollout

    check_new(out)
    given |= {"upsample": told_upsample(upsample), "controls": pairs(controls, "control")}
    given |= {"control_weights": pairs(control_weights, "control-weight")}
    given = {name: value for name, value in given.items() if value != {}} | told_sound(sound, heard)
    given |= {} if adapter is None else {"adapter": name_of(adapter)}
    omni = armillary.load(checkpoint, device=device, dtype=dtype, weights=weights, offload=offload, adapter=adapter)
    with progress(mode) as told:
        rollout = omni.imagine(mode, on_progress=told, **given)
    names = keep_rollout(out, rollout)
    print(f"{out}: {', '.join(names)}")


def ask(
    question: str,
    /,
    *,
    image: Path | None = None,
    video: Path | None = None,
    checkpoint: str = "pico",
    longest: int = 256,
    temperature: float = 0.0,
    seed: int = 0,
    device: str | None = None,
    dtype: str | None = None,
    weights: Matrices = "plain",
    offload: Offload = "none",
    compiled: bool = False,
) -> None:
    """Answer a question about a picture, a film, or neither.

    Args:
        question: In plain words.
        image: A picture.
        video: A film.
        checkpoint: A bundled model or a checkpoint folder.
        longest: At most so many tokens of answer.
        temperature: 0 always takes the likeliest word; above it, chance decides.
        seed: Of that chance.
        device: cpu or cuda.
        dtype: bfloat16 or float32.
        weights: int8 keeps the reasoner's matrices as whole numbers: smaller and faster on a processor, not exact.
        offload: towers or layers: only the one at work is in memory, exact and slower.
        compiled: By compiled layers: quicker for long answers of large models, once made (2 to 15 s).
    """
    omni = armillary.load(checkpoint, device=device, dtype=dtype, weights=weights, offload=offload, compiled=compiled)
    print(omni.ask(question, image=image, video=video, longest=longest, temperature=temperature, seed=seed))


def evaluate(
    checkpoint: str = "pico",
    /,
    *,
    out: Path | None = None,
    suite: Literal["card", "trust"] = "card",
    seeds: int = 20,
    policies: tuple[str, ...] = (),
    sections: tuple[str, ...] = (),
    world: tuple[str, ...] = (),
    clips: int = 300,
    questions: int = 300,
    episodes: int = 100,
    known: int = 60,
    seed: int = 1_000_000,
    steps: int | None = None,
    adapter: str | None = None,
    against: Path | None = None,
    page: bool = True,
    as_json: Json = False,
) -> None:
    """Measure a model on held-out seeds: every number of its card, with 95 % intervals. Goes on where it was stopped.

    OUT/index.html shows every figure with films, OUT/numbers.json (of trust: trust.json) has them for machines.

    Args:
        checkpoint: A bundled model or a checkpoint folder.
        out: A folder for samples and figures; runs/evaluate/NAME (runs/trust/NAME) where none is named.
        suite: card or trust (docs/trust.md). Trust reads --seed, --seeds and --policies, the card all but the last two.
        seeds: Tables at which each policy lives, of the suite trust.
        policies: Which of the suite trust, at least two; all if none.
        sections: Which parts: forward-dynamics, drift, inverse-dynamics, policy, questions, text-to-video,
            picture-films, given-films, sound, sound-to-video, transfer, looks, twins, plans; all if none. By name
            alone: forward-dynamics-pusht, forward-dynamics-physics, drift-pusht, inverse-dynamics-pusht, policy-pusht.
        world: Ask questions about these worlds instead: physics, spatial, humans, driving, warehouse, drawer.
        clips: Of the dynamics, drift, text-to-video, picture-films and given-films; a third of them of sound,
            sound-to-video, and in each look; a fifth of twins; a twelfth of transfer, where each makes fourteen films.
        questions: How many.
        episodes: Of the policy.
        known: Lives of training seeds, from which those learn who guess without looking.
        seed: The first held-out seed, at least 1,000,000.
        steps: Of the solver, in every mode; what the checkpoint takes where nobody says a number.
        adapter: What the generator wears, in the modes it says: the folder of a LoRA of your own, the only one of the
            checkpoint's, by name, or none.
        against: The folder of an earlier run; every figure of the samples that both have is compared pair by pair.
        page: Whether to make OUT/index.html, which imagines the films to be shown once more.
        as_json: Print JSON for machines.
    """
    check_suite(evaluate, locals())
    out = out or Path("runs", "trust" if suite == "trust" else "evaluate", Path(checkpoint).name)
    if suite == "trust":
        from armillary.evaluation.trust import evaluate_and_tell

        evaluate_and_tell(checkpoint, out=out, seeds=seeds, seed=seed, policies=policies, adapter=adapter,
                          as_json=as_json)  # fmt: skip
        return
    from armillary.evaluation.measure import evaluate_and_tell as measure
    from armillary.evaluation.suite import Plan

    plan = Plan(clips=clips, questions=questions, episodes=episodes, known=known, seed=seed, steps=steps)
    wanted = (*sections, *(f"questions-{name}" for name in world))

    def opening() -> armillary.Omni:
        return armillary.load(checkpoint, adapter=adapter)

    measure(opening, plan, out=out, sections=wanted, against=against, page=page, as_json=as_json)


def demo(
    *,
    out: Path = Path("demo/index.html"),
    checkpoint: str = "pico",
    seed: int = 2_000_000,
    quick: bool = False,
    device: str | None = None,
    dtype: str | None = None,
) -> None:
    """Show what a model imagines, foresees, does and answers, on input it has never seen, beside the truth: one page.

    Not shown are edits of pictures, films under controls, sounds that are found, and films that go on as actions come.

    Args:
        out: The page: one HTML file that needs nothing else.
        checkpoint: A bundled model or a checkpoint folder.
        seed: The first seed of what is shown. Training uses seeds below 1,000,000, the card those below 2,000,000.
        quick: Less of everything, in a quarter of the time.
        device: cpu or cuda.
        dtype: bfloat16 or float32.
    """
    from armillary.evaluation.demo import FULL, QUICK, gather
    from armillary.evaluation.page import page_of

    omni = armillary.load(checkpoint, device=device, dtype=dtype)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.is_dir() or not os.access(out.parent, os.W_OK):  # known now, not in minutes
        raise RequestError(f"{out} cannot be written: name a file, such as demo/index.html, where you may write.")
    shown = gather(omni, QUICK if quick else FULL, seed=seed, report=lambda line: print(line, flush=True))
    write_text(out, page_of(shown))
    print(f"{out.resolve()}: open it in a browser")


def serve(settings: tyro.conf.OmitArgPrefixes[ServeSettings] = _AS_SHIPPED) -> None:
    """Serve: chat, films as jobs, a policy socket for robots, and a studio in the browser, at http://HOST:PORT/.

    Example: armillary serve --checkpoint pico --port 8000. docs/serving.md says how it is asked, and what it refuses.

    Args:
        settings: Where to listen, which model, where jobs are kept, who may ask; each is a flag of its own.
    """
    from armillary.serving.app import serve as begin

    begin(settings)


VERBS: dict[str, Callable[..., None]] = {
    verb.__name__: verb
    for verb in (
        worlds, simulate, export, inspect, controls, factory, train, imagine, ask, evaluate, drive, serve, demo, plan,
        doctor, explain,
    )
}  # fmt: skip  # in the order of the data's way


def main() -> None:
    """Run the verb that the command line names. Exit codes: 0 done, 1 our mistake, 2 the user's, 130 stopped."""
    line = sys.argv[1:]
    tracing = bool(os.environ.get(TRACE))
    if not tracing:
        sys.excepthook = _last_words
        warnings.formatwarning = _plainly
    try:
        if line == ["--version"]:
            print(armillary.__version__)
        elif line[:1] == ["train"] and len(line) > 1 and not line[1].startswith("-"):
            train(*line[1:])  # the flags are the run's own, known once it is
        else:
            about = (signatures.getdoc(armillary) or "").split("\n", 1)[0]
            tyro.extras.subcommand_cli_from_dict(VERBS, prog="armillary", description=about, args=line)
    except ArmillaryError as wrong:
        if tracing:
            raise
        _stop(as_flags(str(wrong)), 2)
    except BrokenPipeError:  # whoever read our words has gone, for example head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except OSError as broken:
        if tracing or broken.filename is None:
            raise
        _stop(f"{broken.filename} cannot be used ({broken.strerror}): give a place that can be read and written.", 2)
    except KeyboardInterrupt:
        _stop("stopped.", 130)


def _stop(words: str, code: int) -> None:
    print(f"armillary: {words}", file=sys.stderr)
    raise SystemExit(code)


def _plainly(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning of ours as a sentence; others' as Python writes them."""
    if category.__module__.startswith("armillary."):
        return f"armillary: {message}\n"
    return _AS_PYTHON_WARNS(message, category, filename, lineno, line)


def _last_words(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What is said of an error that is ours; Python then exits with code 1."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" in {Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno}" if trace else ""
    print(f"armillary: a mistake of ours, not yours: {kind.__name__}: {error}{where}. "
          f"Set {TRACE}=1 to see the whole way there, and please report it.", file=sys.stderr)  # fmt: skip
