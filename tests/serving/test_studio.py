"""Every form that imagines works by keyboard alone, at phone and desk width, light and dark, and all can read it."""

from hands import (
    PATIENT_MS,
    ask_with_little,
    check_looks,
    choose,
    choose_mode,
    curves_when_done,
    shoot,
    shown_when_done,
    tab_to,
    write,
)

OTHERS = ("reason", "text-to-video", "policy", "image-edit", "transfer")  # have tests of their own


def test_the_page_keeps_its_own_rules_about_where_things_come_from(browser, server):
    one = browser.new_page()
    wrongs = []
    one.on("console", lambda line: wrongs.append(line.text) if line.type == "error" else None)
    one.goto(server.url)
    one.wait_for_selector("#mode option", state="attached", timeout=PATIENT_MS)
    assert "default-src 'self'" in one.request.get(server.url).headers["content-security-policy"]
    assert wrongs == []
    one.close()


def test_a_film_is_asked_for_watched_and_compared(page):
    choose_mode(page, "text-to-video")
    write(page, "#prompt", "the arm moves")
    write(page, "#size", "64x64")
    write(page, "#frames", "5")
    write(page, "#steps", "1")
    tab_to(page, "#imagine-form button")
    page.keyboard.press("Enter")
    page.wait_for_selector("#job-list li[data-status=completed]")
    page.wait_for_selector("#job-list img")  # its card is drawn anew with the picture: a key before that may go astray
    for _ in range(3):
        tab_to(page, "#job-list input[type=checkbox]")
        page.keyboard.press("Space")
        if page.eval_on_selector("#job-list input[type=checkbox]", "e => e.checked"):
            break
    page.wait_for_function("document.querySelector('#stage video')?.readyState >= 2")
    check_looks(page)
    shoot(page, "film")


def test_actions_are_planned_and_drawn_as_curves(page, picture):
    choose_mode(page, "policy")
    write(page, "#prompt", "take the cube")
    tab_to(page, "#image")
    page.set_input_files("#image", picture)  # the system's own window cannot be driven
    write(page, "#frames", "5")
    write(page, "#size", "64x64")
    write(page, "#steps", "1")
    tab_to(page, "#imagine-form button")
    page.keyboard.press("Enter")
    assert curves_when_done(page, "policy") == 10
    check_looks(page)
    shoot(page, "policy")


def test_a_deed_is_acted_out_where_nobody_says_how_the_film_walks(page, picture):
    choose_mode(page, "image-to-video")
    assert page.input_value("#steps") == page.input_value("#guidance") == ""
    assert page.get_attribute("#steps", "placeholder") == "20, or as acted"
    write(page, "#prompt", "The robot lifts the red cube.")
    tab_to(page, "#image")
    page.set_input_files("#image", picture)
    write(page, "#frames", "5")
    tab_to(page, "#imagine-form button")
    page.keyboard.press("Enter")
    assert curves_when_done(page, "image-to-video") == 10  # the actions that the film came with
    choose_mode(page, "text-to-video")
    assert page.input_value("#steps") == "20" and page.get_attribute("#steps", "placeholder") == ""


def test_a_picture_is_changed(page, picture):
    choose_mode(page, "image-edit")
    assert page.inner_text("label[for=image]") == "Picture to change"
    assert page.is_hidden("#frames") and page.is_hidden("#sound")
    write(page, "#prompt", "make the cube blue")
    tab_to(page, "#image")
    page.set_input_files("#image", picture)
    ask_with_little(page)
    shown_when_done(page, "#stage img")
    assert "image-edit" in page.inner_text("#job-list li") and " s" not in page.inner_text("#job-list .state")
    shoot(page, "edit")


def test_a_sound_is_asked_for_and_heard(page):
    choose_mode(page, "text-to-video")
    write(page, "#prompt", "a cube falls on the table")
    write(page, "#frames", "5")
    choose(page, "#sound", "alone")
    ask_with_little(page)
    shown_when_done(page, "#stage audio")
    page.wait_for_function("document.querySelector('#stage audio').duration === .5")
    assert page.inner_text("#job-list .none") == "sound"
    assert "Save sound" in page.inner_text("#job-list li")
    shoot(page, "sound")


def test_every_mode_is_asked_for_by_keyboard(page, picture, film):
    """Those that no other test asks for; a file alone is put in, since the system's own window cannot be driven."""
    told = page.evaluate("fetch('/v1/models').then((a) => a.json()).then((a) => a.data[0].modes)")
    files = {"image": picture, "last_image": picture, "video": film}
    begun = {}
    for name, mode in told.items():
        if name in OTHERS:
            continue
        choose_mode(page, name)
        assert page.is_visible("#sound") == mode["sound"]
        for field in sorted(mode["needs"], key=lambda one: one != "embodiment"):  # which begins the actions anew
            within = f"#imagine-form [data-field={field}]"
            tab_to(page, f"{within} :is(input, select, textarea)")
            if field in files:
                page.set_input_files(f"{within} input", files[field])
            elif field == "embodiment":
                choose(page, "#embodiment", "pusht")
            elif field == "actions":
                page.keyboard.press("ControlOrMeta+A")
                page.keyboard.type("[[100, 100], [100, 110], [100, 120], [100, 130]]")
            else:
                page.keyboard.type("the arm moves")
        if page.is_visible("#frames"):
            write(page, "#frames", "9" if mode["needs"] != ["prompt"] else "5")
        check_looks(page)
        ask_with_little(page)
        begun[page.evaluate("document.querySelector('#job-list li').dataset.job")] = name
    for job, name in begun.items():
        page.wait_for_function(
            "id => document.querySelector(`[data-job=${id}]`)?.dataset.status === 'completed'", arg=job
        )
        assert page.inner_text(f"[data-job={job}] strong") == name
    for job in [job for job, name in begun.items() if name in ("image-to-video", "forward-dynamics")]:
        tab_to(page, f"#job-list [data-job={job}] input[type=checkbox]")
        page.keyboard.press("Space")
        page.wait_for_selector(f"#stage [data-job={job}] video")
    tops = "figures => figures.map(one => one.getBoundingClientRect().top)"  # at one moment: the list above still grows
    first, second = page.eval_on_selector_all("#stage figure", tops)
    assert (first == second) == (page.viewport_size["width"] > 600), "side by side where there is room"
    check_looks(page)


def test_what_came_before_is_shown_in_place_of_a_picture(page, film):
    choose_mode(page, "forward-dynamics")
    choose(page, "#embodiment", "pusht")
    assert page.eval_on_selector("#image", "e => e.required")
    tab_to(page, "#video")
    page.set_input_files("#video", film)
    assert not page.eval_on_selector("#image", "e => e.required")
    page.fill("#actions", str([[100, 100 + 10 * n] for n in range(12)]))
    check_looks(page)
    shoot(page, "before")
    ask_with_little(page)
    job = page.evaluate("document.querySelector('#job-list li').dataset.job")
    page.wait_for_function("id => document.querySelector(`[data-job=${id}]`)?.dataset.status === 'completed'", arg=job)
    assert "1.3 s" in page.inner_text(f"[data-job={job}] .state"), (
        "nine frames that were given, four that were imagined"
    )


def test_controls_are_chosen_by_keyboard_and_followed(page, film):
    choose_mode(page, "transfer")
    write(page, "#prompt", "the same table in snow")
    tab_to(page, "#imagine-form button")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#said').textContent.startsWith('Choose at least one control')")
    assert page.is_hidden("#video") and page.is_hidden("#control-weight-edge") and page.is_hidden("#sound")
    choose(page, "#control-from-edge", "made")
    choose(page, "#control-strength-edge", "high")
    write(page, "#control-weight-edge", "2")
    choose(page, "#control-from-depth", "file")
    tab_to(page, "#control-file-depth")
    page.set_input_files("#control-file-depth", film)
    tab_to(page, "#video")
    page.set_input_files("#video", film)
    write(page, "#control-guidance", "1.5")
    check_looks(page)
    shoot(page, "transfer form")
    ask_with_little(page)
    shown_when_done(page, "#stage video")
    job = page.evaluate("document.querySelector('#job-list li').dataset.job")
    told = page.evaluate("id => fetch(`/v1/videos/${id}/content?variant=provenance`).then((a) => a.json())", job)
    asked = told["request"]
    assert asked["control_weights"] == {"edge": 2 / 3, "depth": 1 / 3} and asked["control_guidance"] == 1.5
    assert asked["controls"]["edge"] != asked["controls"]["depth"] and asked["frames"] == 9
    shoot(page, "transfer")


def test_what_the_checkpoint_has_not_learnt_is_said_and_cannot_be_asked_for(page):
    def unlearn(route):
        answer = route.fetch()
        told = answer.json()
        told["data"][0]["unlearnt"] = {"transfer": told["data"][0]["modes"].pop("transfer")}
        route.fulfill(response=answer, json=told)

    page.route("**/v1/models", unlearn)
    page.reload()
    page.wait_for_function("document.querySelectorAll('#mode option').length > 3")
    choose_mode(page, "transfer")
    assert "small has not learnt transfer" in page.inner_text("#lacks")
    assert page.is_disabled("#imagine-it") and page.is_disabled("#control-from-edge") and page.is_disabled("#prompt")
    check_looks(page)
    shoot(page, "unlearnt")
    choose_mode(page, "text-to-video")
    assert page.is_hidden("#lacks") and page.is_enabled("#imagine-it") and page.is_enabled("#prompt")


def test_every_mode_that_is_served_has_a_form(page):
    told = page.evaluate("fetch('/v1/models').then((a) => a.json()).then((a) => a.data[0])")
    formed = [name for name in told["modes"] if name != "reason"]
    shown = page.eval_on_selector_all("#mode option", "all => all.map((e) => [e.value, e.text])")
    assert [name for name, text in shown if "not learnt" not in text] == formed
    assert [name for name, text in shown if "not learnt" in text] == list(told["unlearnt"])
    assert page.is_visible("#chat-form"), "the reasoner has its own"


def test_a_key_is_asked_for_and_used(page):
    offered = []

    def guarded(route):
        offered.append(route.request.headers.get("authorization"))
        if offered[-1] is None:
            route.fulfill(status=401, json={"error": {"message": "a key is needed"}})
        else:
            route.continue_()

    page.route("**/v1/models", guarded)
    page.reload()
    page.wait_for_selector("#key-form", state="visible")
    check_looks(page)
    write(page, "#key", "a-long-key-of-mine")
    page.keyboard.press("Enter")
    page.wait_for_selector("#key-form", state="hidden")
    assert offered[-1] == "Bearer a-long-key-of-mine"


def test_a_mistake_is_told_in_one_sentence(page):
    choose_mode(page, "text-to-video")
    write(page, "#prompt", "x")
    write(page, "#size", "65x64")
    tab_to(page, "#imagine-form button")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#said').classList.contains('bad')")
    assert "size=65x64: both sides must be multiples of 32" in page.inner_text("#said"), (
        "width first, as it was written"
    )
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    assert page.locator("#said").bounding_box()["y"] >= 0, "it is seen wherever the page is scrolled to"
