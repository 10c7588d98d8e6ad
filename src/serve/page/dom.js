// Three words for what the page does most.

export const $ = (id) => document.getElementById(id);

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** A term and its figure, for a <dl>. */
export const figure = (name, value) =>
  element("div", {}, element("dt", {textContent: name}), element("dd", {textContent: value}));
