"""A real server on a free port, with a worker and a small checkpoint of random weights, and a browser that opens it."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from hands import PATIENT_MS, is_ours
from PIL import Image
from tiny import small_checkpoint

from armillary.embodiments import load_embodiment, save_embodiments
from armillary.media import write_video

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for benchmarks

from benchmarks.serving_process import Server, running


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = small_checkpoint(tmp_path_factory.mktemp("small") / "small", sound=True)
    told = {
        "size": [128, 128],
        "fps": 10.0,
        "steps": {"policy": 3, "policy/pusht": 5},
        "learnt": ["image-edit", "transfer"],
        "controls": ["edge", "blur", "depth"],
    }
    lifts = {"who": ["The robot"], "deeds": {"lifts": "Lift"}, "orders": {"lift": "Lift"}}
    told["acting"] = {"modes": ["image-to-video"], "bodies": {"tabletop": lifts}}
    told["upsampling"] = {"text-to-image": {"ask": "{prompt}, at length", "longest": 4}}
    save_embodiments(folder, [load_embodiment(name) for name in ("tabletop", "pusht", "droid", "av")])
    (folder / "defaults.json").write_text(json.dumps(told))
    return folder


@pytest.fixture(scope="session")
def server(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that do not harm it."""
    with running(checkpoint, tmp_path_factory.mktemp("serve") / "run", "--body-seconds", "15") as one:
        yield one


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as one:
        yield one


@pytest.fixture(scope="module")
def browser():  # no longer: playwright keeps an event loop running in this thread, beside which no other can
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the studio: pip install it")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("Debian's chromium opens the studio: apt-get install chromium")
    with playwright.sync_playwright() as one:
        window = one.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield window
        window.close()


@pytest.fixture(params=[(390, "light"), (1280, "dark")], ids=["phone, light", "desk, dark"])
def page(browser, server, request):
    width, colours = request.param
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=colours, bypass_csp=True)
    one = context.new_page()
    one.set_default_timeout(PATIENT_MS)
    wrongs = []
    one.on("pageerror", lambda wrong: wrongs.append(str(wrong)))
    one.on("console", lambda line: wrongs.append(line.text) if is_ours(line) else None)
    one.goto(server.url)
    one.wait_for_function("document.querySelectorAll('#mode option').length > 3")
    one.shot_name = f"{width}-{colours}"
    yield one
    assert wrongs == []
    context.close()


@pytest.fixture(scope="session")
def picture(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("studio") / "table.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture(scope="session")
def film(tmp_path_factory) -> Path:
    pixels = np.random.default_rng(1).integers(0, 256, (9, 64, 64, 3), dtype=np.uint8)
    return write_video(tmp_path_factory.mktemp("studio") / "film.mp4", pixels, 10.0)
