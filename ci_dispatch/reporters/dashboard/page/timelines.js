// A timeline for each machine: what ran when, when it was idle, and since when it sends nothing.

import { byId, clock, el, keyed, plural, setAttribute, setText, svg } from "./dom.js";

const SHOWN = 12; // machines at first: those that get no work, then in order
const STRIP = 11; // pixels above the spans, for the marks of what failed
const BODY = 30; // pixels of all rows of spans together
const QUIET = 60; // seconds without an event from a machine that has work: twice the interval of the health checks
const COLOURS = ["passed", "failed", "flaky", "skipped"];
const SIGNS = { busy: "▸", idle: "○", lost: "⚡", quarantined: "⊘", unhealthy: "!", quiet: "?" };

export class Timelines {
  constructor(model, openTest) {
    this.model = model;
    this.openTest = openTest;
    this.all = false;
    this.list = byId("timelines");
    this.more = byId("all-machines");
    this.more.addEventListener("click", () => {
      this.all = !this.all;
      this.draw();
    });
    new ResizeObserver(() => this.draw()).observe(this.list);
  }

  /** Draws what has changed; the parts that only time moves are drawn every time. */
  draw() {
    const { machines } = this.model;
    this.scale = this.timeScale();
    const ordered = machines.map((machine, i) => ({ machine, i, quiet: this.quietFor(machine) }));
    ordered.sort((a, b) => urgency(b) - urgency(a) || a.i - b.i);
    const shown = this.all ? ordered : ordered.slice(0, SHOWN);
    keyed(this.list, shown, (item) => item.i, (item) => this.make(item.i), (node, item) => this.update(node, item));
    this.more.hidden = machines.length <= SHOWN;
    const rest = machines.length - SHOWN;
    this.drawOmitted();
    setText(this.more, this.all ? "Show fewer machines" : `Show ${plural(rest, "more machine")}`);
    this.drawAxis();
  }

  /** What is not drawn at all: the server sends so many machines and tests on timelines, and no more. */
  drawOmitted() {
    const { machines = 0, spans = 0 } = this.model.head.omitted ?? {};
    const parts = [
      machines ? `${plural(machines, "more machine")} not shown` : "",
      spans ? `${plural(spans, "more test result")} not drawn; the table below has every test` : "",
    ].filter(Boolean);
    const note = byId("timelines-omitted");
    note.hidden = !parts.length;
    setText(note, `… and ${parts.join("; ")}.`);
  }

  timeScale() {
    const { head } = this.model;
    const now = this.model.elapsed();
    const end = head.finished ? now : Math.max(now * 1.04, head.planned || 0, 10);
    const width = this.list.querySelector("svg")?.clientWidth || this.list.clientWidth || 600;
    return { end, now, width, perSecond: width / Math.max(end, 0.1) };
  }

  quietFor(machine) {
    const { head } = this.model;
    if (head.finished || machine.word !== "busy" || machine.last_seen === null) return 0;
    const silent = this.model.now() - machine.last_seen;
    return silent > QUIET ? silent : 0;
  }

  make(i) {
    const picture = svg("svg", { role: "img", height: STRIP + BODY });
    const timeline = el("li", { class: "timeline" },
      el("div", { class: "who" }, el("span", { class: "name" }), el("span", { class: "word" })),
      picture,
      el("div", { class: "figures" }, el("span", { class: "done" }), el("span", { class: "share muted" })));
    picture.addEventListener("pointermove", (event) => this.point(event, i));
    picture.addEventListener("pointerleave", () => (byId("tip").hidden = true));
    picture.addEventListener("click", (event) => {
      const span = this.spanAt(event, i);
      if (span) this.openTest(span[0]);
    });
    return timeline;
  }

  update(node, { machine, i, quiet }) {
    const word = quiet ? "quiet" : machine.word;
    setAttribute(node, "data-word", word);
    setText(node.querySelector(".name"), machine.name);
    setText(node.querySelector(".word"), `${SIGNS[word] ?? ""} ${describe(machine, word, quiet, this.model)}`);
    const timeline = this.model.timelines[i];
    const retried = machine.retries ? `  ↻${machine.retries}` : "";
    setText(node.querySelector(".done"), `${machine.done}/${machine.given}${machine.failed ? `  ✗${machine.failed}` : ""}${retried}`);
    const share = this.busyShare(timeline, machine);
    const last = machine.word === "busy" ? this.model.titleOf(machine.current) : "";
    setText(node.querySelector(".share"), last ? `${share} · ${last}` : share);
    setAttribute(node.querySelector(".share"), "title", last);
    this.drawTimeline(node.querySelector("svg"), timeline, machine, quiet, `${machine.name}: ${describe(machine, word, quiet, this.model)}, `
      + `${machine.done} of ${plural(machine.given, "test")}, ${machine.failed} failed, ${share}`);
  }

  busyShare(timeline, machine) {
    const until = machine.word === "lost" && machine.lost_at ? machine.lost_at - this.model.head.started : this.scale.now;
    let busy = 0;
    let covered = 0;
    for (const [, start, end] of [...timeline.bars.values()].sort((a, b) => a[1] - b[1])) {
      const stop = Math.min(end ?? this.scale.now, until);
      busy += Math.max(0, stop - Math.max(start, covered));
      covered = Math.max(covered, stop);
    }
    return until > 0 ? `${Math.min(100, Math.round((100 * busy) / until))} % busy` : "";
  }

  drawTimeline(picture, timeline, machine, quiet, label) {
    const { perSecond, now, width } = this.scale;
    const state = `${timeline.version} ${perSecond.toFixed(4)} ${machine.word}`;
    setAttribute(picture, "aria-label", label);
    if (picture.dataset.drawn !== state) {
      picture.dataset.drawn = state;
      setAttribute(picture, "viewBox", `0 0 ${width} ${STRIP + BODY}`);
      picture.replaceChildren(
        ...[...timeline.bars.values()].map((bar) => this.bar(bar)),
        ...COLOURS.map((verdict) => this.spans(timeline, verdict)),
        ...this.marks(timeline));
    }
    for (const open of picture.querySelectorAll(".open")) {
      setAttribute(open, "width", Math.max(2, (now - Number(open.dataset.start)) * perSecond).toFixed(1));
    }
    this.drawSilence(picture, machine, quiet);
  }

  bar([, start, end, word]) {
    const { perSecond, now } = this.scale;
    const x = start * perSecond;
    const wide = Math.max(2, ((end ?? now) - start) * perSecond);
    const bad = ["lost", "lease ended", "timed out", "not started"].includes(word);
    return svg("rect", {
      class: `attempt${end === null ? " open" : ""}${bad ? " gone" : ""}`, "data-start": start,
      x: x.toFixed(1), y: STRIP - 2, width: wide.toFixed(1), height: BODY + 2, rx: 3,
    });
  }

  /** All tests of one verdict as one path: ten thousand rectangles would be ten thousand elements. */
  spans(timeline, verdict) {
    const { perSecond } = this.scale;
    const tall = BODY / Math.max(1, timeline.rows);
    const gap = tall > 3 ? 1 : 0;
    let d = "";
    for (const [, row, start, end, said] of timeline.spans) {
      if (said !== verdict) continue;
      const wide = Math.max(1, (end - start) * perSecond - (gap ? 0.8 : 0));
      const h = (tall - gap).toFixed(2);
      d += `M${(start * perSecond).toFixed(1)} ${(STRIP + row * tall).toFixed(2)}h${wide.toFixed(1)}v${h}h-${wide.toFixed(1)}z`;
    }
    return svg("path", { class: `span ${verdict}`, d });
  }

  /** A sign for what failed, never colour alone; where they would stand on each other, one stands for all. */
  marks(timeline) {
    const marks = [];
    let free = -Infinity;
    for (const [, , , end, verdict] of timeline.spans) {
      const x = end * this.scale.perSecond;
      if (verdict !== "failed" && verdict !== "flaky") continue;
      if (x < free) continue;
      free = x + 8;
      marks.push(svg("text", { class: `mark ${verdict}`, x: (x - 4).toFixed(1), y: STRIP - 3 }, verdict === "failed" ? "✗" : "~"));
    }
    return marks;
  }

  drawSilence(picture, machine, quiet) {
    picture.querySelector(".silence")?.remove();
    const { perSecond, now, width } = this.scale;
    const { head } = this.model;
    const since = machine.word === "lost" ? machine.lost_at : quiet ? machine.last_seen : null;
    if (since === null || since === undefined || machine.word === "quarantined") return;
    const x = Math.max(0, (since - head.started) * perSecond);
    const wide = Math.min(width, now * perSecond) - x;
    if (wide < 1) return;
    const text = machine.word === "lost" ? "lost" : `no events for ${clock(quiet)}`;
    picture.append(svg("g", { class: "silence" },
      svg("rect", { x: x.toFixed(1), y: STRIP - 2, width: wide.toFixed(1), height: BODY + 2, rx: 3 }),
      wide > 60 ? svg("text", { x: (x + 8).toFixed(1), y: STRIP + BODY / 2 + 4 }, text) : ""));
  }

  drawAxis() {
    const { end, perSecond, width } = this.scale;
    const axis = byId("axis");
    const timeline = this.list.querySelector("svg");
    axis.hidden = !timeline;
    if (!timeline) return;
    const step = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200].find((s) => s * perSecond > 64) ?? 14400;
    const left = timeline.getBoundingClientRect().left - axis.getBoundingClientRect().left;
    const { planned } = this.model.head;
    const taken = planned && planned < end ? planned : -Infinity;
    const ticks = taken > 0 ? [{ key: "planned", at: planned, text: "planned", cls: "planned" }] : [];
    for (let t = 0; t < end; t += step) {
      const free = t * perSecond < width - 24 && (t < taken ? (taken - t) * perSecond > 44 : (t - taken) * perSecond > 68);
      if (free) ticks.push({ key: t, at: t, text: clock(t), cls: null });
    }
    axis.style.height = "1.2em";
    keyed(axis, ticks, (tick) => tick.key, () => el("span"), (node, tick) => {
      node.className = tick.cls ?? "";
      setText(node, tick.text);
      node.style.left = `${(left + tick.at * perSecond).toFixed(1)}px`;
    });
  }

  spanAt(event, i) {
    const box = event.currentTarget.getBoundingClientRect();
    const timeline = this.model.timelines[i];
    const t = (event.clientX - box.left) / this.scale.perSecond;
    const row = Math.floor((event.clientY - box.top - STRIP) / (BODY / Math.max(1, timeline.rows)));
    const slack = 2 / this.scale.perSecond;
    const near = (span) => span[2] - slack <= t && t <= span[3] + slack;
    return timeline.spans.find((span) => span[1] === row && near(span)) ?? (row < 0 ? timeline.spans.find((span) => span[4] === "failed" && Math.abs(span[3] - t) < 3 * slack) : undefined);
  }

  point(event, i) {
    const span = this.spanAt(event, i);
    const tip = byId("tip");
    tip.hidden = !span;
    event.currentTarget.style.cursor = span ? "pointer" : "";
    if (!span) return;
    setText(tip, `${this.model.titleOf(span[0])}\n${span[4]}, ${(span[3] - span[2]).toFixed(1)} s`);
    const x = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8);
    tip.style.transform = `translate(${Math.max(4, x)}px, ${event.clientY + 16}px)`;
  }
}

function urgency({ machine, quiet }) {
  return { lost: 4, quarantined: 3, unhealthy: 2 }[machine.word] ?? (quiet ? 1 : 0);
}

function describe(machine, word, quiet, model) {
  if (word === "quiet") return `no events for ${clock(quiet)}`;
  if (word === "lost" && machine.lost_at) return `lost at ${clock(machine.lost_at - model.head.started)}`;
  const cores = machine.cores ? `, ${plural(machine.cores, "core")}` : "";
  return `${word}${cores}`;
}
