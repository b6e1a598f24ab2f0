// The table of tests: filtered by words and chips, in the URL, and only as many rows as can be seen.

import { GLYPHS, STATES, byId, duration, el, keyed, plural, setAttribute, setText } from "./dom.js";

const CHIPS = ["failed", "flaky", "slow", "not run", "running", "passed"];
const AROUND = 6; // rows kept above and below what can be seen
const RANK = new Map(STATES.map((state, i) => [state, i]));

/** `s:failed,flaky machine:moruk project:mobile file:cart some words` as a function of a test. All must hold. */
export function parse(query, machineName) {
  const tests = [];
  for (const [, key, quoted, word] of query.matchAll(/(?:(s|machine|project|file):)?(?:"([^"]*)"?|(\S+))/gi)) {
    const text = (quoted ?? word).toLowerCase();
    const any = text.split(",").filter(Boolean);
    if (key === undefined) tests.push((t) => t.text.includes(text));
    else if (key.toLowerCase() === "s") tests.push((t) => any.some((s) => hasState(t, s)));
    else if (key.toLowerCase() === "machine") tests.push((t) => any.some((m) => machineName(t.machine).toLowerCase() === m));
    else if (key.toLowerCase() === "project") tests.push((t) => any.some((p) => t.project.toLowerCase().includes(p)));
    else tests.push((t) => any.some((f) => t.file.toLowerCase().includes(f)));
  }
  return (t) => tests.every((test) => test(t));
}

function hasState(test, state) {
  if (state === "slow") return test.flags.includes("s");
  if (state === "moved") return test.flags.includes("m");
  return test.state === state || test.state.replace(" ", "-") === state;
}

export class Tests {
  constructor(model, openTest) {
    this.model = model;
    this.openTest = openTest;
    this.query = byId("query");
    this.scroller = byId("scroller");
    this.body = byId("rows");
    this.found = [];
    this.above = el("tr", { class: "space", "aria-hidden": "true" }, el("td"));
    this.below = this.above.cloneNode(true);
    const url = new URL(location.href);
    this.query.value = url.searchParams.get("q") ?? "";
    this.sort = url.searchParams.get("sort") ?? "state";
    this.query.addEventListener("input", () => this.changed());
    this.scroller.addEventListener("scroll", () => this.paint(), { passive: true });
    this.body.addEventListener("keydown", (event) => this.move(event));
    this.body.addEventListener("click", (event) => {
      const row = event.target.closest("tr[data-n]");
      if (row) this.openTest(Number(row.dataset.n));
    });
    for (const header of document.querySelectorAll("th[data-sort] button")) {
      header.addEventListener("click", () => this.sortBy(header.parentElement.dataset.sort));
    }
    new ResizeObserver(() => this.paint()).observe(this.scroller);
  }

  sortBy(sort) {
    this.sort = sort;
    this.changed();
  }

  changed() {
    const url = new URL(location.href);
    for (const [name, value, fallback] of [["q", this.query.value.trim(), ""], ["sort", this.sort, "state"]]) {
      if (value === fallback) url.searchParams.delete(name);
      else url.searchParams.set(name, value);
    }
    history.replaceState(null, "", url);
    this.scroller.scrollTop = 0;
    this.draw();
  }

  draw() {
    const matches = parse(this.query.value, (i) => this.model.machines[i]?.name ?? "");
    this.found = this.model.tests.filter((test) => test !== undefined && matches(test));
    const by = {
      state: (a, b) => RANK.get(a.state) - RANK.get(b.state) || a.n - b.n,
      name: (a, b) => a.text < b.text ? -1 : a.text > b.text ? 1 : a.n - b.n,
      time: (a, b) => (b.seconds ?? -1) - (a.seconds ?? -1) || a.n - b.n,
    };
    this.found.sort(by[this.sort] ?? by.state);
    for (const header of document.querySelectorAll("th[data-sort]")) {
      const sorted = header.dataset.sort === this.sort;
      if (sorted) setAttribute(header, "aria-sort", this.sort === "time" ? "descending" : "ascending");
      else header.removeAttribute("aria-sort");
    }
    const { total } = this.model.head;
    const more = this.model.head.omitted?.tests;
    const omitted = more ? `; ${plural(more, "more test")} not listed: those that failed are listed first` : "";
    setText(byId("shown"), (this.found.length === total ? plural(total, "test") : `${this.found.length.toLocaleString("en")} of ${plural(total, "test")}`) + omitted);
    this.drawChips();
    this.paint();
  }

  drawChips() {
    const { counts } = this.model.head;
    const chosen = this.query.value.match(/(?:^|\s)s:(\S+)/i)?.[1].toLowerCase().split(",") ?? [];
    keyed(byId("chips"), CHIPS, (state) => state,
      (state) => el("button", { type: "button", class: `chip ${state.replace(" ", "-")}`, onclick: () => this.toggle(state) }),
      (node, state) => {
        setText(node, `${GLYPHS[state] ?? "◷"} ${state} ${(counts[state] ?? 0).toLocaleString("en")}`);
        setAttribute(node, "aria-pressed", String(chosen.includes(state.replace(" ", "-"))));
      });
  }

  toggle(state) {
    const word = state.replace(" ", "-");
    const chosen = new Set(this.query.value.match(/(?:^|\s)s:(\S+)/i)?.[1].toLowerCase().split(",").filter(Boolean));
    if (!chosen.delete(word)) chosen.add(word);
    const rest = this.query.value.replace(/(?:^|\s)s:\S*/gi, "").trim();
    this.query.value = [chosen.size ? `s:${[...chosen].join(",")}` : "", rest].filter(Boolean).join(" ");
    this.changed();
  }

  /** Puts the rows that can be seen into the table, between two spaces as high as the others would be. */
  paint() {
    const tall = parseFloat(getComputedStyle(this.scroller).getPropertyValue("--row")) || 44;
    const first = Math.max(0, Math.floor(this.scroller.scrollTop / tall) - AROUND);
    const last = Math.min(this.found.length, first + Math.ceil(this.scroller.clientHeight / tall) + 2 * AROUND);
    const focused = this.body.contains(document.activeElement) ? document.activeElement.closest("tr")?.dataset.n : undefined;
    const rows = this.found.slice(first, last);
    this.above.firstElementChild.style.height = `${first * tall}px`;
    this.below.firstElementChild.style.height = `${(this.found.length - last) * tall}px`;
    const empty = { key: "empty" };
    keyed(this.body, [{ key: "above", node: this.above }, ...(rows.length ? rows : [empty]), { key: "below", node: this.below }],
      (item) => item.key ?? item.n,
      (item) => item.node ?? (item === empty ? nothingFound() : makeRow(item)),
      (node, item) => item.key ?? this.updateRow(node, item));
    if (focused !== undefined && document.activeElement === document.body) this.focus(focused);
  }

  updateRow(node, test) {
    const moved = test.movedFrom >= 0 && test.movedFrom !== test.machine ? `from ${this.model.machines[test.movedFrom]?.name}` : "";
    const live = test.flags.includes("l") && test.state !== "passed";
    const [state, title, project, machine, tries, time] = node.children;
    setAttribute(node, "data-state", test.state);
    setText(state, `${GLYPHS[test.state]} ${test.state}${live ? " so far" : ""}`);
    setText(title.firstElementChild, test.title);
    setText(title.lastElementChild, test.file);
    setText(project, test.project);
    setText(machine.firstElementChild, this.model.machines[test.machine]?.name ?? "");
    setText(machine.lastElementChild, moved);
    setText(tries, test.tries > 1 ? `${test.tries}` : "");
    setText(time, `${test.flags.includes("s") ? "◷ " : ""}${duration(test.seconds)}`);
  }

  move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const row = event.target.closest("tr[data-n]");
    if (!step || !row) return;
    event.preventDefault();
    const next = this.found[this.found.findIndex((test) => test.n === Number(row.dataset.n)) + step];
    if (!next) return;
    const tall = row.offsetHeight;
    const at = this.found.indexOf(next) * tall;
    if (at < this.scroller.scrollTop) this.scroller.scrollTop = at;
    if (at + 2 * tall > this.scroller.scrollTop + this.scroller.clientHeight) this.scroller.scrollTop = at + 2 * tall - this.scroller.clientHeight;
    this.paint();
    this.focus(next.n);
  }

  focus(n) {
    this.body.querySelector(`tr[data-n="${n}"] button`)?.focus({ preventScroll: true });
  }
}

function makeRow(test) {
  return el("tr", { "data-n": test.n },
    el("td", { class: "state" }),
    el("td", { class: "test" }, el("button", { type: "button", class: "open" }), el("small", { class: "muted" })),
    el("td", { class: "project" }),
    el("td", { class: "machine" }, el("span"), el("small", { class: "muted" })),
    el("td", { class: "tries" }),
    el("td", { class: "time" }));
}

function nothingFound() {
  return el("tr", { class: "empty" }, el("td", {}, "No test matches this filter."));
}
