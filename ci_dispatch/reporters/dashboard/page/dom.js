// The few words, signs and shapes that every part of the page uses. Text only ever goes in as text.

export const GLYPHS = {
  passed: "✓", failed: "✗", flaky: "~", skipped: "-", "not run": "?", running: "▸", retrying: "↻", waiting: "·",
};
// What needs somebody comes first.
export const STATES = ["failed", "not run", "retrying", "flaky", "running", "waiting", "skipped", "passed"];

const SVG = "http://www.w3.org/2000/svg";

/** An element: `el("li", { class: "muted", onclick: f }, "text", child)`. Strings become text nodes, never markup. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== ""));
  return node;
}

export const byId = (id) => document.getElementById(id);

/** Sets text and attributes only where they differ: what did not change is not painted, announced or selected away. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** What a test said, line for line: expected and received are told apart by their words and coloured for the eye. */
export function setShaded(pre, text) {
  if (pre.textContent === `${text}\n`) return;
  const shade = (line) => {
    if (/^\s*(Expected|\+ )/.test(line)) return "expected";
    if (/^\s*(Received|- )/.test(line)) return "received";
    return /^\s+at /.test(line) ? "frame" : null;
  };
  pre.replaceChildren(...text.split("\n").map((line) => el("span", { class: shade(line) }, `${line}\n`)));
}

/** `0:48`, `12:05`, `1:02:33`. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n) => String(n).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds >= 60) return clock(seconds);
  return `${seconds < 10 ? seconds.toFixed(2) : seconds.toFixed(1)} s`;
}

export function plural(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

/** Makes the children of `parent` those of `items`, in order, and keeps an element for as long as its key is there. */
export function keyed(parent, items, keyOf, make, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = String(keyOf(item));
    let node = known.get(key);
    if (node) known.delete(key);
    else {
      node = make(item);
      node.dataset.key = key;
    }
    update(node, item);
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
  }
  for (const node of known.values()) node.remove();
}
