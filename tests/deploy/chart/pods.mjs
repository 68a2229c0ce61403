// SPDX-License-Identifier: Apache-2.0
// Pods without Kubernetes: the configs that the chart renders for mode split, as processes of this
// machine. Nothing of a config is changed but names of pods and listening addresses, which become
// ports of loopback, and the folder of the model.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { configs, find, render, root } from "./chart.mjs";

const ports = { router: [8440, 9440], prefill: [8441, 9441], decode: [8442, 9442] };
const registry = 8460;

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export async function waitFor(what, seconds, condition) {
  const until = Date.now() + seconds * 1000;
  while (!(await condition())) {
    assert.ok(Date.now() < until, `${what}: not within ${seconds} s`);
    await sleep(50);
  }
}

const given = new Set();

// A port that no outgoing connection takes while its process is away; never the same one twice.
export async function freePort() {
  const [low] = readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8").split("\t").map(Number);
  for (let i = 0; i < 100; ++i) {
    const port = 20000 + Math.floor(Math.random() * ((low > 21000 ? low : 65536) - 20000));
    const free = await new Promise((resolve) => {
      const server = net.createServer();
      server.once("error", () => resolve(false));
      server.listen({ port, host: "127.0.0.1" }, () => server.close(() => resolve(true)));
    });
    if (!free || given.has(port)) continue;
    given.add(port);
    return port;
  }
  throw new Error("no free port");
}

// Replaces exactly `times` occurrences.
function replace(text, from, to, times) {
  assert.equal(text.split(from).length - 1, times, `${from} in\n${text}`);
  return text.replaceAll(from, to);
}

// Over a connection of its own: the server closes each after its answer without a word, and fetch
// would send the next request into one that is about to be closed.
async function read(url) {
  const [answer] = await once(http.get(url, { agent: false }), "response");
  return answer.setEncoding("utf8").reduce((text, part) => text + part, "");
}

// The value of a series with all of these labels; 0 where there is none.
export async function metricAt(port, series, labels) {
  const text = await read(`http://127.0.0.1:${port}/metrics`);
  const line = text.split("\n").find((l) =>
    l.startsWith(`${series}{`) && Object.entries(labels).every(([k, v]) => l.includes(`${k}="${v}"`)));
  return line ? Number(line.split(" ").pop()) : 0;
}

// Its log is FILE.log.
export function startProcess(bin, role, file) {
  const log = openSync(`${file}.log`, "a");
  return spawn(join(bin, `tandem-${role}`), ["--config", file], { stdio: ["ignore", log, log] });
}

export class Pods {
  // As many of each role as the rendering says; `options` as of render().
  static async create(bin, options) {
    const pods = new Pods();
    pods.bin = bin;
    pods.folder = mkdtempSync(join(tmpdir(), "tandem-pods-"));
    pods.objects = render(options);
    pods.all = {};
    const kind = { router: "Deployment", prefill: "StatefulSet", decode: "StatefulSet" };
    for (const role of Object.keys(ports)) {
      const { spec } = find(pods.objects, kind[role], `t-tandem-${role}`);
      for (let i = 0; i < spec.replicas; ++i) {
        const pod = { role, grace: spec.template.spec.terminationGracePeriodSeconds };
        for (const kind of ["port", "metrics", "registry"]) pod[kind] = await freePort();
        pods.all[`t-tandem-${role}-${i}`] = pod;
      }
    }
    for (const name of pods.names()) pods.#write(name);
    return pods;
  }

  names(role) {
    return Object.keys(this.all).filter((name) => !role || this.all[name].role === role);
  }

  #write(name) {
    const pod = this.all[name];
    const file = pod.role === "router" ? "router.textproto" : `${name}.textproto`;
    let { text } = configs(this.objects).find((f) => f.name === file);
    const [grpc, metrics] = ports[pod.role];
    text = replace(text, `"0.0.0.0:${grpc}"`, `"127.0.0.1:${pod.port}"`, 1);
    text = replace(text, `"0.0.0.0:${metrics}"`, `"127.0.0.1:${pod.metrics}"`, 1);
    text = replace(text, "/opt/tandem/models/", join(root, "deploy/models/"), 1);
    // A name of all routers becomes a line for each.
    const registers = text.includes("registration {") || text.includes("registry {");
    if (registers && pod.role === "router") {
      text = replace(text, `"0.0.0.0:${registry}"`, `"127.0.0.1:${pod.registry}"`, 1);
    } else if (registers) {
      const lines = this.names("router").map((router) => `routers: "127.0.0.1:${this.all[router].registry}"`);
      text = replace(text, `routers: "t-tandem-registry.apps.svc.cluster.local:${registry}"`, lines.join(" "), 1);
    }
    for (const other of [...this.names("prefill"), ...this.names("decode")]) {
      const { role, port } = this.all[other];
      const address = `"${other}.t-tandem-${role}.apps.svc.cluster.local:${ports[role][0]}"`;
      // Unless they register the router lists all; prefill lists the decode workers; each that tells
      // its own name does so to routers, and a decode worker to prefill workers.
      const own = other === name ? Number(registers) : 0;
      const times = { router: Number(!registers), prefill: own + Number(role === "decode"),
        decode: own + Number(other === name) }[pod.role];
      text = replace(text, address, `"127.0.0.1:${port}"`, times);
    }
    pod.config = join(this.folder, `${name}.textproto`);
    writeFileSync(pod.config, text);
  }

  // A folder beside the configs with another config.json, and a pod that serves it from its next
  // start on.
  newModel(name, change) {
    const config = JSON.parse(readFileSync(join(root, "deploy/models", name, "config.json"), "utf8"));
    change(config);
    mkdirSync(join(this.folder, name));
    writeFileSync(join(this.folder, name, "config.json"), JSON.stringify(config));
  }

  upgrade(name) {
    const { config } = this.all[name];
    writeFileSync(config, replace(readFileSync(config, "utf8"), join(root, "deploy/models/"), `${this.folder}/`, 1));
  }

  log(name) {
    return readFileSync(`${this.all[name].config}.log`, "utf8");
  }

  start(name) {
    const pod = this.all[name];
    pod.child = startProcess(this.bin, pod.role, pod.config);
    pod.ended = new Promise((resolve) => pod.child.once("exit", (code, signal) => resolve(code ?? signal)));
  }

  // As the kubelet does: SIGTERM, and the grace period; the exit code, or undefined when it is over.
  terminate(name) {
    const pod = this.all[name];
    pod.child.kill("SIGTERM");
    // A test that is over does not wait for it.
    return Promise.race([pod.ended, new Promise((resolve) => setTimeout(resolve, pod.grace * 1000).unref())]);
  }

  async startAll() {
    for (const name of this.names()) this.start(name);
    for (const name of this.names()) await this.waitServing(name);
    await this.waitAllSeen();
  }

  waitServing(name) {
    return waitFor(`${name} serves`, 120, async () => (await this.tandem(name, "health")).code === 0);
  }

  // Every router sees every worker.
  async waitAllSeen() {
    for (const router of this.names("router")) {
      for (const kind of ["prefill", "decode"]) {
        const wanted = this.names(kind).length;
        await waitFor(`${router} sees ${wanted} ${kind}`, 60, async () =>
          (await this.metric(router, "tandem_workers_up", { kind })) === wanted);
      }
    }
  }

  // The command line, against a pod.
  async tandem(name, verb, ...args) {
    const target = `--target=127.0.0.1:${this.all[name].port}`;
    const child = spawn(join(this.bin, "tandem"), [verb, target, ...args], { stdio: ["ignore", "pipe", "pipe"] });
    let out = "";
    let err = "";
    child.stdout.on("data", (data) => (out += data));
    child.stderr.on("data", (data) => (err += data));
    const code = await new Promise((resolve) => child.once("close", resolve));
    return { code, out, err };
  }

  metric(name, series, labels) {
    return metricAt(this.all[name].metrics, series, labels);
  }

  destroy() {
    for (const pod of Object.values(this.all)) pod.child?.kill("SIGKILL");
    rmSync(this.folder, { recursive: true });
  }
}
