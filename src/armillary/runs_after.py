"""The runs that came after the bundled generator: its films are shown better, and other worlds' names are words.

    pico-after-table      lives of the tabletop that the generator has not learnt from     fresh/tabletop
    pico-after-pusht      and of PushT                                                     fresh/pusht
    pico-after-foreseen   what the generator foresees of the table's, beside what truly happened
    pico-after-foreseen-pusht                                    and of PushT's, in the same folder
    pico-after-shown      the tokenizer's decoder learns to show what is foreseen; the latents stay as they are
    pico-after-lasting    lives of the tabletop of 65 frames                               fresh/lasting
    pico-after-followed   what is foreseen of these in four chunks, each from the one before, in the same folder
    pico-after-followed-pusht                                    and of PushT's
    pico-after-shown-on   the decoder goes on with all of it
    pico-after-names      names of other worlds become words of one token, and the reasoner goes on about them
    pico-after-whole      the last towers, tokenizer and words as one checkpoint
    pico-after-boards     lives of PushT, chance and clumsy ones as many as the expert's
    pico-after-windows    windows of these, told in steps
    pico-after-steps      the generator goes on, mostly in PushT

Everything lies under ``runs/pico/after``.
"""

from dataclasses import replace
from pathlib import Path

from armillary.post_training.assembled import AssembledRun
from armillary.post_training.foreseen import ForeseenRun
from armillary.post_training.lasting import LastingRun
from armillary.run_kinds import Cache, Codec, Data, Generator, Reasoner, Run
from armillary.runs_worlds import BASE, WorldsData, pico_worlds_abroad, pico_worlds_last

AFTER = Path("runs/pico/after")


def pico_after_table() -> Run:
    """1,200 lives at tables that nobody has learnt from: seven minutes of one core."""
    return Data(out=AFTER / "fresh/tabletop", episodes=1200, seed=760_000)


def pico_after_pusht() -> Run:
    """300 lives of PushT of new seeds: three minutes of one core."""
    return WorldsData(worlds=("pusht",), out=AFTER / "fresh", episodes=300, seed=2_000)


def pico_after_foreseen() -> ForeseenRun:
    """At most four windows of every new life at the table, imagined from picture and actions: four minutes."""
    return ForeseenRun(
        data=AFTER / "fresh/tabletop", origin=BASE / "last/checkpoint", out=AFTER / "foreseen", name="tabletop"
    )


def pico_after_foreseen_pusht() -> ForeseenRun:
    """Five of every new life of PushT, in the same folder: a minute and a half."""
    return replace(
        pico_after_foreseen(), data=AFTER / "fresh/pusht", name="pusht", embodiment="pusht_steps", camera="top", most=5
    )


def pico_after_shown() -> Codec:
    """The decoder learns what they show, beside clips of the table and of the worlds: 20 minutes of two threads."""
    return Codec(
        data=BASE / "clips", kept=Path("runs/pico/clips"), kept_share=0.34, foreseen=AFTER / "foreseen",
        foreseen_share=0.55, out=AFTER / "shown", origin=BASE / "decoder/vae", decoder_only=True, steps=4500,
        crop_share=0.0, learning_rate=6e-4, emphasis=0.2, square=(40.0, 40.0), warmup_steps=50, ema=0.997, threads=2,
    )  # fmt: skip


def pico_after_lasting() -> Run:
    """240 lives in which who succeeds goes on: six minutes of half a core."""
    return LastingRun(out=AFTER / "fresh/lasting", episodes=240, seed=770_000)


def pico_after_followed() -> Run:
    """Each of them in four chunks, as the decoder shows them by now: a minute of two threads."""
    return replace(
        pico_after_foreseen(), data=AFTER / "fresh/lasting", name="lasting", vae=AFTER / "shown/vae", most=1, chunks=4
    )


def pico_after_followed_pusht() -> Run:
    """The new lives of PushT, those that last so long."""
    return replace(pico_after_foreseen_pusht(), name="pusht_lasting", vae=AFTER / "shown/vae", most=1, chunks=4)


def pico_after_shown_on() -> Run:
    """The decoder goes on with what was followed as well: sixteen minutes of two threads."""
    return replace(
        pico_after_shown(), origin=AFTER / "shown/vae", out=AFTER / "shown_on", steps=2400, learning_rate=5e-4,
        foreseen_share=0.6, kept_share=0.32,
    )  # fmt: skip


def pico_after_names() -> Reasoner:
    """Words said forty times abroad are one token each; the reasoner goes on talking: an hour of two threads."""
    before = pico_worlds_abroad()
    assert before.abroad is not None
    return replace(
        before, origin=BASE / "reads/checkpoint", out=AFTER / "names", travels=None, own_words=40,
        tasks=(BASE / "raw/pusht",), stage=replace(before.stage, name="names", steps=2600),
        abroad=replace(before.abroad, shares={"physics": 2.5, "spatial": 2.5}, tasks={"box": 3.0}),
        kinds=("abroad", "strange", "plan", "abroad", "still", "abroad", "layout", "abroad", "strange", "plan",
               "abroad", "still", "abroad", "prompt", "abroad", "strange", "abroad"),
    )  # fmt: skip


def pico_after_whole() -> AssembledRun:
    """One checkpoint of the parts, asked in as few steps as is best and doing whole plans (docs/log.md)."""
    names = AFTER / "names/checkpoint"
    return AssembledRun(
        model=names, words=names / "text_tokenizer", vae=AFTER / "shown_on/vae", like=BASE / "last/checkpoint",
        out=AFTER / "whole", execute={"tabletop": 16},
        steps={"forward-dynamics": 1, "inverse-dynamics": 1, "policy": 1, "transfer": 4, "video-to-sound": 1},
    )  # fmt: skip


def pico_after_boards() -> Run:
    """960 more lives of PushT, a third each of who can, who cannot, and chance: ten minutes of one core."""
    return Data(out=AFTER / "fresh/boards", world="pusht", episodes=960, seed=4_000)


def pico_after_windows() -> Run:
    """At most twelve windows of each, told in steps: five minutes of one core."""
    return Cache(
        data=AFTER / "fresh/boards", vae=AFTER / "shown_on/vae", out=AFTER / "boards", most=12, camera="top",
        embodiment="pusht_steps",
    )  # fmt: skip


def pico_after_steps() -> Generator:
    """The generator goes on, two films of three PushT's, the new boards twice as often: an hour of two threads."""
    before = pico_worlds_last()
    stage = replace(before.stage, name="steps", steps=2900, decay=0.8)
    flow = replace(
        before.flow, onwards=0.05, painting=0.06, stills_share=0.16, held=replace(before.flow.held, share=0.03),
        heard=replace(before.flow.heard, share=0.12), modes={"forward-dynamics": 0.76, "inverse-dynamics": 0.24},
    )  # fmt: skip
    return replace(
        before, origin=AFTER / "whole", vae=AFTER / "shown_on/vae", out=AFTER / "steps", stage=stage, flow=flow,
        more=(*before.more, AFTER / "boards", AFTER / "boards"),
    )  # fmt: skip
