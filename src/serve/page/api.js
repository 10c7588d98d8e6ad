// The server, as the page sees it. Addresses are relative, so that a proxy may move them all.

import {events} from "./sse.js";

const KEY = "axl-api-key";

/** A refusal of the server, with its own words. */
export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Keeps the key for this browser tab alone. */
export function use_key(key) {
  sessionStorage.setItem(KEY, key);
}

/** fetch with the key; anything but 2xx throws a Refusal. */
async function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  const key = sessionStorage.getItem(KEY);
  if (key) headers.set("Authorization", `Bearer ${key}`);
  const response = await fetch(path, {...options, headers, cache: "no-store"});
  if (response.ok) return response;
  const text = await response.text();
  throw new Refusal(response.status, message_of(text) ?? `${response.status} ${response.statusText}`);
}

/** The message of an error in OpenAI's shape; undefined for another text. */
function message_of(text) {
  try {
    return JSON.parse(text).error.message;
  } catch {
    return undefined;
  }
}

const post = (path, body, signal) =>
  ask(path, {
    method: "POST",
    headers: {"Content-Type": "application/json"},
    body: JSON.stringify(body),
    signal,
  });

export const models = async () => (await (await ask("v1/models")).json()).data;
export const runs = async () => (await (await ask("runs")).json()).runs;
export const score = async (body, signal) => (await post("score", body, signal)).json();

/** A run's log, at an address that `runs` gave: CSV. */
export const log = async (path, signal) =>
  (await ask(path.replace(/^\//, ""), {signal})).text();

/** The chunks of a completion, as they come. */
export async function* complete(body, signal) {
  const stream = {stream: true, stream_options: {include_usage: true}};
  const response = await post("v1/completions", {...body, ...stream}, signal);
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Refusal(200, chunk.error.message);
    yield chunk;
  }
}
