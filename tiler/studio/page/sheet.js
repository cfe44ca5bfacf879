"use strict";

function prepareSheet() {
  const names = studio.controls.filter(one => one.group && ["number", "choice", "flag", "text", "file"].includes(one.kind) && !one.group.startsWith("Size"));
  for (const id of ["vary-1", "vary-2"]) {
    byId(id).replaceChildren(...(id === "vary-2" ? [element("option", {value: ""}, "nothing")] : []),
      ...names.map(one => element("option", {value: one.name}, one.name.replaceAll("_", " "))));
  }
  byId("vary-1").value = "content_weight";
  byId("vary").addEventListener("submit", event => {
    event.preventDefault();
    const vary = ["1", "2"].map(which => [byId(`vary-${which}`).value, valuesOf(which)]).filter(([name, values]) => name && values.length);
    if (!readyToRender()) complain("Choose a content and a style first.");
    else if (vary.length) {
      byId("cells").replaceChildren();
      render(vary);
    }
  });
}

function valuesOf(which) {
  const one = studio.controls.find(each => each.name === byId(`vary-${which}`).value);
  const texts = byId(`values-${which}`).value.split(one && one.kind === "text" ? ";" : ",").map(text => text.trim()).filter(Boolean);
  return texts;
}

function showSheet(now) {
  const list = byId("cells"), {vary} = studio.sheet;
  if (list.dataset.run !== String(now.run)) list.replaceChildren();
  list.dataset.run = now.run;
  byId("sheet-progress").textContent = `${now.cells.filter(cell => cell.finished).length} of ${now.cells.length}`;
  byId("sheet-file").hidden = !now.cells.every(cell => cell.finished);
  byId("sheet-file").href = `/api/run/${now.run}/sheet.png`;
  now.cells.forEach((cell, index) => {
    let item = list.children[index];
    if (!item) {
      const button = element("button", {type: "button", onclick: () => takeOver(vary, index)}, element("img", {alt: cell.caption}), element("span", {}, cell.caption));
      item = list.appendChild(element("li", {}, button));
    }
    const address = `/api/run/${now.run}/${index}.png?v=${cell.version}`;
    if (cell.version && item.dataset.shown !== address) {
      item.dataset.shown = address;
      item.dataset.finished = cell.finished;
      item.querySelector("img").src = address;
    }
  });
}

function meant(name, text) {
  const one = studio.controls.find(each => each.name === name);
  return one.kind !== "flag" ? text : ["yes", "true", "on"].includes(text.toLowerCase()) ? true : null;
}

/* Cells are listed row by row: the second option's values follow each other. */
function takeOver(vary, index) {
  const counts = vary.map(([, values]) => values.length);
  const places = counts.length > 1 ? [Math.floor(index / counts[1]), index % counts[1]] : [index];
  studio.sheet = null;
  vary.forEach(([name, values], which) => setValue(name, meant(name, values[places[which]])));
  showValues();
  showTab("preview");
}
