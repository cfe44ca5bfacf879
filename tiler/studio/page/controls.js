"use strict";

/* One control for each option, by what the server says of it: studio.controls. */

const OPEN = ["Look", "Size (one of)"];
const fields = new Map();

function makeControls() {
  const groups = new Map();
  for (const one of studio.controls.filter(each => each.group)) {
    if (!groups.has(one.group)) groups.set(one.group, []);
    groups.get(one.group).push(makeControl(one));
  }
  const parts = [...groups].map(([name, made]) => element("details", {open: OPEN.includes(name)}, element("summary", {}, name), ...made));
  byId("controls").replaceChildren(element("p", {className: "bar"},
    element("button", {type: "button", onclick: reset}, "All defaults")), ...parts);
  byId("controls").addEventListener("submit", event => event.preventDefault());
}

function reset() {
  for (const one of studio.controls) if (one.group && one.name in studio.values) setValue(one.name, null);
  showValues();
}

function makeControl(one) {
  const label = element("label", {className: "control"}, element("b", {}, one.name.replaceAll("_", " ")));
  const field = makeField(one);
  field.id = `option-${one.name}`;
  if (one.kind === "flag") label.prepend(field, " ");
  else label.append(field);
  if (one.reach) label.append(makeSlider(one, field));
  label.append(element("small", {}, one.help + (one.metavar && one.kind !== "number" ? ` ${one.metavar}` : "")));
  fields.set(one.name, {one, field, label});
  showValue(one.name);
  return label;
}

function makeField(one) {
  const tell = event => setValue(one.name, read(one, event.target));
  if (one.kind === "flag") return element("input", {type: "checkbox", onchange: tell});
  if (one.kind === "choice") return element("select", {onchange: tell}, ...one.choices.map(each => element("option", {value: each}, each)));
  if (one.kind === "file") return element("select", {onchange: tell, onfocus: event => fillFiles(one, event.target)});
  if (one.kind === "lines") return element("textarea", {rows: 2, onchange: tell});
  if (one.kind === "number") {
    return element("input", {type: "number", step: one.whole ? 1 : "any", placeholder: one.default ?? "by itself", onchange: tell,
      ...(one.low === null ? {} : {min: one.low}), ...(one.high === null ? {} : {max: one.high})});
  }
  return element("input", {type: "text", placeholder: one.default ?? "by itself", onchange: tell});
}

/* Logarithmic where the option has no upper bound: 0 at its left end, where that is allowed. */
function makeSlider(one, field) {
  const [low, high, curved] = one.reach, steps = 100;
  const slider = element("input", {type: "range", min: curved ? -1 : low, max: curved ? steps : high, step: curved || one.whole ? 1 : (high - low) / 100});
  slider.setAttribute("aria-label", one.name.replaceAll("_", " "));
  const value = place => !curved ? place : place < 0 ? Math.max(0, one.low ?? 0) : low * (high / low) ** (place / steps);
  slider.show = () => {
    const now = Number(field.value === "" ? one.default : field.value);
    slider.value = !curved ? now : now <= low ? (now === 0 ? -1 : 0) : steps * Math.log(now / low) / Math.log(high / low);
  };
  slider.addEventListener("input", () => { field.value = Number(value(Number(slider.value)).toPrecision(3)); });
  slider.addEventListener("change", () => setValue(one.name, field.value));
  return slider;
}

function read(one, field) {
  if (one.kind === "flag") return field.checked ? true : null;
  if (one.kind === "lines") return field.value.split("\n").map(line => line.trim()).filter(Boolean);
  return field.value === String(one.default ?? "") ? null : field.value;
}

function fillFiles(one, field) {
  const held = studio.values[one.name] ?? one.default ?? "";
  const names = [...(one.words.length ? one.words : [""]), ...studio.pictures.filter(each => !each.error).map(each => each.name)];
  if (!names.includes(held)) names.push(held);
  field.replaceChildren(...names.map(name => element("option", {value: name}, name || "none")));
  field.value = held;
}

function showValue(name) {
  const found = fields.get(name);
  if (!found) return;
  const {one, field, label} = found, held = studio.values[name];
  if (one.kind === "flag") field.checked = held === true;
  else if (one.kind === "file") fillFiles(one, field);
  else if (one.kind === "lines") field.value = (held || []).join("\n");
  else field.value = held ?? (one.kind === "choice" ? one.default : "");
  label.querySelector("input[type=range]")?.show();
  label.classList.toggle("changed", held !== undefined);
}

function showValues() {
  for (const name of fields.keys()) showValue(name);
}
