// Curves in SVG, with axes, and a mark that the pointer or the arrow keys move along them.

import {element} from "./dom.js";

const WIDTH = 480, HEIGHT = 220;
const LEFT = 46, RIGHT = 10, TOP = 10, BOTTOM = 26;

function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Round numbers from low to high, about `count` of them. */
export function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
  const out = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; ++k) out.push(k * step + 0);  // -0 + 0 is 0
  return out;
}

/** What the y axis shows: from 0, or, of a curve that falls, all but its first steep twentieth. */
function reach(series, {range, falling}) {
  if (range) return range;
  const kept = ({points}) => points.slice(falling ? Math.floor(points.length / 20) : 0);
  const ys = series.flatMap((each) => kept(each).map(([, y]) => y));
  const high = Math.max(...ys), low = falling ? Math.min(...ys) : 0;
  const margin = (high - low || 1) * 0.06;
  return [falling ? Math.max(low - margin, 0) : 0, high + margin];
}

export class Chart {
  /** `y` writes an ordinate; `range` fixes the y axis, `falling` makes it follow a loss. */
  constructor({title, y, range, falling}) {
    Object.assign(this, {title, y, axis: {range, falling}});
    this.drawing = svg("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title});
    this.caption = element("figcaption");
    this.reading = element("output", {className: "quiet"});
    this.figure = element("figure", {tabIndex: 0}, this.caption, this.drawing, this.reading);
    this.figure.addEventListener("keydown", (event) => this.key(event));
    this.drawing.addEventListener("pointermove", (event) => this.pointed(event));
    for (const kind of ["pointerleave", "blur"]) this.figure.addEventListener(kind, () => this.mark());
  }

  /** series: [{name, points: [[x, y], …], colour}]; `x` writes an abscissa. */
  draw(series, x, x_name) {
    this.series = series.filter(({points}) => points.length);
    this.x = x;
    this.x_name = x_name;
    const told = this.series.map(({name, points}) => `${name} ${this.y(points.at(-1)[1])}`);
    this.drawing.setAttribute("aria-label",
      `${this.title} against ${x_name}: ${told.join(", ") || "nothing yet"}`);
    this.caption.replaceChildren(element("strong", {textContent: this.title}),
      ...this.series.map((s, i) => key_of(s, told[i])));
    if (!this.series.length) return this.drawing.replaceChildren();
    const xs = this.series.flatMap(({points}) => [points[0][0], points.at(-1)[0]]);
    this.xs = [Math.min(...xs), Math.max(...xs)];
    this.ys = reach(this.series, this.axis);
    this.drawing.replaceChildren(...this.axes(), this.lines(), svg("g", {class: "mark"}));
    this.mark(this.at);
  }

  left(x) {
    const [low, high] = this.xs;
    return LEFT + ((x - low) / (high - low || 1)) * (WIDTH - LEFT - RIGHT);
  }

  top(y) {
    const [low, high] = this.ys;
    return TOP + ((high - y) / (high - low || 1)) * (HEIGHT - TOP - BOTTOM);
  }

  axes() {
    const out = [];
    for (const y of ticks(...this.ys, 5)) {
      const at = this.top(y);
      out.push(svg("line", {class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: at, y2: at}),
        svg("text", {x: LEFT - 6, y: at + 3.5, "text-anchor": "end"}, this.y(y)));
    }
    for (const x of ticks(...this.xs, 7))
      out.push(svg("text", {x: this.left(x), y: HEIGHT - 8, "text-anchor": "middle"}, this.x(x)));
    return out;
  }

  /** In a window of their own, which cuts off what leaves the axes. */
  lines() {
    const window = {x: LEFT, y: TOP, width: WIDTH - LEFT - RIGHT, height: HEIGHT - TOP - BOTTOM};
    const {x, y, width, height} = window;
    const lines = this.series.map(({points, colour}) => {
      const path = points.map(([x, y]) => `${this.left(x).toFixed(1)},${this.top(y).toFixed(1)}`);
      const line = svg("polyline", {class: "curve", points: path.join(" ")});
      line.style.stroke = colour;
      if (points.length > 1) return line;
      const dot = svg("circle", {r: 3, cx: this.left(points[0][0]), cy: this.top(points[0][1])});
      dot.style.fill = colour;
      return dot;
    });
    return svg("svg", {...window, viewBox: `${x} ${y} ${width} ${height}`}, ...lines);
  }

  pointed(event) {
    if (!this.series?.length) return;
    const box = this.drawing.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width * WIDTH - LEFT) / (WIDTH - LEFT - RIGHT);
    const [low, high] = this.xs;
    this.mark(low + Math.min(Math.max(share, 0), 1) * (high - low));
  }

  key(event) {
    const direction = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (!direction || !this.series?.length) return;
    event.preventDefault();
    const [low, high] = this.xs;
    const to = (this.at ?? (direction > 0 ? low : high)) + (direction * (high - low)) / 50;
    this.mark(Math.min(Math.max(to, low), high));
  }

  /** Marks the abscissa `at`, and says what the curves are there; nothing without one. */
  mark(at) {
    this.at = at;
    const mark = this.drawing.querySelector(".mark");
    if (!mark) return;
    mark.replaceChildren();
    this.reading.textContent = "";
    if (at === undefined) return;
    const x = nearest(this.series[0].points, at)[0];
    const left = this.left(x);
    mark.append(svg("line", {x1: left, x2: left, y1: TOP, y2: HEIGHT - BOTTOM}));
    const told = this.series.map(({name, points}) => `${name} ${this.y(nearest(points, x)[1])}`);
    this.reading.textContent = `${this.x_name} ${this.x(x)}: ${told.join(", ")}`;
  }
}

function nearest(points, x) {
  return points.reduce((best, p) => (Math.abs(p[0] - x) < Math.abs(best[0] - x) ? p : best));
}

/** A line of the legend. */
function key_of({colour}, text) {
  const swatch = element("i", {className: "swatch"});
  swatch.style.background = colour;
  return element("span", {}, swatch, text);
}
