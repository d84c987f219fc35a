"""The unmodified openai SDK talks to the server: chat, streams, pictures, films as jobs, images."""

import base64
import io

import av
import httpx
import numpy as np
import openai
import pytest
from PIL import Image

from armillary.media import read_wav, write_video

SMALL = {"size": "64x64", "extra_body": {"num_frames": 5, "num_inference_steps": 2, "seed": 1}}


@pytest.fixture
def sdk(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as one:
        yield one


@pytest.fixture(scope="module")
def picture() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, (9, 64, 64, 3), np.uint8)
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", pixels, 10.0).read_bytes()


def data_url(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def frames_of(data: bytes) -> int:
    with av.open(io.BytesIO(data)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_models_are_listed_with_what_they_can_do(sdk):
    (model,) = sdk.models.list().data
    assert model.id == "small"
    assert "policy" in model.modes
    assert model.embodiments["tabletop"]["action_dim"] == 10
    assert sdk.models.retrieve("small").id == "small"


def test_a_chat_is_answered_and_counted(sdk):
    reply = sdk.chat.completions.create(
        model="small", messages=[{"role": "user", "content": "what moves?"}], max_tokens=6
    )
    assert reply.choices[0].message.role == "assistant"
    assert reply.choices[0].finish_reason in ("stop", "length")
    assert reply.usage.prompt_tokens > 0 and reply.usage.total_tokens >= reply.usage.prompt_tokens


def test_an_answer_goes_back_as_the_sdk_gave_it_and_the_talk_goes_on(sdk):
    asked = {"role": "user", "content": "what moves?"}
    how = {"model": "small", "max_tokens": 4, "presence_penalty": 0.0,
           "extra_body": {"repetition_penalty": 1.0, "min_p": 0}}  # fmt: skip
    first = sdk.chat.completions.create(messages=[asked], **how)
    assert first.system_fingerprint.startswith("fp_") and len(first.system_fingerprint) == 19
    said = first.choices[0].message
    thought = {**said.model_dump(), "reasoning_content": "something moves"}
    replies = [sdk.chat.completions.create(messages=[asked, turn, asked], **how) for turn in (said, thought)]
    assert replies[0].choices == replies[1].choices, "thoughts are not read again"
    assert replies[0].usage.prompt_tokens > first.usage.prompt_tokens
    with pytest.raises(openai.BadRequestError, match="only the assistant's"):
        sdk.chat.completions.create(messages=[{**asked, "reasoning_content": "hm"}], **how)


def test_a_streamed_chat_says_the_same_as_a_whole_one(sdk):
    how = {"model": "small", "messages": [{"role": "user", "content": "what moves?"}], "max_tokens": 12, "seed": 3,
           "temperature": 0.8}  # fmt: skip
    whole = sdk.chat.completions.create(**how)
    pieces = list(sdk.chat.completions.create(**how, stream=True, stream_options={"include_usage": True}))
    words = "".join(p.choices[0].delta.content or "" for p in pieces if p.choices)
    assert words == whole.choices[0].message.content
    assert pieces[-1].usage.total_tokens == whole.usage.total_tokens


def test_pictures_and_films_are_looked_at(sdk, picture, film):
    def ask(*shown):
        content = [*shown, {"type": "text", "text": "what is this?"}]
        reply = sdk.chat.completions.create(
            model="small", messages=[{"role": "user", "content": content}], max_tokens=3,
            extra_body={"media_io_kwargs": {"video": {"fps": 5}}},
        )  # fmt: skip
        return reply.usage.prompt_tokens

    alone = ask()
    one = {"type": "image_url", "image_url": {"url": data_url(picture, "image/png")}}
    moving = {"type": "video_url", "video_url": {"url": data_url(film, "video/mp4")}}
    with_one, with_two = ask(one), ask(one, one)
    assert alone < with_one < with_two
    assert ask(moving) > alone


def test_an_uploaded_file_is_named_by_its_id(sdk, picture):
    kept = sdk.files.create(file=("a.png", picture), purpose="vision")
    content = [{"type": "image_url", "image_url": {"url": kept.id}}, {"type": "text", "text": "what?"}]
    sdk.chat.completions.create(model="small", messages=[{"role": "user", "content": content}], max_tokens=2)
    assert sdk.files.retrieve(kept.id).bytes == len(picture)
    assert kept.id in [one.id for one in sdk.files.list(limit=100)]
    assert sdk.files.delete(kept.id).deleted
    with pytest.raises(openai.NotFoundError):
        sdk.files.retrieve(kept.id)


def test_a_film_is_made_polled_listed_downloaded_and_deleted(sdk):
    done = sdk.videos.create_and_poll(prompt="the arm moves", model="small", poll_interval_ms=50, **SMALL)
    assert (done.status, done.progress, done.size) == ("completed", 100, "64x64")
    assert frames_of(sdk.videos.download_content(done.id).read()) == 5
    thumbnail = Image.open(io.BytesIO(sdk.videos.download_content(done.id, variant="thumbnail").read()))
    assert (thumbnail.format, thumbnail.size) == ("WEBP", (64, 64))
    sheet = Image.open(io.BytesIO(sdk.videos.download_content(done.id, variant="spritesheet").read()))
    assert (sheet.format, sheet.size) == ("JPEG", (3 * 64, 2 * 64))
    assert done.id in [one.id for one in sdk.videos.list(limit=5)]
    assert sdk.videos.delete(done.id).deleted
    with pytest.raises(openai.NotFoundError):
        sdk.videos.retrieve(done.id)


def test_a_picture_goes_on_as_a_film_with_multipart(sdk, picture):
    done = sdk.videos.create_and_poll(
        prompt="the arm moves", input_reference=("a.png", picture), poll_interval_ms=50, **SMALL
    )
    assert (done.status, done.mode) == ("completed", "image-to-video")


def test_the_list_goes_on_page_by_page(sdk):
    made = [sdk.videos.create(prompt=f"film {n}", **SMALL).id for n in range(3)]
    found = [one.id for one in sdk.videos.list(limit=1) if one.id in made]
    assert found == made[::-1]
    for one in made:
        sdk.videos.delete(one)


def test_pictures_come_as_png(sdk):
    made = sdk.images.generate(prompt="a red cube", model="small", n=2, size="64x64",
                               extra_body={"num_inference_steps": 1, "seed": 5})  # fmt: skip
    pictures = [Image.open(io.BytesIO(base64.b64decode(one.b64_json))) for one in made.data]
    assert [one.size for one in pictures] == [(64, 64)] * 2
    assert np.asarray(pictures[0]).tobytes() != np.asarray(pictures[1]).tobytes()


def test_a_picture_is_changed_and_comes_in_the_form_that_is_asked_for(sdk, picture):
    how = {"prompt": "make it blue", "size": "64x64", "extra_body": {"num_inference_steps": 1, "seed": 5}}
    made = sdk.images.edit(image=("a.png", picture), output_format="webp", **how)
    changed = Image.open(io.BytesIO(base64.b64decode(made.data[0].b64_json)))
    assert (changed.format, changed.size, made.output_format, made.size) == ("WEBP", (64, 64), "webp", "64x64")
    told = made.data[0].provenance["request"]
    assert (told["mode"], told["seed"], told["source"]["shape"]) == ("image-edit", 5, [64, 64, 3])


def test_a_model_that_is_not_served_is_a_404(sdk):
    with pytest.raises(openai.NotFoundError):
        sdk.chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": "?"}])


def test_a_film_is_heard_and_its_sound_is_a_file_of_its_own(sdk):
    done = sdk.videos.create_and_poll(prompt="a cube falls", poll_interval_ms=50, size="64x64",
                                      extra_body={**SMALL["extra_body"], "generate_sound": "true"})  # fmt: skip
    assert {"video", "sound"} <= set(done.variants)
    with av.open(io.BytesIO(sdk.videos.download_content(done.id).read())) as film:
        assert film.streams.audio[0].rate == 48_000
    wave = read_wav(io.BytesIO(sdk.videos.download_content(done.id, variant="sound").read()))[0]
    assert wave.shape == (2, 24_000)


def test_actions_come_at_the_top_of_a_job_in_physical_units(sdk, picture, film):
    done = sdk.videos.create_and_poll(
        prompt="take the cube", input_reference=("a.png", picture), poll_interval_ms=50,
        size="64x64",
        extra_body={"extra_params": '{"action_mode": "policy", "domain_name": "umi", "action_chunk_size": 8}',
                                  "num_inference_steps": "2"},
    )  # fmt: skip
    assert done.mode == "policy"
    assert done.action["shape"] == [8, 10] and len(done.action["data"]) == 8
    assert done.action["spec"]["channels"][0]["unit"] == "metre"
    read = sdk.videos.create_and_poll(
        prompt="", input_reference=("f.mp4", film), poll_interval_ms=50,
        extra_body={"mode": "inverse-dynamics", "embodiment": "pusht", "num_inference_steps": 1}, size="64x64",
    )  # fmt: skip
    assert read.action["shape"] == [8, 2]


def test_the_sync_route_sends_the_film_itself(server):
    answer = httpx.post(f"{server.url}/v1/videos/sync", timeout=60, json={
        "prompt": "the arm", "size": "64x64", "num_frames": 5, "num_inference_steps": 1})  # fmt: skip
    assert answer.headers["content-type"] == "video/mp4"
    assert frames_of(answer.content) == 5
    kept = f"{server.url}/v1/videos/{answer.headers['x-armillary-job']}/content?variant=provenance"
    assert httpx.get(kept, timeout=60).json()["request"]["frames"] == 5, "how it was made can be asked for afterwards"
