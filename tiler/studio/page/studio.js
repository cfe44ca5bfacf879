"use strict";

/* Each section of the page with a title is a tab; another page is one more section. */
function makeTabs() {
  const sections = [...document.querySelectorAll("[role=tabpanel]")];
  byId("tabs").replaceChildren(...sections.map(section => {
    const name = section.id.replace("page-", "");
    return element("button", {type: "button", id: `tab-${name}`, role: "tab", "aria-controls": section.id, onclick: () => showTab(name)}, section.dataset.title);
  }));
  byId("tabs").addEventListener("keydown", event => {
    const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
    if (!step) return;
    const tabs = [...byId("tabs").children], at = tabs.indexOf(document.activeElement);
    const next = tabs[(at + step + tabs.length) % tabs.length];
    next.focus();
    next.click();
  });
  showTab(location.hash.slice(1) || "pictures");
}

function showTab(name) {
  if (!byId(`page-${name}`)) name = "pictures";
  for (const section of document.querySelectorAll("[role=tabpanel]")) {
    const on = section.id === `page-${name}`;
    section.hidden = !on;
    const tab = byId(section.getAttribute("aria-labelledby"));
    tab.setAttribute("aria-selected", String(on));
    tab.tabIndex = on ? 0 : -1;
  }
  history.replaceState(null, "", `#${name}`);
  const due = studio.due && !APART.includes(name);
  document.body.dataset.tab = studio.tab = name;
  if (due) renderSoon();
  if (APART.includes(name)) lookAtQueue();
}

/* What was chosen when the page was last open is known before there is anything to choose from: an answer that came
   later would undo what was clicked meanwhile. */
async function remember() {
  studio.values = await asked("/api/values");
  if (!studio.unsaved) byId("price").value = studio.values.price_per_hour ?? "";
  await loadPictures();
  forget();
  studio.remembered = true;
  if (studio.unsaved) save();
}

/* Pictures that are gone, and options that there are no more. */
function forget() {
  const known = new Set(studio.controls.map(one => one.name)), there = new Set(studio.pictures.map(one => one.name));
  for (const name of Object.keys(studio.values)) if (!known.has(name)) delete studio.values[name];
  if (!there.has(studio.values.content)) delete studio.values.content;
  const styles = Array.isArray(studio.values.styles) ? studio.values.styles : [];
  studio.values.styles = styles.filter(name => there.has(name));
}

/* What was asked for before the page was left for another, and goes on. */
async function goOn() {
  const [proof, retouch] = await Promise.all(["proof", "retouch"].map(kind => asked(`/api/errand/${kind}`)));
  if (proof.run) followProof(proof.run);
  if (retouch.run && !retouch.done) followRetouch(retouch.run, byId("finished").dataset.name);
}

async function begin() {
  makeTabs();
  acceptDrops();
  try {
    const found = await asked("/api/controls");
    studio.controls = found.controls;
    for (let edge = 128; edge <= found.most_edge; edge *= 2) byId("edge").append(element("option", {value: edge}, edge));
    byId("edge").value = found.edge;
    byId("edge").addEventListener("change", renderSoon);
    byId("stop").addEventListener("click", () => { clearTimeout(timer); asked("/api/stop", {method: "POST"}); });
    prepareProof(found.most_proof);
    prepareOrder(found.formats);
    prepareRetouch();
    await remember();
    showPictures();
    makeControls();
    prepareSheet();
    prepareRegions(found.most_regions);
    onChange(name => { showValue(name); showUses(); showAges(); renderSoon(); });
    await goOn();
    renderSoon();
    look();
    lookAtQueue();
  } catch (error) {
    complain(error.message);
  }
}

begin();
