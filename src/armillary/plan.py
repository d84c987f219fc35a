"""What a request will cost, before anything loads: memory, seconds, money, and what would make it fit.

    request_of(checkpoint, mode, ...)  ->  Job       sizes out of the configuration files; no weights are opened
    work_of(job)                       ->  Work      weights, activations and arithmetic, counted
    this_machine(job) | Machine(...)   ->  Machine   how fast: measured here in a second or two, or as you say
    foresee(work, machine)             ->  Plan      peak memory, seconds, and advice where it does not fit

Arithmetic of the towers is counted by formula (cosmos3.md 11), that of the video tokenizer by running its code on
the meta device, where tensors have shapes and no numbers; so is its peak of memory.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from armillary.controls import GUIDANCE, KINDS
from armillary.errors import ConfigError
from armillary.model.int8 import check_weights, round_layer
from armillary.model.names import tower_of
from armillary.model.sizes import ModelConfig
from armillary.model.stock import check_offload
from armillary.model.tower import Layer, Transformer
from armillary.model.weights import Unfilled
from armillary.modes import Mode, mode_named
from armillary.plan_usual import Painted, usual_of
from armillary.records import SOUND_HZ
from armillary.tokenizers import costs
from armillary.tokenizers.sound import SoundVAEConfig
from armillary.tokenizers.video import SPACE, TIME, VideoVAE, VideoVAEConfig, canvas_for

GIB = 2**30
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
FIRST_USE = 64 * 2**20  # bytes that kernels and rooms keep on a processor, once used (benchmarks/plan_accuracy)
_REPEATS, _LONGEST, _LARGEST = 3, 2048, 4e10  # a layer is timed so often, with at most so many tokens, operations


@dataclass(frozen=True, kw_only=True)
class Job:
    """One request, with everything that decides its cost. ``text``: tokens of the prompt. ``controls``: how many.

    ``guided_steps``: of those steps so many run both branches (None: all). ``int8``, ``offload``: how it is loaded.
    ``sound``: what the film is made heard with (None: it is silent), ``fps``: its frames a second. ``painted``: how the
    picture, or the one that the film begins with, is painted; ``steps`` and ``guidance`` are then those of the film.
    ``acted``: whether words that tell a deed are acted out in this mode, which costs otherwise.
    """

    config: ModelConfig
    vae: VideoVAEConfig
    mode: Mode
    frames: int
    size: tuple[int, int]
    steps: int
    guidance: float
    text: int
    dtype: torch.dtype
    decode: bool
    controls: int = 0
    control_guidance: float = 1.0
    guided_steps: int | None = None
    int8: bool = False
    offload: str = "none"
    sound: SoundVAEConfig | None = None
    fps: float = 24.0
    painted: Painted | None = None
    acted: bool = False

    def __post_init__(self) -> None:
        side = SPACE * self.config.latent_patch
        if self.frames < 1 or ((self.frames - 1) % TIME and not self.controls):
            near = 1 + TIME * max(0, self.frames // TIME)
            raise ConfigError(f"frames={self.frames}: a film has {TIME}k+1 frames, such as {near}.")
        if any(length < side or length % side for length in self.size):
            raise ConfigError(f"size={self.size}: height and width are multiples of {side}.")
        if min(self.steps, self.text) < 1 or self.fps <= 0:
            raise ConfigError(f"steps={self.steps}, text={self.text}, fps={self.fps:g}: all must be above 0.")

    @property
    def branches(self) -> int:
        """How often each step runs: twice with guidance."""
        return 2 if self.guidance != 1.0 else 1

    @property
    def passes(self) -> list[tuple[int, float]]:
        """Each run of a step: the tokens that go through the tower, and how often one looks at another.

        Several controls are looked at apart, as in the native dialect; where these guide too, the film is also run
        without them.
        """
        alone = self.tokens * (self.tokens + self.text)
        if not self.controls:
            return [(self.tokens * self.branches, alone * self.branches)]
        pair = 2 * self.tokens * (2 * self.tokens + self.text)
        held = (self.tokens * (1 + self.controls) * self.branches, float(pair * self.controls * self.branches))
        return [held, (self.tokens, alone)] if self.control_guidance != 1.0 else [held]

    @property
    def tokens(self) -> int:
        """The generator's tokens, of film, actions and sound."""
        cells = [-(-side // SPACE // self.config.latent_patch) for side in self.size]
        actions = self.frames - 1 if self.mode.action != "none" else 0
        return self.latent_frames * cells[0] * cells[1] + actions + self.sound_latents

    @property
    def sound_latents(self) -> int:
        """How many latents of sound go beside the film."""
        if self.sound is None:
            return 0
        samples = int(self.frames / self.fps * SOUND_HZ)
        return -(-samples // round(SOUND_HZ / self.config.sound_rate))

    @property
    def latent_frames(self) -> int:
        """How many latent frames the film has."""
        return 1 + (self.frames - 1) // TIME

    @property
    def given_frames(self) -> int:
        """How many frames are encoded."""
        if self.painted is not None:
            return 1 if self.frames > 1 else 0
        if self.mode.video == "given":
            return self.frames
        return 1 + TIME * (self.mode.given_latent_frames - 1) if self.mode.video == "first" else 0


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a job takes, by stage: bytes that stay, bytes at most besides, floating-point operations."""

    weights: int
    memory: int
    stages: dict[str, tuple[int, float]]  # name -> bytes besides, operations
    job: Job


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine: operations a second of towers and of the tokenizer, bytes of memory, bytes taken by Python itself."""

    towers: float
    codec: float
    room: int
    taken: int = 0
    measured: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The answer. ``peak`` in bytes, ``seconds`` by stage, ``advice`` in sentences, empty where all is well."""

    peak: int
    seconds: dict[str, float]
    advice: tuple[str, ...]
    fits: bool

    @property
    def total_seconds(self) -> float:
        """All stages together."""
        return sum(self.seconds.values())


def request_of(
    checkpoint: str | Path, mode: str, *, frames: int | None = None, size: tuple[int, int] | None = None, **more: Any
) -> Job:
    """The job of a request to a bundled name, a folder, or a model of the family that is not here at all.

    ``more``: steps, guidance, text (tokens of the prompt), dtype, decode, controls (how many hold the film); weights
    and offload as ``load`` takes them; guided_steps, at how many steps guidance is on; sound, whether the film is
    heard, and fps; things, how many are painted. Raises ``ConfigError`` for an unknown model, dtype or setting,
    ``RequestError`` for an unknown mode.
    """
    known = {"steps", "guidance", "text", "dtype", "decode", "controls", "weights", "offload", "guided_steps"}
    known |= {"sound", "fps", "things"}
    if unknown := set(more) - known:
        raise ConfigError(f"{sorted(unknown)[0]!r} is no setting of a plan: known are {', '.join(sorted(known))}.")
    dtype = more.get("dtype") or "bfloat16"
    if dtype not in _DTYPES:
        raise ConfigError(f"dtype={dtype!r} is not computed in: take {' or '.join(_DTYPES)}.")
    task = mode_named(mode)
    if task.name == "reason":
        raise ConfigError("plan counts what imagining costs: give a mode with pictures, such as text-to-video.")
    held = "controls" in task.needs
    controls = int(held) if more.get("controls") is None else more["controls"]
    if (controls > 0) != held or controls > len(KINDS):
        least = f"1 to {len(KINDS)}" if held else "none"
        raise ConfigError(f"controls={controls}: {task.name} has {least}, and films under controls are transfer.")
    usual = usual_of(checkpoint)
    if (more.get("sound") or "sound" in task.needs) and not ((task.may_sound or task.heeds_sound) and usual.ears):
        raise ConfigError(f"sound: {task.name} of {checkpoint} is silent. Leave sound out, or take another of the two.")
    painted, guided = usual.painted(task, more.get("things")), more.get("guided_steps")
    steps, guidance = usual.walk(task, painted, more)
    if guided is not None and (not 0 < guided <= steps or (painted is not None and task.frames == 1)):
        raise ConfigError(f"guided_steps={guided} of {steps} steps: give 1 to {steps}, or guidance=1 for none; "
                          "a picture that is painted has none.")  # fmt: skip
    int8 = check_weights(more.get("weights") or "plain", torch.device("cpu"))
    film = 1 if task.frames == 1 else usual.frames if task.action == "none" else usual.chunk
    return Job(
        config=usual.config,
        vae=usual.vae,
        mode=task,
        frames=film if frames is None else frames,
        size=usual.size if size is None else size,
        steps=steps,
        guidance=guidance,
        text=90 if more.get("text") is None else more["text"],
        dtype=_DTYPES[dtype],
        decode=task.video in ("hidden", "first") if more.get("decode") is None else more["decode"],
        controls=controls,
        control_guidance=GUIDANCE["edge"][1] if held and not usual.fixed else 1.0,
        guided_steps=guided,
        int8=int8,
        offload=check_offload(more.get("offload") or "none", int8=int8),
        sound=usual.ears if more.get("sound") or "sound" in task.needs else None,
        fps=usual.fps if more.get("fps") is None else more["fps"],
        painted=painted,
        acted=task.name in usual.acts,
    )


def work_of(job: Job) -> Work:
    """Count what a job takes."""
    tower, item, walks = job.config.tower, job.dtype.itemsize, _walks(job)
    reader, generator, ports = _parameters(job.config)
    weights = _held(job, reader, generator, ports) + costs.video_parameters(job.vae) * item
    prompts = max(one.branches for _, one in walks)
    kept = 2 * tower.layers * tower.kv_heads * tower.head_width * job.text * prompts * item
    prompts += 0 if job.painted is None else job.painted.things
    wide, n = tower.heads * tower.head_width, max(tokens for _, one in walks for tokens, _ in one.passes)
    inner = tower.mlp_width * (3 if tower.mlp == "silu" else 2)
    live = n * (3 * tower.width + max(inner, 2 * wide + 4 * tower.kv_heads * tower.head_width)) * item
    walked = sum(
        steps * tower.layers * (2.0 * tokens * generator[1] + 4.0 * looks * wide)
        for steps, one in walks
        for tokens, looks in one.passes
    )
    read = tower.layers * prompts * (2.0 * job.text * reader[1] + 2.0 * job.text**2 * wide)
    stages = {"read": (0, read), "walk": (live, walked)}
    if job.given_frames:
        height, width = job.size if job.mode.action == "none" else canvas_for(*job.size)
        stages["encode"] = costs.video_encoding(job.vae, job.dtype, job.given_frames, (height, width))
    if job.controls:
        most, operations = costs.control_encoding(job.vae, job.dtype, job.frames, job.size)
        stages["encode"] = (most, operations * job.controls)
    if job.decode:
        stages["decode"] = costs.video_decoding(job.vae, job.dtype, job.latent_frames, job.size)
    if job.painted is not None:
        most, operations = costs.video_decoding(job.vae, job.dtype, 1, job.size)
        film = stages["decode"] if job.decode and job.frames > 1 else (0, 0.0)
        stages["decode"] = (max(most, film[0]), operations * job.painted.looks + film[1])
    if job.sound is not None:
        weights += costs.sound_parameters(job.sound) * item
        heard = costs.sound_encoding if job.mode.heeds_sound else costs.sound_decoding
        stages["sound"] = heard(job.sound, job.dtype, job.sound_latents)
    return Work(weights=weights, memory=kept, stages=stages, job=job)


def this_machine(job: Job, *, clock: Callable[[], float] = time.perf_counter) -> Machine:
    """How fast this machine is at such work: one layer and a small piece of film are computed and timed by ``clock``.

    With ``time.process_time`` on one thread the answer is what this processor does when nobody else wants it.
    """
    cuda = torch.cuda.is_available()
    device, taken = torch.device("cuda" if cuda else "cpu"), 600 * 2**20 if cuda else _resident() + FIRST_USE
    room = torch.cuda.get_device_properties(0).total_memory if cuda else _memory_there()
    n = min(max(n for n, _ in job.passes), _LONGEST, max(16, int(_LARGEST / 2 / _parameters(job.config)[1][1])))
    with torch.inference_mode():
        with torch.device("meta"), Unfilled():
            layer = Layer(job.config.tower).to("meta", job.dtype)
        with FlopCounterMode(display=False) as counter:
            _one_layer(layer, job, n, torch.device("meta"))
        layer = layer.to_empty(device=device)
        for parameter in layer.parameters():
            parameter.fill_(0.01)
        if job.int8:
            round_layer(layer)
        towers = _rate(lambda: _one_layer(layer, job, n, device), clock, counter.get_total_flops())
        small = replace(job.vae, base_dim=min(job.vae.base_dim, 64), decoder_base_dim=min(job.vae.decoder_base_dim, 64))
        vae = VideoVAE(small).to(device, job.dtype)
        latents = torch.zeros(1, job.vae.z_dim, min(job.latent_frames, 3), 8, 8, device=device)
        codec = _rate(lambda: vae.decode(latents), clock)
    return Machine(towers=towers, codec=codec, room=room, taken=taken, measured=True)


def foresee(work: Work, machine: Machine) -> Plan:
    """Peak memory, seconds of each stage, and what to switch on where it does not fit."""
    besides = max(live for live, _ in work.stages.values())
    peak = machine.taken + work.weights + work.memory + besides
    rates = {name: machine.codec if name in ("encode", "decode", "sound") else machine.towers for name in work.stages}
    seconds = {name: operations / rates[name] for name, (_, operations) in work.stages.items()}
    fits = peak <= machine.room
    return Plan(peak=peak, seconds=seconds, advice=() if fits else _advice(work, machine), fits=fits)


def _advice(work: Work, machine: Machine) -> tuple[str, ...]:
    """What helps, one at a time: each change is planned, and named if it would fit; else how near the best comes."""
    job = work.job
    changes = {
        'say outputs=("actions",): nothing is decoded': replace(job, decode=job.decode and job.mode.action != "hidden"),
        "compute in bfloat16": replace(job, dtype=torch.bfloat16),
        "say offload='towers': one tower at a time": replace(job, offload="towers"),
        "say offload='layers': one layer at a time": replace(job, offload="layers", int8=False),
        "say guidance=1": replace(job, guidance=1.0),
        "give one control": replace(job, controls=min(job.controls, 1)),
        "ask for half the frames": replace(job, frames=1 + TIME * ((job.latent_frames - 1) // 2)),
        "ask for half the size": replace(job, size=(max(32, job.size[0] // 64 * 32), max(32, job.size[1] // 64 * 32))),
    }
    peaks = {}
    for words, other in changes.items():
        if other != job:
            again = work_of(other)
            peaks[words] = machine.taken + again.weights + again.memory + max(live for live, _ in again.stages.values())
    enough = tuple(f"{words}: {peak / GIB:.1f} GiB." for words, peak in peaks.items() if peak <= machine.room)
    if enough or not peaks:
        return enough
    words, peak = min(peaks.items(), key=lambda one: one[1])
    return (f"no single change is enough: most comes of this: {words}: {peak / GIB:.1f} GiB. Take a smaller model.",)


def _walks(job: Job) -> list[tuple[int, Job]]:
    """How many steps are walked as which job: a picture beside the one that is painted costs what a control does."""
    guided = job.steps if job.guided_steps is None else job.guided_steps
    film = [(guided, job), (job.steps - guided, replace(job, guidance=1.0))]
    if (how := job.painted) is None:
        return film
    one = replace(job, frames=1, sound=None, painted=None)
    steps, guidance = (job.steps, job.guidance) if job.frames == 1 else (how.steps, how.guidance)
    thing = replace(one, guidance=guidance, controls=1, control_guidance=1.0)
    painted = [(how.bare_steps, replace(one, guidance=how.bare_guidance)), (how.things * how.tries * steps, thing)]
    return painted if job.frames == 1 else [*painted, *film]


def _parameters(config: ModelConfig) -> tuple[tuple[int, int], tuple[int, int], int]:
    """Of a reasoner's layer and of a generator's all parameters and those of matrices; and all else that loads."""
    with torch.device("meta"):
        net = Transformer(replace(config, tower=replace(config.tower, layers=1)))
    counts = {"reasoner": [0, 0], "generator": [0, 0]}
    rest = 0
    for name, parameter in net.named_parameters():
        if name.startswith("layers."):
            counts[tower_of(name)][0] += parameter.numel()
            counts[tower_of(name)][1] += parameter.numel() if parameter.ndim == 2 else 0
        elif name not in ("lm_head.weight", "norm.weight"):
            rest += parameter.numel()
    reader, generator = (tuple(counts[name]) for name in ("reasoner", "generator"))
    return (reader[0], reader[1]), (generator[0], generator[1]), rest


def _held(job: Job, reader: tuple[int, int], generator: tuple[int, int], rest: int) -> int:
    """Bytes of weights that are in memory at once."""
    tower, item = job.config.tower, job.dtype.itemsize
    words = job.config.vocabulary * tower.width * item
    each = [(every - flat) * item + flat * (1 if job.int8 else item) for every, flat in (reader, generator)]
    layers = 1 if job.offload == "layers" else tower.layers
    reading, walking = layers * each[0] + words, layers * each[1] + rest * item - words
    return reading + walking if job.offload == "none" else max(reading, walking)


def _one_layer(layer: Layer, job: Job, n: int, device: torch.device) -> None:
    tower = job.config.tower
    x = torch.zeros(1, n, tower.width, dtype=job.dtype, device=device)
    turn = torch.zeros(1, n, 1, tower.head_width, dtype=job.dtype, device=device)
    kept = torch.zeros(1, tower.kv_heads, job.text, tower.head_width, dtype=job.dtype, device=device)
    layer.generate(x, (turn, turn), (kept, kept), None)


def _rate(run: Callable[[], object], clock: Callable[[], float], operations: float = 0.0) -> float:
    """Operations a second, of the quickest of a few runs after a first one, in which they are counted if not known."""
    with FlopCounterMode(display=False) as counter:
        run()
    operations = operations or counter.get_total_flops()
    spent = []
    for _ in range(_REPEATS):
        start = clock()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        spent.append(clock() - start)
    return operations / min(spent)


def _resident() -> int:
    """Bytes that this process holds already; 300 MiB where the system does not say."""
    path = Path("/proc/self/statm")
    return int(path.read_text().split()[1]) * 4096 if path.is_file() else 300 * 2**20


def _memory_there() -> int:
    """Bytes of memory that programs may take now; 8 GiB where the system does not say."""
    path = Path("/proc/meminfo")
    if not path.is_file():
        return 8 * GIB
    lines = dict(line.split(":", 1) for line in path.read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024 + _resident()
