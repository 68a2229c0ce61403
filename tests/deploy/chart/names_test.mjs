// SPDX-License-Identifier: Apache-2.0
// Goal: pods find and know each other by the names that the chart gives them. Method: rendered configs
// with their names left in; /etc/hosts is the cluster's DNS, in a mount namespace of its own. First: a
// decode worker comes, ends, and comes back on another address, as a pod does; gRPC itself would look
// again after 30 s. Second: ci/tls, with certificates for the names that values.yaml asks for, and
// API keys; workers register, and who lacks one of them is refused.
//
//   node names_test.mjs BIN
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { configs, render, root } from "./chart.mjs";
import { freePort, metricAt, sleep, startProcess, waitFor } from "./pods.mjs";

const [, , bin, inside] = process.argv;
const original = readFileSync("/etc/hosts", "utf8");

// Processes of one rendering on addresses of loopback, on free ports that are asked for by values.
class Named {
  static async create(context, ci, more = []) {
    const named = new Named();
    named.folder = mkdtempSync(join(tmpdir(), "tandem-names-"));
    named.children = [];
    named.addresses = {};
    context.after(() => named.#destroy());
    named.#writeHosts();
    assert.equal(spawnSync("mount", ["--bind", join(named.folder, "hosts"), "/etc/hosts"]).status, 0);
    named.port = {};
    for (const role of ["router", "prefill", "decode"]) {
      named.port[role] = { port: await freePort(), metricsPort: await freePort(), healthPort: await freePort() };
    }
    const set = Object.entries(named.port).flatMap(([role, ports]) =>
      Object.entries(ports).map(([key, number]) => `${role}.${key}=${number}`));
    named.registry = await freePort();
    set.push(`registration.port=${named.registry}`);
    named.files = configs(render({ ci, set: [...set, ...more] }));
    return named;
  }

  // What the cluster's DNS says of a pod, or a service, from now on.
  name(host, address) {
    const set = host.replace(/-\d+$/, "");
    this.addresses[set === host ? host : `${host}.${set}.apps.svc.cluster.local`] = address;
    this.#writeHosts();
  }

  #writeHosts() {
    const lines = Object.entries(this.addresses).map(([name, address]) => `${address} ${name}\n`);
    writeFileSync(join(this.folder, "hosts"), `${original}\n${lines.join("")}`);
  }

  // Returns when it serves.
  async start(role, address) {
    const { text } = this.files.find((f) => f.role === role);
    const file = join(this.folder, `${role}-${address}.textproto`);
    writeFileSync(file, text.replaceAll('"0.0.0.0:', `"${address}:`)
      .replaceAll('"/etc/tandem/', `"${this.folder}/`)
      .replace("/opt/tandem/models", join(root, "deploy/models")));
    const child = startProcess(bin, role, file);
    this.children.push(child);
    await waitFor(`${role} serves`, 120, () => {
      const log = readFileSync(`${file}.log`, "utf8");
      assert.equal(child.exitCode, null, log);
      return log.includes(" serving ");
    });
    return child;
  }

  async seesDecode() {
    return (await metricAt(this.port.router.metricsPort, "tandem_workers_up", { kind: "decode" })) === 1;
  }

  tandem(...args) {
    return spawnSync(join(bin, "tandem"), args, { encoding: "utf8", timeout: 120_000 });
  }

  #destroy() {
    for (const child of this.children) child.kill("SIGKILL");
    spawnSync("umount", ["/etc/hosts"]);
    rmSync(this.folder, { recursive: true });
  }
}

async function follow(context) {
  const pods = await Named.create(context, "cpu", ["registration.enabled=false"]);
  pods.name("t-tandem-prefill-0", "127.0.0.1");
  await pods.start("prefill", "127.0.0.1");
  await pods.start("router", "127.0.0.1");
  await sleep(5000);
  assert.equal(await pods.seesDecode(), false);

  const first = await pods.start("decode", "127.0.0.1");
  pods.name("t-tandem-decode-0", "127.0.0.1");
  await waitFor("a new name", 60, () => pods.seesDecode());

  first.kill("SIGTERM");
  await waitFor("the worker is gone", 60, async () => !(await pods.seesDecode()));
  await pods.start("decode", "127.0.0.2");
  pods.name("t-tandem-decode-0", "127.0.0.2");
  const moved = Date.now();
  await waitFor("another address", 20, () => pods.seesDecode());
  context.diagnostic(`another address: ${(Date.now() - moved) / 1000} s`);
}

// A Secret as cert-manager writes it, as a folder: tls.crt, tls.key, ca.crt.
function certify(folder, ca, names) {
  mkdirSync(folder);
  const openssl = (...args) => {
    const done = spawnSync("openssl", args, { encoding: "utf8" });
    assert.equal(done.status, 0, done.stderr);
  };
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", join(folder, "tls.key")];
  const request = join(folder, "request");
  const extra = join(folder, "extra");
  writeFileSync(extra, `subjectAltName=${names.map((n) => `DNS:${n}`).join(",")}\n`);
  if (!ca) {
    openssl("req", "-x509", ...key, "-subj", "/CN=ca", "-days", "2", "-out", join(folder, "tls.crt"));
    return folder;
  }
  openssl("req", "-new", ...key, "-subj", "/CN=tandem", "-out", request);
  openssl("x509", "-req", "-in", request, "-CA", join(ca, "tls.crt"), "-CAkey", join(ca, "tls.key"), "-CAcreateserial",
    "-days", "2", "-extfile", extra, "-out", join(folder, "tls.crt"));
  writeFileSync(join(folder, "ca.crt"), readFileSync(join(ca, "tls.crt")));
  return folder;
}

async function encrypted(context) {
  const pods = await Named.create(context, "tls", ["router.replicas=1", "decode.replicas=1"]);
  const ca = certify(join(pods.folder, "ca"), null, ["ca"]);
  const set = (role) => `*.t-tandem-${role}.apps.svc.cluster.local`;
  const registry = "t-tandem-registry.apps.svc.cluster.local";
  certify(join(pods.folder, "pod-tls"), ca, [set("prefill"), set("decode"), registry]);
  const own = certify(join(pods.folder, "tls"), ca, ["t-tandem-router"]);
  const key = "correct horse battery staple";
  mkdirSync(join(pods.folder, "api-keys"));
  writeFileSync(join(pods.folder, "api-keys/keys"), `alice ${createHash("sha256").update(key).digest("hex")}\n`);
  writeFileSync(join(pods.folder, "key"), `${key}\n`);
  for (const host of ["t-tandem-prefill-0", "t-tandem-decode-0", "t-tandem-router", registry]) pods.name(host, "127.0.0.1");
  for (const role of ["decode", "prefill", "router"]) await pods.start(role, "127.0.0.1");

  // Probes ask in plain text.
  const health = () => pods.tandem("health", `--target=127.0.0.1:${pods.port.router.healthPort}`);
  await waitFor("the router is ready", 60, () => health().status === 0);
  const target = `--target=t-tandem-router:${pods.port.router.port}`;
  const ask = (...more) => pods.tandem("generate", target, "--prompt=Sam has 3 pens.", "--temperature=0",
    "--max-tokens=8", "--timeout=60s", ...more);
  const shown = [`--ca=${own}/ca.crt`, `--cert=${own}/tls.crt`, `--key=${own}/tls.key`];
  const good = ask(...shown, `--api-key-file=${pods.folder}/key`);
  assert.equal(good.status, 0, good.stderr);
  const keyless = ask(...shown);
  assert.match(keyless.stderr, /UNAUTHENTICATED/);
  assert.notEqual(ask().status, 0, "plain text");
  assert.notEqual(ask(shown[0], `--api-key-file=${pods.folder}/key`).status, 0, "no certificate");
}

if (inside) {
  test("names are followed", { timeout: 400_000 }, follow);
  test("certificates and keys", { timeout: 400_000 }, encrypted);
} else {
  const how = process.getuid() === 0 ? ["--mount"] : ["--user", "--map-root-user", "--mount"];
  const again = [...how, "--propagation", "private", process.execPath, fileURLToPath(import.meta.url), bin, "inside"];
  process.exitCode = spawnSync("unshare", again, { stdio: "inherit" }).status ?? 1;
}
