// What people use to talk to a completion server, talking to axl serve: `node --test clients_test.mjs`.

import assert from "node:assert/strict";
import fs from "node:fs";
import {after, before, describe, test} from "node:test";

import {parseConfigYaml} from "@continuedev/config-yaml";
import {constructLlmApi} from "@continuedev/openai-adapters";
import {HumanMessage, SystemMessage} from "@langchain/core/messages";
import {ChatOpenAI, OpenAI as LangChainOpenAI} from "@langchain/openai";
import {OpenAI as LlamaIndexOpenAI} from "@llamaindex/openai";
import OpenAI, {
  AuthenticationError, BadRequestError, NotFoundError, RateLimitError,
} from "openai";

import {start_server, temporary_directory, train_tiny} from "./server.mjs";

const KEY = "a-key-for-tests";
const PROMPT = "def function_7(x):\n";
const GREEDY = {model: "tiny", temperature: 0, max_tokens: 24};

let server, narrow, api;

const key_client = (apiKey, url = server.url) =>
  new OpenAI({apiKey, baseURL: `${url}/v1`, maxRetries: 0});

const all = async (stream) => {
  const out = [];
  for await (const each of stream) out.push(each);
  return out;
};
const bytes = (text) => Buffer.byteLength(text);
const signal = () => new AbortController().signal;

before(async () => {
  const directory = temporary_directory();
  const tiny = train_tiny(directory);
  const filler = train_tiny(directory, {name: "filler", fim: 0.5});
  const models = ["--model", `tiny=${tiny}`, "--model", `filler=${filler}`];
  server = await start_server([...models, "--api-key", KEY]);
  narrow = await start_server([...models, "--parallel", "1", "--queue", "1"]);
  api = key_client(KEY);
});
after(async () => {
  assert.equal(await server.stop(), 0);
  assert.equal(await narrow.stop(), 0);
});

const complete = async (options = {}) => api.completions.create({...GREEDY, prompt: PROMPT, ...options});
const greedy_text = async (options) => (await complete(options)).choices[0].text;

describe("openai", () => {
  test("lists the models", async () => {
    const ids = (await all(api.models.list())).map(({id}) => id);
    assert.deepEqual(ids, ["tiny", "filler"]);
  });

  test("completes, and usage is true", async () => {
    const {choices, usage} = await complete();
    assert.equal(choices.length, 1);
    assert.equal(choices[0].index, 0);
    assert.equal(choices[0].finish_reason, "length");
    assert.equal(bytes(choices[0].text), 24);
    assert.equal(usage.completion_tokens, 24);
    assert.equal(usage.prompt_tokens, bytes(PROMPT));
    assert.equal(usage.total_tokens, usage.prompt_tokens + 24);
  });

  test("a stream gives the same text, its usage last", async () => {
    const max_tokens = 1000;  // more than are written before the first are sent
    const chunks = await all(await complete({max_tokens, stream: true, stream_options: {include_usage: true}}));
    const usage = chunks.at(-1);
    assert.deepEqual(usage.choices, []);
    assert.equal(usage.usage.completion_tokens, max_tokens);
    const pieces = chunks.slice(0, -1).map(({choices}) => choices[0]);
    assert.ok(pieces.length > 2, "more than one piece comes");
    assert.equal(pieces.map(({text}) => text).join(""), await greedy_text({max_tokens}));
    assert.equal(pieces.at(-1).finish_reason, "length");
  });

  test("a batch of prompts is answered in order", async () => {
    const prompts = [PROMPT, "    return x", "x + 1"];
    const {choices} = await complete({prompt: prompts});
    assert.deepEqual(choices.map(({index}) => index), [0, 1, 2]);
    for (const [i, prompt] of prompts.entries())
      assert.equal(choices[i].text, await greedy_text({prompt}));
  });

  test("n texts differ, and a seed repeats them", async () => {
    const ask = async (seed) =>
      (await complete({n: 3, temperature: 1.5, seed})).choices.map(({text}) => text);
    const texts = await ask(5);
    assert.equal(new Set(texts).size, 3);
    assert.deepEqual(await ask(5), texts);
    assert.notDeepEqual(await ask(6), texts);
  });

  test("text ends before a stop string, streamed too", async () => {
    const text = await greedy_text();
    const stop = text.slice(6, 9);
    const cut = text.slice(0, text.indexOf(stop));
    const {choices: [choice]} = await complete({stop: ["never there", stop]});
    assert.equal(choice.text, cut);
    assert.equal(choice.finish_reason, "stop");
    const chunks = await all(await complete({stop, stream: true}));
    assert.equal(chunks.map(({choices}) => choices[0].text).join(""), cut);
    assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
  });

  test("logprobs belong to the text's bytes", async () => {
    const {choices: [{text, logprobs}]} = await complete({logprobs: 2});
    assert.equal(logprobs.tokens.join(""), text);
    assert.equal(logprobs.token_logprobs.length, 24);
    for (const [i, logprob] of logprobs.token_logprobs.entries()) {
      assert.ok(logprob <= 0);
      // Greedy: the likeliest of all.
      const top = Object.values(logprobs.top_logprobs[i]);
      assert.ok(top.length >= 2 && Math.abs(Math.max(...top) - logprob) < 1e-5);
    }
    assert.equal(logprobs.text_offset[1] - logprobs.text_offset[0], 1);
  });

  test("echo scores a prompt, whose first logprob is null or of the first byte", async () => {
    const {choices: [{text, logprobs}]} = await complete({echo: true, logprobs: 1, max_tokens: 1});
    assert.ok(text.startsWith(PROMPT));
    assert.equal(logprobs.tokens.slice(0, bytes(PROMPT)).join(""), PROMPT);
    assert.equal(logprobs.token_logprobs[0], null);
    assert.ok(logprobs.token_logprobs.slice(1).every((logprob) => logprob <= 0));
  });

  test("a suffix is used by the model that was trained for it; of another the reply says so", async () => {
    const suffix = "\n\ndef function_8(x):";
    const {choices: [{text}], axl} = await complete({model: "filler", suffix, logprobs: 1});
    assert.equal(axl, undefined);
    assert.notDeepEqual(
      (await complete({model: "filler", suffix: "zzzz", logprobs: 1})).choices[0].logprobs.token_logprobs,
      (await complete({model: "filler", suffix, logprobs: 1})).choices[0].logprobs.token_logprobs);
    assert.equal(bytes(text), 24);
    const unused = await complete({suffix});
    assert.equal(unused.axl.suffix_used, false);
    assert.equal(unused.choices[0].text, await greedy_text(), "the prompt alone is completed");
  });

  test("chat, streamed or not, is the flattened prompt completed", async () => {
    const messages = [{role: "user", content: PROMPT}];
    const {choices, usage} = await api.chat.completions.create({...GREEDY, messages});
    assert.equal(choices[0].message.role, "assistant");
    assert.equal(choices[0].message.content, await greedy_text());
    assert.equal(usage.completion_tokens, 24);
    const stream = await api.chat.completions.create(
      {...GREEDY, messages, stream: true, stream_options: {include_usage: true}});
    const chunks = await all(stream);
    const content = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
    assert.equal(content, choices[0].message.content);
    assert.equal(chunks.at(-1).usage.total_tokens, usage.total_tokens);
  });

  test("chat gives logprobs and n", async () => {
    const {choices} = await api.chat.completions.create({
      ...GREEDY, messages: [{role: "user", content: PROMPT}], n: 2, logprobs: true, top_logprobs: 3});
    assert.equal(choices.length, 2);
    const {content} = choices[0].logprobs;
    assert.equal(content.map(({token}) => token).join(""), choices[0].message.content);
    assert.equal(content[0].top_logprobs.length, 3);
  });

  test("what is refused is raised by its status, with the server's words", async () => {
    const refused = async (promise, Kind, status, words) =>
      assert.rejects(promise, (error) => {
        assert.ok(error instanceof Kind, `${error.constructor.name}: ${error.message}`);
        assert.equal(error.status, status);
        assert.match(error.message, words);
        return true;
      });
    await refused(complete({presence_penalty: 1}), BadRequestError, 400, /presence_penalty/);
    await refused(complete({temperature: "hot"}), BadRequestError, 400, /temperature/);
    await refused(complete({max_tokens: 1e12}), BadRequestError, 400, /max_tokens/);
    await refused(complete({model: "nothing"}), NotFoundError, 404, /nothing/);
    await refused(key_client("wrong").models.list(), AuthenticationError, 401, /key/i);
    await refused(key_client("wrong").completions.create({...GREEDY, prompt: "x"}),
      AuthenticationError, 401, /key/i);
  });

  test("a full queue is 429, with Retry-After", async () => {
    const client = key_client("any", narrow.url);
    const ask = () => client.completions.create({...GREEDY, prompt: PROMPT, max_tokens: 3000});
    const results = await Promise.allSettled(Array.from({length: 6}, ask));
    const refused = results.filter(({status}) => status === "rejected").map(({reason}) => reason);
    assert.ok(refused.length > 0 && refused.length < 6, `${refused.length} of 6 were refused`);
    for (const error of refused) {
      assert.ok(error instanceof RateLimitError, String(error));
      assert.ok(Number(error.headers.get("retry-after")) > 0);
    }
  });

  test("a client that goes stops the work", async () => {
    const metric = async (name) => {
      const text = await (await fetch(`${narrow.url}/metrics`)).text();
      return Number(new RegExp(`^${name}{model="tiny"} (\\d+)`, "m").exec(text)[1]);
    };
    const written = await metric("axl_written_tokens_total");
    const work = new AbortController();
    const stream = await key_client("any", narrow.url).completions.create(
      {...GREEDY, prompt: PROMPT, max_tokens: 30000, stream: true}, {signal: work.signal});
    for await (const chunk of stream) if (chunk) break;
    work.abort();
    while ((await metric("axl_running")) > 0) await new Promise((resolve) => setTimeout(resolve, 20));
    assert.ok((await metric("axl_written_tokens_total")) - written < 30000);
  });
});

describe("LangChain", () => {
  const options = () => ({
    ...GREEDY, maxTokens: 24, apiKey: KEY, maxRetries: 0, configuration: {baseURL: `${server.url}/v1`}});

  test("OpenAI completes: invoke, batch, stream", async () => {
    const model = new LangChainOpenAI(options());
    const text = await model.invoke(PROMPT);
    assert.equal(text, await greedy_text());
    assert.deepEqual(await model.batch([PROMPT, "x"]), [text, await greedy_text({prompt: "x"})]);
    assert.equal((await all(await model.stream(PROMPT))).join(""), text);
  });

  test("OpenAI stops where it is told", async () => {
    const text = await greedy_text();
    const stop = text.slice(6, 9);
    const model = new LangChainOpenAI({...options(), stop: [stop]});
    assert.equal(await model.invoke(PROMPT), text.slice(0, text.indexOf(stop)));
  });

  test("ChatOpenAI chats: invoke and stream, with usage", async () => {
    const model = new ChatOpenAI(options());
    const messages = [new SystemMessage("Complete."), new HumanMessage(PROMPT)];
    const answer = await model.invoke(messages);
    assert.equal(bytes(answer.content), answer.usage_metadata.output_tokens);
    const chunks = await all(await model.stream(messages));
    assert.equal(chunks.map(({content}) => content).join(""), answer.content);
    assert.ok(chunks.some(({usage_metadata}) => usage_metadata?.output_tokens > 0));
  });

  test("errors reach the caller", async () => {
    const wrong = new LangChainOpenAI({...options(), apiKey: "wrong"});
    await assert.rejects(wrong.invoke(PROMPT), /key/i);
    const unknown = new ChatOpenAI({...options(), model: "nothing"});
    await assert.rejects(unknown.invoke("x"), (error) => error.status === 404);
  });
});

describe("LlamaIndex", () => {
  const model = (options = {}) => new LlamaIndexOpenAI({
    model: "tiny", temperature: 0, maxTokens: 24, apiKey: KEY, baseURL: `${server.url}/v1`,
    maxRetries: 0, ...options});

  test("completes and chats, streamed or not", async () => {
    const {text} = await model().complete({prompt: PROMPT});
    assert.equal(text, await greedy_text());
    const streamed = await all(await model().complete({prompt: PROMPT, stream: true}));
    assert.equal(streamed.map((chunk) => chunk.text).join(""), text);
    const messages = [{role: "user", content: PROMPT}];
    assert.equal((await model().chat({messages})).message.content, text);
    const chat = await all(await model().chat({messages, stream: true}));
    assert.equal(chat.map(({delta}) => delta).join(""), text);
  });

  test("a prompt longer than the context is cut at its left, not refused", async () => {
    const long = "x = 1\n".repeat(2000) + PROMPT;
    const {text} = await model().complete({prompt: long});
    assert.ok(text.length > 0);
  });

  test("errors reach the caller", async () => {
    await assert.rejects(model({apiKey: "wrong"}).complete({prompt: "x"}), (e) => e.status === 401);
    await assert.rejects(model({model: "nothing"}).complete({prompt: "x"}), (e) => e.status === 404);
  });
});

describe("Continue", () => {
  const continue_api = (options = {}) =>
    constructLlmApi({provider: "openai", apiKey: KEY, apiBase: `${server.url}/v1/`, ...options});

  test("completes and chats, streamed or not", async () => {
    const text = await greedy_text();
    const request = {...GREEDY, prompt: PROMPT};
    const once = await continue_api().completionNonStream(request, signal());
    assert.equal(once.choices[0].text, text);
    const pieces = await all(continue_api().completionStream({...request, stream: true}, signal()));
    assert.equal(pieces.map(({choices}) => choices[0]?.text ?? "").join(""), text);
    const chat = {...GREEDY, messages: [{role: "user", content: PROMPT}]};
    const answer = await continue_api().chatCompletionNonStream(chat, signal());
    assert.equal(answer.choices[0].message.content, text);
    const chunks = await all(continue_api().chatCompletionStream({...chat, stream: true}, signal()));
    assert.equal(chunks.map(({choices}) => choices[0]?.delta.content ?? "").join(""), text);
  });

  test("autocompletes with the marks that it writes for models it does not know", async () => {
    const marks = "<fim_prefix>" + PROMPT + "<fim_suffix>\n\n<fim_middle>";
    const stop = ["<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<file_sep>", "<|endoftext|>",
      "</fim_middle>", "</code>"];
    const request = {...GREEDY, model: "filler", prompt: marks, stop, stream: true};
    const pieces = await all(continue_api().completionStream(request, signal()));
    const text = pieces.map(({choices}) => choices[0]?.text ?? "").join("");
    assert.equal(text, await greedy_text({model: "filler", suffix: "\n\n"}), "the marks are its own");
  });

  test("fills by its FIM adapter, in the shape of chat", async () => {
    const request = {...GREEDY, model: "filler", prompt: PROMPT, suffix: "\n\n", stream: true};
    const chunks = await all(continue_api().fimStream(request, signal()));
    assert.ok(chunks.every(({choices}) => choices[0].delta));
    assert.equal(chunks.map(({choices}) => choices[0].delta.content ?? "").join(""),
      await greedy_text({model: "filler", suffix: "\n\n"}));
  });

  test("its llama.cpp provider completes and lists models", async () => {
    const llama = continue_api({provider: "llama.cpp", apiBase: `${server.url}/`});
    const once = await llama.completionNonStream({...GREEDY, prompt: PROMPT}, signal());
    assert.equal(once.choices?.[0].text ?? once.content, await greedy_text());
  });

  test("README's configuration is one, and its models answer", async () => {
    const readme = fs.readFileSync(new URL("../../README.md", import.meta.url), "utf8");
    const {models} = parseConfigYaml(/```yaml\n(name: axl\n[^]*?)```/.exec(readme)[1]);
    assert.deepEqual(models.map(({roles}) => roles).flat(), ["autocomplete", "chat"]);
    for (const {provider, defaultCompletionOptions: options} of models) {
      const llm = continue_api({provider});
      const request = {model: "tiny", temperature: options.temperature, max_tokens: options.maxTokens};
      const messages = [{role: "user", content: PROMPT}];
      const {choices} = await llm.chatCompletionNonStream({...request, messages}, signal());
      assert.ok(choices[0].message.content);
    }
  });

  test("errors reach the caller", async () => {
    const wrong = continue_api({apiKey: "wrong"});
    await assert.rejects(wrong.completionNonStream({...GREEDY, prompt: "x"}, signal()),
      (error) => error.status === 401);
    await assert.rejects(
      all(continue_api().completionStream({...GREEDY, model: "nothing", prompt: "x", stream: true}, signal())),
      (error) => error.status === 404);
  });
});
