// Load on a completion server, and what it makes of it. scripts/load_test.sh runs it at length,
// load_test.mjs briefly.

import fs from "node:fs";

/** Text of code that no other request has, and that requests have a beginning of in common. */
const prompt = (i) => `import os\nimport sys\n\n\ndef function_${i}(x):\n    return `;

const post = (url, body, signal) =>
  fetch(`${url}/v1/completions`, {
    method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body), signal});

/** One stream: {first_ms, bytes, seconds}, until it has its tokens or `until`, a time, is reached. */
async function one_stream(url, i, max_tokens, until) {
  const work = new AbortController();
  const timer = setTimeout(() => work.abort(), Math.max(until - performance.now(), 0));
  const began = performance.now();
  let first, last, pieces = 0, text = "";
  try {
    const response = await post(url, {
      prompt: prompt(i), max_tokens, seed: i, stream: true, temperature: 1}, work.signal);
    if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
    const decoder = new TextDecoder();
    for await (const part of response.body) {
      text += decoder.decode(part, {stream: true});
      const lines = text.split("\n");
      text = lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data: {")) continue;
        const chunk = JSON.parse(line.slice(6));
        if (chunk.error) throw new Error(chunk.error.message);
        if (!chunk.choices[0]?.text) continue;
        last = performance.now();
        first ??= last;
        // A byte that is not UTF-8 comes as one character.
        pieces += Buffer.byteLength(chunk.choices[0].text.replaceAll("\ufffd", "?"));
      }
    }
  } catch (error) {
    if (error.name !== "AbortError") throw error;
  } finally {
    clearTimeout(timer);
  }
  return {first_ms: first && first - began, bytes: pieces, seconds: first ? (last - first) / 1000 : 0};
}

const percentile = (values, p) => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor((p / 100) * sorted.length))];
};

/** `count` streams at once for `seconds`, each begun anew when it ends. */
export async function streams(url, {count, seconds, max_tokens = 256}) {
  const began = performance.now(), until = began + 1000 * seconds;
  const done = [], errors = [];
  let i = 0;
  const one_after_another = async () => {
    while (performance.now() < until)
      await one_stream(url, ++i, max_tokens, until).then(
        (result) => done.push(result), (error) => errors.push(String(error.cause ?? error)));
  };
  await Promise.all(Array.from({length: count}, one_after_another));
  const took = (performance.now() - began) / 1000;
  const firsts = done.map(({first_ms}) => first_ms).filter(Boolean);
  // A rate over a few bytes says nothing.
  const rates = done.filter(({bytes}) => bytes > 16).map((s) => (s.bytes - 1) / s.seconds);
  return {
    streams: count,
    requests: done.length,
    errors,
    bytes_per_s: done.reduce((sum, {bytes}) => sum + bytes, 0) / took,
    first_ms_p50: percentile(firsts, 50),
    first_ms_p99: percentile(firsts, 99),
    stream_bytes_per_s_p50: percentile(rates, 50),
    stream_bytes_per_s_p99: percentile(rates, 1),  // the slowest of a hundred
  };
}

/** `count` requests for a few bytes, `at_once` of them at a time: {requests, errors, …}. */
export async function short_requests(url, {count, at_once = 16, on_error = () => {}}) {
  const began = performance.now();
  const errors = [], times = [];
  let next = 0;
  const worker = async () => {
    while (next < count) {
      const i = next++, start = performance.now();
      try {
        const response = await post(url, {prompt: prompt(i), max_tokens: 4, seed: i});
        const reply = await response.json();
        if (reply.usage?.completion_tokens === undefined) throw new Error(JSON.stringify(reply));
        times.push(performance.now() - start);
      } catch (error) {
        errors.push(String(error.cause ?? error));
        await on_error(error);
      }
    }
  };
  await Promise.all(Array.from({length: at_once}, worker));
  const seconds = (performance.now() - began) / 1000;
  return {
    requests: count, at_once, errors, requests_per_s: count / seconds,
    ms_p50: percentile(times, 50), ms_p99: percentile(times, 99)};
}

/** Resident memory of a process, in bytes. */
export function resident_bytes(pid) {
  const status = fs.readFileSync(`/proc/${pid}/status`, "utf8");
  return 1024 * Number(/^VmRSS:\s+(\d+) kB/m.exec(status)[1]);
}
