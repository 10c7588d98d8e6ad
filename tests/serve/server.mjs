// A real `axl serve` with a tiny model, for the tests beside this file.

import {execFileSync, spawn} from "node:child_process";
import {once} from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

export const axl = path.resolve(process.env.AXL ?? "build/release/axl");

const TINY = `name: NAME
model: {d_model: 32, n_heads: 2, d_ff: 48, n_layers_per_scale: 1, max_seq_len: 256}
train: {optimizer: adamw, batch_size: 4, steps: STEPS, holdout: 0, threads: 1, lr: 5e-3, fim_rate: FIM}
`;

/** A new directory below /tmp, gone when the process ends. */
export function temporary_directory() {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "axl-serve-"));
  process.on("exit", () => fs.rmSync(directory, {recursive: true, force: true}));
  return directory;
}

/** Trains a model of some thousand parameters in `directory`, and returns its own directory. */
export function train_tiny(directory, {name = "tiny", steps = 40, fim = 0} = {}) {
  const lines = Array.from({length: 200}, (_, i) => `def function_${i}(x):\n    return x + ${i}\n\n`);
  fs.writeFileSync(path.join(directory, "text.py"), lines.join(""));
  const config = TINY.replace("NAME", name).replace("STEPS", steps).replace("FIM", fim);
  fs.writeFileSync(path.join(directory, `${name}.yaml`), config);
  const out = path.join(directory, name);
  execFileSync(axl, ["train", "--config", `${name}.yaml`, "--data", "text.py", "--quiet", "--out", out],
    {cwd: directory, stdio: ["ignore", "ignore", "inherit"]});
  return out;
}

/** A running server: {url, pid, log(), stop()}; `options` are further arguments of axl serve. */
export async function start_server(options, {cwd, port = 0} = {}) {
  const child = spawn(axl, ["serve", "--port", String(port), ...options], {cwd});
  let log = "";
  const ready = new Promise((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (data) => {
        log += data;
        const url = /http:\/\/[\w.]+:\d+/.exec(log)?.[0];
        if (url) resolve(url);
      });
    child.on("error", reject);
    child.on("exit", (code) => reject(new Error(`axl serve ended with ${code}: ${log}`)));
  });
  process.on("exit", () => child.kill("SIGKILL"));
  const url = await ready;
  while ((await fetch(`${url}/health`)).status !== 200) await new Promise((r) => setTimeout(r, 20));
  return {
    url,
    pid: child.pid,
    log: () => log,
    async stop(signal = "SIGTERM") {
      if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
      child.kill(signal);
      const [code] = await once(child, "exit");
      return code;
    },
  };
}
