// Runs GGUF files in real llama.cpp for tests/llama_cpp_test.cc.
//
//   node run.mjs < JOB.json > RESULT.json
//
// JOB: {"models": [{"file", "sequences": [[id, …], …], "texts": ["…"], "greedy": {"prompt": [id, …], "count": n}}]},
// all but the file optional. RESULT: {"models": [{"bos", "eos", "nats": [[…], …], "bytes_per_s",
// "texts": [{"ids": […], "back": "…"}], "greedy": […]}]}.
//
// nats are -log softmax of each id of a sequence, read after BOS and those before it: llama.cpp's raw f32 logits, with
// f32 caches and no flash attention, summed here in doubles. bytes_per_s is of one id at a time, as generating goes.
import {getLlama, LlamaLogLevel} from "node-llama-cpp";

/** -log softmax(logits)[target] over the whole vocabulary; logits: Map id -> number. */
function nats(logits, target) {
    let max = -Infinity, sum = 0;
    for (const v of logits.values()) max = Math.max(max, v);
    for (const v of logits.values()) sum += Math.exp(v - max);
    return max + Math.log(sum) - logits.get(target);
}

async function score(sequence, bos, ids) {
    await sequence.clearHistory();
    const inputs = [bos, ...ids.slice(0, -1)];
    const out = await sequence.controlledEvaluate(inputs.map((id) => [id, {generateNext: {logits: true}}]));
    // A full context silently loses its oldest tokens.
    if (sequence.nextTokenIndex !== inputs.length) throw new Error("the context was shifted");
    return ids.map((id, i) => nats(out[i].next.logits, id));
}

/** All of stdin, which as a pipe may have nothing yet for a reader that does not wait. */
async function readInput() {
    const chunks = [];
    for await (const chunk of process.stdin) chunks.push(chunk);
    return Buffer.concat(chunks).toString("utf8");
}

/** Waits until all is written: a pipe takes some 64 KiB at a time. */
function writeOutput(text) {
    return new Promise((done, fail) => process.stdout.write(text, (error) => error ? fail(error) : done()));
}

async function greedy(model, sequence, bos, {prompt, count}) {
    await sequence.clearHistory();
    const ids = [];
    let began = 0;                             // after the prompt
    for await (const id of sequence.evaluate([bos, ...prompt], {temperature: 0, yieldEogToken: true})) {
        if (ids.length === 0) began = performance.now();
        ids.push(id);
        if (ids.length >= count || model.isEogToken(id)) break;
    }
    return {ids, bytes_per_s: (ids.length - 1) / ((performance.now() - began) / 1000)};
}

async function run(llama, job) {
    const model = await llama.loadModel({modelPath: job.file, gpuLayers: 0, checkTensors: true});
    const size = model.trainContextSize + 1;   // one to spare, or the oldest token goes when the last comes
    const context = await model.createContext({
        contextSize: size, batchSize: size, sequences: 1, threads: job.threads ?? 1, flashAttention: false,
        experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32"
    });
    const sequence = context.getSequence();
    const {bos, eos} = model.tokens;
    const result = {file: job.file, bos, eos, nats: []};
    for (const ids of job.sequences ?? []) result.nats.push(await score(sequence, bos, ids));
    result.texts = (job.texts ?? []).map((text) => {
        const ids = model.tokenize(text);
        return {ids, back: model.detokenize(ids)};
    });
    if (job.greedy) {
        const {ids, bytes_per_s} = await greedy(model, sequence, bos, job.greedy);
        Object.assign(result, {greedy: ids, bytes_per_s});
    }
    await context.dispose();
    await model.dispose();
    return result;
}

const llama = await getLlama({
    gpu: false, build: "never", usePrebuiltBinaries: true, skipDownload: true, progressLogs: false, maxThreads: 2,
    logLevel: LlamaLogLevel.warn,
    logger(level, message) {
        if (!message.includes("> n_ctx_train")) console.error(`llama.cpp ${level}: ${message.trim()}`);
    }
});
const models = [];
for (const job of JSON.parse(await readInput()).models) models.push(await run(llama, job));
await writeOutput(JSON.stringify({models}));
await llama.dispose();
