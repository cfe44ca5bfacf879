"use strict";

const studio = {pictures: [], values: {}, controls: [], changed: [], remembered: false, unsaved: false};

function onChange(handler) {
  studio.changed.push(handler);
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

function use(one) {
  const roles = [["content", "content"], ["style", "styles"], ["mask to protect", "protect"], ["labels", "labels"]];
  return roles.map(([words, name]) => {
    const held = studio.values[name];
    const on = Array.isArray(held) ? held.includes(one.name) : held === one.name;
    return element("button", {type: "button", "aria-pressed": String(on), onclick: () => {
      if (name !== "styles") setValue(name, on ? null : one.name);
      else setValue(name, on ? held.filter(other => other !== one.name) : [...(held || []), one.name]);
      showPictures();
    }}, on ? `✓ ${words}` : words);
  });
}

/* What is to be done next. */
function nextWords() {
  if (!studio.pictures.length) return "Two pictures are needed: a content, which gives the layout, and a style, which gives the look.";
  return readyToRender() ? "Ready: see Preview, then Poster." : "Say which picture is the content, and which the style.";
}

function showPictures() {
  byId("next").textContent = nextWords();
  byId("pictures").replaceChildren(...studio.pictures.map(one => element("li", {},
    one.error ? "" : element("img", {src: `/api/thumbnail/${one.name.split("/").map(encodeURIComponent).join("/")}`, alt: "", loading: "lazy"}),
    element("b", {}, one.name),
    ...facts(one).map(line => element("span", {className: one.error ? "bad" : "quiet"}, line, element("br"))),
    ...(one.error ? [] : use(one)))));
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
