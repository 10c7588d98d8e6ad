// axl serve under load, briefly: `node --test load_test.mjs`. scripts/load_test.sh does it at length.

import assert from "node:assert/strict";
import {before, test} from "node:test";

import {resident_bytes, short_requests, streams} from "./load.mjs";
import {start_server, temporary_directory, train_tiny} from "./server.mjs";

let tiny;
before(() => {
  tiny = train_tiny(temporary_directory(), {steps: 5});
});

test("64 streams at once, and many short requests, without an error or growth of memory", async () => {
  const server = await start_server(["--model", `tiny=${tiny}`]);
  const load = async () => {
    const long = await streams(server.url, {count: 64, seconds: 2});
    assert.deepEqual(long.errors, []);
    assert.ok(long.requests >= 64);
    const short = await short_requests(server.url, {count: 300, at_once: 32});
    assert.deepEqual(short.errors, []);
  };
  await load();  // caches are made once
  const before = resident_bytes(server.pid);
  await load();
  const growth = (resident_bytes(server.pid) - before) / 2 ** 20;
  assert.ok(growth < 8, `memory grew by ${growth} MiB`);
  assert.equal(await server.stop(), 0);
});

test("SIGTERM lets running requests end", async () => {
  const server = await start_server(["--model", `tiny=${tiny}`]);
  const running = streams(server.url, {count: 8, seconds: 0.3, max_tokens: 64});
  await new Promise((resolve) => setTimeout(resolve, 100));
  const request = fetch(`${server.url}/v1/completions`, {
    method: "POST", body: JSON.stringify({prompt: "def ", max_tokens: 300, seed: 1})});
  await new Promise((resolve) => setTimeout(resolve, 50));
  const code = server.stop();
  assert.equal((await (await request).json()).usage.completion_tokens > 0, true);
  await running;
  assert.equal(await code, 0);
});

test("killed under load and started again, it serves on at the same address", async () => {
  let server = await start_server(["--model", `tiny=${tiny}`]);
  const port = new URL(server.url).port;
  let again;
  const restarted = () => (again ??= start_server(["--model", `tiny=${tiny}`], {port}));
  const load = short_requests(server.url, {count: 600, at_once: 16, on_error: () => restarted()});
  await new Promise((resolve) => setTimeout(resolve, 200));
  await server.stop("SIGKILL");
  const {errors} = await load;
  server = await again;
  assert.ok(errors.length > 0 && errors.length <= 16, `${errors.length} requests were lost`);
  const after = await short_requests(server.url, {count: 50});
  assert.deepEqual(after.errors, []);
  assert.equal(await server.stop(), 0);
});
