// SPDX-License-Identifier: Apache-2.0
// Goal: what the chart renders is what Kubernetes takes. Method: helm lint and helm template for
// every file of ci/; every object against the schema of its kind, unknown fields included; kubectl
// reads the whole; names, selectors and references of the objects fit each other.
import assert from "node:assert/strict";
import { test } from "node:test";
import { chart, ciFile, ciNames, helm, importBuilt, kinds, kubectl, render, renderText } from "./chart.mjs";

const models = Object.assign(
  {},
  await importBuilt("kubernetes-models/apps/v1/index.js"),
  await importBuilt("kubernetes-models/autoscaling/v2/index.js"),
  await importBuilt("kubernetes-models/networking.k8s.io/v1/index.js"),
  await importBuilt("kubernetes-models/policy/v1/index.js"),
  await importBuilt("kubernetes-models/resource.k8s.io/v1/index.js"),
  await importBuilt("kubernetes-models/v1/index.js"),
  await importBuilt("@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1/index.js"),
  await importBuilt("@kubernetes-models/keda/keda.sh/v1alpha1/index.js"),
  await importBuilt("@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/index.js"),
);

// The object, and the paths of its fields that nobody has read yet. A schema reads every field that
// it knows, so what is left after validation is a field that Kubernetes would drop in silence.
function watched(object, path, unread) {
  if (object === null || typeof object !== "object") return object;
  const keys = Array.isArray(object) ? [] : Object.keys(object);
  for (const key of keys) unread.add(`${path}.${key}`);
  const inner = new Map(
    Object.entries(object).map(([key, value]) => [key, watched(value, `${path}.${key}`, unread)]),
  );
  return new Proxy(object, {
    get(target, key) {
      unread.delete(`${path}.${String(key)}`);
      return inner.has(key) ? inner.get(key) : Reflect.get(target, key);
    },
  });
}

function problems(object) {
  const model = models[object.kind];
  if (!model || model.apiVersion !== object.apiVersion) {
    return [`no schema of ${object.apiVersion} ${object.kind}`];
  }
  const unread = new Set();
  const where = `${object.kind} ${object.metadata?.name}`;
  try {
    // A model copies what it is given; its schema alone does not.
    model.prototype.validate.call(watched(object, "", unread));
  } catch (error) {
    return [`${where}: ${error.message}`];
  }
  return [...unread].map((path) => `${where}: unknown field ${path}`);
}

test("a wrong object is refused, a field that does not exist as well", () => {
  const [pod] = kinds(render(), "Pod");
  assert.deepEqual(problems(pod), []);
  const broken = structuredClone(pod);
  broken.spec.containers[0].image = 7;
  assert.match(problems(broken)[0], /image/);
  const misspelt = structuredClone(pod);
  misspelt.spec.containers[0].securityContext.readOnlyRootFileSystem = true;
  assert.match(problems(misspelt)[0], /unknown field .*readOnlyRootFileSystem/);
  assert.match(problems({ ...pod, specs: {} })[0], /unknown field .specs/);
});

for (const ci of ciNames) {
  test(`ci/${ci}: lint, schemas, kubectl`, () => {
    const lint = helm("lint", "--strict", chart, "-f", ciFile(ci));
    assert.equal(lint.code, 0, lint.out + lint.err);
    const objects = render({ ci });
    assert.deepEqual(objects.flatMap(problems), []);
    const local = kubectl(renderText({ ci }), "annotate", "--local", "-f", "-", "a=b", "-o", "name");
    assert.equal(local.code, 0, local.err);
    assert.equal(local.out.trim().split("\n").length, objects.length);
  });

  test(`ci/${ci}: objects fit each other`, () => {
    const objects = render({ ci });
    const names = objects.map((o) => `${o.kind}/${o.metadata.name}`);
    assert.equal(new Set(names).size, names.length, "two objects of one name");
    const workloads = [...kinds(objects, "Deployment"), ...kinds(objects, "StatefulSet")];
    const pods = [...workloads.map((w) => w.spec.template), ...kinds(objects, "Pod")];
    const matches = (selector, labels) =>
      Object.entries(selector).every(([key, value]) => labels[key] === value);
    const selected = (selector) => pods.filter((pod) => matches(selector, pod.metadata.labels));
    for (const o of objects) {
      assert.equal(o.metadata.namespace, "apps", o.metadata.name);
      assert.ok(o.metadata.name.length <= 63, o.metadata.name);
    }
    for (const w of workloads) {
      assert.deepEqual(selected(w.spec.selector.matchLabels), [w.spec.template]);
      if (w.kind === "StatefulSet") assert.ok(names.includes(`Service/${w.spec.serviceName}`));
    }
    for (const service of kinds(objects, "Service")) {
      const [pod, ...others] = selected(service.spec.selector);
      assert.ok(pod && others.length === 0, service.metadata.name);
      const ports = pod.spec.containers.flatMap((c) => c.ports.map((p) => p.name));
      for (const port of service.spec.ports) assert.ok(ports.includes(port.targetPort), port.name);
    }
    for (const pod of pods) {
      const volumes = new Set((pod.spec.volumes ?? []).map((v) => v.name));
      for (const container of pod.spec.containers) {
        for (const mount of container.volumeMounts ?? []) {
          assert.ok(volumes.has(mount.name), `${container.name} mounts ${mount.name}`);
        }
      }
      for (const { configMap } of (pod.spec.volumes ?? []).filter((v) => v.configMap)) {
        assert.ok(names.includes(`ConfigMap/${configMap.name}`), configMap.name);
      }
      for (const claim of pod.spec.resourceClaims ?? []) {
        assert.ok(names.includes(`ResourceClaimTemplate/${claim.resourceClaimTemplateName}`));
      }
    }
    for (const policy of [...kinds(objects, "PodDisruptionBudget")]) {
      assert.equal(selected(policy.spec.selector.matchLabels).length, 1, policy.metadata.name);
    }
    for (const scaler of [...kinds(objects, "HorizontalPodAutoscaler"), ...kinds(objects, "ScaledObject")]) {
      const { kind, name } = scaler.spec.scaleTargetRef;
      const target = workloads.find((w) => w.kind === kind && w.metadata.name === name);
      assert.ok(target, `${scaler.metadata.name} scales ${kind} ${name}`);
      assert.equal(target.spec.replicas, undefined, "helm and the scaler would set it in turns");
    }
  });
}
