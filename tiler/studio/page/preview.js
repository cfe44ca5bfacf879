"use strict";

const LOOK_EVERY = 200, WAIT_BEFORE = 250;
let wanted = 0, looking = false, timer = 0, shownPicture = "", wish = 0, wishing = Promise.resolve();

function readyToRender() {
  const styles = [studio.values.styles, studio.values.label].some(each => (each || []).length);
  return Boolean(styles && (studio.values.content || studio.values.init));
}

function prepareRegions(most) {
  byId("regions").append(element("option", {value: 1}, "none"));
  for (let count = 2; count <= most; count++) byId("regions").append(element("option", {value: count}, count));
  byId("regions").addEventListener("change", findRegions);
  onChange(showRegions);
  showRegions();
}

function showRegions() {
  byId("regions").value = studio.values.labels ? (studio.values.label || []).length : 1;
}

/* What regions are found in, or said by. */
function madeOf() {
  return JSON.stringify(["content", "styles", "labels", "label", "style_mask"].map(name => studio.values[name] || []));
}

/* They are files in the folder, and options like any other. */
async function findRegions() {
  const count = Number(byId("regions").value), before = madeOf();
  byId("regions").disabled = true;
  byId("progress").textContent = count > 1 ? "looking for regions …" : "";
  try {
    const found = await asked("/api/regions", {method: "POST", body: JSON.stringify({values: studio.values, count})});
    complain("");
    if (before === madeOf()) for (const [name, value] of Object.entries(found.values)) setValue(name, value);
    else complain("other pictures were chosen meanwhile, so the regions that were found are not taken");
    await loadPictures();
  } catch (error) {
    complain(error.message);
  }
  byId("regions").disabled = false;
  showRegions();
}

/* Pages that have the worker to themselves: what changes there is rendered when the preview is looked at again. */
const APART = ["proof", "poster", "retouch"];

/* A change is rendered when no other has followed for a moment. */
function renderSoon() {
  clearTimeout(timer);
  studio.due = APART.includes(studio.tab);
  if (studio.due) return;
  timer = setTimeout(render, WAIT_BEFORE);
}

/* What is asked for now would be cancelled by a preview of the change before it. */
function renderLater() {
  clearTimeout(timer);
  studio.due = true;
}

/* One wish after the other, and of those that wait only the newest: an older one that arrived later would be rendered in
   its place. */
function render(vary = []) {
  clearTimeout(timer);
  if (!readyToRender()) return;
  const mine = ++wish;
  wishing = wishing.then(() => mine === wish && ask(Array.isArray(vary) ? vary : []));
}

async function ask(vary) {
  const edge = Number(byId("edge").value), sheet = vary.length > 0;
  try {
    const found = await asked("/api/run", {method: "POST", body: JSON.stringify(
      {values: studio.values, edge: sheet ? Math.min(edge, 256) : edge, vary})});
    wanted = found.run;
    byId("command").textContent = found.command;
    byId("poster").hidden = false;
    studio.sheet = sheet ? {run: wanted, vary} : null;
    complain("");
    look();
  } catch (error) {
    complain(error.message);
  }
}

function complain(text) {
  byId("status").textContent = text;
  byId("status").classList.toggle("bad", Boolean(text));
}

async function look() {
  if (looking) return;
  looking = true;
  try {
    for (let done = false; !done;) {
      const now = await asked("/api/run");
      const others = wanted && now.run > wanted;
      done = others || (now.done && now.run >= wanted);
      if (others) byId("progress").textContent = "another window of the studio has asked for something else";
      else if (now.run < wanted) byId("progress").textContent = "";
      else if (studio.sheet && studio.sheet.run === now.run) showSheet(now);
      else if (!studio.sheet) showPreview(now);
      if (now.error) complain(now.error);
      if (!done) await new Promise(wake => setTimeout(wake, LOOK_EVERY));
    }
  } catch (error) {
    complain(error.message);
  }
  looking = false;
}

function showPreview(now) {
  const cell = now.cells[0];
  byId("notes").replaceChildren(...now.notes.map(note => element("li", {}, note)));
  studio.whole = cell?.whole || studio.whole;
  if (!cell || !cell.version) {
    byId("progress").textContent = now.done ? "" : "beginning …";
    return;
  }
  const words = cell.finished ? `finished in ${duration(cell.seconds)}` : now.done ? "stopped" : `level ${cell.level + 1} of ${cell.levels}, step ${cell.steps} of ${cell.of}`;
  byId("progress").textContent = `${cell.width} × ${cell.height} px, ${words}` + (cell.style === null ? "" : `, style loss ${number(cell.style)}`);
  const address = `/api/run/${now.run}/0.png?v=${cell.version}`;
  if (address === shownPicture) return;
  shownPicture = address;
  const next = new Image();
  next.onload = () => {
    if (address !== shownPicture) return;
    byId("preview").src = address;
    Object.assign(byId("preview").dataset, {run: now.run, width: cell.width, finished: cell.finished});
    byId("preview").hidden = false;
    byId("nothing").hidden = true;
    showWhole(address);
  };
  next.src = address;
}
