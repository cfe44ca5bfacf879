"use strict";

const studio = {pictures: [], values: {}, controls: [], changed: [], remembered: false, unsaved: false};

function onChange(handler) {
  studio.changed.push(handler);
}

/* Elements by their ids: what they show depends on, and what that was when it was asked for. */
const ages = new Map();

function dated(id, now, then) {
  ages.set(id, [now, then]);
  showAges();
}

/* What is shown of other options than those of now says so. */
function showAges() {
  for (const [id, [now, then]] of ages) byId(id).dataset.old = String(now() !== then);
}

/* value: a text, a list of texts, true or false; null for the default. */
function setValue(name, value) {
  if (value === null || value === "" || (Array.isArray(value) && !value.length)) delete studio.values[name];
  else studio.values[name] = value;
  clearTimeout(studio.saving);
  studio.saving = setTimeout(save, 100);
  studio.unsaved = true;
  for (const handler of studio.changed) handler(name);
}

/* Not before it is known what was there: that would be gone. */
function save(how = {}) {
  clearTimeout(studio.saving);
  studio.unsaved = !studio.remembered;
  if (studio.unsaved) return;
  asked("/api/values", {method: "PUT", body: JSON.stringify({...studio.values, price_per_hour: byId("price").value}), ...how}).catch(error => complain(error.message));
}

addEventListener("pagehide", () => { if (studio.unsaved) save({keepalive: true}); });

async function loadPictures() {
  const found = await asked("/api/pictures");
  studio.pictures = found.pictures;
  byId("folder").textContent = found.folder;
  if (studio.remembered) showPictures();
}

function facts(one) {
  if (one.error) return [one.error];
  const lines = [`${one.width} × ${one.height} px, ${one.bits} bits, ${one.colours}${one.alpha ? ", alpha" : ""}`];
  if (one.georeference) lines.push(one.metres ? `georeference: ${number(one.metres, 3)} m a pixel` : "georeference");
  return [...lines, ...one.notes];
}

const ROLES = {content: "content", styles: "style", protect: "mask to protect", labels: "labels"};

function isUsed(picture, role) {
  const held = studio.values[role];
  return Array.isArray(held) ? held.includes(picture) : held === picture;
}

function use(picture, role) {
  const on = isUsed(picture, role), held = studio.values[role] || [];
  if (role !== "styles") setValue(role, on ? null : picture);
  else setValue(role, on ? held.filter(other => other !== picture) : [...held, picture]);
}

function uses(one) {
  return Object.keys(ROLES).map(role =>
    element("button", {type: "button", "data-picture": one.name, "data-role": role, onclick: () => use(one.name, role)}));
}

function showUses() {
  byId("next").textContent = nextWords();
  for (const button of byId("pictures").querySelectorAll("button")) {
    const {picture, role} = button.dataset, on = isUsed(picture, role);
    button.setAttribute("aria-pressed", String(on));
    button.textContent = on ? `✓ ${ROLES[role]}` : ROLES[role];
  }
}

/* What is to be done next. */
function nextWords() {
  if (!studio.pictures.length) return "Two pictures are needed: a content, which gives the layout, and a style, which gives the look.";
  return readyToRender() ? "Ready: see Preview, then Poster." : "Say which picture is the content, and which the style.";
}

function showPictures() {
  byId("pictures").replaceChildren(...studio.pictures.map(one => element("li", {},
    one.error ? "" : element("img", {src: `/api/thumbnail/${one.name.split("/").map(encodeURIComponent).join("/")}`, alt: "", loading: "lazy"}),
    element("b", {}, one.name),
    ...facts(one).map(line => element("span", {className: one.error ? "bad" : "quiet"}, line, element("br"))),
    ...(one.error ? [] : uses(one)))));
  showUses();
}

async function upload(files) {
  const wrong = [];
  for (const file of files) {
    byId("status").textContent = `adding ${file.name} …`;
    try {
      await asked(`/api/pictures/${encodeURIComponent(file.name)}`, {method: "PUT", body: file});
    } catch (error) {
      wrong.push(error.message);
    }
  }
  await loadPictures();
  byId("status").textContent = wrong.join("; ");
  byId("status").classList.toggle("bad", wrong.length > 0);
}

function acceptDrops() {
  for (const event of ["dragenter", "dragover"]) {
    addEventListener(event, each => { each.preventDefault(); document.body.classList.add("dropping"); });
  }
  addEventListener("dragleave", each => { if (!each.relatedTarget) document.body.classList.remove("dropping"); });
  addEventListener("drop", each => {
    each.preventDefault();
    document.body.classList.remove("dropping");
    upload([...each.dataTransfer.files]);
  });
  byId("chosen").addEventListener("change", async () => {
    await upload([...byId("chosen").files]);
    byId("chosen").value = "";
  });
}
