// Curves of a training run, read again while they are looked at.

import {log, runs} from "./api.js";
import {Chart} from "./chart.js";
import {$, figure} from "./dom.js";
import {TrainLog} from "./train_log.js";

const REFRESH_MS = 2000;

const short = new Intl.NumberFormat("en", {notation: "compact", maximumFractionDigits: 1});
const size = (bytes) => {
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (bytes < 1024 || unit === "GiB") return `${Number(bytes.toPrecision(3))} ${unit}`;
    bytes /= 1024;
  }
};
const time = (seconds) => {
  const s = Math.round(seconds), m = Math.floor(s / 60), h = Math.floor(m / 60);
  const two = (n) => String(n).padStart(2, "0");
  return h ? `${h}h${two(m % 60)}m` : m ? `${m}m${two(s % 60)}s` : `${s}s`;
};

/** How each abscissa is written, and called. */
const ABSCISSAE = {
  step: [(x) => short.format(x), "step"],
  bytes: [size, "bytes read"],
  seconds: [time, "time"],
};

const bits = (nats) => nats / Math.LN2;

export class Runs {
  constructor({on_error}) {
    this.on_error = on_error;
    this.log = new TrainLog();
    this.shown = false;
    this.charts = {
      loss: new Chart({title: "Bits per byte", y: (v) => v.toFixed(2), falling: true}),
      gate: new Chart({title: "Gate", y: (v) => v.toFixed(2), range: [0, 1]}),
      rate: new Chart({title: "Learning rate", y: (v) => (v ? v.toExponential(1) : "0")}),
      speed: new Chart({title: "Bytes per second", y: (v) => short.format(v)}),
    };
    $("curves").append(...Object.values(this.charts).map((chart) => chart.figure));
    $("run").addEventListener("change", () => this.choose());
    $("against").addEventListener("change", () => this.draw());
    document.addEventListener("visibilitychange", () => this.refresh());
  }

  /** Begins or ends to look. */
  async show(shown) {
    this.shown = shown;
    clearTimeout(this.timer);
    if (!shown) return;
    try {
      const list = await runs();
      this.list(list);
      if (list.length) this.refresh();
    } catch (error) {
      this.on_error(error, () => this.show(true));
    }
  }

  list(list) {
    $("no-runs").hidden = list.length > 0;
    for (const id of ["curves", "latest"]) $(id).hidden = !list.length;
    $("run").closest(".bar").hidden = !list.length;
    const before = $("run").value;
    $("run").replaceChildren(...list.map(({name, log: path}) => new Option(name, path)));
    if (list.some(({log: path}) => path === before)) $("run").value = before;
  }

  choose() {
    this.text = undefined;
    this.refresh();
  }

  /** Reads what is new, and comes again. */
  async refresh() {
    clearTimeout(this.timer);
    if (!this.shown || document.hidden || !$("run").value) return;
    this.work?.abort();
    const work = (this.work = new AbortController());
    try {
      await this.read($("run").value, work.signal);
      this.timer = setTimeout(() => this.refresh(), REFRESH_MS);
    } catch (error) {
      if (error.name !== "AbortError") this.on_error(error, () => this.refresh());
    }
  }

  async read(path, signal) {
    const text = await log(path, signal);
    if (text === this.text) return;
    this.text = text;
    this.log = new TrainLog(text);
    this.draw();
  }

  draw() {
    const {log} = this;
    const [write_x, x_name] = ABSCISSAE[$("against").value];
    const x = $("against").value;
    const scales = log.names.filter((name) => name.startsWith("alpha_"));
    const in_bits = (points) => points.map(([at, nats]) => [at, bits(nats)]);
    const draw = (chart, series) => this.charts[chart].draw(series, write_x, x_name);
    draw("loss", [
      {name: "training", points: in_bits(log.curve(x, "loss")), colour: "var(--training)"},
      {name: "held-out", points: log.curve(x, "holdout_bpb"), colour: "var(--holdout)"}]);
    draw("gate", scales.map((name, s) => ({
      name: `scale ${name.slice("alpha_".length)}`,
      points: log.curve(x, name),
      colour: `var(--scale-${s})`,
    })));
    draw("rate", [{name: "now", points: log.curve(x, "lr"), colour: "var(--accent)"}]);
    draw("speed", [{name: "now", points: log.curve(x, "bytes_per_s"), colour: "var(--accent)"}]);
    this.tell();
  }

  tell() {
    const {log} = this;
    const latest = (name, write) => (log.latest(name) === undefined ? "–" : write(log.latest(name)));
    $("latest").replaceChildren(
      figure("Step", latest("step", (v) => v.toLocaleString("en"))),
      figure("Read", latest("bytes", size)),
      figure("Time", latest("seconds", time)),
      figure("Training, bits per byte", latest("loss", (v) => bits(v).toFixed(3))),
      figure("Held-out, bits per byte", latest("holdout_bpb", (v) => v.toFixed(3))),
      figure("Bytes per second", latest("bytes_per_s", (v) => Math.round(v).toLocaleString("en"))));
    const first = log.columns.step?.[0];
    $("run-state").textContent = `as of ${new Date().toLocaleTimeString()}` +
      (first > 1 ? `, from step ${first.toLocaleString("en")} on` : "");
  }
}
