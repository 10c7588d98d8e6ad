// The heat map: what each byte of a text cost, and below it which scale the model listened to.

import {score} from "./api.js";
import {$, element, figure} from "./dom.js";

const HOTTEST_BITS = 8;  // what a byte costs that one knows nothing about
const NEWLINE = 0x0a, TAB = 0x09;

const percent = (share) => `${Math.round(100 * share)} %`;

/** The bytes of a text, each with what is shown for it and the character it begins or continues. */
function* bytes_of(text) {
  for (const character of text) {
    const bytes = new TextEncoder().encode(character);
    for (let i = 0; i < bytes.length; ++i)
      yield {byte: bytes[i], character, part: i, parts: bytes.length};
  }
}

function shown({byte, character, part}) {
  if (part > 0) return "·";
  if (byte === NEWLINE) return "↵";
  if (byte === TAB) return "→";
  if (byte === 0x20) return "\u00a0";
  return byte < 0x20 || byte === 0x7f ? "�" : character;
}

/** Shares stacked from below in the colours of the scales, as a CSS image. */
function stack(shares) {
  let below = 0;
  const stops = shares.map((share, s) => {
    const from = below;
    below += 100 * share;
    return `var(--scale-${s}) ${from.toFixed(1)}% ${below.toFixed(1)}%`;
  });
  return `linear-gradient(to top, ${stops.join(", ")})`;
}

export class HeatMap {
  /** `model()` names the chosen model; `written()` is the text of the other view. */
  constructor({model, written, on_error}) {
    Object.assign(this, {model, written, on_error, cells: [], here: -1});
    const map = $("map");
    $("score").addEventListener("click", () => this.score());
    $("take").addEventListener("click", () => {
      $("passage").value = this.written();
      this.score();
    });
    $("passage").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      this.score();
    });
    map.addEventListener("keydown", (event) => this.walk(event));
    for (const kind of ["pointerover", "click"])
      map.addEventListener(kind, (event) => {
        const cell = event.target.closest("[data-at]");
        if (cell) this.visit(Number(cell.dataset.at), false);
      });
  }

  async score() {
    const text = $("passage").value.toWellFormed();
    if (!text || !this.model()) return;
    this.work?.abort();
    const work = (this.work = new AbortController());
    $("score-state").textContent = "The model is reading …";
    try {
      this.show(text, await score({model: this.model(), text}, work.signal));
      $("score-state").textContent = "";
    } catch (error) {
      if (error.name === "AbortError") return;
      $("score-state").textContent = "";
      this.on_error(error, () => this.score());
    }
  }

  show(text, result) {
    this.result = result;
    this.bytes = [...bytes_of(text)];
    this.here = -1;
    const {scales, gate} = result;
    const mean = scales.map((_, s) => gate.reduce((sum, g) => sum + g[s], 0) / gate.length);
    const bits = result.bits.reduce((sum, b) => sum + b, 0);
    $("totals").replaceChildren(
      figure("Bits per byte", result.bits_per_byte.toFixed(3)),
      figure("Bytes", result.bytes.toLocaleString("en")),
      figure("Compressed to", `${Math.ceil(bits / 8).toLocaleString("en")} bytes`));
    this.draw_legend(scales, mean);
    this.draw_map();
    $("byte").textContent = "Point at a byte, or walk with the arrow keys.";
    $("scored").hidden = false;
  }

  draw_legend(scales, mean) {
    const heat = element("span", {className: "ramp"});
    const keys = scales.map((scale, s) => {
      const swatch = element("i", {className: "swatch"});
      swatch.style.background = `var(--scale-${s})`;
      const name = scale === 1 ? "scale 1, bytes" : `scale ${scale}, groups of ${scale}`;
      return element("span", {}, swatch, `${name}: ${percent(mean[s])}`);
    });
    $("legend").replaceChildren(
      element("span", {}, "0 bits ", heat, ` ${HOTTEST_BITS} bits or more`), ...keys);
  }

  draw_map() {
    this.cells = this.bytes.map((byte, i) => {
      const cell = element("span", {className: "byte", textContent: shown(byte)});
      cell.dataset.at = i;
      const heat = Math.min(this.result.bits[i] / HOTTEST_BITS, 1);
      cell.style.setProperty("--heat", `${(100 * heat).toFixed(1)}%`);
      cell.style.setProperty("--gate", stack(this.result.gate[i]));
      if (byte.part > 0 || byte.byte === NEWLINE || byte.byte === TAB) cell.classList.add("sign");
      return cell;
    });
    this.lines = [];
    for (let i = 0, start = 0; i < this.bytes.length; ++i) {
      if (this.bytes[i].byte !== NEWLINE && i + 1 < this.bytes.length) continue;
      this.lines.push([start, i]);
      start = i + 1;
    }
    $("map").replaceChildren(...this.lines.map(([first, last]) =>
      element("div", {className: "line"}, ...this.cells.slice(first, last + 1))));
  }

  walk(event) {
    const to = this.target(event.key);
    if (to === undefined) return;
    event.preventDefault();
    this.visit(to, true);
  }

  /** Where a key leads; undefined for a key that does not lead anywhere. */
  target(key) {
    const here = Math.max(this.here, 0);
    const line = this.lines.findIndex(([first, last]) => first <= here && here <= last);
    const [first, last] = this.lines[line];
    const in_line = (other) => {
      const [begin, end] = this.lines[Math.min(Math.max(other, 0), this.lines.length - 1)];
      return Math.min(begin + here - first, end);
    };
    const steps = {
      ArrowRight: this.here < 0 ? 0 : Math.min(here + 1, this.cells.length - 1),
      ArrowLeft: Math.max(here - 1, 0),
      ArrowDown: in_line(line + 1),
      ArrowUp: in_line(line - 1),
      Home: first,
      End: last,
    };
    return steps[key];
  }

  visit(i, scroll) {
    this.cells[this.here]?.classList.remove("here");
    this.here = i;
    this.cells[i].classList.add("here");
    if (scroll) this.cells[i].scrollIntoView({block: "nearest"});
    $("byte").textContent = this.described(i);
  }

  described(i) {
    const {byte, character, part, parts} = this.bytes[i];
    const bits = this.result.bits[i];
    const names = {[NEWLINE]: "newline", [TAB]: "tab", 32: "space"};
    const what = names[byte] ?? `“${character}”` + (parts > 1 ? `, byte ${part + 1} of ${parts}` : "");
    const hex = byte.toString(16).toUpperCase().padStart(2, "0");
    const gate = this.result.scales.map((s, k) => `scale ${s}: ${percent(this.result.gate[i][k])}`);
    const chance = (100 * 2 ** -bits).toPrecision(2);
    return `Byte ${i + 1}: ${what} (0x${hex}), ${bits.toFixed(2)} bits, expected at ` +
      `${Number(chance)} %; ${gate.join(", ")}`;
  }
}
