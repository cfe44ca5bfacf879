"use strict";

const CHANGES = 2, FEATHER = 48;
const brush = {x: 0.5, y: 0.5, down: false, used: false};

function prepareRetouch() {
  const names = studio.controls.filter(one => one.part);
  const rows = Array.from({length: CHANGES}, (_, at) => [
    element("label", {}, at ? "and " : "there with ", element("select", {id: `change-${at}`, onchange: helpChange}, ...(at ? [element("option", {value: ""}, "nothing")] : []),
      ...names.map(one => element("option", {value: one.name}, one.name.replaceAll("_", " "))))),
    element("label", {}, "= ", element("input", {id: `change-value-${at}`, size: 8}))]);
  byId("changes").replaceChildren(...rows.flat(),
    element("label", {}, "feather ", element("input", {id: "touch-feather", type: "number", min: 0, max: 4096, value: FEATHER}), " px"),
    element("button", {id: "render-area"}, "Render the area"), " ",
    element("button", {type: "button", id: "stop-retouch", hidden: true, onclick: () => asked("/api/retouch/stop", {method: "POST"})}, "Stop"), " ",
    element("span", {id: "retouch-progress", className: "quiet", role: "status"}));
  byId("change-0").value = "content_weight";
  helpChange();
  byId("changes").addEventListener("submit", event => { event.preventDefault(); once(byId("render-area"), renderArea); });
  byId("touched").addEventListener("change", () => retouchPoster(byId("touched").value));
  byId("clear").addEventListener("click", clearPaint);
  byId("finished").addEventListener("load", () => {
    Object.assign(byId("paint"), {width: byId("finished").naturalWidth, height: byId("finished").naturalHeight});
    byId("paint").dataset.name = byId("finished").dataset.name;
  });
  preparePaint();
}

function helpChange() {
  const one = studio.controls.find(each => each.name === byId("change-0").value);
  byId("change-help").textContent = `${one.name.replaceAll("_", " ")}: ${one.help}${one.choices ? ` One of: ${one.choices.join(", ")}.` : ""}` + (one.default === null ? "" : ` By default ${one.default}.`);
}

/* Posters that can be chosen; one that was is kept. */
function showFinished(jobs) {
  const names = jobs.filter(job => job.state === "done" && job.has_store).map(job => job.name), select = byId("touched");
  byId("nothing-finished").hidden = names.length > 0;
  byId("retouching").hidden = !names.length;
  const held = byId("finished").dataset.name || names[0];
  if (names.length && studio.tab === "retouch" && !names.includes(byId("finished").dataset.name)) showTouched(names[0]);
  if ([...select.options].map(each => each.value).join("\n") === names.join("\n")) return;
  select.replaceChildren(...names.map(name => element("option", {value: name}, name)));
  if (names.includes(held)) select.value = held;
}

function retouchPoster(name) {
  showTab("retouch");
  byId("touched").value = name;
  showTouched(name);
}

function showTouched(name) {
  clearPaint();
  byId("finished").src = `/api/view/${encodeURIComponent(name)}`;
  byId("finished").dataset.name = name;
}

/* Painting --------------------------------------------------------------------------------------------------------- */

function preparePaint() {
  const canvas = byId("paint");
  const place = event => {
    const box = canvas.getBoundingClientRect();
    moveBrush((event.clientX - box.x) / box.width, (event.clientY - box.y) / box.height);
  };
  canvas.addEventListener("pointerdown", event => { canvas.setPointerCapture(event.pointerId); brush.down = true; place(event); dab(); });
  canvas.addEventListener("pointermove", event => { place(event); if (brush.down) dab(); });
  canvas.addEventListener("pointerup", () => { brush.down = false; });
  canvas.addEventListener("pointerleave", () => { byId("cursor").hidden = document.activeElement !== canvas; });
  canvas.addEventListener("focus", () => moveBrush(brush.x, brush.y));
  canvas.addEventListener("blur", () => { byId("cursor").hidden = true; });
  canvas.addEventListener("keydown", event => {
    const step = {ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1]}[event.key];
    if (step) moveBrush(brush.x + step[0] * 0.02, brush.y + step[1] * 0.02);
    else if (event.key === " ") dab();
    else return;
    event.preventDefault();
  });
}

/* Across, in pixels of the canvas. */
function brushWidth() {
  return Number(byId("brush").value) * byId("paint").width / 1024;
}

function moveBrush(x, y) {
  const canvas = byId("paint"), box = canvas.getBoundingClientRect(), cursor = byId("cursor");
  brush.before = [brush.x, brush.y];
  brush.x = Math.min(1, Math.max(0, x));
  brush.y = Math.min(1, Math.max(0, y));
  const wide = brushWidth() / canvas.width * box.width;
  cursor.hidden = false;
  Object.assign(cursor.style, {left: `${brush.x * box.width - wide / 2}px`, top: `${brush.y * box.height - wide / 2}px`, width: `${wide}px`, height: `${wide}px`});
}

function dab() {
  const canvas = byId("paint"), context = canvas.getContext("2d");
  context.globalCompositeOperation = byId("erase").checked ? "destination-out" : "source-over";
  context.lineCap = "round";
  context.strokeStyle = "#e03010";
  context.lineWidth = brushWidth();
  context.beginPath();
  const [x, y] = brush.down ? brush.before : [brush.x, brush.y];
  context.moveTo(x * canvas.width, y * canvas.height);
  context.lineTo(brush.x * canvas.width, brush.y * canvas.height + 0.01);
  context.stroke();
  brush.before = [brush.x, brush.y];
  brush.used = true;
}

function clearPaint() {
  brush.used = false;
  byId("paint").getContext("2d").clearRect(0, 0, byId("paint").width, byId("paint").height);
}

/* White where something was painted. */
function mask() {
  const {width, height} = byId("paint"), made = element("canvas", {width, height}), context = made.getContext("2d");
  context.drawImage(byId("paint"), 0, 0);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.globalCompositeOperation = "destination-over";
  context.fillStyle = "#000";
  context.fillRect(0, 0, width, height);
  return made.toDataURL("image/png");
}

/* Rendering -------------------------------------------------------------------------------------------------------- */

async function renderArea() {
  const set = {};
  for (let at = 0; at < CHANGES; at++) {
    const name = byId(`change-${at}`).value, value = byId(`change-value-${at}`).value.trim();
    if (name && value) set[name] = value;
  }
  try {
    complain("");
    const said = {name: byId("touched").value, mask: mask(), set, feather: Number(byId("touch-feather").value)};
    const {run} = await asked("/api/retouch", {method: "POST", body: JSON.stringify(said)});
    brush.used = false;
    followRetouch(run, said.name);
  } catch (error) {
    complain(error.message);
  }
}

/* name: of the poster that is retouched. What came of it is shown in its place, unless another was chosen meanwhile or
   something painted. */
async function followRetouch(run, name) {
  await follow("retouch", run, async now => {
    byId("stop-retouch").hidden = now.done;
    byId("retouch-progress").textContent = now.error || (now.name ? `finished: ${now.name}` : now.done ? "stopped" : `${(100 * now.share).toFixed(0)} %${left(now)}`);
    byId("retouch-progress").classList.toggle("bad", Boolean(now.error));
    if (!now.name) return;
    await queueLook;  // which may have begun before it was there
    await lookAtQueue();
    if ((name && byId("finished").dataset.name !== name) || brush.used) return;
    byId("touched").value = now.name;
    showTouched(now.name);
  });
}
