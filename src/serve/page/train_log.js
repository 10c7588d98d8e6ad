// A training run's log: CSV with a header, a row per step.

/** Columns of numbers by name; where a row holds nothing, NaN. */
export class TrainLog {
  constructor(csv = "") {
    this.names = [];
    this.columns = {};
    const [header, ...rows] = csv.split("\n");
    if (!header) return;
    this.names = header.split(",");
    for (const name of this.names) this.columns[name] = [];
    // What follows the last newline is a row that is being written.
    for (const row of rows.slice(0, -1)) this.add(row.split(","));
  }

  add(fields) {
    this.names.forEach((name, i) => this.columns[name].push(fields[i] ? Number(fields[i]) : NaN));
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
