"use strict";
// The list of all tests. Everything shown is set as text, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const CHUNK = 200;
  const list = document.getElementById("list");
  const body = list.querySelector("tbody");
  const more = document.getElementById("more");
  const search = document.getElementById("search");
  const order = document.getElementById("order");
  const chips = [...document.querySelectorAll(".chips button")];

  const tests = data.rows.map(([verdict, place, name, project, machine, seconds, detail], index) => {
    const where = data.places[place], browser = data.projects[project];
    const title = (where && where !== name ? where + " › " : "") + name + (browser ? " [" + browser + "]" : "");
    return { index, verdict: data.verdicts[verdict], title, machine: data.machines[machine], seconds, detail,
             words: (title + " " + data.machines[machine]).toLowerCase() };
  });
  const orders = {
    need: (a, b) => a.index - b.index,
    slow: (a, b) => (b.seconds || 0) - (a.seconds || 0) || a.index - b.index,
    name: (a, b) => a.title < b.title ? -1 : a.title > b.title ? 1 : a.index - b.index,
  };
  let verdict = "", found = [], shown = 0;

  function element(tag, text, className) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  function time(seconds) {
    if (seconds === null) return "";
    if (seconds < 9.995) return seconds.toFixed(2) + "s";
    if (seconds < 59.95) return seconds.toFixed(1) + "s";
    const whole = Math.round(seconds), pad = (n) => String(n).padStart(2, "0");
    return whole < 3600 ? Math.floor(whole / 60) + "m" + pad(whole % 60) + "s"
      : Math.floor(whole / 3600) + "h" + pad(Math.floor(whole % 3600 / 60)) + "m";
  }

  function detailRow(test) {
    const row = element("tr", undefined, "detail"), cell = element("td");
    cell.colSpan = [...list.querySelectorAll("thead th")].filter((head) => head.offsetParent).length; // narrow: fewer
    data.details[test.detail].forEach(([outcome, seconds, machine, text], number) => {
      cell.append(element("h3", (outcome === "not run" ? "Not run" : "Attempt " + (number + 1) + ": " + outcome + " · " + time(seconds)) + (machine ? " · " + machine : "")));
      if (!text) return;
      const pre = element("pre", text);
      pre.tabIndex = 0;
      pre.setAttribute("role", "group");
      pre.setAttribute("aria-label", "Attempt " + (number + 1) + " of " + test.title);
      cell.append(pre);
    });
    row.append(cell);
    return row;
  }

  function testRow(test) {
    const row = element("tr"), state = element("td"), name = element("td");
    const dot = element("i", undefined, "dot " + test.verdict.replace(" ", "-"));
    dot.setAttribute("aria-hidden", "true");
    state.append(dot, test.verdict);
    if (test.detail === undefined) {
      name.append(element("span", test.title));
    } else {
      const button = element("button", test.title);
      button.type = "button";
      button.setAttribute("aria-expanded", "false");
      button.addEventListener("click", () => {
        const open = button.getAttribute("aria-expanded") === "true";
        button.setAttribute("aria-expanded", String(!open));
        if (open) row.nextElementSibling.remove();
        else row.after(detailRow(test));
      });
      name.append(button);
    }
    row.append(state, name, element("td", test.machine, "wide"), element("td", time(test.seconds), "number"));
    return row;
  }

  function showMore() {
    const next = found.slice(shown, shown + CHUNK);
    body.append(...next.map(testRow));
    shown += next.length;
    more.hidden = shown >= found.length;
    more.textContent = "Show more (" + (found.length - shown).toLocaleString("en") + " left)";
  }

  function update() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    found = tests.filter((test) => (!verdict || test.verdict === verdict) && words.every((word) => test.words.includes(word)));
    found.sort(orders[order.value]);
    shown = 0;
    body.replaceChildren();
    showMore();
    document.getElementById("shown").textContent = found.length.toLocaleString("en") + (found.length === 1 ? " test" : " tests");
  }

  chips.forEach((chip) => chip.addEventListener("click", () => {
    verdict = chip.dataset.verdict;
    chips.forEach((other) => other.setAttribute("aria-pressed", String(other === chip)));
    update();
  }));
  search.addEventListener("input", update);
  order.addEventListener("change", update);
  more.addEventListener("click", showMore);
  window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
  document.querySelector(".controls").hidden = list.hidden = false;
  document.getElementById("needs-script").hidden = true;
  update();
})();
