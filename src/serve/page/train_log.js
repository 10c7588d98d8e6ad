// A training run's log: CSV with a header, a row per step.

/** Columns of numbers by name; where a row holds nothing, NaN. A cut last row is left for later. */
export class TrainLog {
  constructor() {
    this.clear();
  }

  clear() {
    this.names = undefined;
    this.columns = {};
    this.rows = 0;
    this.bytes = 0;  // of the log, that have been read
  }

  /** Takes text that follows what was added before. */
  add(text) {
    const end = text.lastIndexOf("\n") + 1;
    const whole = text.slice(0, end);
    this.bytes += new TextEncoder().encode(whole).length;
    for (const line of whole.split("\n")) if (line) this.add_line(line.split(","));
  }

  add_line(fields) {
    if (!this.names) {
      this.names = fields;
      for (const name of fields) this.columns[name] = [];
      return;
    }
    this.names.forEach((name, i) => this.columns[name].push(fields[i] ? Number(fields[i]) : NaN));
    ++this.rows;
  }

  /** [[x, y], …] of two columns, rows without y left out, at most about `most` points: means. */
  curve(x, y, most = 400) {
    const xs = this.columns[x] ?? [], ys = this.columns[y] ?? [];
    const there = [...ys.keys()].filter((i) => Number.isFinite(ys[i]));
    const group = Math.max(1, Math.ceil(there.length / most));
    const points = [];
    for (let at = 0; at < there.length; at += group) {
      const part = there.slice(at, at + group);
      const sum = part.reduce((total, i) => total + ys[i], 0);
      points.push([xs[part.at(-1)], sum / part.length]);
    }
    return points;
  }

  /** The latest number of a column; undefined where there is none. */
  latest(name) {
    return this.columns[name]?.findLast((value) => Number.isFinite(value));
  }
}
