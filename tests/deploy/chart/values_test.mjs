// SPDX-License-Identifier: Apache-2.0
// Goal: a wrong value is refused with a line that names it, and values.schema.json knows of the
// configs exactly what config.proto and service_config.cc know. Method: wrong values, one at a time;
// the three sources, read and compared field by field.
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseYaml, read, render } from "./chart.mjs";

const refused = [
  ["router.config.requsts_max=1", /\/router\/config.*'requsts_max' not allowed/],
  ["replicas=1", /'replicas' not allowed/],
  ["router.config.requests_max=0", /requests_max.*got 0, want 1/],
  ['router.config.requests_max="8"', /requests_max.*got string, want integer/],
  ["decode.config.pages=16777217", /pages.: maximum: got/],
  ["decode.config.endpoint=\"x:1\"", /'endpoint' not allowed/],
  ['decode.config.worker={"kernels":"KERNELS_GPU"}', /kernels.*must be one of 'KERNELS_CPU'/],
  ['prefill.config.kv_channel="STRICT"', /kv_channel.*must be one of/],
  ['router.config.deadline_max={"seconds":0}', /deadline_max\/seconds.*got 0, want 1/],
  ['router.config.drain_timeout="30s"', /drain_timeout.*got string, want object/],
  ['mode="shared"', /mode.*must be one of 'split', 'sharedPod'/],
  ['decode.shmSize="lots"', /shmSize.*'lots' does not match pattern/],
  ["prefill.port=65536", /port.*got 65,?536, want 65,?535/],
  ['model.folder="../etc/\\"x"', /folder.*does not match pattern/],
  ["router.healthPort=8460", /router's ports and registration.port must differ/],
  ["registration.ttlSeconds=601", /ttlSeconds.*got 601, want 600/],
  ["router.replicas=0", /replicas.*got 0, want 1/],
  ['images.worker.digest="sha256:1"', /digest.*does not match pattern/],
  // What no schema can say.
  ["router={\"replicas\":3,\"replicasMax\":2}", /router.replicasMax: 2 is below router.replicas: 3/],
  ['model={"source":"claim"}', /model.claim.name: is required/],
  ['model={"source":"hostPath"}', /model.hostPath: is required/],
  ['ingress={"enabled":true}', /ingress.host, ingress.tlsSecretName: are required/],
  ['gateway={"enabled":true}', /gateway.parentRefs: needs at least one/],
  ['apiKeys={"secretName":"keys"}', /test.apiKeySecretName: is required/],
  ['tls={"router":{"clientCertificates":true}}', /tls.router.secretName: is required/],
  ['autoscaling={"kind":"keda"}', /autoscaling.prometheusUrl: is required/],
  ['prefill.config={"kv_channel":"KV_CHANNEL_POLICY_STRICT","kv_channel_kind":"KV_CHANNEL_KIND_SHARED"}',
    /in mode split no two pods share memory/],
  ['prefill.config={"kv_channel":"KV_CHANNEL_POLICY_STRICT","kv_channel_kind":"KV_CHANNEL_KIND_IPC"}',
    /in mode split no two pods share memory/],
];

for (const [pair, message] of refused) {
  test(`${pair} is refused`, () => {
    assert.throws(() => render({ set: [pair] }), (error) => {
      assert.match(error.message.replace(/\n/g, " "), message);
      return true;
    });
  });
}

test("STRICT and several shared pods are refused, one is not", () => {
  const strict = 'prefill.config={"kv_channel":"KV_CHANNEL_POLICY_STRICT"}';
  assert.throws(() => render({ ci: "shared-pods", set: [strict] }), /STRICT with sharedPod.replicas/);
  render({ ci: "shared-pods", set: [strict, "sharedPod.replicas=1"] });
});

test("two processes of a pod with one port are refused", () => {
  assert.throws(() => render({ ci: "shared-pods", set: ["prefill.port=8442"] }), /their ports must differ/);
});

// --- the schema against the sources ---

const schema = JSON.parse(read("helm/tandem/values.schema.json"));
const proto = read("proto/tandem/v1/config.proto") + read("proto/tandem/v1/link.proto");
const bounds = read("services/runtime/config/service_config.cc");
const boundsMost = Number(/void FieldCheck::Rising[^]*?kMost = (\d+)/.exec(read("services/runtime/config/field_check.cc"))[1]);
// The message of each definition.
const messages = { routerConfig: "RouterConfig", workerConfig: "WorkerConfig", prefillConfig: "PrefillConfig",
  decodeConfig: "DecodeConfig", simConfig: "SimConfig", sloConfig: "SloConfig",
  histogramBounds: "HistogramBounds" };
const definitionOf = (message) => Object.keys(messages).find((name) => messages[name] === message);
// Addresses, the model, Secrets: the chart's own affair. A pod's GPUs are numbered from 0.
const chartFills = ["listen", "metrics_listen", "model_dir", "model_name", "prefill_workers", "decode_workers",
  "decode_workers_allowed", "endpoint", "tls", "worker_tls", "decode_tls", "health_listen", "api_keys_file", "gpus", "registry", "registration"];

const body = (pattern, text) => {
  const found = pattern.exec(text);
  assert.ok(found, `${pattern} not found`);
  return found[1];
};
const fieldsOf = (message) =>
  [...body(new RegExp(`^message ${message} \\{\\n([^]*?)^\\}`, "m"), proto)
    .matchAll(/^ {2}(?:optional |repeated )?([\w.]+) (\w+) = \d+;/gm)].map(([, type, name]) => ({ type, name }));
const enumValues = (type) =>
  [...body(new RegExp(`^enum ${type} \\{\\n([^]*?)^\\}`, "m"), proto).matchAll(/^ {2}(\w+) = [1-9]/gm)]
    .map(([, name]) => name);
// 1U << 24 and the like.
const number = (text) => text.split("<<").map((t) => parseInt(t)).reduce((a, b) => a * 2 ** b);
const rangeOf = (message, field) => {
  const places = message === "WorkerConfig" ? ["void CheckRanks", "void CheckDevice", "absl::Status ValidateWorker"]
    : [`absl::Status Validate\\(const v1::${message}&`];
  const text = places.map((place) => body(new RegExp(`${place}([^]*?)^\\}`, "m"), bounds)).join("");
  const found = new RegExp(`InRange\\("${field}",[^{]*\\{\\.min = ([^,]*), \\.max = ([^}]*)\\}`).exec(text);
  assert.ok(found, `${message}.${field} has no range`);
  return [number(found[1]), number(found[2])];
};

for (const [definition, message] of Object.entries(messages)) {
  test(`${definition} says what ${message} says`, () => {
    const { properties, additionalProperties } = schema.definitions[definition];
    assert.equal(additionalProperties, false);
    const fields = fieldsOf(message).filter(({ name }) => !chartFills.includes(name));
    assert.ok(fields.length > 2);
    assert.deepEqual(Object.keys(properties).sort(), fields.map((f) => f.name).sort());
    for (const { type, name } of fields) {
      const { $ref } = properties[name];
      const said = $ref ? schema.definitions[$ref.split("/").pop()] : properties[name];
      const duration = { SimConfig: "simDuration", SloConfig: "sloDuration" }[message] ?? "duration";
      if (type === "google.protobuf.Duration") assert.equal($ref, `#/definitions/${duration}`, name);
      else if (definitionOf(type)) assert.equal($ref, `#/definitions/${definitionOf(type)}`, name);
      else if (type === "double") {
        assert.equal($ref, "#/definitions/bounds", name);
        assert.equal(said.maxItems, boundsMost);
      } else if (type === "uint32") assert.deepEqual([said.minimum, said.maximum], rangeOf(message, name), name);
      else assert.deepEqual(said.enum, enumValues(type), name);
    }
  });
}

test("values.yaml shows every value that the schema knows", () => {
  const missing = [];
  const compare = (node, value, path) => {
    const known = node.$ref ? schema.definitions[node.$ref.split("/").pop()] : node;
    // A config shows what differs from the services' own defaults, and config.proto the rest.
    if (!known.properties || /config$/.test(path)) return;
    for (const [key, child] of Object.entries(known.properties)) {
      if (path === "" && key === "global") continue;
      if (value?.[key] === undefined) missing.push(`${path}.${key}`);
      else compare(child, value[key], `${path}.${key}`);
    }
  };
  compare(schema, parseYaml(read("helm/tandem/values.yaml")), "");
  assert.deepEqual(missing.filter((path) => !/\.affinity\.|resources\./.test(path)), []);
});
