// Moves of the live world: what each key means for a body, and the row of actions that it becomes.

const TURN = 3 * Math.PI / 180;  // of a camera, for one frame

function cameraMoves(body, at) {  // nine numbers: how far right, down and ahead, and two columns of a rotation
  const far = .05 * body.limits[at("ahead")][1];
  const along = body.domain === "av" ? far : 0;  // a car does not turn where it stands
  const step = (right, down, ahead, angle) => ({ row: [right, down, ahead, Math.cos(angle), 0, -Math.sin(angle), 0, 1, 0] });
  const both = [["Ahead", "ArrowUp", step(0, 0, far, 0)], ["Back", "ArrowDown", step(0, 0, -far, 0)],
    ["Turn left", "ArrowLeft", step(0, 0, along, -TURN)], ["Turn right", "ArrowRight", step(0, 0, along, TURN)]];
  if (along) return both;
  return [...both, ["Left", "q", step(-far, 0, 0, 0)], ["Right", "e", step(far, 0, 0, 0)],
    ["Up", "PageUp", step(0, -far, 0, 0)], ["Down", "PageDown", step(0, far, 0, 0)]];
}

export function movesOf(body) {  // name, key, and a whole row or which channels change, by what share of their limit
  const at = (channel) => body.channels.indexOf(channel);
  if (at("ahead") >= 0 && at("first_x") >= 0) return cameraMoves(body, at);
  if (at("step_x") >= 0 && at("gripper") >= 0)
    return [["Forward", "ArrowUp", { [at("step_x")]: .25 }], ["Back", "ArrowDown", { [at("step_x")]: -.25 }],
      ["Left", "ArrowLeft", { [at("step_y")]: .25 }], ["Right", "ArrowRight", { [at("step_y")]: -.25 }],
      ["Up", "PageUp", { [at("step_z")]: .25 }], ["Down", "PageDown", { [at("step_z")]: -.25 }],
      ["Close", "c", { [at("gripper")]: "low" }], ["Open", "o", { [at("gripper")]: "high" }]];
  return body.channels.slice(0, 4).flatMap((channel, column) => [
    [`More ${channel}`, ["ArrowRight", "ArrowUp", "PageUp", "e"][column], { [column]: .25 }],
    [`Less ${channel}`, ["ArrowLeft", "ArrowDown", "PageDown", "q"][column], { [column]: -.25 }]]);
}

export function rowOf(body, changes) {  // the numbers of one step
  if (changes.row) return changes.row;
  const row = body.rest.slice();
  for (const [column, share] of Object.entries(changes)) {
    const [low, high] = body.limits[column];
    row[column] = share === "low" ? low : share === "high" ? high : row[column] + share * (share > 0 ? high - row[column] : row[column] - low);
  }
  return row;
}
