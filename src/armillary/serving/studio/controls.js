// Controls of a film: for each kind where it comes from, how fine it is, how much it counts; and the form's fields of it.

const MADE = ["edge", "blur"];  // of any film, by the server itself; the others are films or pictures of their own
const STRENGTHS = ["very low", "low", "medium", "high", "very high"];
export const KINDS = { edge: "Edges", blur: "Blur", depth: "Depth", segmentation: "Segmentation", map: "Map" };

const at = (part, kind) => document.getElementById(`control-${part}-${kind}`);

function field(kind, part, label, input) {
  input.id = `control-${part}-${kind}`;
  const holder = document.createElement("div");
  holder.className = "field";
  const named = document.createElement("label");
  named.htmlFor = input.id;
  named.textContent = label;
  holder.append(named, input);
  return holder;
}

function choice(options) {
  const select = document.createElement("select");
  for (const [value, text] of options) select.append(new Option(text, value));
  return select;
}

function entry(attributes) {
  return Object.assign(document.createElement("input"), attributes);
}

export function drawControls(place, changed) {  // a group for each kind; `changed` is called when one is chosen or left out
  for (const [kind, name] of Object.entries(KINDS)) {
    const group = document.createElement("div");
    group.className = "control";
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", name);
    const made = MADE.includes(kind);
    const from = choice([["", "not used"], ...(made ? [["made", "made of the film"]] : []), ["file", "a file"]]);
    const strength = choice(STRENGTHS.map((word) => [word, word]));
    strength.value = "medium";
    const file = entry({ type: "file", accept: "video/mp4,video/webm,image/png,image/jpeg,image/webp" });
    const weight = entry({ type: "number", min: "0", step: "any", value: "1" });
    group.append(field(kind, "from", name, from));
    if (made) group.append(field(kind, "strength", `${name}: how much is kept`, strength));
    group.append(field(kind, "file", `${name}: film or picture`, file), field(kind, "weight", `${name}: weight`, weight));
    from.addEventListener("change", changed);
    place.append(group);
  }
}

export function fitControls(shown) {  // shows what the choices need; says whether a film is needed of which one is made
  let made = false;
  for (const kind of Object.keys(KINDS)) {
    const from = shown ? at("from", kind).value : "";
    made ||= from === "made";
    at("from", kind).disabled = !shown;
    for (const [part, wanted] of [["strength", from === "made"], ["file", from === "file"], ["weight", from !== ""]]) {
      const input = at(part, kind);
      if (!input) continue;
      input.closest(".field").hidden = !wanted;
      input.disabled = !wanted;
      input.required = wanted;
    }
  }
  return made;
}

export function addControls(form) {  // the chosen ones as fields of a form, by the server's names; says how many
  const chosen = Object.keys(KINDS).filter((kind) => at("from", kind).value !== "");
  for (const kind of chosen) {
    const told = { control_weight: Number(at("weight", kind).value) };
    if (at("from", kind).value === "file") form.append(kind, at("file", kind).files[0]);
    else told[kind === "edge" ? "preset_edge_threshold" : "preset_blur_strength"] = at("strength", kind).value;
    form.append(kind, JSON.stringify(told));
  }
  return chosen.length;
}
