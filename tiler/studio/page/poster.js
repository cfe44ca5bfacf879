"use strict";

const QUEUE_EVERY = 1000, QUEUE_AT_REST = 10000;
const jobRows = new Map();
let queueTimer = 0, queueLook = null;

function prepareOrder(formats) {
  byId("format").replaceChildren(...formats.map(each => element("option", {value: each}, each)));
  byId("plan").addEventListener("click", makePlan);
  byId("format").addEventListener("change", showAges);
  byId("price").addEventListener("change", () => { save(); showPlan(studio.plan); });
  byId("order").addEventListener("submit", event => { event.preventDefault(); once(byId("add"), addPoster); });
  byId("switch").addEventListener("click", () => steerQueue(`/api/work/${studio.queue.on ? "off" : "on"}`));
}

function order() {
  return JSON.stringify({values: studio.values, name: byId("poster-name").value || null, format: byId("format").value});
}

function planned() {
  return JSON.stringify([studio.values, byId("format").value]);
}

/* The plan --------------------------------------------------------------------------------------------------------- */

async function makePlan() {
  if (!readyToRender()) return complain("Choose a content and a style first.");
  try {
    complain("");
    renderLater();
    const then = planned();
    const {run} = await asked("/api/plan", {method: "POST", body: order()});
    byId("plan-progress").textContent = "timing this machine …";
    const ended = await follow("plan", run, now => {
      if (!now.done) return;
      byId("plan-progress").textContent = now.error || (now.plan ? "" : "stopped");
      showPlan(studio.plan = now.plan ? {...now.plan, free_bytes: now.free_bytes} : null);
      dated("planned", planned, then);
    });
    if (!ended) byId("plan-progress").textContent = "another plan was asked for";
  } catch (error) {
    byId("plan-progress").textContent = "";
    complain(error.message);
  }
}

function showPlan(plan) {
  byId("planned").hidden = !plan;
  if (!plan) return;
  const price = Number(byId("price").value), disk = plan.store_bytes + plan.output_bytes + plan.spare_bytes;
  const money = price ? `${(plan.seconds / 3600 * price).toFixed(2)} at ${price} an hour` : "";
  const others = Object.entries(plan.qualities).map(([name, seconds]) => `${name} ${duration(seconds)}`).join(", ");
  const rows = [
    ["pixels", `${plan.width} × ${plan.height}, ${plan.levels.length} levels, ${plan.levels.at(-1).tiles} tile${plan.levels.at(-1).tiles > 1 ? "s" : ""} on the finest`],
    ["where", `${plan.device}, ${plan.precision}, ${plan.workers} worker${plan.workers > 1 ? "s" : ""}`],
    ["memory", size(plan.memory_bytes) + (plan.gpu_bytes ? `, and ${size(plan.gpu_bytes)} on each GPU` : "")],
    ["disk", `${size(disk)} at its peak, the poster ${size(plan.output_bytes)} of it${plan.free_bytes === null ? "" : `; ${size(plan.free_bytes)} are free`}`],
    ["time", `about ${duration(plan.seconds)}${others ? ` (by quality: ${others})` : ""}`],
    ...(money ? [["money", money]] : []),
    ...(plan.refusal ? [["not now", `it would be refused: ${plan.refusal}`]] : []),
  ];
  byId("planned").replaceChildren(...rows.flatMap(([name, words]) => [element("dt", {}, name), element("dd", {}, words)]));
}

/* The queue -------------------------------------------------------------------------------------------------------- */

async function addPoster() {
  if (!readyToRender()) return complain("Choose a content and a style first.");
  try {
    complain("");
    const typed = byId("poster-name").value;
    const {name} = await asked("/api/queue", {method: "POST", body: order()});
    if (byId("poster-name").value === typed) byId("poster-name").value = "";
    byId("plan-progress").textContent = `${name}: added`;
    lookAtQueue();
  } catch (error) {
    complain(error.message);
  }
}

async function steerQueue(address) {
  try {
    complain("");
    await asked(address, {method: "POST"});
  } catch (error) {
    complain(error.message);
  }
  lookAtQueue();
}

/* One look at a time; who asks meanwhile waits for the same. */
function lookAtQueue() {
  clearTimeout(queueTimer);
  return queueLook ||= lookOnce().finally(() => { queueLook = null; });
}

async function lookOnce() {
  try {
    showQueue(studio.queue = await asked("/api/queue"));
  } catch (error) {
    complain(error.message);
  }
  const watched = APART.includes(studio.tab) && !document.hidden;
  queueTimer = setTimeout(lookAtQueue, watched ? QUEUE_EVERY : QUEUE_AT_REST);
}

function showQueue(now) {
  const waiting = now.jobs.filter(job => job.state === "waiting").length;
  const words = now.trouble || (now.on ? "what waits is rendered, one after the other" : waiting ? `${waiting} wait${waiting > 1 ? "" : "s"}` : now.jobs.length ? "" : "no posters yet");
  byId("queue-words").textContent = words;
  byId("queue-words").classList.toggle("bad", Boolean(now.trouble));
  byId("switch").hidden = !now.jobs.some(job => job.queued);
  byId("switch").textContent = now.on ? "Hold all" : "Start rendering";
  for (const [name, row] of jobRows) if (!now.jobs.some(job => job.name === name)) { row.item.remove(); jobRows.delete(name); }
  now.jobs.forEach((job, at) => {
    if (!jobRows.has(job.name)) jobRows.set(job.name, makeJob(job.name));
    const row = jobRows.get(job.name), list = byId("jobs");
    if (list.children[at] !== row.item) list.insertBefore(row.item, list.children[at] || null);
    showJob(row, job, now.jobs.length > 1);
  });
  showFinished(now.jobs);
}

function makeJob(name) {
  const place = `/api/queue/${encodeURIComponent(name)}`, parts = {};
  const act = what => event => { if (what !== "remove" || confirmed(event.target)) steerQueue(`${place}/${what}`); };
  const button = (what, words) => parts[what] = element("button", {type: "button", onclick: act(what)}, words);
  const link = (what, words, attributes = {}) => parts[what] = element("a", {className: "button", ...attributes}, words);
  parts.bar = element("progress", {max: 1});
  parts.words = element("span", {className: "quiet"});
  parts.retouch = element("button", {type: "button", onclick: () => { retouchPoster(name); }}, "Retouch");
  const watch = link("watch", "Watch", {href: `/watch/${encodeURIComponent(name)}/`});
  parts.item = element("li", {}, element("b", {}, name), " ", parts.bar, " ", parts.words, element("div", {className: "bar"},
    link("file", "Download"), link("soFar", "Download what there is"), watch, button("pause", "Pause"), button("resume", "Resume"),
    button("stop", "Stop"), button("keep", "Keep what there is"), parts.retouch, button("up", "Up"), button("down", "Down"), button("remove", "Remove")));
  return parts;
}

/* A second click within some seconds. */
function confirmed(button) {
  if (button.dataset.sure) return true;
  button.dataset.sure = "1";
  const words = button.textContent;
  button.textContent = "Really remove?";
  setTimeout(() => { delete button.dataset.sure; button.textContent = words; }, 4000);
  return false;
}

function showJob(row, job, several) {
  const going = ["waiting", "running"].includes(job.state), open = going || ["paused", "stopped", "failed"].includes(job.state);
  row.item.dataset.state = job.state;
  row.item.dataset.name = job.name;
  row.bar.value = job.share;
  row.bar.hidden = !open;
  const words = job.queued ? [job.state, ...(open ? [`${(100 * job.share).toFixed(0)} %${left(job)}`] : [])] : ["retouched"];
  row.words.textContent = [...words, ...(job.file ? [`${job.file}, ${size(job.bytes)}`] : []), ...(job.reason && job.state !== "running" ? [job.reason] : [])].join(", ");
  row.words.classList.toggle("bad", ["failed", "refused"].includes(job.state));
  const shown = {
    file: job.file, soFar: job.so_far, watch: job.has_store, pause: going, resume: ["paused", "stopped", "failed"].includes(job.state), stop: going || job.state === "paused",
    keep: open && job.has_store && job.share > 0, retouch: job.state === "done" && job.has_store, up: several && job.queued, down: several && job.queued, remove: job.queued,
  };
  for (const [name, on] of Object.entries(shown)) row[name].hidden = !on;
  if (job.file) row.file.href = `/api/poster/${encodeURIComponent(job.file)}`;
  if (job.so_far) row.soFar.href = `/api/poster/${encodeURIComponent(job.so_far)}`;
}
