// The long load test of scripts/load_test.sh: prints its table, and writes it as JSON.
//
//   AXL=axl node load_report.mjs MODEL SECONDS REQUESTS JSON_FILE

import fs from "node:fs";

import {resident_bytes, short_requests, streams} from "./load.mjs";
import {start_server} from "./server.mjs";

const [model, seconds, requests, json] = process.argv.slice(2);
const server = await start_server(["--model", model, "--parallel", "64"]);
const mib = () => Math.round(resident_bytes(server.pid) / 2 ** 20);
const number = (value) => (value >= 100 ? Math.round(value) : Number(value?.toPrecision(3)));
const note = (text) => process.stderr.write(`load_test: ${text}\n`);

const report = {model, memory_mib: {start: mib()}, streams: []};
for (const count of [1, 8, 64]) {
  note(`${count} streams, ${seconds} s`);
  report.streams.push(await streams(server.url, {count, seconds: Number(seconds)}));
  report.memory_mib[`after_${count}_streams`] = mib();
}
note(`${requests} short requests`);
const half = {count: Math.ceil(requests / 2), at_once: 16};
const first_half = await short_requests(server.url, half);
report.memory_mib.after_half_the_short_requests = mib();
report.short = await short_requests(server.url, half);
report.short.errors.push(...first_half.errors);
report.short.requests *= 2;
report.memory_mib.end = mib();
report.exit_code = await server.stop();

console.log(`| streams | requests | errors | first byte, ms p50 | p99 | bytes/s of a stream, p50 | p99 | bytes/s of all |
|---|---|---|---|---|---|---|---|`);
for (const s of report.streams)
  console.log("| " + [s.streams, s.requests, s.errors.length, number(s.first_ms_p50), number(s.first_ms_p99),
    number(s.stream_bytes_per_s_p50), number(s.stream_bytes_per_s_p99), number(s.bytes_per_s)].join(" | ") + " |");
const {short, memory_mib} = report;
console.log(`
${short.requests} requests for 4 bytes, ${short.at_once} at a time: ${number(short.requests_per_s)} a second, \
${number(short.ms_p50)} ms p50, ${number(short.ms_p99)} ms p99, ${short.errors.length} errors

memory, MiB: ${Object.entries(memory_mib).map(([when, m]) => `${when.replaceAll("_", " ")} ${m}`).join(", ")}`);
fs.writeFileSync(json, JSON.stringify(report, null, 1) + "\n");

const errors = [...report.streams.flatMap((s) => s.errors), ...short.errors];
if (errors.length) note(`error: ${errors.length} requests failed: ${errors.slice(0, 3).join("; ")}`);
if (report.exit_code !== 0) note(`error: axl serve ended with ${report.exit_code}`);
process.exitCode = errors.length || report.exit_code ? 1 : 0;
