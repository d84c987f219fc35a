"""The demo page stands alone, can be read by everybody, and its numbers are those of what it shows."""

import base64
from html.parser import HTMLParser

import numpy as np
import pytest
from tiny import small_checkpoint

import armillary
from armillary.errors import ConfigError
from armillary.evaluation.demo import PARTS, Much, gather
from armillary.evaluation.page import Answer, Chart, Film, Number, Page, Reading, Section, page_of, told
from armillary.media import read_video

RNG = np.random.default_rng(0)
FILM = RNG.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
NASTY = '</dd><script>alert("x")</script> & <|box_start|>'
CARD = {"value": 0.5, "low": 0.25, "high": 0.75, "n": 300}


class Seen(HTMLParser):
    """All tags of a page with their attributes, and the text outside of style and script."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self._inside = [], "", []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside.append(tag)

    def handle_endtag(self, tag):
        self._inside.append(f"/{tag}")

    def handle_data(self, data):
        if self._inside and self._inside[-1] not in ("style", "script"):
            self.text += data

    def all(self, name):
        return [attrs for tag, attrs in self.tags if tag == name]


def page(**section):
    shown = Section(key="part", title="A part", lead="What is seen.", **section)
    return page_of(Page(title="A page", lead="Of many things.", sections=[shown], facts=[("Seed", "1")]))


def everything():
    film = Film(films=[FILM, FILM], labels=["true", "found"], fps=10, says="Two films", words="They run.", mark="right",
                verdict="Done")  # fmt: skip
    still = Film(films=[FILM[:1]], labels=[], fps=10, says="A still", words="It stands.")
    chart = Chart(title="Step", unit="mm", seconds=0.1, true=[0, 1, 2], found=[0, 1, 3])
    answer = Answer(picture=FILM[0], says="A table", question="What?", answer=NASTY, truth="a cube", mark="wrong")
    numbers = [
        Number(words="Success", unit="%", value=0.4, n=5, card=CARD),
        Number(words="dB", unit="dB", value=3, n=5),
    ]
    return page(films=[film, still], readings=[Reading(film=film, charts=[chart])], answers=[answer], numbers=numbers)


def stands_alone(html):
    seen = Seen(html)
    links = [value for _, attrs in seen.tags for name, value in attrs.items() if name in ("src", "href", "poster")]
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    assert "@import" not in html
    assert "url(" not in html
    return seen


def test_a_page_fetches_nothing():
    policy = next(tag for tag in stands_alone(everything()).all("meta") if "http-equiv" in tag)["content"]
    assert policy.startswith("default-src 'none'")


def test_what_is_seen_is_also_said():
    seen = Seen(everything())
    assert all(image["alt"] for image in seen.all("img"))
    assert all(film["aria-label"] for film in seen.all("video"))
    assert all("controls" in film for film in seen.all("video"))
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in seen.all("svg"))
    assert "wrong: " in seen.text
    assert seen.all("html")[0]["lang"] == "en"
    assert {link["href"] for link in seen.all("a")} <= {f"#{attrs['id']}" for _, attrs in seen.tags if "id" in attrs}


def test_whatever_a_model_says_stays_text():
    seen = Seen(everything())
    assert len(seen.all("script")) == 1
    assert NASTY in seen.text


def test_films_side_by_side_play_as_one(tmp_path):
    source = Seen(everything()).all("video")[0]["src"]
    (tmp_path / "film.mp4").write_bytes(base64.b64decode(source.split(",", 1)[1]))
    film, fps = read_video(tmp_path / "film.mp4")
    assert film.shape == (5, 64, 128, 3)
    assert fps == 10


def test_a_still_is_a_picture_and_needs_no_player():
    seen = Seen(page(films=[Film(films=[FILM[:1]], labels=[], fps=10, says="A still", words="")]))
    assert not seen.all("video")
    assert len(seen.all("img")) == 1


def test_a_chart_shows_both_lines_to_scale():
    chart = Chart(title="Step", unit="mm", seconds=0.1, true=[0.0, 10.0], found=[0.0, 5.0])
    film = Film(films=[FILM], labels=[], fps=10, says="A film", words="")
    lines = Seen(page(readings=[Reading(film=film, charts=[chart])])).all("polyline")
    heights = {line["class"]: [float(point.split(",")[1]) for point in line["points"].split()] for line in lines}
    assert heights["true"] == [96.0, 0.0]
    assert heights["found"] == [96.0, 48.0]


def test_numbers_stand_beside_the_card_or_say_that_it_has_none():
    text = Seen(everything()).text
    assert "40 %" in text
    assert "25 to 75 %" in text
    assert "not on the card" in text
    assert told(float("nan"), "dB") == "none"


@pytest.fixture(scope="module")
def omni(tmp_path_factory):
    return armillary.load(small_checkpoint(tmp_path_factory.mktemp("checkpoint")))


def test_the_demo_shows_every_part_with_its_own_numbers(omni):
    much = Much(films=1, clips=1, readings=1, lives=1, steps=2, questions=2, reports=1, judged=8)
    lines = []
    gathered = gather(omni, much, report=lines.append)
    assert [section.title for section in gathered.sections] == list(PARTS)
    assert len(lines) == 2 * len(PARTS)
    sections = {section.key: section for section in gathered.sections}
    acted = sections["policy"]
    assert acted.numbers[0].n == len(acted.films) == 1
    assert acted.numbers[0].value == sum(film.mark == "right" for film in acted.films)
    read = sections["inverse-dynamics"]
    assert sum(number.n for number in read.numbers if number.words.startswith("Inverse")) == len(read.readings) == 3
    asked = [answer for answer in sections["questions"].answers if "Describe" not in answer.question]
    assert sections["questions"].numbers[0].n == 2
    assert len(asked) == 3
    stands_alone(page_of(gathered))


def test_seeds_that_training_may_have_seen_are_refused(omni):
    with pytest.raises(ConfigError, match="no held-out seed"):
        gather(omni, seed=5)
