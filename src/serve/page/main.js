// The page: three views of one server.

import {models, Refusal, use_key} from "./api.js";
import {$} from "./dom.js";
import {Editor} from "./editor.js";
import {HeatMap} from "./heat.js";
import {Runs} from "./runs.js";
import {Settings} from "./settings.js";

let known = [];  // what /v1/models lists
let again = () => {};  // what was refused, to be tried with another key

const model = () => $("model").value;
const fills = () => known.find(({id}) => id === model())?.fill_in_middle === true;

function report(error, retry) {
  console.info(error.message);
  again = retry;
  const locked = error instanceof Refusal && error.status === 401;
  $("key-form").hidden = !locked;
  if (locked) $("key").focus();
  $("problem").hidden = false;
  $("problem").textContent = error instanceof TypeError ? "The server does not answer." : error.message;
}

function relieved() {
  $("problem").hidden = true;
  $("key-form").hidden = true;
}

const settings = new Settings($("sampling"));
const editor = new Editor({
  settings,
  ask: () => {
    relieved();
    const parameters = settings.parameters();
    return parameters && model() && {model: model(), fills: fills(), ...parameters};
  },
  on_error: report,
});
new HeatMap({
  model: () => (relieved(), model()),
  written: () => editor.text.value,
  on_error: report,
});
const runs = new Runs({on_error: report});

async function list_models() {
  try {
    known = await models();
    relieved();
    const before = model();
    $("model").replaceChildren(...known.map(({id}) => new Option(id, id)));
    if (known.some(({id}) => id === before)) $("model").value = before;
    tell_of_filling();
  } catch (error) {
    report(error, list_models);
  }
}

function tell_of_filling() {
  $("fill").textContent = fills()
    ? "This model was trained to fill gaps: it reads what stands after the cursor too."
    : "This model was not trained to fill gaps: what stands after the cursor is not read.";
}

$("model").addEventListener("change", tell_of_filling);
$("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  use_key($("key").value);
  $("key").value = "";
  if (!known.length) await list_models();
  if (again !== list_models) again();
});

// Tabs, after the ARIA Authoring Practices: one is in the order of Tab, the arrows choose another.
const tabs = [...document.querySelectorAll("[role=tab]")];

function choose(tab) {
  for (const each of tabs) {
    const chosen = each === tab;
    each.setAttribute("aria-selected", chosen);
    each.tabIndex = chosen ? 0 : -1;
    $(each.getAttribute("aria-controls")).hidden = !chosen;
  }
  runs.show(tab.id === "tab-train");
  history.replaceState(null, "", `#${tab.getAttribute("aria-controls")}`);
}

for (const tab of tabs) tab.addEventListener("click", () => choose(tab));
document.querySelector("[role=tablist]").addEventListener("keydown", (event) => {
  const at = tabs.indexOf(document.activeElement);
  const to = {ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1}[event.key];
  if (to === undefined) return;
  event.preventDefault();
  const tab = tabs[(to + tabs.length) % tabs.length];
  tab.focus();
  choose(tab);
});

// On a phone the controls begin folded away.
if (matchMedia("(max-width: 50rem)").matches) $("settings").open = false;

await list_models();
choose(tabs.find((tab) => tab.getAttribute("aria-controls") === location.hash.slice(1)) ?? tabs[0]);
