"use strict";

/* OpenSeadragon empties elements by innerHTML; nobody makes HTML of anything else. */
window.trustedTypes?.createPolicy("default", {createHTML: text => text === "" ? "" : null});

/* Whatever comes from a store, a file name or the server is text: nothing here makes HTML of it. */

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && key !== "list") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.map(child => child instanceof Node ? child : String(child)));
  return made;
}

function drawn(name, attributes = {}, text = null) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  return made;
}

function byId(id) {
  return document.getElementById(id);
}

/* JSON of an answer; an Error with the server's line where it is not well. */
async function asked(address, options = {}) {
  const answer = await fetch(address, {credentials: "same-origin", ...options});
  let found = null;
  try {
    found = await answer.json();
  } catch {
    found = {error: answer.status === 401 ? "Open the address that tiler printed: it holds the token." : answer.statusText};
  }
  if (!answer.ok) throw new Error(found.error || answer.statusText);
  return found;
}

/* Shows how far an errand is until it is done, or another takes its place: whether it came to its end. A look that fails
   is not the last. */
async function follow(kind, run, show) {
  for (;;) {
    try {
      const now = await asked(`/api/errand/${kind}`);
      if (now.run !== run) return false;
      await show(now);
      if (now.done) return true;
    } catch (error) {
      complain(error.message);
    }
    await new Promise(wake => setTimeout(wake, 400));
  }
}

/* What a button is for, and not a second time by a double click. */
async function once(button, work) {
  button.disabled = true;
  const rest = new Promise(wake => setTimeout(wake, 500));
  await work();
  await rest;
  button.disabled = false;
}

function duration(seconds) {
  const whole = Math.round(seconds);
  if (whole >= 3600) return `${Math.floor(whole / 3600)} h ${String(Math.floor(whole % 3600 / 60)).padStart(2, "0")} min`;
  return whole >= 60 ? `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s` : `${whole} s`;
}

function size(bytes) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let at = 0;
  for (; bytes >= 1000 && at < units.length - 1; at++) bytes /= 1000;
  return `${at ? Number(bytes.toPrecision(bytes < 10 ? 2 : 3)) : bytes} ${units[at]}`;
}

function number(value, digits = 4) {
  return value === null || value === undefined ? "" : Number(value).toPrecision(digits);
}
