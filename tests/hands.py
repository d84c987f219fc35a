"""A person at the studio with a keyboard alone: what the hands do, and what the eyes must be able to read."""

import io
import os

from PIL import Image

PATIENT_MS = 120_000

CONTRAST = """() => {
  const light = (c) => { const f = (v) => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; };
    return .2126 * f(c[0]) + .7152 * f(c[1]) + .0722 * f(c[2]); };
  const rgb = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const ground = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
    if (c[3] > .99) return c; } return [255, 255, 255, 1]; };
  const bad = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility() || e.matches(".skip, :disabled, svg *")) continue;
    const style = getComputedStyle(e), a = light(rgb(style.color)), b = light(ground(e));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) bad.push(`${e.tagName} ${e.textContent.trim().slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return bad;
}"""
LABELS = """() => [...document.querySelectorAll("input, select, textarea, button, video, audio, img")].filter((e) => {
  if (!e.checkVisibility()) return false;
  const named = e.labels?.length || e.getAttribute("aria-label") || e.textContent.trim() || e.hasAttribute("alt");
  return !named;
}).map((e) => e.outerHTML)"""


def is_ours(line):
    """Whether a line of the console is a mistake of the page's; an answer of 400 is told there too."""
    return line.type == "error" and not line.text.startswith("Failed to load resource")


def tab_to(page, selector):
    """Reach an element with the Tab key alone; it must then show that it has the focus."""
    for _ in range(120):
        if page.evaluate("s => document.activeElement?.matches(s)", selector):
            seen = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
            assert seen != "none", f"{selector} has the focus and does not show it"
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{selector} cannot be reached by Tab")


def write(page, selector, words):
    tab_to(page, selector)
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type(words)


def shoot(page, name):
    folder = os.environ.get("ARMILLARY_SCREENSHOTS")
    data = page.screenshot(full_page=True, path=f"{folder}/{name}-{page.shot_name}.png" if folder else None)
    assert Image.open(io.BytesIO(data)).width == page.viewport_size["width"]


def choose(page, selector, value):
    """From the first option downwards: what is typed to find one depends on how fast it is typed."""
    tab_to(page, selector)
    page.keyboard.press("Home")
    for _ in range(page.locator(f"{selector} option").count()):
        if page.eval_on_selector(selector, "e => e.value") == value:
            return
        page.keyboard.press("ArrowDown")
    assert page.eval_on_selector(selector, "e => e.value") == value


def choose_mode(page, name):
    choose(page, "#mode", name)


def check_looks(page):
    """Everything has a name and can be read, in light and in dark, and nothing is wider than the window."""
    assert page.evaluate(LABELS) == []
    for colours in ("light", "dark"):
        page.emulate_media(color_scheme=colours)
        assert page.evaluate(CONTRAST) == [], colours
    page.emulate_media(color_scheme=page.shot_name.split("-")[1])
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the window"


def ask_with_little(page):
    write(page, "#size", "64x64")
    write(page, "#steps", "1")
    tab_to(page, "#imagine-form button")
    page.wait_for_selector("#job-list li")
    before = page.evaluate("document.querySelector('#job-list li').dataset.job || ''")
    page.keyboard.press("Enter")
    page.wait_for_function("old => (document.querySelector('#job-list li').dataset.job || '') !== old", arg=before)


def shown_when_done(page, selector):
    page.wait_for_function("document.querySelector('#job-list li').dataset.status === 'completed'")
    tab_to(page, "#job-list input[type=checkbox]")
    page.keyboard.press("Space")
    page.wait_for_selector(selector)
    check_looks(page)


def curves_when_done(page, mode):
    """How many curves of actions are drawn of the latest job, one of that mode, once it is done and chosen."""
    latest = "document.querySelector('#job-list li')"
    page.wait_for_function(
        f"mode => {latest}?.innerText.startsWith(mode) && {latest}.dataset.status === 'completed'", arg=mode
    )
    tab_to(page, "#job-list input[type=checkbox]")
    page.keyboard.press("Space")
    page.wait_for_selector(".curves svg")
    return page.locator(".curves svg").count()
