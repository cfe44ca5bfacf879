"use strict";

const ASK_EVERY = 1000, ASK_AT_REST = 10000;
let state = null, shown = null, changed = new Map(), viewer = null;

/* As large as anything is to be seen at: of zooms that are not there yet the viewer would show nothing at all. */
function source(now) {
  const smaller = 2 ** (Math.ceil(Math.log2(Math.max(now.width, now.height))) - now.zoom);
  return {
    width: Math.ceil(now.width / smaller),
    height: Math.ceil(now.height / smaller),
    tileSize: now.tile,
    tileOverlap: 0,
    minLevel: 0,
    getTileUrl: (zoom, column, row) => `api/tiles/${zoom}/${column}_${row}.jpg`,
    getTileHashKey: (zoom, column, row) => `${now.job}/${now.version}/${zoom}/${column}/${row}`,
  };
}

function makeViewer() {
  viewer = OpenSeadragon({
    element: byId("viewer"),
    drawer: "canvas",
    showNavigationControl: false,
    loadTilesWithAjax: true,
    imageLoaderLimit: 4,
    minZoomImageRatio: 0.5,
    maxZoomPixelRatio: 8,
    imageSmoothingEnabled: true,
    animationTime: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 0.5,
  });
  const layer = element("canvas");
  layer.id = "overlay";
  Object.assign(layer.style, {position: "absolute", inset: "0", width: "100%", height: "100%", pointerEvents: "none"});
  viewer.canvas.append(layer);
  for (const event of ["update-viewport", "open", "resize"]) viewer.addHandler(event, drawOverlay);
}

/* The new picture is laid over the old one, which goes when all of the new one is there: nothing flickers. */
function showPicture(now) {
  const same = shown && shown.job === now.job && shown.width === now.width && shown.height === now.height;
  shown = {job: now.job, version: now.version, width: now.width, height: now.height};
  const whole = item => {
    const over = () => {
      while (viewer.world.getItemCount() > 1 && viewer.world.getItemAt(0) !== item) {
        viewer.world.removeItem(viewer.world.getItemAt(0));
      }
      byId("viewer").dataset.shown = now.version;
    };
    if (item.getFullyLoaded()) over();
    else item.addOnceHandler("fully-loaded-change", over);
  };
  if (same) viewer.addTiledImage({tileSource: source(now), success: ({item}) => whole(item)});
  else {
    viewer.addOnceHandler("open", () => whole(viewer.world.getItemAt(0)));
    viewer.open(source(now));
  }
}

/* What lies over the picture ------------------------------------------------------------------------------------ */

function gridShown() {
  if (!state) return null;
  const level = state.levels[Math.min(state.level, state.levels.length - 1)];
  return {level, number: Math.min(state.level, state.levels.length - 1)};
}

function drawOverlay() {
  const layer = byId("overlay"), found = gridShown();
  if (!layer || !found || !viewer.world.getItemCount()) return;
  const box = viewer.canvas.getBoundingClientRect(), ratio = devicePixelRatio || 1;
  layer.width = box.width * ratio;
  layer.height = box.height * ratio;
  const context = layer.getContext("2d");
  context.scale(ratio, ratio);
  const item = viewer.world.getItemAt(viewer.world.getItemCount() - 1);
  const shownAt = item.getContentSize();
  const place = (x, y) => item.imageToViewerElementCoordinates(new OpenSeadragon.Point(x / state.width * shownAt.x, y / state.height * shownAt.y));
  const {level} = found, across = state.width / level.width, down = state.height / level.height;
  const shade = byId("shade").value, lines = byId("lines").checked;
  if (!lines && !shade) return;
  const colours = shade ? coloursOf(level, shade) : null;
  for (let row = 0; row < level.rows; row++) {
    for (let column = 0; column < level.columns; column++) {
      const a = place(column * level.core[1] * across, row * level.core[0] * down);
      const b = place(Math.min((column + 1) * level.core[1], level.width) * across,
                      Math.min((row + 1) * level.core[0], level.height) * down);
      if (b.x < 0 || b.y < 0 || a.x > box.width || a.y > box.height) continue;
      const colour = colours && colours[row * level.columns + column];
      if (colour) {
        context.fillStyle = colour;
        context.fillRect(a.x, a.y, b.x - a.x, b.y - a.y);
      }
      if (lines) {
        context.strokeStyle = "#fff";
        context.lineWidth = 2;
        context.strokeRect(a.x, a.y, b.x - a.x, b.y - a.y);
        context.strokeStyle = "#000";
        context.lineWidth = 1;
        context.strokeRect(a.x, a.y, b.x - a.x, b.y - a.y);
      }
    }
  }
}

function coloursOf(level, shade) {
  if (shade === "loss") {
    if (!level.losses) return null;
    const most = Math.max(...level.losses) || 1;
    return level.losses.map(loss => `rgb(220 60 20 / ${(0.65 * loss / most).toFixed(3)})`);
  }
  if (!level.tiles) return null;
  const now = Date.now();
  return level.tiles.map((_, tile) => {
    const age = (now - (changed.get(tile) || 0)) / 1000;
    return age < 60 ? `rgb(40 150 220 / ${(0.6 * (1 - age / 60)).toFixed(3)})` : null;
  });
}

function noteChanges(before, now) {
  const old = before && before.level === now.level ? before.levels[now.level]?.tiles : null, tiles = now.levels[now.level]?.tiles;
  if (!before || before.level !== now.level) changed = new Map();
  if (tiles) tiles.forEach((value, tile) => {
    if (value !== (old ? old[tile] : -1)) changed.set(tile, Date.now());
  });
}

/* What is said -------------------------------------------------------------------------------------------------- */

function say(now) {
  const at = Math.min(now.level, now.levels.length - 1), level = now.levels[at];
  let text;
  if (now.gone) text = now.gone;
  else if (now.level === now.levels.length) text = "All levels are finished.";
  else {
    const left = now.seconds_left === null ? "" : `, about ${duration(now.seconds_left)} left`;
    const who = now.writer ? `process ${now.writer.pid} on ${now.writer.host} renders` :
      now.remote ? "who renders is not known here" : "nobody renders";
    const steps = level.steps ? `, step ${level.steps_done} of ${level.steps} in the store` : "";
    text = `Level ${at + 1} of ${now.levels.length} (${level.width} × ${level.height})${steps}${now.writer ? left : ""}; ${who}`;
  }
  if (byId("status").textContent !== text) byId("status").textContent = text;
  byId("status").classList.toggle("bad", Boolean(now.gone));
  byId("steering").hidden = !now.steered;
  byId("stop").hidden = !now.writer;
  byId("levels").replaceChildren(...now.levels.map((one, index) => row(one, index, now)));
  const legend = {loss: level.losses ? "Redder: more of the loss of content and smoothness." :
                        "The loss of each tile is in the store while a level has a checkpoint.",
                  change: "Bluer: changed in the last minute."};
  byId("legend").textContent = legend[byId("shade").value] || "";
}

function row(one, index, now) {
  const share = one.report ? 1 : one.steps ? one.steps_done / one.steps : 0;
  const cells = [element("td", {}, index + 1), element("td", {}, `${one.width} × ${one.height}`),
    element("td", {}, element("progress", {max: 1, value: share, title: `${Math.round(100 * share)} %`})),
    element("td", {}, one.report ? number(one.report.style) : ""),
    element("td", {}, one.report ? number(one.report.loss) : "")];
  if (index === now.level) cells[0].setAttribute("aria-current", "true");
  return element("tr", {}, ...cells);
}

/* One point for each finished level; of the one that is rendered, each checkpoint that was seen. Logarithmic. */
function drawCurves(now) {
  const points = [];
  now.levels.forEach((one, index) => {
    for (const seen of now.course.filter(each => each.level === index && one.steps)) {
      points.push({x: index + seen.steps / one.steps, content: seen.content, tv: seen.tv});
    }
    if (one.report && one.report.loss !== undefined) points.push({x: index + 1, ...one.report});
  });
  points.sort((one, other) => one.x - other.x);
  const values = points.flatMap(one => ["style", "content", "tv"].map(kind => one[kind])).filter(value => value > 0);
  const svg = byId("curves");
  svg.replaceChildren();
  byId("curves-legend").textContent = values.length ? "Blue: style. Orange: content. Green: smoothness. Levels from left to right." :
    "Known when the first level is finished.";
  if (!values.length) return;
  const low = Math.log10(Math.min(...values)) - 0.1, high = Math.log10(Math.max(...values)) + 0.1;
  const x = value => 30 + 280 * value / now.levels.length;
  const y = value => 130 - 120 * (Math.log10(value) - low) / (high - low);
  for (let power = Math.ceil(low); power <= high; power++) {
    svg.append(drawn("text", {x: 2, y: y(10 ** power) + 3}, `1e${power}`));
  }
  now.levels.forEach((one, index) => svg.append(drawn("text", {x: x(index + 1) - 8, y: 139}, index + 1)));
  for (const kind of ["style", "content", "tv"]) {
    const line = points.filter(one => one[kind] > 0).map(one => [x(one.x), y(one[kind])]);
    svg.append(drawn("polyline", {class: kind, points: line.map(each => each.join(",")).join(" ")}));
    for (const [cx, cy] of line) svg.append(drawn("circle", {class: kind, cx, cy, r: 2}));
  }
}

async function look() {
  let wait = ASK_EVERY;
  try {
    const now = await asked("api/state");
    noteChanges(state, now);
    state = now;
    if (now.zoom >= 0 && (shown?.version !== now.version || shown.job !== now.job)) showPicture(now);
    say(now);
    drawCurves(now);
    drawOverlay();
    if (!now.writer) wait = ASK_AT_REST / 5;
  } catch (error) {
    byId("status").textContent = error.message;
    byId("status").classList.add("bad");
    wait = ASK_AT_REST;
  }
  setTimeout(look, document.hidden ? ASK_AT_REST : wait);
}

addEventListener("keydown", event => {
  if (event.target.matches?.("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key.toLowerCase() === "l") byId("lines").click();
  if (event.key === "0") viewer.viewport.goHome();
  if (event.key === "+" || event.key === "=") viewer.viewport.zoomBy(1.5).applyConstraints();
  if (event.key === "-") viewer.viewport.zoomBy(1 / 1.5).applyConstraints();
});
for (const id of ["lines", "shade"]) byId(id).addEventListener("change", () => { drawOverlay(); if (state) say(state); });
/* In the studio the file is one of its posters; else it is where whoever started this has said. */
const inStudio = location.pathname.startsWith("/watch/");
byId("back").hidden = !inStudio;

async function steer(what) {
  byId("kept").textContent = what === "keep" ? "writing …" : "stops …";
  try {
    const {file} = await asked(`api/${what}`, {method: "POST"});
    const shown = !file ? "" : inStudio ? element("a", {href: `/api/poster/${encodeURIComponent(file)}`}, `download ${file}`) : `written: ${file}`;
    byId("kept").replaceChildren(shown);
  } catch (error) {
    byId("kept").textContent = error.message;
  }
}

for (const what of ["stop", "keep"]) byId(what).addEventListener("click", () => steer(what));
makeViewer();
look();
