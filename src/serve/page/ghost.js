// A proposal at a place in a text: what is typed of it stays, what is not dismisses it.

export class Ghost {
  /** Between `before` and `after` of a text. */
  constructor(before, after) {
    this.before = before;
    this.after = after;
    this.text = "";
  }

  /** What of the proposal `value` does not hold yet; undefined where value is not on its way. */
  rest(value, caret) {
    const {before, after, text} = this;
    if (value.length < before.length + after.length) return undefined;
    if (!value.startsWith(before) || !value.endsWith(after)) return undefined;
    const typed = value.slice(before.length, value.length - after.length);
    const at_end = caret === before.length + typed.length;
    return at_end && text.startsWith(typed) ? text.slice(typed.length) : undefined;
  }
}
