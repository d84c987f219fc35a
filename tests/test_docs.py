"""What the documents say is there is there: links lead somewhere, and quoted code is the code."""

import re
from pathlib import Path

import pytest
from PIL import Image

from armillary.evaluation.elsewhere import SECTIONS as ASKED_ELSEWHERE
from armillary.evaluation.suite import OTHERS, SECTIONS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
QUOTES = re.findall(r"```python\n# (\S+)\n(.*?)```", (ROOT / "docs/the_data_s_way.md").read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not link.startswith("http") and not (page.parent / link).exists()]


@pytest.mark.parametrize(("file", "quoted"), QUOTES, ids=[f"{i} {file}" for i, (file, _) in enumerate(QUOTES)])
def test_the_walk_quotes_the_code_as_it_is(file, quoted):
    assert quoted in (ROOT / file).read_text(encoding="utf-8")


def test_the_page_on_measuring_tells_of_every_section():
    page = (ROOT / "docs/evaluation.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE)
    assert [name for name in (*SECTIONS, *ASKED_ELSEWHERE) if rows.count(name) != 1] == []
    assert [name for name in OTHERS if f"`{name}`" not in page] == []


def test_the_walk_visits_every_room_and_no_other():
    rooms = {path.parent.name for path in (ROOT / "src/armillary").glob("*/*.py")}
    visited = set(re.findall(r"`(\w+)/`", (ROOT / "docs/the_data_s_way.md").read_text("utf-8")))
    assert visited == rooms


@pytest.mark.parametrize("world", ["tabletop", "drawer", "physics", "spatial", "humans", "driving", "warehouse"])
def test_a_world_has_a_page_with_a_picture_of_twelve_seeds(world):
    page = (ROOT / f"docs/worlds/{world}.md").read_text(encoding="utf-8")
    assert f"![twelve seeds]({world}.jpg)" in page and f"armillary simulate {world} " in page
    sheet = ROOT / f"docs/worlds/{world}.jpg"
    assert sheet.stat().st_size <= 200_000
    width, height = Image.open(sheet).size
    assert width == 3 * height and width >= 6 * 128
