// The sampling controls: read, checked by the browser, and kept for the next visit.

const KEPT = "axl-sampling";
const NUMBERS = ["temperature", "top_k", "top_p", "min_p", "max_tokens", "seed"];

/** "a\\nb" as a newline between, one stop string a line. */
function stop_strings(text) {
  const escapes = {n: "\n", t: "\t", r: "\r", "\\": "\\"};
  const lines = text.split("\n").filter((line) => line !== "");
  return lines.map((line) => line.replace(/\\([ntr\\])/g, (_, c) => escapes[c]));
}

export class Settings {
  constructor(form) {
    this.form = form;
    this.restore();
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => this.keep());
  }

  get as_typed() {
    return this.form.elements.as_typed.checked;
  }

  /** Parameters of a completion request; undefined, with the browser's message, for a wrong one. */
  parameters() {
    if (!this.form.reportValidity()) return undefined;
    const fields = this.form.elements;
    const out = {};
    for (const name of NUMBERS) if (fields[name].value !== "") out[name] = Number(fields[name].value);
    const stop = stop_strings(fields.stop.value);
    if (stop.length) out.stop = stop;
    return out;
  }

  keep() {
    const kept = Object.fromEntries(new FormData(this.form));
    kept.as_typed = this.as_typed;
    localStorage.setItem(KEPT, JSON.stringify(kept));
  }

  restore() {
    const kept = JSON.parse(localStorage.getItem(KEPT) ?? "{}");
    for (const [name, value] of Object.entries(kept)) {
      const field = this.form.elements[name];
      if (!field) continue;
      if (field.type === "checkbox") field.checked = value;
      else field.value = value;
    }
  }
}
