"use strict";
// The list of all tests. Everything shown is set as text, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const CHUNK = 100; // rows that are drawn and taken away together
  const DRAWN = 500; // tests that are drawn all at once, for the browser's own search and for paper
  const ROW_PIXELS = 34;
  const FILES = 500; // shown of one folder
  const list = document.getElementById("list"), table = list.querySelector("table");
  const search = document.getElementById("search"), order = document.getElementById("order");
  const tree = document.getElementById("files");
  const chips = [...document.querySelectorAll(".chips button")];
  const VERDICT = Object.fromEntries(data.verdicts.map((verdict) => [verdict.replace(" ", "-"), verdict]));

  const tests = data.rows.map(([verdict, place, name, project, machine, seconds, detail, cause], index) => {
    const [where, path] = data.places[place], browser = data.projects[project];
    const title = (where && where !== name ? where + " › " : "") + name + (browser ? " [" + browser + "]" : "");
    return { index, verdict: data.verdicts[verdict], title, where, name, path: path || where, project: browser,
             machine: data.machines[machine], seconds, detail: data.details[detail], cause: data.causes[cause] || "", open: false };
  });
  const orders = {
    need: (a, b) => a.index - b.index,
    slow: (a, b) => (b.seconds || 0) - (a.seconds || 0) || a.index - b.index,
    name: (a, b) => a.title < b.title ? -1 : a.title > b.title ? 1 : a.index - b.index,
  };

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

  function link(text, address) {
    const made = element("a", text);
    made.href = address;
    return made;
  }

  function decoded(address) {
    try {
      return decodeURIComponent(address);
    } catch { // the name of a file need not be text
      return address;
    }
  }

  function copyButton(words, text) {
    const button = element("button", words, "copy");
    button.type = "button";
    button.addEventListener("click", async () => {
      const said = text();
      try {
        await navigator.clipboard.writeText(said);
      } catch { // a page from a disk may not be allowed to
        const area = element("textarea", said);
        document.body.append(area);
        area.select();
        document.execCommand("copy");
        area.remove();
      }
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = words; }, 1500);
    });
    return button;
  }

  function pre(text, label) {
    const made = element("pre");
    text.split("\n").forEach((line, number) => { // a difference and an error in their colours
      const kind = line.startsWith("+") ? "plus" : line.startsWith("-") ? "minus" : line.startsWith("E ") ? "error" : "";
      made.append(number ? "\n" : "", kind ? element("span", line, kind) : line);
    });
    made.tabIndex = 0;
    made.setAttribute("role", "group");
    made.setAttribute("aria-label", label);
    return made;
  }

  // -- one test -----------------------------------------------------------------------------------------------------

  const address = (test) => "#?test=" + encodeURIComponent(test.title) + "&file=" + encodeURIComponent(test.path);

  function asText(test) {
    const lines = [test.title, test.detail.place || ""];
    test.detail.attempts.forEach(([outcome, seconds, machine, text], number) => {
      lines.push("", "Attempt " + (number + 1) + ": " + [outcome, time(seconds), machine].filter(Boolean).join(" · "), text);
    });
    return lines.filter((line, number) => line || number > 1).join("\n").trim() + "\n";
  }

  function files(found, test) {
    const box = element("div", undefined, "files");
    found.forEach(([name, kind, href, picture]) => {
      const line = element("p");
      line.append(href ? link(name, href) : element("span", name + " (not beside this page)"));
      if (kind === "trace" && href) {
        const absolute = URL.canParse(href, location.href) ? new URL(href, location.href).href : "";
        if (/^https?:/.test(absolute)) {
          line.append(" · ", link("open in the trace viewer", "https://trace.playwright.dev/?trace=" + encodeURIComponent(absolute)));
        } else if (href.startsWith(".") || href.startsWith("/")) {
          line.append(" · ", element("code", "npx playwright show-trace '" + decoded(href).replaceAll("'", "'\\''") + "'"));
        }
      }
      box.append(line);
      if (!picture) return;
      const image = element("img");
      image.src = picture;
      image.alt = name + ", left behind by " + test.title;
      image.loading = "lazy";
      box.append(image);
    });
    return box;
  }

  function about(test) {
    const detail = test.detail, line = element("p", undefined, "about");
    const parts = [];
    if (detail.place) parts.push(detail.url ? link(detail.place, detail.url) : detail.place);
    if (detail.owners) parts.push("owner " + detail.owners.join(", "));
    if (detail.known) parts.push(detail.known);
    if (detail.history) {
      const bars = { ".": "▁", "F": "█", "~": "▅" }, words = { ".": "passed", "F": "failed", "~": "flaky", "-": "skipped" };
      const spark = element("span", [...detail.history].map((one) => bars[one] || "·").join(""), "history");
      spark.setAttribute("role", "img");
      spark.setAttribute("aria-label", "earlier runs: " + [...detail.history].map((one) => words[one] || "not there").join(", "));
      parts.push(spark);
    }
    if (detail.past) parts.push(detail.past);
    parts.push(link("link to this test", address(test)));
    if (test.cause) parts.push(link("tests with the same cause", "#?q=c:" + test.cause));
    parts.forEach((part, number) => line.append(...(number ? [" · ", part] : [part])));
    return line;
  }

  function detailRow(test) {
    const row = element("tr", undefined, "detail"), cell = element("td"), detail = test.detail;
    cell.colSpan = [...list.querySelectorAll("thead th")].filter((head) => head.offsetParent).length; // narrow: fewer
    cell.append(about(test));
    if (detail.values) {
      const values = element("dl", undefined, "values");
      values.append(element("dt", "expected"), element("dd", detail.values[0]), element("dt", "received"), element("dd", detail.values[1]));
      cell.append(values);
    }
    detail.attempts.forEach(([outcome, seconds, machine, text, more], number) => {
      cell.append(element("h3", (outcome === "not run" ? "Not run" : "Attempt " + (number + 1) + ": " + outcome + " · " + time(seconds)) + (machine ? " · " + machine : "")));
      if (text) cell.append(pre(text, "Attempt " + (number + 1) + " of " + test.title));
      for (const stream of ["stdout", "stderr"]) {
        if (!more || !more[stream]) continue;
        const folded = element("details");
        folded.append(element("summary", stream), pre(more[stream], stream + " of attempt " + (number + 1) + " of " + test.title));
        cell.append(folded);
      }
      if (more && more.files) cell.append(files(more.files, test));
    });
    if (detail.properties) {
      const folded = element("details"), values = element("dl", undefined, "values");
      detail.properties.forEach(([name, value]) => values.append(element("dt", name), element("dd", value)));
      folded.append(element("summary", "properties (" + detail.properties.length + ")"), values);
      cell.append(folded);
    }
    if (test.verdict === "failed" || test.verdict === "flaky") cell.append(copyButton("Copy this failure", () => asText(test)));
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
      button.setAttribute("aria-expanded", String(test.open));
      button.addEventListener("click", () => {
        test.open = !test.open;
        button.setAttribute("aria-expanded", String(test.open));
        if (test.open) row.after(detailRow(test));
        else row.nextElementSibling.remove();
      });
      name.append(button);
    }
    row.append(state, name, element("td", test.machine, "wide"), element("td", time(test.seconds), "number"));
    return test.open && test.detail ? [row, detailRow(test)] : [row];
  }

  // -- the list: only what is near the window is drawn ---------------------------------------------------------------

  const chunks = new Map(); // <tbody> -> its tests
  const near = new IntersectionObserver((entries) => entries.forEach(({ target, isIntersecting }) => {
    if (!chunks.has(target)) return;
    if (isIntersecting) draw(target);
    else if (target.dataset.drawn && target !== table.tBodies[0] && !target.contains(document.activeElement)) blank(target, target.offsetHeight);
  }), { rootMargin: "1500px" });

  function draw(body) {
    if (body.dataset.drawn) return;
    body.dataset.drawn = "yes";
    body.replaceChildren(...chunks.get(body).flatMap(testRow));
  }

  function blank(body, pixels) {
    delete body.dataset.drawn;
    const row = element("tr"), cell = element("td");
    cell.colSpan = 4;
    cell.className = "blank";
    row.setAttribute("aria-hidden", "true");
    cell.append(element("div"));
    cell.firstChild.style.height = Math.max(1, pixels) + "px"; // set by script: the policy is about markup
    row.append(cell);
    body.replaceChildren(row);
  }

  function show(found) {
    near.disconnect();
    chunks.forEach((_, body) => body.remove());
    chunks.clear();
    for (let start = 0; start < found.length; start += CHUNK) {
      const body = element("tbody"), some = found.slice(start, start + CHUNK);
      chunks.set(body, some);
      table.append(body);
      if (start === 0 || found.length <= DRAWN) draw(body);
      else blank(body, some.length * ROW_PIXELS);
      if (found.length > DRAWN) near.observe(body);
    }
    document.getElementById("shown").textContent = found.length.toLocaleString("en") + (found.length === 1 ? " test" : " tests");
  }

  // -- which tests --------------------------------------------------------------------------------------------------

  function tokens(text) {
    return (text.match(/(?:"[^"]*"?|[^\s"])+/g) || []).map((token) => token.replaceAll('"', ""));
  }

  function condition(token) {
    const [, key, rest] = /^([spmfoc]):(.*)$/s.exec(token) || [];
    const value = (rest === undefined ? token : rest).toLowerCase();
    const has = (text) => text.toLowerCase().includes(value);
    switch (key) {
      case "s": return (test) => test.verdict === (VERDICT[value] || value);
      case "p": return (test) => has(test.project);
      case "m": return (test) => has(test.machine);
      case "f": return (test) => has(test.path);
      case "c": return (test) => test.cause.startsWith(value);
      case "o": return (test) => Boolean(test.detail && test.detail.owners && test.detail.owners.some(has));
    }
    if (/^@[\w-]+$/.test(value)) {
      const tag = new RegExp(value + "(?![\\w-])", "i");
      return (test) => tag.test(test.title);
    }
    return (test) => has(test.title) || has(test.machine) || has(test.path);
  }

  /** Several verdicts are alternatives; everything else must hold. */
  function matching(text) {
    const all = tokens(text), verdicts = all.filter((token) => token.startsWith("s:")).map(condition);
    const others = all.filter((token) => !token.startsWith("s:")).map(condition);
    return tests.filter((test) => (!verdicts.length || verdicts.some((one) => one(test))) && others.every((one) => one(test)));
  }

  function update() {
    show(matching(search.value).sort(orders[order.value]));
    const chosen = tokens(search.value).filter((token) => token.startsWith("s:")).map((token) => VERDICT[token.slice(2)]);
    chips.forEach((chip) => chip.setAttribute("aria-pressed", String(chip.dataset.verdict ? chosen.includes(chip.dataset.verdict) : !chosen.length)));
  }

  function remember() {
    const address = search.value.trim() ? "#?q=" + encodeURIComponent(search.value.trim()).replaceAll("%20", "+").replaceAll("%3A", ":") : "#tests";
    if (location.hash !== address) history.replaceState(null, "", address);
  }

  function follow() {
    const asked = new URLSearchParams(location.hash.replace(/^#\??/, ""));
    if (asked.has("q")) {
      search.value = asked.get("q");
      update();
      document.getElementById("tests").scrollIntoView();
    } else if (asked.has("test")) {
      const wanted = tests.filter((test) => test.title === asked.get("test"));
      const test = wanted.find((one) => one.path === asked.get("file")) || wanted[0];
      search.value = "";
      update();
      if (test === undefined) {
        document.getElementById("shown").textContent = "The test this address names is not in the list: " + asked.get("test");
      } else {
        test.open = true;
        show([test]);
        document.getElementById("shown").textContent = "1 test, by its address";
      }
      document.getElementById("tests").scrollIntoView();
    }
  }

  // -- the files ----------------------------------------------------------------------------------------------------

  function folderOf(some) {
    const root = { folders: new Map(), files: new Map(), tests: 0, failed: 0 };
    for (const test of some) {
      const parts = test.path.split("/").filter(Boolean), bad = test.verdict === "failed" ? 1 : 0;
      let folder = root;
      root.tests += 1;
      root.failed += bad;
      parts.forEach((part, depth) => {
        const inside = depth === parts.length - 1 ? folder.files : folder.folders;
        if (!inside.has(part)) inside.set(part, { folders: new Map(), files: new Map(), tests: 0, failed: 0, path: parts.slice(0, depth + 1).join("/") });
        folder = inside.get(part);
        folder.tests += 1;
        folder.failed += bad;
      });
    }
    return root;
  }

  const counted = (entry) => entry.tests.toLocaleString("en") + (entry.failed ? ", " + entry.failed.toLocaleString("en") + " failed" : "");

  function drawFolder(folder) {
    const items = element("ul", undefined, "tree");
    const byNeed = ([a, x], [b, y]) => Boolean(y.failed) - Boolean(x.failed) || (a < b ? -1 : 1);
    const entries = [...[...folder.folders].sort(byNeed).map(([name, one]) => [name, one, true]), ...[...folder.files].sort(byNeed).map(([name, one]) => [name, one, false])];
    entries.slice(0, FILES).forEach(([name, one, isFolder]) => {
      const item = element("li");
      if (isFolder) {
        let label = name;
        while (one.folders.size === 1 && one.files.size === 0) { // a chain of folders is one line
          const [[next, inner]] = one.folders;
          label += "/" + next;
          one = inner;
        }
        const folded = element("details"), summary = element("summary", label + "/ ");
        summary.append(element("small", counted(one)));
        folded.append(summary);
        folded.addEventListener("toggle", () => { if (folded.open && !folded.querySelector("ul")) folded.append(drawFolder(one)); });
        if (one.failed) folded.open = true;
        item.append(folded);
      } else {
        const file = link(name, "#?q=" + encodeURIComponent(/\s/.test(one.path) ? 'f:"' + one.path + '"' : "f:" + one.path));
        item.append(file, " ", element("small", counted(one)));
        if (one.failed) item.className = "bad";
      }
      items.append(item);
    });
    if (entries.length > FILES) items.append(element("li", "… and " + (entries.length - FILES).toLocaleString("en") + " more"));
    return items;
  }

  // -- start --------------------------------------------------------------------------------------------------------

  chips.forEach((chip) => chip.addEventListener("click", () => {
    const others = search.value.split(/\s+/).filter((token) => token && !token.startsWith("s:"));
    const verdict = chip.dataset.verdict && "s:" + chip.dataset.verdict.replace(" ", "-");
    search.value = [...(verdict ? [verdict] : []), ...others].join(" ");
    update();
    remember();
  }));
  search.addEventListener("input", () => { update(); remember(); });
  order.addEventListener("change", update);
  window.addEventListener("hashchange", follow);
  window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
  tree.addEventListener("toggle", () => { if (tree.open && !tree.querySelector("ul")) tree.querySelector(".inside").append(drawFolder(folderOf(tests))); });
  document.querySelectorAll(".group .inside").forEach((inside) => {
    const message = inside.querySelector("pre");
    if (!message) return;
    const names = [...inside.querySelectorAll(".names li > span")].map((name) => name.textContent);
    message.after(copyButton("Copy this failure", () => names.join("\n") + "\n\n" + message.textContent + "\n"));
  });
  document.querySelector(".controls").hidden = list.hidden = tree.hidden = false;
  document.querySelectorAll(".script-only").forEach((one) => { one.hidden = false; });
  document.getElementById("needs-script").hidden = true;
  update();
  follow();
})();
