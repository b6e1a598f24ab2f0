// Failures grouped by cause, as they happen: what needs a person first; then machines that were lost or quarantined.

import { byId, clock, el, keyed, plural, setAttribute, setShaded, setText } from "./dom.js";

const OPEN = 3; // groups that are open at first
const NAMED = 8; // tests of a group that are named before one asks for the rest
const SIGNS = { failed: "✗", "not run": "?", flaky: "~", machine: "⚡" };

export function drawFailures(model, openTest) {
  const groups = [...model.groups, ...machineGroups(model)];
  byId("no-failures").hidden = groups.length > 0;
  let open = OPEN;
  keyed(byId("groups"), groups, (group) => group.key,
    (group) => make(group.kind !== "machine" && group.kind !== "flaky" && open-- > 0),
    (node, group) => update(node, group, model, openTest));
  const omitted = byId("groups-omitted");
  omitted.hidden = !model.groupsOmitted;
  setText(omitted, `… and ${plural(model.groupsOmitted, "more cause")}; the table below has every test.`);
}

function machineGroups(model) {
  return model.machines.flatMap((machine, i) => {
    if (!["lost", "quarantined", "unhealthy"].includes(machine.word) && !machine.losses) return [];
    const when = machine.word === "lost" && machine.lost_at ? ` at ${clock(machine.lost_at - model.head.started)}` : "";
    const word = { lost: `was lost${when}`, quarantined: "was quarantined", unhealthy: "is unhealthy" }[machine.word] ?? "was lost and came back";
    const moved = model.tests.filter((test) => test?.movedFrom === i).length;
    return [{
      key: `machine:${i}`, kind: "machine", whose: "infrastructure", title: `${machine.name} ${word}${machine.why ? `: ${machine.why}` : ""}`,
      count: 0, tests: [], machines: [], hint: machine.health && `Last health check: ${machine.health}`, sample: "", moved,
    }];
  });
}

function make(open) {
  return el("details", { class: "group", open: open ? "" : null },
    el("summary", {}, el("span", { class: "sign" }), el("span", { class: "what" }), el("span", { class: "tags" })),
    el("p", { class: "hint" }), el("pre", { class: "message", tabindex: 0, role: "group", "aria-label": "What one of them said" }), el("ul", { class: "members" }));
}

function update(node, group, model, openTest) {
  setAttribute(node, "data-kind", group.kind);
  const [summary, hint, sample, list] = node.children;
  setText(summary.children[0], SIGNS[group.kind]);
  setText(summary.children[1], group.title);
  const names = group.machines.map((i) => model.machines[i]?.name).filter(Boolean);
  const where = names.length > 3 ? plural(names.length, "machine") : names.join(", ");
  const tags = [
    group.kind === "flaky" ? ["flaky", "flaky"] : group.kind === "not run" ? ["infra", "not run"] : [group.whose, group.whose],
    group.count ? ["", plural(group.count, "test")] : null, where ? ["", where] : null,
    group.retrying ? ["", `${group.retrying} being retried`] : null,
    group.moved ? ["", `${plural(group.moved, "test")} moved away`] : null,
  ].filter(Boolean);
  keyed(summary.children[2], tags, ([, text]) => text, () => el("span"), (tag, [kind, text]) => {
    setAttribute(tag, "class", `tag ${kind}`);
    setText(tag, text);
  });
  setText(hint, group.hint);
  hint.hidden = !group.hint;
  setShaded(sample, group.sample.trimEnd());
  sample.hidden = !group.sample;
  list.onclick = (event) => {
    const n = event.target.closest("button")?.dataset.n;
    if (n === "all") list.dataset.all = "true";
    else if (n) openTest(Number(n));
    drawMembers(list, group, model);
  };
  drawMembers(list, group, model);
}

function drawMembers(list, group, model) {
  const shown = list.dataset.all ? group.tests : group.tests.slice(0, NAMED);
  const items = shown.map((n) => ({ key: n, name: model.tests[n]?.title ?? "", note: model.tests[n]?.project ?? "" }));
  const rest = group.count - shown.length;
  if (rest && shown.length < group.tests.length) items.push({ key: "all", name: `… and ${rest} more`, note: "" });
  else if (rest) items.push({ key: "table", name: "", note: `… and ${rest} more, all in the table below` });
  keyed(list, items, (item) => item.key,
    (item) => el("li", {}, el("button", { type: "button", class: "link", "data-n": item.key }), el("small", { class: "muted" })),
    (node, { name, note }) => {
      node.firstElementChild.hidden = !name;
      setText(node.firstElementChild, name);
      setText(node.lastElementChild, note);
    });
}
