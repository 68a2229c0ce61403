// SPDX-License-Identifier: Apache-2.0
// Goal: what the chart renders serves, and a decode worker that Kubernetes ends takes no stream with
// it. Method: the configs of ci/local, with nothing changed but the names of pods, which become ports
// of this machine, and the model's folder; one router, one prefill and two decode workers; a third
// decode worker is listed and never comes, as below replicasMax. 50 streams run while one decode
// worker gets SIGTERM; every one must end with the tokens of the same request alone.
//
//   node serve_test.mjs BIN
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { openSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { configs, find, render, root } from "./chart.mjs";

const bin = process.argv[2];
const streams = 50;
const folder = mkdtempSync(join(tmpdir(), "tandem-chart-"));
const processes = {};

// A port that no outgoing connection takes while its process is away.
async function freePort() {
  const [low] = readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8").split("\t").map(Number);
  for (let i = 0; i < 100; ++i) {
    const port = 20000 + Math.floor(Math.random() * ((low > 21000 ? low : 65536) - 20000));
    const free = await new Promise((resolve) => {
      const server = net.createServer();
      server.once("error", () => resolve(false));
      server.listen({ port, host: "127.0.0.1" }, () => server.close(() => resolve(true)));
    });
    if (free && !Object.values(processes).some((p) => p.port === port || p.metrics === port)) return port;
  }
  throw new Error("no free port");
}

// Replaces exactly `times` occurrences.
function replace(text, from, to, times) {
  assert.equal(text.split(from).length - 1, times, `${from} in\n${text}`);
  return text.replaceAll(from, to);
}

async function writeConfigs() {
  const objects = render({ ci: "local", set: ["decode.replicasMax=3"] });
  const files = configs(objects);
  assert.equal(files.length, 5);
  const domain = (role) => `t-tandem-${role}.apps.svc.cluster.local`;
  const pods = { "t-tandem-prefill-0": "prefill", "t-tandem-decode-0": "decode", "t-tandem-decode-1": "decode" };
  processes.router = { role: "router", file: "router.textproto" };
  for (const [pod, role] of Object.entries(pods)) {
    processes[pod] = { role, file: role === "decode" ? `${pod}.textproto` : "prefill.textproto" };
  }
  for (const p of Object.values(processes)) {
    p.port = await freePort();
    p.metrics = await freePort();
  }
  const numbers = { router: [8440, 9440], prefill: [8441, 9441], decode: [8442, 9442] };
  for (const [name, p] of Object.entries(processes)) {
    let { text } = files.find((f) => f.name === p.file);
    const [grpc, metrics] = numbers[p.role];
    text = replace(text, `"0.0.0.0:${grpc}"`, `"127.0.0.1:${p.port}"`, 1);
    text = replace(text, `"0.0.0.0:${metrics}"`, `"127.0.0.1:${p.metrics}"`, 1);
    text = replace(text, "/opt/tandem/models/", join(root, "deploy/models/"), 1);
    for (const [pod, role] of Object.entries(pods)) {
      const named = p.role === "router" || (p.role === "prefill" && role === "decode") || name === pod;
      const times = named && !(name === pod && role === "prefill") ? 1 : 0;
      const address = `"${pod}.${domain(role)}:${numbers[role][0]}"`;
      text = replace(text, address, `"127.0.0.1:${processes[pod].port}"`, times);
    }
    p.config = join(folder, `${name}.textproto`);
    writeFileSync(p.config, text);
  }
  return objects;
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function waitFor(what, seconds, condition) {
  const until = Date.now() + seconds * 1000;
  for (;;) {
    const value = await condition();
    if (value) return value;
    assert.ok(Date.now() < until, `${what}: not within ${seconds} s`);
    await sleep(50);
  }
}

function start(name) {
  const p = processes[name];
  const log = openSync(join(folder, `${name}.log`), "a");
  const child = spawn(join(bin, `tandem-${p.role}`), ["--config", p.config], { stdio: ["ignore", log, log] });
  p.child = child;
  p.ended = new Promise((resolve) => child.once("exit", (code, signal) => resolve(code ?? signal)));
}

async function tandem(...args) {
  const child = spawn(join(bin, "tandem"), args, { stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  let err = "";
  child.stdout.on("data", (data) => (out += data));
  child.stderr.on("data", (data) => (err += data));
  const code = await new Promise((resolve) => child.once("close", resolve));
  return { code, out, err };
}

const target = (name) => `--target=127.0.0.1:${processes[name].port}`;
const serves = async (name) => (await tandem("health", target(name))).code === 0;

function generate(prompt, tokens) {
  return tandem("generate", target("router"), `--prompt=${prompt}`, "--temperature=0", "--ignore-eos",
    `--max-tokens=${tokens}`, "--timeout=300s", "--json");
}

// The value of a series with all of these labels; 0 where there is none.
async function metric(name, series, labels) {
  const text = await (await fetch(`http://127.0.0.1:${processes[name].metrics}/metrics`)).text();
  const line = text.split("\n").find((l) =>
    l.startsWith(`${series}{`) && Object.entries(labels).every(([k, v]) => l.includes(`${k}="${v}"`)));
  return line ? Number(line.split(" ").pop()) : 0;
}

const inflight = (stage) => metric("router", "tandem_requests_inflight", { stage });
const decodesUp = () => metric("router", "tandem_workers_up", { kind: "decode" });

after(() => {
  for (const p of Object.values(processes)) p.child?.kill("SIGKILL");
  rmSync(folder, { recursive: true });
});

test("rendered configs serve; SIGTERM of a decode worker ends no stream", { timeout: 540_000 }, async () => {
  const objects = await writeConfigs();
  for (const name of Object.keys(processes)) start(name);
  for (const name of Object.keys(processes)) await waitFor(`${name} serves`, 120, () => serves(name));
  await waitFor("both decode workers are up", 30, async () => (await decodesUp()) === 2);

  const prompt = "Dan has 14 oranges and gets 7 more. How many oranges does Dan have now?";
  const alone = await generate(prompt, 96);
  assert.equal(alone.code, 0, alone.err);
  const expected = JSON.parse(alone.out).token_ids;
  assert.equal(expected.length, 96);

  const leaving = "t-tandem-decode-0";
  let finished = 0;
  const running = Array.from({ length: streams }, async () => {
    const answer = await generate(prompt, 96);
    ++finished;
    return answer;
  });
  // All have their memory, and the worker that is to leave writes some of the answers.
  await waitFor("all streams run", 120, async () => {
    const past = (await inflight("prefill")) + (await inflight("decode")) + finished;
    return past === streams && (await inflight("reserve")) === 0;
  });
  await waitFor("the leaving worker writes", 120, async () =>
    (await metric(leaving, "tandem_kv_leases", { state: "committed" })) >= 3);
  const before = finished;
  processes[leaving].child.kill("SIGTERM");
  assert.ok(before < streams / 2, `${before} streams were over when the worker was told to end`);
  const answers = await Promise.all(running);
  assert.deepEqual(answers.filter((a) => a.code !== 0).map((a) => a.err), []);
  for (const answer of answers) assert.deepEqual(JSON.parse(answer.out).token_ids, expected);

  const pod = find(objects, "StatefulSet", "t-tandem-decode").spec.template.spec;
  const code = await Promise.race([processes[leaving].ended, sleep(pod.terminationGracePeriodSeconds * 1000)]);
  assert.equal(code, 0, "the worker ends by itself, within its grace period");

  assert.ok(await serves("router"), "one decode worker is left: the router stays ready");
  assert.equal((await generate(prompt, 8)).code, 0);
  start(leaving);
  await waitFor("the worker is taken back", 60, async () => (await decodesUp()) === 2);
});
