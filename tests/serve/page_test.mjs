// The page of axl serve in real Chromium: `node --test page_test.mjs`. With SHOTS=DIR it leaves
// pictures there, to be looked at.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import {after, before, test} from "node:test";

import {chromium} from "playwright-core";

import {start_server, temporary_directory, train_tiny} from "./server.mjs";

const KEY = "a-key-for-tests";
const CODE = "def function_7(x):\n    return x + 7\n\ndef ";
const DESK = {viewport: {width: 1280, height: 860}};
const PHONE = {viewport: {width: 390, height: 844}, hasTouch: true, isMobile: true};

let browser, server, locked, run, log;

before(async () => {
  const directory = temporary_directory();
  run = train_tiny(directory, {name: "tiny"});
  log = path.join(run, "train_log.csv");
  server = await start_server(["--model", `tiny=${run}`, "--run", run]);
  locked = await start_server(["--model", `tiny=${run}`, "--api-key", KEY]);
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: process.getuid() === 0 ? ["--no-sandbox"] : [],
  });
});
after(async () => {
  await browser?.close();
  await server?.stop();
  await locked?.stop();
});

/** Runs `look(page)` on a fresh page, which may say nothing on the console and ask no one else. */
async function on_page(look, {of = () => server, expected = [], ...options} = {}) {
  const {url} = of();
  const context = await browser.newContext({...DESK, ...options});
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  const complaints = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    if (!request.url().startsWith(url)) complaints.push(`asks ${request.url()}`);
  });
  try {
    await page.goto(url);
    await look(page);
  } finally {
    await context.close();
  }
  const unexpected = complaints.filter((text) => !expected.some((known) => text.includes(known)));
  assert.deepEqual(unexpected, []);
}

async function shot(page, name) {
  if (process.env.SHOTS) await page.screenshot({path: path.join(process.env.SHOTS, `${name}.png`)});
}

const value = (page) => page.inputValue("#text");
const ghost = (page) => page.textContent("#mirror .ghost");

/** Waits until a proposal is there to the end. */
const proposed = (page) =>
  page.waitForFunction(() => {
    const editor = document.getElementById("editor");
    return !editor.hasAttribute("aria-busy") && document.querySelector("#mirror .ghost").textContent;
  });

async function write(page, text = CODE) {
  await page.focus("#text");
  await page.keyboard.insertText(text);
  await proposed(page);
}

/** Contrast of two colours, each [r, g, b], after WCAG 2. */
function contrast(a, b) {
  const light = (rgb) => {
    const [r, g, bl] = rgb.map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * bl;
  };
  const [high, low] = [light(a), light(b)].sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
}

/** A computed colour of an element, as [r, g, b]. */
const colour = (page, selector, property) =>
  page.$eval(selector, (node, name) => getComputedStyle(node)[name].match(/[\d.]+/g).map(Number), property);

test("the page may load its own files alone, and no script within it", async () => {
  const policy = (await fetch(server.url)).headers.get("content-security-policy");
  assert.match(policy, /default-src 'none'/);
  assert.match(policy, /script-src 'self'(;|$)/);
  const page = await (await fetch(server.url)).text();
  assert.doesNotMatch(page, /\son\w+=|<style|style=|<script(?![^>]*src=)/);
});

test("grey text streams in, and Tab accepts it", () => on_page(async (page) => {
  await page.evaluate(() => {
    window.lengths = new Set();
    new MutationObserver(() => window.lengths.add(document.querySelector("#mirror .ghost").textContent.length))
      .observe(document.getElementById("mirror"), {childList: true});
  });
  await page.fill("[name=max_tokens]", "1000");  // a hundred are written between two frames
  await write(page);
  assert.ok((await page.evaluate(() => window.lengths.size)) > 1, "it grows by and by");
  const text = await ghost(page);
  assert.equal(await value(page), CODE, "a proposal is no text yet");
  assert.match(await page.textContent("#said"), /Tab accepts/);
  await shot(page, "write-light");
  await page.uncheck("[name=as_typed]");
  await page.focus("#text");
  await page.keyboard.press("Tab");
  assert.equal(await value(page), CODE + text);
  assert.equal(await ghost(page), "");
  await page.keyboard.press("Control+z");
  assert.equal(await value(page), CODE, "one undo takes it back");
}));

test("Escape dismisses, and ends the request", () => on_page(async (page) => {
  await page.fill("[name=max_tokens]", "4096");
  const ended = page.waitForEvent("requestfailed", (request) => request.url().endsWith("/v1/completions"));
  await page.focus("#text");
  await page.keyboard.insertText(CODE);
  await page.waitForFunction(() => {
    if (!document.querySelector("#mirror .ghost").textContent) return false;
    document.getElementById("text").dispatchEvent(new KeyboardEvent("keydown", {key: "Escape"}));
    return true;
  });
  await ended;
  assert.equal(await ghost(page), "");
  assert.equal(await value(page), CODE);
}));

test("what one types of a proposal is kept of it, anything else dismisses it", () => on_page(async (page) => {
  await write(page);
  const text = await ghost(page);
  await page.uncheck("[name=as_typed]");
  await page.focus("#text");
  await page.keyboard.insertText(text.slice(0, 2));
  assert.equal(await ghost(page), text.slice(2));
  await page.keyboard.insertText("\u00e9");
  assert.equal(await ghost(page), "");
}));

test("in the middle of a text the proposal stands at the cursor", () => on_page(async (page) => {
  await page.uncheck("[name=as_typed]");
  await page.focus("#text");
  await page.keyboard.insertText("def f(x):\n    return \n\nprint(f(1))\n");
  await page.keyboard.press("Control+Home");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("End");
  await page.keyboard.press("Control+Space");
  await proposed(page);
  const text = await ghost(page);
  assert.equal(await page.textContent("#mirror"),
    `def f(x):\n    return ${text}\n\nprint(f(1))\n\u200b`);
  await page.keyboard.press("Tab");
  assert.equal(await value(page), `def f(x):\n    return ${text}\n\nprint(f(1))\n`);
}));

test("sampling controls reach the server, wrong ones do not", () => on_page(async (page) => {
  await page.fill("[name=temperature]", "0");
  await page.fill("[name=max_tokens]", "9");
  await page.fill("[name=seed]", "3");
  await page.fill("[name=stop]", "zz\n\\n\\n\\n");
  const [request] = await Promise.all([page.waitForRequest("**/v1/completions"), write(page)]);
  const {prompt, model, stop, ...numbers} = request.postDataJSON();
  assert.deepEqual({prompt, model, stop}, {prompt: CODE, model: "tiny", stop: ["zz", "\n\n\n"]});
  assert.deepEqual(numbers,
    {temperature: 0, top_k: 40, top_p: 1, min_p: 0, max_tokens: 9, seed: 3, stream: true,
      stream_options: {include_usage: true}});
  assert.ok((await ghost(page)).length <= 9);
  await page.fill("[name=temperature]", "7");
  await page.click("#dismiss");
  await page.click("#complete");
  assert.equal(await page.$eval("[name=temperature]", (field) => field.matches(":focus")), true);
}));

test("the heat map shows what each byte costs, and which scale spoke", () => on_page(async (page) => {
  const text = "def f(x):\n\treturn x + 1  # na\u00efve\n";
  const bytes = Buffer.byteLength(text);
  await page.click("#tab-read");
  await page.fill("#passage", text);
  const [response] = await Promise.all([page.waitForResponse("**/score"), page.click("#score")]);
  const scored = await response.json();
  await page.waitForSelector("#map .byte");
  assert.equal(await page.locator("#map .byte").count(), bytes);
  const bits = scored.bits.reduce((sum, b) => sum + b, 0);
  assert.ok(Math.abs(scored.bits_per_byte - bits / bytes) < 1e-4);
  assert.match(await page.textContent("#totals"), new RegExp(scored.bits_per_byte.toFixed(3)));
  // A byte is as hot as it is dear.
  const heats = await page.$$eval("#map .byte",
    (cells) => cells.map((cell) => parseFloat(cell.style.getPropertyValue("--heat"))));
  heats.forEach((heat, i) => assert.ok(Math.abs(heat - Math.min(100, scored.bits[i] / 8 * 100)) < 0.1));
  await page.focus("#map");
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowDown");
  const told = await page.textContent("#byte");
  assert.match(told, /^Byte 11: tab \(0x09\), [\d.]+ bits/);
  scored.scales.forEach((scale, s) =>
    assert.ok(told.includes(`scale ${scale}: ${Math.round(100 * scored.gate[10][s])} %`), told));
  await shot(page, "read-light");
}));

test("the curves of a run are drawn, and grow while it runs", () => on_page(async (page) => {
  await page.click("#tab-train");
  await page.waitForSelector("#curves polyline.curve");
  const curves = await page.locator("#curves polyline.curve").count();
  const columns = fs.readFileSync(log, "utf8").split("\n")[0].split(",");
  const scales = columns.filter((name) => name.startsWith("alpha_")).length;
  assert.ok(curves >= 3 + scales, `${curves} curves`);
  await shot(page, "train-light");
  const rows = fs.readFileSync(log, "utf8").trimEnd().split("\n");
  const next = rows.at(-1).split(",");
  next[0] = "41";
  // As a run writes it: in two pieces, the first of which is no row yet.
  fs.appendFileSync(log, next.join(",").slice(0, 10));
  await page.waitForTimeout(2500);
  assert.match(await page.textContent("#latest"), /Step40/);
  fs.appendFileSync(log, next.join(",").slice(10) + "\n");
  await page.waitForFunction(() => document.getElementById("latest").textContent.includes("Step41"));
  await page.focus("figure");
  await page.keyboard.press("ArrowRight");
  assert.match(await page.textContent("figure output"), /^step \d+: training [\d.]+/);
}));

test("a log that begins anew is read anew", () => on_page(async (page) => {
  const whole = fs.readFileSync(log, "utf8");
  await page.goto(`${server.url}/#train`);
  await page.reload();
  await page.waitForFunction(() => /Step4\d/.test(document.getElementById("latest").textContent));
  fs.writeFileSync(log, whole.split("\n").slice(0, 4).join("\n") + "\n");
  await page.waitForFunction(() => document.getElementById("latest").textContent.startsWith("Step3Read"));
  fs.writeFileSync(log, whole);
}));

test("everything can be done by keyboard alone", () => on_page(async (page) => {
  const focused = () => page.evaluate(() => document.activeElement.id);
  const tab_to = async (id) => {
    for (let i = 0; i < 30 && (await focused()) !== id; ++i) await page.keyboard.press("Tab");
    assert.equal(await focused(), id, "Tab comes by");
  };
  await tab_to("text");
  await page.keyboard.type("def ");
  await proposed(page);
  await page.keyboard.press("Tab");
  assert.ok((await value(page)).length > 4);
  await page.keyboard.press("Escape");
  await page.waitForTimeout(50);
  await page.keyboard.press("Escape");
  await tab_to("complete");  // Tab is no trap where nothing is proposed
  await page.keyboard.press("Shift+Tab");
  assert.equal(await focused(), "text");
  for (let i = 0; i < 30 && (await focused()) !== "tab-write"; ++i) await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("ArrowRight");
  assert.equal(await focused(), "tab-read");
  await tab_to("passage");
  await page.keyboard.type("def f(x):");
  await page.keyboard.press("Control+Enter");
  await page.waitForSelector("#map .byte");
  await tab_to("map");
  await page.keyboard.press("End");
  await page.keyboard.press("ArrowLeft");
  assert.match(await page.textContent("#byte"), /^Byte 8:/);
}));

test("everything has a name for screen readers", () => on_page(async (page) => {
  for (const view of ["write", "read", "train"]) {
    await page.click(`#tab-${view}`);
    const nameless = await page.$$eval("button, input, select, textarea, [role], [tabindex]", (nodes) => nodes
      .filter((node) => node.checkVisibility() && !["MAIN", "FIGURE"].includes(node.tagName))
      .filter((node) => !node.ariaLabel && !node.labels?.length && !node.textContent.trim() &&
        !node.getAttribute("aria-labelledby") && !["alert", "status"].includes(node.role))
      .map((node) => node.outerHTML.slice(0, 80)));
    assert.deepEqual(nameless, []);
  }
}));

for (const colorScheme of ["light", "dark"])
  test(`${colorScheme}: text stands out from its ground`, () => on_page(async (page) => {
    await write(page);
    const sheet = await colour(page, "#editor", "backgroundColor");
    const paper = await colour(page, "body", "backgroundColor");
    assert.equal(paper[0] > 128, colorScheme === "light");
    assert.ok(contrast(await colour(page, "#mirror", "color"), sheet) >= 7);
    assert.ok(contrast(await colour(page, "#mirror .ghost", "color"), sheet) >= 4.5);
    assert.ok(contrast(await colour(page, "#keys", "color"), paper) >= 4.5);
    assert.ok(contrast(await colour(page, "#accept", "color"), await colour(page, "#accept", "backgroundColor")) >= 4.5);
    await shot(page, `write-${colorScheme}`);
    await page.click("#tab-read");
    await page.fill("#passage", CODE);
    await page.click("#score");
    await page.waitForSelector("#map .byte");
    await shot(page, `read-${colorScheme}`);
    await page.click("#tab-train");
    await page.waitForSelector("#curves polyline.curve");
    await shot(page, `train-${colorScheme}`);
  }, {colorScheme, reducedMotion: "reduce"}));  // no colour is on its way to another

test("on a phone it fits, and a touch accepts", () => on_page(async (page) => {
  assert.equal(await page.isVisible("#sampling"), false, "the controls are folded away");
  await page.tap("#text");
  await page.keyboard.insertText(CODE);
  await proposed(page);
  await shot(page, "phone-write");
  const text = await ghost(page);
  const {height} = await page.locator("#accept").boundingBox();
  assert.ok(height >= 44, "large enough for a finger");
  await page.tap("#accept");
  assert.equal(await value(page), CODE + text);
  for (const view of ["read", "train", "write"]) {
    await page.tap(`#tab-${view}`);
    if (view === "read") {
      await page.tap("#take");
      await page.waitForSelector("#map .byte");
    }
    // Not innerWidth, which grows with what does not fit.
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= PHONE.viewport.width, `${view} is ${wide} px wide`);
    await shot(page, `phone-${view}`);
  }
}, PHONE));

for (const [reducedMotion, expected] of [["reduce", "none"], ["no-preference", "breathe"]])
  test(`what breathes while text comes: ${expected}, for who asks for ${reducedMotion}`, () => on_page(async (page) => {
    await page.evaluate(() => {
      const editor = document.getElementById("editor");
      new MutationObserver(() => {
        const ghost = document.querySelector("#mirror .ghost");
        if (editor.ariaBusy) window.animation = getComputedStyle(ghost, "::after").animationName;
      }).observe(editor, {attributeFilter: ["aria-busy"]});
    });
    await write(page);
    assert.equal(await page.evaluate(() => window.animation), expected);
  }, {reducedMotion}));

test("a server with a key asks for it, refuses a wrong one, and takes the right one", () => on_page(async (page) => {
  await page.waitForSelector("#key-form:not([hidden])");
  assert.equal(await page.evaluate(() => document.activeElement.id), "key");
  await shot(page, "key");
  await page.keyboard.type("wrong");
  await Promise.all([page.waitForResponse((response) => response.status() === 401), page.keyboard.press("Enter")]);
  assert.ok(await page.isVisible("#problem"));
  await page.fill("#key", KEY);
  await page.keyboard.press("Enter");
  await page.waitForSelector("#key-form", {state: "hidden"});
  await write(page);
  assert.ok(await ghost(page));
}, {of: () => locked, expected: ["401"]}));
