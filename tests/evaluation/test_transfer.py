"""What a film kept is found in it: who follows his control gets full marks, who follows another's gets fewer."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import Identity, small_checkpoint

from armillary import controls
from armillary.evaluation.held_out import HELD_OUT
from armillary.evaluation.report import table
from armillary.evaluation.suite import Plan, measure
from armillary.evaluation.transfer import (
    HELD,
    HeldFilm,
    colours_iou,
    edge_f1,
    held_film,
    kept,
    measure_transfer,
    things_iou,
    transfer_figures,
)
from armillary.records import Rollout
from armillary.sampling.omni import load

RED, GREEN, TABLE = (209, 26, 26), (26, 160, 40), (170, 155, 135)


def square(seed: int, colour=RED) -> HeldFilm:
    """A coloured square goes 32 pixels over a table that it stands out of."""
    row = int(np.random.default_rng(seed).integers(10, 90))
    video, labels = np.full((17, 128, 128, 3), TABLE, np.uint8), np.zeros((17, 128, 128), np.int32)
    for i in range(17):
        place = (i, slice(row, row + 16), slice(20 + 2 * i, 36 + 2 * i))
        video[place], labels[place] = colour, 1
    held = {"edge": controls.edge(video), "blur": controls.blur(video), "segmentation": controls.segmentation(labels),
            "depth": controls.depth(np.where(labels > 0, 1.0, 1.5 + np.linspace(0, 0.5, 128)[:, None]))}  # fmt: skip
    return HeldFilm(seed=seed, words=f"A film {seed}.", video=video, controls=held, labels=labels,
                    named={"red cube": 1})  # fmt: skip


class Seer:
    """Makes the film whose control it is shown; without one an empty table, or its first frame again."""

    def __init__(self, clips) -> None:
        self.clips, self.asked = clips, []
        self.parts = SimpleNamespace(vae=Identity(), device=torch.device("cpu"))

    def imagine_many(self, requests):
        self.asked += requests
        return [Rollout(mode=one["mode"], fps=10.0, video=self._film(one)) for one in requests]

    def _film(self, request):
        if request["mode"] == "text-to-video":
            return np.full((17, 128, 128, 3), TABLE, np.uint8)
        if request["mode"] == "image-to-video":
            return request["image"][None].repeat(17, axis=0)
        ((kind, shown),) = request["controls"].items()
        return next(clip.video for clip in self.clips if np.array_equal(clip.controls[kind], shown))


def test_edges_are_kept_a_pixel_apart_and_not_two():
    edges = np.zeros((2, 20, 20, 3), np.uint8)
    edges[:, 4:9, 6] = 255
    assert edge_f1(edges, edges) == 1 == edge_f1(edges, np.roll(edges, 1, axis=2))
    assert edge_f1(edges, np.roll(edges, 2, axis=2)) == 0 == edge_f1(edges, np.zeros_like(edges))
    more = np.maximum(edges, np.roll(edges, 8, axis=2))
    assert edge_f1(edges, more) == pytest.approx(2 / 3) == edge_f1(more, edges)


def test_a_thing_in_another_colour_is_a_thing_but_not_the_named_one():
    clip, green = square(0), square(0, GREEN)
    assert colours_iou(clip.video, clip) == 1 == things_iou(clip.video, clip)
    assert colours_iou(green.video, clip) == 0 and things_iou(green.video, clip) == 1
    half = np.where(np.arange(128)[:, None] < 64, clip.video, np.uint8(150))
    assert things_iou(half, clip) <= 1 and things_iou(square(1).video, clip) < 0.2


def test_of_each_control_is_asked_what_it_says():
    clip, other = square(0), square(0, GREEN)
    told = {kind: kept(other.video, clip, kind) for kind in HELD}
    assert set(told["edge"]) == {"edge_f1", "edge_film_psnr"} and 0.9 < told["edge"]["edge_f1"] <= 1
    assert told["depth"]["depth_things_iou"] == told["segmentation"]["segmentation_things_iou"] == 1
    assert told["segmentation"]["segmentation_colours_iou"] == 0
    assert told["blur"]["blur_psnr"] > told["blur"]["blur_film_psnr"] == told["edge"]["edge_film_psnr"]


def test_who_follows_his_control_is_better_than_without_and_than_another_s():
    clips = [square(seed) for seed in (3, 4, 5)]
    seer, done = Seer(clips), []
    found = measure_transfer(seer, clips, on_done=done.append)
    figures = transfer_figures(found)
    assert done == [1, 2, 3] and len(seer.asked) == 3 * (2 + 3 * len(HELD))
    measures = {one.measure for one in found}
    assert len(measures) == 9 and figures["edge_f1"].value == figures["segmentation_colours_iou"].value == 1
    for name in measures:
        assert figures[f"{name}_codec"].value == figures[name].value
        for base in ("free", "strange"):
            gain = figures[f"{name}_better_than_{base}"]
            assert gain.value > 0 and gain.n == gain.episodes == 3
            assert figures[name].value - figures[f"{name}_{base}"].value == pytest.approx(gain.value)
        assert figures[f"{name}_begun_better_than_led"].value > 0
    assert all(one["given_frames"] == 1 for one in seer.asked if "video" in one)


def test_a_held_out_life_comes_with_its_controls_and_the_labels_of_its_things():
    clip = held_film(HELD_OUT)
    assert clip.video.shape == (17, 128, 128, 3) and set(clip.controls) == set(HELD) and clip.named
    assert all(film.shape == clip.video.shape for film in clip.controls.values())
    assert colours_iou(clip.video, clip) > 0.7 and things_iou(clip.video, clip) > 0.8
    assert things_iou(clip.video, replace(clip, labels=clip.labels[:, ::-1])) < 0.3


def test_only_of_a_checkpoint_that_has_learnt_it_there_are_figures(tmp_path):
    folder, plan = small_checkpoint(tmp_path / "small"), Plan(clips=1, steps=1)
    none = measure(load(folder, dtype="float32"), plan, out=tmp_path / "none", sections=["transfer"])
    assert not none["figures"] and "Not measured" in none["notes"]["transfer"][0]
    told = {"size": [128, 128], "fps": 10.0, "learnt": ["transfer"]}
    (folder / "defaults.json").write_text(json.dumps(told))
    some = measure(load(folder, dtype="float32"), plan, out=tmp_path / "some", sections=["transfer"])
    assert some["figures"]["transfer/edge_f1"]["n"] == 1 and table(some).row_count == 25
