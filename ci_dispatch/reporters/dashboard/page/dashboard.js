// The page of one run: keeps the model that the server describes, and draws what changed.

import { GLYPHS, STATES, byId, clock, el, keyed, plural, setAttribute, setText } from "./dom.js";
import { Drawer } from "./drawer.js";
import { follow } from "./feed.js";
import { drawFailures } from "./failures.js";
import { Tests } from "./tests.js";
import { Timelines } from "./timelines.js";

const ANNOUNCE = 5000; // milliseconds between words to a screen reader
const SIGNS = { passed: "✓", failed: "✗", incomplete: "?", interrupted: "■", lost: "⚡", running: "▸", stopping: "■", starting: "…" };
const CONNECTION = {
  live: "Live", polling: "Every 2 s", disconnected: "Disconnected, trying again", over: "Server has ended",
  refused: "Restarted with a new link: open the one it printed",
};

const model = {
  head: { counts: {}, total: 0, planned: 0, started: null, finished: null, phase: "starting" },
  machines: [], timelines: [], names: [], tests: [], groups: [], groupsOmitted: 0,
  clock: { now: 0, at: 0 },
  /** Seconds since the epoch on the clock of the run, which is the server's. */
  now() {
    return this.clock.now + ((performance.now() - this.clock.at) / 1000) * (this.head.pace ?? 1);
  },
  elapsed() {
    if (!this.head.started) return 0;
    const end = this.head.finished ?? (this.head.phase === "lost" ? this.head.last_event : this.now());
    return Math.max(0, end - this.head.started);
  },
  titleOf(n) {
    return this.tests[n]?.title ?? "";
  },
};

const drawer = new Drawer(model);
const openTest = (n) => drawer.open(n);
const timelines = new Timelines(model, openTest);
const tests = new Tests(model, openTest);

function takeState(state) {
  Object.assign(model, { head: state.head, machines: [], timelines: [], names: [], tests: [] });
  take(state);
  const n = new URL(location.href).searchParams.get("t");
  if (n !== null && drawer.test === null) openTest(Number(n));
}

function take(update) {
  setClock(update.now);
  if (update.head) model.head = update.head;
  for (const [n, title, file, project] of update.names ?? []) model.names[n] = { title, file, project };
  for (const row of update.tests ?? []) model.tests[row[0]] = test(row);
  for (const [i, machine] of update.machines ?? []) {
    model.machines[i] = machine;
    model.timelines[i] ??= { bars: new Map(), spans: [], rows: 1, version: 0 };
  }
  for (const [i, bars, spans] of update.timelines ?? []) addToTimeline(model.timelines[i], bars, spans);
  if (update.groups) Object.assign(model, { groups: update.groups, groupsOmitted: update.groups_omitted });
  draw(update);
}

function test([n, state, machine, seconds, tries, flags, movedFrom]) {
  const { title, file, project } = model.names[n];
  const text = model.tests[n]?.text ?? `${title} ${file} ${project}`.toLowerCase();
  return { n, state, machine, seconds, tries, flags, movedFrom, title, file, project, text };
}

function addToTimeline(timeline, bars, spans) {
  for (const bar of bars) timeline.bars.set(bar[0], bar);
  timeline.spans.push(...spans);
  for (const span of spans) timeline.rows = Math.max(timeline.rows, span[1] + 1);
  timeline.version += 1;
}

function setClock(now) {
  if (now) model.clock = { now, at: performance.now() };
}

function draw(update) {
  drawHead();
  timelines.draw();
  if (update.groups || update.machines) drawFailures(model, openTest);
  if (update.tests || update.head) tests.draw();
  drawer.refresh();
}

function drawHead() {
  const { head } = model;
  setAttribute(byId("verdict"), "data-phase", head.phase);
  setText(byId("glyph"), SIGNS[head.phase] ?? "");
  setText(byId("word"), head.word ?? "");
  setText(byId("sentence"), head.sentence ?? "");
  setText(byId("title"), head.title || "ci-dispatch");
  setText(byId("run"), [head.run, head.runner, (head.pace ?? 1) === 1 ? "" : `replayed ×${head.pace}`].filter(Boolean).join(" · "));
  drawBar(head);
  drawFacts();
  announce();
}

function drawBar({ counts, total }) {
  const order = ["passed", "flaky", "skipped", "failed", "not run", "retrying", "running", "waiting"];
  const present = order.filter((state) => counts[state]);
  keyed(byId("bar"), present, (state) => state, (state) => el("span", { class: `key ${state.replace(" ", "-")}` }),
    (node, state) => (node.style.flexGrow = counts[state]));
  const words = STATES.filter((state) => counts[state]);
  setAttribute(byId("bar"), "aria-label", `${plural(total, "test")}: ${words.map((state) => `${counts[state]} ${state}`).join(", ") || "none known"}`);
  keyed(byId("counts"), words, (state) => state,
    (state) => el("li", {}, el("i", { class: `key ${state.replace(" ", "-")}` }), el("span")),
    (node, state) => setText(node.lastElementChild, `${GLYPHS[state]} ${counts[state].toLocaleString("en")} ${state}`));
  const done = order.slice(0, 4).reduce((sum, state) => sum + (counts[state] ?? 0), 0); // what did not run is not done
  const failed = counts.failed ? `✗${counts.failed} ` : "";
  const percent = model.head.finished ? model.head.word : `${total ? Math.floor((100 * done) / total) : 0} %`;
  document.title = `${failed}${percent} · ${model.head.title || "ci-dispatch"}`;
}

function drawFacts() {
  const { head } = model;
  const left = head.remaining !== null && head.remaining !== undefined && head.phase === "running" ? `~ ${clock(head.remaining)}` : "";
  const ratio = head.realised && head.lower_bound ? ` (${(head.realised / head.lower_bound).toFixed(2)} × the least possible)` : "";
  const facts = [
    [head.finished ? "Took" : "Elapsed", head.started ? clock(model.elapsed()) + ratio : ""],
    ["Of which", (head.spent ?? []).map(([name, seconds]) => `${clock(seconds)} ${name}`).join(", ")],
    ["Left", left],
    ["Planned", head.planned ? clock(head.planned) : ""],
    ["Retried", head.retried || ""],
    ["Moved", head.moved || ""],
  ].filter(([, value]) => value !== "");
  keyed(byId("facts"), facts, ([name]) => name, ([name]) => el("div", {}, el("dt", {}, name), el("dd")),
    (node, [, value]) => setText(node.lastElementChild, String(value)));
  drawNotices();
}

function drawNotices() {
  const { head } = model;
  const silent = head.last_event && !head.finished ? model.now() - head.last_event : 0;
  const notices = head.warnings?.map(([source, text]) => `${source}: ${text}`) ?? [];
  if (head.omitted?.warnings) notices.push(`… and ${plural(head.omitted.warnings, "earlier warning")}; events.jsonl has them all.`);
  if (head.resumed) notices.unshift("A new controller took this run over from one that had died.");
  if (head.reason) notices.unshift(head.reason);
  if (head.phase === "lost") notices.unshift(`Lost: its controller has published nothing for ${clock(silent)}. If it has died, finish the run with: ci-dispatch resume ${head.run}`);
  else if (silent >= 10 && head.phase !== "starting") notices.unshift(`No event for ${clock(silent)}.`);
  keyed(byId("notices"), notices, (text) => text.replace(/\d/g, "0"), () => el("li"), setText);
}

let announced = { at: -Infinity, phase: "", text: "" };
function announce() {
  const { head } = model;
  if (!head.started) return;
  const text = `${head.word}. ${head.sentence}.`;
  const due = performance.now() - announced.at >= ANNOUNCE || head.phase !== announced.phase;
  if (text === announced.text || !due) return;
  announced = { at: performance.now(), phase: head.phase, text };
  setText(byId("status"), text);
}

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.closest("input, dialog")) return;
  event.preventDefault();
  byId("query").focus();
});

if (location.pathname !== "/") history.replaceState(null, "", `/${location.search}`); // the token is in a cookie now

follow({
  state: takeState,
  delta: take,
  clock: setClock,
  finished: () => model.head.finished !== null,
  connection: (word) => {
    setAttribute(byId("connection"), "data-state", word);
    setText(byId("connection"), CONNECTION[word]);
  },
});

setInterval(() => {
  if (document.hidden || !model.head.started || model.head.finished) return;
  drawFacts();
  timelines.draw();
  announce();
}, 1000);
