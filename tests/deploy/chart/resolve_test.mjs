// SPDX-License-Identifier: Apache-2.0
// Goal: a worker is found by the name that the chart gives it, when that comes to exist and when its
// address changes, as a pod's does. Method: rendered configs with their names left in; /etc/hosts is
// the cluster's DNS, in a mount namespace of its own; a decode worker comes, ends, and comes back on
// another address of loopback. gRPC itself would look again after 30 s.
//
//   node resolve_test.mjs BIN
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { configs, render, root } from "./chart.mjs";
import { freePort, metricAt, sleep, startProcess, waitFor } from "./pods.mjs";

const [, , bin, inside] = process.argv;

async function follow(context) {
  const folder = mkdtempSync(join(tmpdir(), "tandem-names-"));
  const children = [];
  context.after(() => {
    for (const child of children) child.kill("SIGKILL");
    rmSync(folder, { recursive: true });
  });
  const hosts = join(folder, "hosts");
  const original = readFileSync("/etc/hosts", "utf8");
  writeFileSync(hosts, original);
  assert.equal(spawnSync("mount", ["--bind", hosts, "/etc/hosts"]).status, 0);
  const addresses = {};
  const name = (pod, address) => {
    addresses[pod] = address;
    const lines = Object.entries(addresses).map(([p, a]) =>
      `${a} ${p}.${p.replace(/-\d+$/, "")}.apps.svc.cluster.local`);
    writeFileSync(hosts, `${original}\n${lines.join("\n")}\n`);
  };

  const port = {};
  for (const role of ["router", "prefill", "decode"]) {
    port[role] = { port: await freePort([]), metricsPort: await freePort([]) };
  }
  const set = Object.entries(port).flatMap(([role, p]) => Object.entries(p).map(([key, n]) => `${role}.${key}=${n}`));
  const files = configs(render({ ci: "cpu", set }));
  const start = (role, address) => {
    const { text } = files.find((f) => f.role === role);
    const file = join(folder, `${role}-${address}.textproto`);
    writeFileSync(file, text.replaceAll('"0.0.0.0:', `"${address}:`).replace("/opt/tandem/models", join(root, "deploy/models")));
    children.push(startProcess(bin, role, file));
    return children.at(-1);
  };
  const seen = async () => (await metricAt(port.router.metricsPort, "tandem_workers_up", { kind: "decode" })) === 1;
  const serving = (file) => waitFor(file, 120, () => readFileSync(join(folder, `${file}.textproto.log`), "utf8").includes(" serving "));

  name("t-tandem-prefill-0", "127.0.0.1");
  start("prefill", "127.0.0.1");
  start("router", "127.0.0.1");
  await serving("router-127.0.0.1");
  await sleep(5000);
  assert.equal(await seen(), false);

  const first = start("decode", "127.0.0.1");
  await serving("decode-127.0.0.1");
  name("t-tandem-decode-0", "127.0.0.1");
  await waitFor("a new name", 60, seen);

  first.kill("SIGTERM");
  await waitFor("the worker is gone", 60, async () => !(await seen()));
  start("decode", "127.0.0.2");
  await serving("decode-127.0.0.2");
  name("t-tandem-decode-0", "127.0.0.2");
  const moved = Date.now();
  await waitFor("another address", 20, seen);
  context.diagnostic(`another address: ${(Date.now() - moved) / 1000} s`);
}

if (inside) {
  test("names are followed", { timeout: 400_000 }, follow);
} else {
  const how = process.getuid() === 0 ? ["--mount"] : ["--user", "--map-root-user", "--mount"];
  const again = [...how, "--propagation", "private", process.execPath, fileURLToPath(import.meta.url), bin, "inside"];
  process.exitCode = spawnSync("unshare", again, { stdio: "inherit" }).status ?? 1;
}
