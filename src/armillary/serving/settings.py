"""What the operator of a server chooses, and the limits that hold for strangers."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from armillary.errors import ConfigError

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much one client, one request and one picture may be. Beyond it the answer is a refusal, not a wait."""

    body_mb: int = 64
    """Largest body of a request, in MiB."""
    body_seconds: float = 60.0
    """A body must have arrived by then, a request's head in a third of it."""
    image_pixels: int = 20_000_000
    """Largest picture, counted before it is decoded."""
    film_frames: int = 2_000
    """Most frames of a film that is sent."""
    film_pixels: int = 400_000_000
    """Most pixels of a film that is sent, all frames together."""
    out_pixels: int = 50_000_000
    """Most pixels of what is imagined in one request, all frames together."""
    out_frames: int = 1_001
    """Most frames of what is imagined in one request."""
    sound_seconds: float = 120.0
    """Most seconds of sound that is imagined in one request, or given to one."""
    kept_mb: int = 1_024
    """Most uploaded files of one client, in MiB."""
    steps: int = 100
    """Most steps of the solver."""
    words: int = 20_000
    """Most characters of a prompt, or of all turns of a chat."""
    pictures: int = 16
    """Most pictures and films in one request."""
    answer: int = 1_024
    """Most tokens of an answer."""
    queue: int = 512
    """Most jobs that wait, of all clients."""
    queue_of_one: int = 64
    """Most jobs that wait or run, of one client whose key says nothing else."""
    batch: int = 8
    """Most jobs that are computed together."""
    deadline_seconds: float = 600.0
    """When somebody waits on the line (chat, images, sync): the answer comes by then, or a refusal."""
    policy_seconds: float = 30.0
    """The same for one chunk of a robot's actions."""
    keep_hours: float = 24.0
    """How long finished jobs and their files are kept."""
    sockets: int = 64
    """Most robots and world sessions at once."""
    sessions_frames: int = 6_000
    """Most frames of one world session."""


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """Where to listen, which model, where jobs are kept, who may ask."""

    checkpoint: str = ""
    """A bundled model or a checkpoint folder; else by NIM_FT_CHECKPOINT, NIM_MODEL_PATH, NIM_MODEL_SIZE; else pico."""
    host: str = "127.0.0.1"
    """Where to listen. Only this machine, unless told."""
    port: int = 8000
    """Which port."""
    adapter: str = ""
    """A LoRA adapter that the generator wears: a folder, the checkpoint's only one worn unasked, by name, or none."""
    folder: Path = Path("runs/serve")
    """Where the job table, files and the audit log lie."""
    database: str = ""
    """URL of the job table, such as postgresql+psycopg://user:password@host/name; SQLite in FOLDER if empty."""
    files: str = ""
    """Where films and uploads lie: a folder or an fsspec URL, such as s3://bucket/jobs; in FOLDER if empty."""
    role: Literal["all", "api", "worker"] = "all"
    """all: one process answers, others compute. api or worker: only one half, for several machines on one table."""
    workers: int = 1
    """Processes that compute."""
    keys: Path | None = None
    """A file of API keys, a line each: NAME KEY [PRIORITY [QUOTA]]. Without it whoever reaches the port may ask."""
    fetch_from: tuple[str, ...] = ()
    """Hosts from which pictures and films may be fetched by URL. None, unless told."""
    refuse_words: str = ""
    """Refuse prompts by a list of words: shipped for the one that comes along, or a file of your own."""
    device: str | None = None
    """cpu or cuda."""
    dtype: str | None = None
    """bfloat16 or float32."""
    weights: Literal["plain", "int8"] = "plain"
    """int8 keeps the towers' matrices as whole numbers: smaller and faster on a processor, not exact."""
    compiled: bool = False
    """Words are said by compiled layers: quicker; a worker is ready 2 to 15 seconds later."""
    threads: int = 1
    """Threads of one computing process."""
    niceness: int = 10
    """How much the computing processes stand back behind the answering one, 0 to 19."""
    limits: Limits = field(default_factory=Limits)
    """How much may be asked."""

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise ConfigError(f"port={self.port}: ports are 0 to 65535, such as 8000.")
        if not 0 <= self.niceness <= 19:
            raise ConfigError(f"niceness={self.niceness}: 0 (not at all) to 19.")
        if self.workers < 1 or self.threads < 1:
            raise ConfigError(f"workers={self.workers}, threads={self.threads}: both must be at least 1.")

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{(self.folder / 'jobs.sqlite').resolve()}"

    @property
    def files_url(self) -> str:
        return self.files or str((self.folder / "files").resolve())

    @property
    def open_to_others(self) -> bool:
        return self.host not in LOOPBACK


def chosen_checkpoint(settings: ServeSettings) -> tuple[str, str]:
    """The checkpoint that is served, and who says so: the flag, or else a variable of NIM's, or else nobody: pico.

    ``NIM_FT_CHECKPOINT`` (a post-trained folder) goes before ``NIM_MODEL_PATH`` (a folder), which goes before
    ``NIM_MODEL_SIZE`` (a bundled name).
    """
    if settings.checkpoint:
        return settings.checkpoint, "--checkpoint"
    for name in ("NIM_FT_CHECKPOINT", "NIM_MODEL_PATH", "NIM_MODEL_SIZE"):
        if found := os.environ.get(name):
            return (found.lower() if name == "NIM_MODEL_SIZE" else found), name
    return "pico", "nobody"
