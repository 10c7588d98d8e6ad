// The text that is being written, with the model's proposal as grey text at the cursor.
//
// A textarea holds the text, and the cursor; its letters are transparent. The mirror behind it shows
// them, with the proposal between, and gives both their height.

import {complete} from "./api.js";
import {$, element} from "./dom.js";
import {Ghost} from "./ghost.js";

const PAUSE_MS = 350;          // of typing, before a completion is asked for
const PROMPT_CHARACTERS = 16384;  // on each side of the cursor: more than any context

export class Editor {
  /** `ask` gives {model, …parameters, fills} or undefined; `on_error` is told what went wrong. */
  constructor({settings, ask, on_error}) {
    Object.assign(this, {settings, ask, on_error});
    this.text = $("text");
    this.ghost = undefined;
    this.work = undefined;  // the AbortController of a stream
    this.listen();
    this.draw();
  }

  listen() {
    const {text} = this;
    text.addEventListener("input", () => this.typed());
    text.addEventListener("keydown", (event) => this.key(event));
    text.addEventListener("blur", () => clearTimeout(this.timer));
    document.addEventListener("selectionchange", () => this.moved());
    $("complete").addEventListener("click", () => this.propose());
    $("accept").addEventListener("click", () => this.accept());
    $("dismiss").addEventListener("click", () => this.dismiss());
    // A click on a button must not close the keyboard of a phone.
    for (const id of ["complete", "accept", "dismiss"])
      $(id).addEventListener("pointerdown", (event) => event.preventDefault());
  }

  /** What is proposed and not typed yet; "" where there is nothing. */
  get rest() {
    const {text, ghost} = this;
    if (!ghost || text.selectionStart !== text.selectionEnd) return "";
    return ghost.rest(text.value, text.selectionStart) ?? "";
  }

  key(event) {
    const plain = !event.shiftKey && !event.ctrlKey && !event.altKey && !event.metaKey;
    if (event.key === "Tab" && plain && this.rest) this.accept();
    else if (event.key === "Escape" && this.ghost) this.dismiss();
    else if (event.key === " " && event.ctrlKey) this.propose();
    else return;
    event.preventDefault();
  }

  typed() {
    if (!this.ghost || this.rest === "") this.drop();
    this.draw();
    this.propose_soon();
  }

  moved() {
    if (document.activeElement !== this.text || !this.ghost) return;
    const {value, selectionStart, selectionEnd} = this.text;
    const on_its_way = this.ghost.rest(value, selectionStart) !== undefined;
    if (on_its_way && selectionStart === selectionEnd) return;
    this.drop();
    this.draw();
  }

  propose_soon() {
    clearTimeout(this.timer);
    if (this.settings.as_typed && !this.ghost && this.text.value)
      this.timer = setTimeout(() => this.propose(), PAUSE_MS);
  }

  /** Streams a proposal at the cursor. */
  async propose() {
    this.drop();
    const {before, after, request} = this.request();
    if (!request) return;
    const ghost = (this.ghost = new Ghost(before, after));
    const work = (this.work = new AbortController());
    $("editor").setAttribute("aria-busy", "true");
    this.draw();
    const began = performance.now();
    let first, last, said, usage;
    try {
      for await (const chunk of complete(request, work.signal)) {
        first ??= performance.now();
        last = chunk.choices?.[0] ? chunk : last;
        said = chunk.axl ?? said;
        usage = chunk.usage ?? usage;
        ghost.text += chunk.choices?.[0]?.text ?? "";
        if (this.ghost !== ghost) return;
        this.draw();
      }
      this.finished(ghost, last, {began, first, said, usage});
    } catch (error) {
      if (error.name !== "AbortError") this.failed(ghost, error);
    } finally {
      if (this.work === work) this.work = undefined;
      if (!this.work) $("editor").removeAttribute("aria-busy");
    }
  }

  /** The request for the text around the cursor. */
  request() {
    const {value, selectionEnd} = this.text;
    this.text.setSelectionRange(selectionEnd, selectionEnd);
    const before = value.slice(0, selectionEnd), after = value.slice(selectionEnd);
    const {fills, ...parameters} = this.ask() ?? {};
    if (!parameters.model) return {};
    const request = {...parameters, prompt: before.slice(-PROMPT_CHARACTERS).toWellFormed()};
    if (after.trim() && fills) request.suffix = after.slice(0, PROMPT_CHARACTERS).toWellFormed();
    return {before, after, request};
  }

  finished(ghost, last, {began, first, said, usage}) {
    const seconds = (performance.now() - began) / 1000;
    const reason = last?.choices[0].finish_reason ?? "";
    $("pace").textContent =
      `${usage?.completion_tokens ?? 0} bytes in ${seconds.toFixed(2)} s, the first after ${Math.round((first ?? began) - began)} ms; ` +
      (reason === "length" ? "all that were asked for" : "the model ended here") +
      (said?.prompt_dropped ? `; ${said.prompt_dropped} bytes of the text were too far away to be read` : "");
    $("said").textContent = ghost.text.trim()
      ? `Proposed: ${ghost.text}. Tab accepts, Escape dismisses.`
      : "The model proposes nothing here.";
    if (!ghost.text) this.drop();
    this.draw();
  }

  failed(ghost, error) {
    if (this.ghost === ghost) this.drop();
    this.draw();
    this.on_error(error, () => this.propose());
  }

  accept() {
    const {rest} = this;
    if (!rest) return;
    this.drop();
    this.text.focus();
    // Deprecated, and the only way that leaves Undo working.
    document.execCommand("insertText", false, rest);
    $("said").textContent = "Accepted.";
  }

  dismiss() {
    this.drop();
    this.draw();
    this.text.focus();
    $("said").textContent = "Dismissed.";
  }

  /** Forgets the proposal, and stops the server's work on it. */
  drop() {
    clearTimeout(this.timer);
    this.ghost = undefined;
    this.work?.abort();
    this.work = undefined;
    $("editor").removeAttribute("aria-busy");
  }

  draw() {
    const {value, selectionEnd} = this.text;
    const {rest} = this;
    const at = rest ? selectionEnd : value.length;
    const ghost = element("span", {className: "ghost", textContent: rest});
    // A last line that is empty would have no height.
    $("mirror").replaceChildren(value.slice(0, at), ghost, value.slice(at), "\u200b");
    $("accept").disabled = !rest;
    $("dismiss").disabled = !this.ghost;
  }
}
