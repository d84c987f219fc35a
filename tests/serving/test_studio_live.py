"""The studio's chat and its live world work by keyboard alone, at phone and desk width, light and dark."""

import numpy as np
import pytest
from hands import check_looks, choose, shoot, tab_to, write

from armillary.embodiments import load_embodiment, pose_from_rot6d


def test_a_chat_about_a_picture_and_a_film_streams(page, picture, film):
    for number, (shown, kind) in enumerate([(picture, "img"), (film, "video")], 1):
        tab_to(page, "#shown")
        page.set_input_files("#shown", shown)
        write(page, "#words", "where is the cube?")
        tab_to(page, "#chat-form button.main")
        page.keyboard.press("Enter")
        page.wait_for_function("count => document.querySelectorAll('#turns li').length === count && "
                               "document.querySelector('#turns li:last-child').innerText.length > 12",
                               arg=2 * number)  # fmt: skip
        page.wait_for_function("document.querySelector('#shown').value === ''")  # it is answered to the end
        assert page.locator(f"#turns .looked {kind}").count() == 1
    check_looks(page)
    shoot(page, "chat")


def test_a_chat_that_fails_gives_the_words_back(page):
    page.route("**/v1/chat/completions", lambda route: route.fulfill(
        status=503, content_type="application/json", body='{"error": {"message": "not now"}}'))  # fmt: skip
    write(page, "#words", "where is the cube?")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#said').textContent === 'not now'")
    assert page.input_value("#words") == "where is the cube?"
    assert page.locator("#turns li").count() == 0


def test_boxes_in_an_answer_are_drawn_on_the_picture(page, picture):
    page.route("**/v1/chat/completions", lambda route: route.fulfill(
        content_type="text/event-stream",
        body='data: {"choices":[{"delta":{"content":"<|box_start|>(10,20),(50,60)<|box_end|>"}}]}\n\n',
    ))  # fmt: skip
    page.set_input_files("#shown", picture)
    write(page, "#words", "where?")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#turns .looked rect.over", state="attached")
    box = page.eval_on_selector("#turns rect.over", "e => ['x', 'y', 'width', 'height'].map((n) => e.getAttribute(n))")
    assert box == ["10", "20", "40", "40"]
    shoot(page, "box")


def test_a_world_is_driven_with_the_keyboard(page, picture):
    page.set_input_files("#world-image", picture)
    write(page, "#world-steps", "1")
    tab_to(page, "#world-form button.main")
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement?.id === 'live'")
    page.wait_for_function("document.querySelector('#live').readyState >= 2")
    page.keyboard.press("ArrowUp")
    page.wait_for_function("document.querySelector('#live-said').textContent.startsWith('5 frames')")
    page.keyboard.press("c")
    page.wait_for_function("document.querySelector('#live-said').textContent.startsWith('9 frames')")
    page.wait_for_function("document.querySelector('#live').buffered.end(0) > 0.75")
    check_looks(page)
    shoot(page, "world")
    tab_to(page, "#moves button")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#live-said').textContent.startsWith('13 frames')")
    tab_to(page, "#world-form button.main")
    page.keyboard.press("Enter")  # another world at once: the old one's end must not end it
    page.wait_for_function("document.querySelector('#live-said').textContent.startsWith('1 frame ')")
    page.keyboard.press("ArrowUp")
    page.wait_for_function("document.querySelector('#live-said').textContent.startsWith('5 frames')")
    assert page.is_disabled("#world-body") and page.is_enabled("#world-stop")


@pytest.mark.parametrize("name", ["tabletop", "droid", "pusht", "av", "camera_pose", "highway"])
def test_every_key_is_a_step_that_the_body_can_do(browser, server, name):
    body = load_embodiment(name)
    told = {"domain": body.domain, "channels": [one.name for one in body.channels], "rest": body.rest,
            "limits": [[one.low, one.high] for one in body.channels]}  # fmt: skip
    page = browser.new_page()
    page.goto(server.url)
    moves = page.evaluate(
        """async (body) => { const { movesOf, rowOf } = await import("/studio/moves.js");
        return movesOf(body).map(([name, key, changes]) => [name, key, rowOf(body, changes)]); }""",
        told,
    )
    page.close()
    assert len(moves) >= 4 and len({key for _, key, _ in moves}) == len(moves)
    rows = {label: row for label, _, row in moves}
    body.check(list(rows.values()), limits=True)
    if "first_x" in told["channels"] and "gripper" not in told["channels"]:
        ahead, left, right = (pose_from_rot6d(np.array(rows[one])) for one in ("Ahead", "Turn left", "Turn right"))
        assert ahead[2, 3] > 0 and np.allclose(ahead[:3, :3], np.eye(3))
        assert right[0, 2] > 0.05 and np.allclose(left[:3, :3] @ right[:3, :3], np.eye(3)), "what was right lies ahead"


def test_a_car_is_driven_with_the_keyboard(page, picture):
    page.set_input_files("#world-image", picture)
    choose(page, "#world-body", "av")
    assert page.locator("#moves button").all_inner_texts()[0].startswith("Ahead")
    write(page, "#world-steps", "1")
    tab_to(page, "#world-form button.main")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#live-said').textContent.startsWith('1 frame ')")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('#live-said').textContent.startsWith('5 frames')")
    check_looks(page)
    shoot(page, "car")
