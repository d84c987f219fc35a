// The studio: forms, jobs, chat and a live world over the server's own HTTP. No build step, nothing fetched from elsewhere.

import { addControls, drawControls, fitControls } from "./controls.js";
import { movesOf, rowOf } from "./moves.js";

const $ = (id) => document.getElementById(id);
const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
};
const svg = (tag, attributes) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};

let model = null;
let key = sessionStorage.getItem("armillary-key") || "";

let saying = null;

function say(text, bad = false) {  // what went well is gone after a while, what went wrong stays until something new is said
  clearTimeout(saying);
  $("said").textContent = text;
  $("said").classList.toggle("bad", bad);
  if (text && !bad) saying = setTimeout(() => say(""), 8000);
}

async function ask(path, options = {}) {
  const headers = { ...(options.headers || {}), ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  const answer = await fetch(path, { ...options, headers });
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({ error: { message: `the server answered ${answer.status}` } }));
    if (answer.status === 401) $("key-form").hidden = false;
    throw new Error(told.error.message);
  }
  return answer;
}

const asUrl = (file) => new Promise((done, fail) => {
  const reader = new FileReader();
  reader.onload = () => done(reader.result);
  reader.onerror = () => fail(new Error("the file cannot be read"));
  reader.readAsDataURL(file);
});

// ---- what the server can do ------------------------------------------------------------------------------------------

async function begin() {
  try {
    model = (await (await ask("/v1/models")).json()).data[0];
  } catch (wrong) {
    say(wrong.message, true);
    return;
  }
  $("key-form").hidden = true;
  $("about").textContent = `${model.id}: ${Object.keys(model.modes).length} modes, pictures of ${model.size}, ${model.fps} frames a second.`;
  $("notice").hidden = !model.notice;
  $("notice").textContent = model.notice || "";
  const learnt = Object.keys(model.modes).filter((name) => name !== "reason");
  $("mode").replaceChildren(...learnt.map((name) => make("option", { value: name, text: name.replaceAll("-", " ") })),
    ...Object.keys(model.unlearnt).map((name) => make("option", { value: name, text: `${name.replaceAll("-", " ")} (not learnt)` })));
  $("mode").value = "text-to-video";
  for (const id of ["embodiment", "world-body"])
    $(id).replaceChildren(...Object.keys(model.embodiments).map((name) => make("option", { value: name, text: name })));
  $("size").value = model.size;
  fit();
  moves();
  await look();
}

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key = $("key").value.trim();
  sessionStorage.setItem("armillary-key", key);
  begin();
});

// ---- imagine ----------------------------------------------------------------------------------------------------------

drawControls($("controls"), () => { fit(false); say(""); });

function fit(anew = true) {  // the fields of the chosen mode; `anew`: with what is usual for it
  const name = $("mode").value;
  const able = name in model.modes;
  const mode = able ? model.modes[name] : model.unlearnt[name];
  const held = mode.needs.includes("controls");
  const made = fitControls(held && able);
  const needs = [...mode.needs.map((field) => field === "sound" ? "heard" : field), ...(made ? ["video"] : [])];
  const always = new Set(["prompt", "size", "num_frames", "num_inference_steps", "guidance_scale", "seed", "negative_prompt"]);
  if (mode.frames === 1 || name === "forward-dynamics" || name === "inverse-dynamics" || name === "video-to-sound") always.delete("num_frames");
  if (mode.sound && name !== "video-to-sound") always.add("sound");
  if (held) always.add("control_guidance");
  const past = mode.history && $("video").files.length > 0;
  document.querySelector("label[for=video]").textContent = mode.history ? "Or a film of what came before" : "Film";
  document.querySelector("label[for=image]").textContent = name === "image-edit" ? "Picture to change" : "First picture";
  for (const field of document.querySelectorAll("#imagine-form [data-field]")) {
    const wanted = field.dataset.field;
    field.hidden = !(always.has(wanted) || needs.includes(wanted) || (mode.history && wanted === "video")
      || (wanted === "heard" && mode.takes.includes("sound")));
    if (wanted === "controls") continue;  // whose own fields are told by what is chosen among them
    for (const input of field.querySelectorAll("input, textarea, select")) {
      input.required = needs.includes(wanted) && !(past && wanted === "image");
      input.disabled = field.hidden || !able;
    }
  }
  $("lacks").textContent = able ? "" : `${model.id} has not learnt ${name.replaceAll("-", " ")}, so it cannot be asked for here. A checkpoint that has says so in its defaults.json.`;
  $("lacks").hidden = able;
  $("imagine-it").disabled = !able;
  if (!anew) return;
  for (const [id, usual, unsaid] of [["frames", mode.frames, held ? "as controls" : needs.includes("heard") ? "as its sound" : ""],
    ["guidance", mode.guidance, held ? "as each is best" : mode.acted ? `${mode.guidance}, or as acted` : ""],
    ["steps", mode.steps, mode.acted ? `${mode.steps}, or as acted` : ""]]) {  // who says how a film walks is not shown it acted
    $(id).value = unsaid ? "" : usual;
    $(id).placeholder = unsaid;
  }
  const body = model.embodiments[$("embodiment").value];
  if (body && mode.needs.includes("actions") && !$("actions").value) $("actions").value = JSON.stringify(Array(8).fill(body.rest));
}

$("mode").addEventListener("change", () => {
  if (model.modes[$("mode").value]?.history) $("video").value = "";  // the film of another mode is not what came before
  fit();
});
$("video").addEventListener("change", () => fit(false));
$("embodiment").addEventListener("change", () => { $("actions").value = ""; fit(); });

$("imagine-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = new FormData();
  for (const input of event.target.elements) {
    if (!input.name || input.disabled) continue;
    if (input.type === "file") { if (input.files[0]) form.append(input.name, input.files[0]); }
    else if (input.name === "generate_sound") heardAs(form, input.value);
    else if (input.value !== "") form.append(input.name, input.value);
  }
  if ($("mode").value === "transfer" && !addControls(form)) {
    say("Choose at least one control: where its film comes from.", true);
    $("control-from-edge").focus();
    return;
  }
  try {
    const job = await (await ask("/v1/videos", { method: "POST", body: form })).json();
    say(`On the table as ${job.mode}: ${job.queue_position ?? 0} before it.`);
    await look();
  } catch (wrong) {
    say(wrong.message, true);
  }
});

function heardAs(form, choice) {
  if (!choice) return;
  form.append("generate_sound", "true");
  if (choice === "alone") form.append("outputs", '["sound"]');
}

// ---- jobs -------------------------------------------------------------------------------------------------------------

const compared = new Set();
const thumbnails = new Map();
let looking = null;

async function look() {
  clearTimeout(looking);
  let jobs = [];
  try {
    jobs = (await (await ask("/v1/videos?limit=12")).json()).data;
    const list = $("job-list");
    const old = new Map([...list.children].map((card) => [card.dataset.job, card]));
    const cards = jobs.map((job) => old.get(job.id) || make("li", { "data-job": job.id }));
    if (cards.some((card, i) => list.children[i] !== card) || list.children.length !== cards.length) {
      const focused = document.activeElement && list.contains(document.activeElement) ? document.activeElement : null;
      list.replaceChildren(...cards);
      if (focused) focused.focus();
    }
    jobs.forEach((job, i) => draw(cards[i], job));
    if (!jobs.length) list.replaceChildren(make("li", { class: "empty", text: "Nothing yet." }));
  } catch (wrong) {
    say(wrong.message, true);
  }
  const busy = jobs.some((job) => ["queued", "in_progress"].includes(job.status));
  looking = setTimeout(look, busy ? 700 : 5000);
}

function stateOf(job) {
  if (job.status === "queued") return `waits, ${job.queue_position} before it${job.expected_seconds ? `, about ${job.expected_seconds.toFixed(0)} s` : ""}`;
  if (job.status === "in_progress") return `computing, ${job.progress} %${job.expected_seconds ? `, about ${Math.ceil(job.expected_seconds)} s to go` : ""}`;
  if (job.status === "failed") return `${job.error.code}: ${job.error.message}`;
  return `done, ${job.size}${job.variants.includes("image") ? "" : `, ${job.seconds} s`}`;
}

function draw(card, job) {
  const sign = JSON.stringify([job.status, job.progress, job.queue_position, compared.has(job.id), job.preview]);
  if (card.dataset.sign === sign) return;
  const rebuild = card.dataset.status !== job.status;
  card.dataset.sign = sign;
  card.dataset.status = job.status;
  if (!rebuild) {
    card.querySelector(".state").textContent = stateOf(job);
    const bar = card.querySelector("progress");
    if (bar) bar.value = job.progress;
    if (job.preview) glimpse(card, job);
    return;
  }
  const over = !["queued", "in_progress"].includes(job.status);
  const title = make("strong", { text: job.mode });
  const words = job.prompt || "no prompt";
  const what = make("div", { class: "what" }, title, ` ${words.length > 90 ? words.slice(0, 90) + "…" : words}`,
    make("div", { class: `state ${job.status}`, text: stateOf(job) }));
  if (!over) what.append(make("progress", { max: 100, value: job.progress, "aria-label": `Progress of ${job.mode}` }));
  const tools = make("div", { class: "tools" });
  if (job.status === "completed") {
    const box = make("input", { type: "checkbox", onchange: () => { toggle(job, box.checked); } });
    box.checked = compared.has(job.id);
    tools.append(make("label", {}, box, "Show"));
    for (const variant of job.variants.filter((name) => ["video", "image", "sound", "actions", "provenance"].includes(name)))
      tools.append(make("button", { type: "button", text: `Save ${variant}`, onclick: () => save(job, variant) }));
  }
  if (!over) tools.append(make("button", { type: "button", text: "Cancel", onclick: () => end(job, "cancel") }));
  tools.append(make("button", { type: "button", text: "Delete", onclick: () => end(job, "delete") }));
  const picture = make("div", { class: "none", text: job.variants.includes("sound") && !job.variants.includes("video") ? "sound" : "" });
  card.replaceChildren(picture, what, tools);
  if (job.variants.includes("thumbnail")) content(job, "thumbnail").then((url) => picture.replaceWith(make("img", { src: url, alt: "" }))).catch(() => {});
}

async function glimpse(card, job) {  // what there is so far
  const blob = await ask(`/v1/videos/${job.id}/content?variant=preview`).then((answer) => answer.blob()).catch(() => null);
  const place = card.querySelector(".none, img");
  if (blob && place && card.dataset.status === "in_progress")
    place.replaceWith(make("img", { src: URL.createObjectURL(blob), alt: "what it looks like so far" }));
}

async function content(job, variant) {
  const name = `${job.id}/${variant}`;
  if (!thumbnails.has(name)) thumbnails.set(name, ask(`/v1/videos/${job.id}/content?variant=${variant}`).then((a) => a.blob()).then((b) => URL.createObjectURL(b)));
  return thumbnails.get(name);
}

async function save(job, variant) {
  const link = make("a", { href: await content(job, variant), download: `${job.mode}-${job.id.slice(4, 12)}.${{ video: "mp4", image: "png", sound: "wav" }[variant] || "json"}` });
  link.click();
}

async function end(job, how) {
  try {
    await ask(`/v1/videos/${job.id}${how === "cancel" ? "/cancel" : ""}`, { method: how === "cancel" ? "POST" : "DELETE" });
    if (how === "delete") toggle(job, false);
    say(how === "cancel" ? "Cancelled." : "Deleted.");
    await look();
    const next = document.querySelector("#job-list button");
    (next || $("jobs-title")).focus?.();
  } catch (wrong) {
    say(wrong.message, true);
  }
}

async function toggle(job, shown) {
  if (!shown) {
    compared.delete(job.id);
    document.querySelector(`#stage [data-job="${job.id}"]`)?.remove();
    return;
  }
  compared.add(job.id);
  const figure = make("figure", { "data-job": job.id });
  if (job.variants.includes("video")) {
    const film = make("video", { src: await content(job, "video"), controls: true, loop: true, muted: true, playsinline: true, "aria-label": `${job.mode}: ${job.prompt || "no prompt"}` });
    film.autoplay = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    film.addEventListener("play", () => together(film));
    figure.append(film);
  } else if (job.variants.includes("image")) {
    figure.append(make("img", { src: await content(job, "image"), alt: job.prompt || "an imagined picture" }));
  } else if (job.variants.includes("sound")) {
    figure.append(make("audio", { src: await content(job, "sound"), controls: true, "aria-label": `sound of ${job.prompt || "no prompt"}` }));
  }
  figure.append(make("figcaption", { text: `${job.mode}: ${job.prompt || "no prompt"}` }));
  if (job.action) figure.append(curves(job.action));
  $("stage").append(figure);
}

function together(film) {
  for (const other of document.querySelectorAll("#stage video"))
    if (other !== film && other.paused) { other.currentTime = film.currentTime; other.play().catch(() => {}); }
}

function curves(action) {
  const all = make("div", { class: "curves" });
  action.spec.channels.forEach((channel, column) => {
    const numbers = action.data.map((row) => row[column]);
    const low = Math.min(channel.low, ...numbers), high = Math.max(channel.high, ...numbers);
    const points = numbers.map((x, i) => `${(i / Math.max(1, numbers.length - 1)) * 100},${38 - ((x - low) / (high - low || 1)) * 36}`).join(" ");
    const drawing = svg("svg", { viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img", "aria-label": `${channel.name}: from ${numbers[0].toPrecision(3)} to ${numbers.at(-1).toPrecision(3)} ${channel.unit}` });
    drawing.append(svg("polyline", { points }));
    const few = (x) => Number(x.toPrecision(3)).toString();
    const caption = make("figcaption", {}, make("b", { text: channel.name }), ` ${few(Math.min(...numbers))} … ${few(Math.max(...numbers))} ${channel.unit}`);
    all.append(make("figure", {}, drawing, caption));
  });
  return all;
}

// ---- chat -------------------------------------------------------------------------------------------------------------

let turns = [];
let lastShown = null;
let sending = false;

$("words").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("chat-form").requestSubmit();
});

$("chat-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const words = $("words").value.trim();
  if (sending || !words) return;
  sending = true;
  say("");
  const file = $("shown").files[0], talk = turns, content = [];
  let answered = "", reply = null;
  const mine = make("li", {}, make("span", { class: "who", text: "You" }), words);
  try {
    if (file) {
      const url = await asUrl(file);
      const kind = file.type.startsWith("video") ? "video_url" : "image_url";
      content.push({ type: kind, [kind]: { url } });
      lastShown = { kind, url: URL.createObjectURL(file) };
      mine.append(seen(lastShown));
    }
    content.push({ type: "text", text: words });
    reply = make("li", {}, make("span", { class: "who", text: model.id }));
    const thought = make("span", { class: "thought" }), said = make("span");
    reply.append(thought, said);
    $("turns").append(mine, reply);
    $("words").value = "";
    said.textContent = "…";
    const answer = await ask("/v1/chat/completions", {
      method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ messages: [...talk, { role: "user", content }], stream: true, max_tokens: 256, temperature: Number($("temperature").value) }),
    });
    for await (const chunk of events(answer)) {
      if (chunk.error) throw new Error(chunk.error.message);
      const delta = chunk.choices[0]?.delta || {};
      thought.textContent += delta.reasoning_content || "";
      answered += delta.content || "";
      said.textContent = answered || "…";
    }
    said.textContent = answered || "(no words)";
    if ($("shown").files[0] === file) $("shown").value = "";
    talk.push({ role: "user", content }, { role: "assistant", content: answered });
    const found = boxes(answered);
    if (found.length && lastShown?.kind === "image_url") reply.append(seen(lastShown, found));
  } catch (wrong) {  // as if nothing had been sent: the words stand in the form again
    mine.remove();
    reply?.remove();
    if (!$("words").value) $("words").value = words;
    say(wrong.message, true);
  } finally {
    sending = false;
  }
});

$("forget").addEventListener("click", () => { turns = []; lastShown = null; $("turns").replaceChildren(); $("words").focus(); });

async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const lines = rest.split("\n\n");
    rest = lines.pop();
    for (const line of lines) if (line.startsWith("data: {")) yield JSON.parse(line.slice(6));
  }
}

function boxes(text) {  // corners in hundredths of the picture
  return [...text.matchAll(/\((\d+),\s*(\d+)\),\s*\((\d+),\s*(\d+)\)/g)].map((found) => found.slice(1).map(Number));
}

function seen(shown, found = []) {
  const holder = make("div", { class: "looked" });
  holder.append(shown.kind === "video_url"
    ? make("video", { src: shown.url, controls: true, muted: true, "aria-label": "the film that was sent" })
    : make("img", { src: shown.url, alt: found.length ? "the picture with the boxes that were named" : "the picture that was sent" }));
  if (found.length) {
    const drawing = svg("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" });
    for (const [a, b, c, d] of found)
      for (const name of ["under", "over"])
        drawing.append(svg("rect", { class: name, x: Math.min(a, c), y: Math.min(b, d), width: Math.abs(c - a), height: Math.abs(d - b) }));
    holder.append(drawing);
  }
  return holder;
}

// ---- the live world ---------------------------------------------------------------------------------------------------

let socket = null;
let film = null;
let pending = 0;
const STEPS = 4;  // actions of one move
const ARROWS = { ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→" };

function moves() {
  const name = $("world-body").value;
  if (!name) return;
  $("moves").replaceChildren(...movesOf(model.embodiments[name]).map((move) =>
    make("button", { type: "button", disabled: !socket, onclick: () => act(move) }, move[0], make("kbd", { text: ARROWS[move[1]] || move[1] }))));
}

$("world-body").addEventListener("change", () => { if (!socket) moves(); });
$("live").addEventListener("keydown", (event) => {
  const move = movesOf(model.embodiments[$("world-body").value]).find((one) => one[1] === event.key);
  if (move && socket) { event.preventDefault(); act(move); }
});

function act([label, , changes]) {
  if (pending > 3) return;
  const row = rowOf(model.embodiments[$("world-body").value], changes);
  pending += 1;
  $("live-said").textContent = `${label}: being imagined …`;
  socket.send(JSON.stringify({ type: "session.interaction", interaction: { event_id: label,
    event: { multi_modal_data: { action: { data: Array(STEPS).fill(row), embodiment: $("world-body").value } } } } }));
}

$("world-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  stop();
  const start = { type: "session.start", format: "m4s", prompt: $("world-prompt").value, embodiment: $("world-body").value };
  if ($("world-steps").value) start.steps = Number($("world-steps").value);
  const file = $("world-image").files[0];
  if (file) start.image = await asUrl(file);
  const where = new URL("/v1/realtime/video", location.href);
  where.protocol = where.protocol.replace("http", "ws");
  if (key) where.searchParams.set("key", key);
  const line = new WebSocket(where);  // an older one may still be closing: what it says is not heard any more
  socket = line;
  line.binaryType = "arraybuffer";
  line.onopen = () => line.send(JSON.stringify(start));
  line.onmessage = (message) => {
    if (socket === line) (typeof message.data === "string" ? heard(JSON.parse(message.data)) : film?.add(message.data));
  };
  line.onclose = () => { if (socket === line) { socket = null; ready(); } };
  pending = 0;
  ready();
  $("live-said").textContent = "Beginning …";
});

function heard(message) {
  if (message.type === "video.start") { film = growing($("live")); $("live").focus(); }
  else if (message.type === "video.chunk_metadata") {
    pending = Math.max(0, pending - 1);
    const count = message.first_frame + message.frames;
    $("live-said").textContent = `${count} ${count === 1 ? "frame" : "frames"} imagined.`;
  } else if (message.type === "error" || message.error) {
    pending = Math.max(0, pending - 1);
    $("live-said").textContent = message.message || message.error.message;
  }
}

function ready() {  // what can be pressed while a session is open, and while none is
  $("world-stop").disabled = !socket;
  $("world-body").disabled = Boolean(socket);
  moves();
}

function stop() {
  if (!socket) return;
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: "session.stop" }));
  $("live-said").textContent = "Stopped.";
}

$("world-stop").addEventListener("click", stop);
setInterval(() => { if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: "session.ping" })); }, 20000);

function growing(video) {  // pieces of film, played as they come
  const source = new MediaSource();
  const waiting = [];
  let buffer = null;
  const feed = () => { if (buffer && !buffer.updating && waiting.length) buffer.appendBuffer(waiting.shift()); };
  source.addEventListener("sourceopen", () => {
    buffer = source.addSourceBuffer('video/mp4; codecs="avc1.64001f"');
    buffer.addEventListener("updateend", () => { if (video.paused) video.play().catch(() => {}); feed(); });
    feed();
  });
  video.src = URL.createObjectURL(source);
  return { add: (data) => { waiting.push(data); feed(); } };
}

begin();
