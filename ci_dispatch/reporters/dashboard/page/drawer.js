// One test: its attempts side by side, what they said, and the output of their shards while it comes.

import { GLYPHS, byId, clock, duration, el, plural, setShaded, setText } from "./dom.js";

const LOG_POLL = 1000; // milliseconds
const LOG_KEPT = 256 * 1024; // characters on the page

export class Drawer {
  constructor(model) {
    this.model = model;
    this.dialog = byId("drawer");
    this.test = null;
    this.shown = "";
    byId("drawer-close").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close();
    });
    this.dialog.addEventListener("close", () => this.closed());
  }

  async open(n) {
    this.test = n;
    this.shown = "";
    setUrl(n);
    const known = this.model.tests[n];
    setText(byId("drawer-title"), known?.title ?? "");
    byId("drawer-body").replaceChildren();
    if (!this.dialog.open) this.dialog.showModal();
    byId("drawer-title").focus();
    await this.refresh();
  }

  /** Fetches the test again when its row says that something changed. */
  async refresh() {
    if (this.test === null) return;
    const row = JSON.stringify(this.model.tests[this.test] ?? null);
    if (row === this.shown) return;
    this.shown = row;
    const n = this.test;
    try {
      const answer = await fetch(`/api/test/${n}`, { cache: "no-store" });
      if (!answer.ok) throw new Error();
      const test = await answer.json();
      if (this.test === n) this.show(test);
    } catch {
      this.shown = "";
      if (!byId("drawer-body").firstChild) byId("drawer-body").append(el("p", { class: "muted" }, "The server does not answer."));
    }
  }

  show(test) {
    const state = this.model.tests[test.n]?.state ?? test.verdict ?? "waiting";
    byId("drawer-state").dataset.state = state;
    setText(byId("drawer-state"), `${GLYPHS[state] ?? ""} ${state}${test.reason ? `: ${test.reason}` : ""}`);
    setText(byId("drawer-title"), test.title);
    setText(byId("drawer-place"), [test.project, test.file].filter(Boolean).join(" · "));
    const open = new Set([...this.dialog.querySelectorAll("details.log[open]")].map((node) => node.dataset.lease));
    const first = !this.dialog.querySelector(".attempt");
    const attempts = test.attempts.map((attempt, i) => this.attempt(attempt, i));
    byId("drawer-body").replaceChildren(
      history_(test),
      earlier(test),
      test.reproduce ? reproduce(test.reproduce) : "",
      attempts.length ? el("div", { class: "attempts" }, ...attempts) : el("p", { class: "muted" }, "No machine has had it yet."));
    for (const node of this.dialog.querySelectorAll("details.log")) node.open = open.has(node.dataset.lease);
    const last = [...this.dialog.querySelectorAll("details.log")].at(-1);
    if (first && last?.dataset.running === "true") last.open = true;
  }

  attempt(attempt, i) {
    const { result } = attempt;
    const word = result && result.verdict !== "not run" ? result.verdict : attempt.word;
    const took = result?.seconds !== null && result ? duration(result.seconds) : "";
    const facts = [
      attempt.started === null ? "not started" : `began at ${clock(attempt.started)}`,
      took && `took ${took}`,
      `${attempt.kind} shard of ${plural(attempt.tests, "test")}`,
      `files in attempts/${attempt.lease}`,
      result?.retries ? `the runner itself tried ${result.retries + 1} times` : "",
    ];
    return el("article", { class: "attempt", "data-state": word },
      el("h3", {}, `${GLYPHS[word] ?? "•"} Attempt ${i + 1} on ${attempt.machine}: ${word}`),
      el("p", { class: "muted" }, facts.filter(Boolean).join(" · ")),
      attempt.stale ? el("p", { class: "note" }, "Came too late: its lease had ended, so this is evidence and changes nothing.") : "",
      attempt.suspect ? el("p", { class: "note" }, "It was running when its runner or machine died.") : "",
      attempt.reason ? el("p", { class: "note" }, `${attempt.word}: ${attempt.cause ? `${attempt.cause}, ` : ""}${attempt.reason}`) : "",
      result?.reason ? el("p", { class: "note" }, result.reason) : "",
      result ? message(result) : "",
      this.log(attempt));
  }

  log(attempt) {
    const running = attempt.word === "running";
    const text = el("pre", { tabindex: 0, role: "group", "aria-label": `Output of the shard on ${attempt.machine}` });
    const details = el("details", { class: "log", "data-lease": attempt.lease, "data-running": running },
      el("summary", {}, "Output of its shard", running ? el("span", { class: "live" }, " live") : ""), text);
    details.addEventListener("toggle", () => details.open && this.tail(details, text, attempt, 0));
    return details;
  }

  async tail(details, text, attempt, since) {
    let end = since;
    try {
      const answer = await fetch(`/api/log/${attempt.lease}?since=${since}`, { cache: "no-store" });
      if (answer.status === 404) setText(text, text.textContent || "No output is known yet.");
      else if (answer.ok) end = append(text, await answer.json(), since);
    } catch {
      // the next look will tell
    }
    if (details.open && details.isConnected && this.dialog.open && details.dataset.running === "true") {
      setTimeout(() => details.open && details.isConnected && this.tail(details, text, attempt, end), LOG_POLL);
    }
  }

  closed() {
    const n = this.test;
    this.test = null;
    setUrl(null);
    document.querySelector(`tr[data-n="${n}"] button`)?.focus();
  }
}

function append(node, piece, since) {
  const follows = node.scrollTop + node.clientHeight >= node.scrollHeight - 8;
  const known = since > 0 && piece.start <= since ? node.textContent : piece.start ? "… what came before is in the run's folder\n" : "";
  const text = known + piece.text;
  setText(node, text.length > LOG_KEPT ? text.slice(-LOG_KEPT) : text);
  if (follows) node.scrollTop = node.scrollHeight;
  return piece.end;
}

const times = (n) => (n === 1 ? "once" : `${n} times`);

function history_(test) {
  const parts = [
    test.retries ? `failed and went again ${times(test.retries)}` : "",
    test.moves ? `moved ${times(test.moves)} because of a machine` : "",
    test.moves && test.avoid ? `away from ${test.avoid}` : "",
    test.attempts_omitted ? `${plural(test.attempts_omitted, "earlier attempt")} not shown` : "",
  ].filter(Boolean);
  return parts.length ? el("p", {}, parts.join(", ")) : "";
}

// How it ended in earlier runs, the newest last: high is bad.
const OUTCOMES = { ".": ["▁", "passed"], "~": ["▅", "flaky"], "F": ["█", "failed"], "-": ["·", "skipped"] };

function earlier(test) {
  const outcomes = [...(test.earlier ?? "")].map((letter) => OUTCOMES[letter] ?? ["·", "not there"]);
  if (!outcomes.length) return "";
  const words = outcomes.map(([, word]) => word).join(", ");
  const bars = outcomes.map(([bar]) => bar).join("");
  return el("p", {},
    el("span", { class: "muted" }, "Earlier runs "),
    el("span", { class: "outcomes", role: "img", "aria-label": `Earlier runs, the newest last: ${words}` }, bars));
}

function message(result) {
  const text = (result.detail || result.message).trimEnd();
  if (!text) return "";
  const pre = el("pre", { class: "message", tabindex: 0, role: "group", "aria-label": "What it said" });
  setShaded(pre, text);
  return pre;
}

function reproduce(command) {
  const code = el("code", { tabindex: 0 }, command);
  const button = el("button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(command);
      setText(button, "Copied");
    } catch {
      getSelection().selectAllChildren(code); // no clipboard without https: one key is left to press
      setText(button, "Selected");
    }
  });
  return el("p", { class: "reproduce" }, el("span", { class: "muted" }, "Run it again "), code, button);
}

function setUrl(n) {
  const url = new URL(location.href);
  if (n === null) url.searchParams.delete("t");
  else url.searchParams.set("t", n);
  history.replaceState(null, "", url);
}
