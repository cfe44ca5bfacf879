"use strict";

/* Where the square's middle is, in shares of the poster. */
const spot = {x: 0.5, y: 0.5};

function prepareProof(most) {
  for (let edge = 256; edge <= most; edge *= 2) byId("proof-edge").append(element("option", {value: edge}, edge));
  byId("proof-edge").append(element("option", {value: 768}, 768));
  byId("proof-edge").value = 768;
  byId("proof-edge").addEventListener("change", showSpot);
  byId("make-proof").addEventListener("click", makeProof);
  byId("stop-proof").addEventListener("click", () => asked("/api/stop", {method: "POST"}));
  byId("spots").addEventListener("click", event => {
    const box = byId("whole").getBoundingClientRect();
    moveSpot((event.clientX - box.x) / box.width, (event.clientY - box.y) / box.height);
    makeProof();
  });
  byId("spots").addEventListener("keydown", event => {
    const step = {ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1]}[event.key];
    if (step) moveSpot(spot.x + step[0] * 0.02, spot.y + step[1] * 0.02);
    else if (event.key === "Enter") makeProof();
    else return;
    event.preventDefault();
  });
}

/* The preview has come as far as this. */
function showWhole(address) {
  byId("whole").src = address;
  byId("spots").hidden = false;
  byId("no-preview").hidden = true;
  showSpot();
}

function moveSpot(x, y) {
  spot.x = Math.min(1, Math.max(0, x));
  spot.y = Math.min(1, Math.max(0, y));
  showSpot();
}

function showSpot() {
  if (!studio.whole) return;
  const [height, width] = studio.whole, edge = Number(byId("proof-edge").value);
  const across = Math.min(1, edge / width), down = Math.min(1, edge / height), share = value => `${100 * value}%`;
  const left = Math.min(1 - across, Math.max(0, spot.x - across / 2)), top = Math.min(1 - down, Math.max(0, spot.y - down / 2));
  Object.assign(byId("spot").style, {left: share(left), top: share(top), width: share(across), height: share(down)});
}

function proved() {
  return JSON.stringify(studio.values);
}

async function makeProof() {
  if (!readyToRender()) return complain("Choose a content and a style first.");
  try {
    complain("");
    renderLater();
    const edge = Number(byId("proof-edge").value), then = proved();
    const {run} = await asked("/api/proof", {method: "POST", body: JSON.stringify({values: studio.values, at: [spot.x, spot.y], edge})});
    followProof(run, then);
  } catch (error) {
    complain(error.message);
  }
}

/* then: the options that it is made of, where they are known. */
async function followProof(run, then) {
  byId("stop-proof").hidden = false;
  await follow("proof", run, now => {
    showProof(now);
    if (now.there && then) dated("proofed", proved, then);
  });
}

function showProof(now) {
  byId("stop-proof").hidden = now.done;
  byId("proof-progress").textContent = now.error || (now.there ? "finished" : now.done ? "stopped" : `${(100 * now.share).toFixed(0)} %${left(now)}`);
  byId("proof-progress").classList.toggle("bad", Boolean(now.error));
  byId("proofed").hidden = !now.there;
  if (!now.there) return;
  byId("proof").src = `/api/proof/${now.run}.png`;
  byId("proof").dataset.run = now.run;
  byId("proof-words").textContent = now.part + foretold(now.foretells);
}

/* What its statistics are made of says how well it foretells. */
function foretold(found) {
  if (!found) return "";
  if (found.known >= 1) return ". All levels are rendered as a whole: this is the poster.";
  return `. The finest level's statistics come from ${(100 * found.known).toPrecision(2)} % of its pixels; where all is known, ` +
    `the same tiles foretell colours and edges within ${(100 * found.error).toPrecision(2)} %.`;
}

function left(now) {
  return now.seconds_left === null || now.seconds_left === undefined ? "" : `, about ${duration(now.seconds_left)} left`;
}
