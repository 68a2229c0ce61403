// SPDX-License-Identifier: Apache-2.0
// Goal: each template says what it should. Method: a case a template file, on values that turn it
// on, and on values that turn it off; a template without a case fails.
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { chart, configs, find, kinds, parseYaml, read, render, renderText, root } from "./chart.mjs";

const cases = {};

const env = (container) => (container.env ?? []).map((e) => e.name);
const containers = (workload) => workload.spec.template.spec.containers;

cases["serviceaccount.yaml"] = () => {
  const account = find(render(), "ServiceAccount", "t-tandem");
  assert.equal(account.automountServiceAccountToken, false);
  assert.equal(kinds(render({ ci: "existing" }), "ServiceAccount").length, 0);
  const [router] = kinds(render({ ci: "existing" }), "Deployment");
  assert.equal(router.spec.template.spec.serviceAccountName, "inference");
};

cases["pvc.yaml"] = () => {
  const claim = find(render({ ci: "all-on" }), "PersistentVolumeClaim", "models");
  assert.equal(claim.metadata.annotations["helm.sh/resource-policy"], "keep");
  assert.deepEqual(claim.spec.accessModes, ["ReadWriteMany"]);
  assert.equal(claim.spec.resources.requests.storage, "10Gi");
  assert.equal(kinds(render({ ci: "existing" }), "PersistentVolumeClaim").length, 0);
};

cases["router/configmap.yaml"] = () => {
  const config = (set) => find(render({ ci: "gpu-split", set }), "ConfigMap", "t-tandem-router").data["router.textproto"];
  // Workers register, and none is listed: more of them change nothing here.
  assert.match(config(), /^registry \{\n {2}listen: "0.0.0.0:8460"\n {2}worker_ttl \{\n {4}seconds: 10\n {2}\}\n\}$/m);
  assert.equal(config(), config(["decode.replicasMax=9"]));
  assert.doesNotMatch(config(), /_workers: /);
  const text = config(["registration.enabled=false"]);
  assert.doesNotMatch(text, /registry/);
  const lines = text.split("\n");
  const workers = (role) => lines.filter((line) => line.startsWith(`${role}_workers: `));
  assert.equal(workers("prefill").length, 2);
  assert.equal(workers("decode").length, 4);
  const last = '"t-tandem-decode-3.t-tandem-decode.apps.svc.cluster.local:8442"';
  assert.equal(workers("decode")[3], `decode_workers: ${last}`);
  // A number above a million stays a number.
  const all = find(render({ ci: "all-on" }), "ConfigMap", "t-llm-router").data["router.textproto"];
  assert.match(all, /^stream_tokens_max: 16777216$/m);
  // And one with a point keeps it.
  assert.match(all, /^ {2}ttft: \[0\.05,0\.5,2\.5,1000\]$/m);
};

cases["router/deployment.yaml"] = () => {
  const router = find(render({ ci: "gpu-split" }), "Deployment", "t-tandem-router");
  assert.equal(router.spec.replicas, 2);
  assert.equal(router.spec.strategy.rollingUpdate.maxUnavailable, 0);
  const [container] = containers(router);
  assert.equal(container.resources.limits["nvidia.com/gpu"], undefined);
  assert.deepEqual(container.lifecycle.preStop, { sleep: { seconds: 10 } });
  // Ready only when a pair of workers is; alive as long as it answers.
  assert.deepEqual(container.readinessProbe.grpc, { port: 8440 });
  assert.deepEqual(container.livenessProbe.grpc, { port: 8440, service: "liveness" });
  assert.deepEqual(container.startupProbe.grpc, { port: 8440, service: "liveness" });
  const other = find(render({ ci: "gpu-split", set: ["router.config.logprobs_max=7"] }), "Deployment",
    "t-tandem-router");
  const checksum = (w) => w.spec.template.metadata.annotations["tandem/config-sha256"];
  assert.notEqual(checksum(other), checksum(router), "a changed config restarts nothing");
};

cases["router/services.yaml"] = () => {
  const objects = render({ ci: "all-on" });
  const service = find(objects, "Service", "t-llm-router");
  assert.equal(service.spec.type, "LoadBalancer");
  assert.deepEqual(service.spec.ports.map((p) => p.name), ["grpc"], "no metrics to the outside");
  const pods = find(objects, "Service", "t-llm-router-pods");
  assert.equal(pods.spec.clusterIP, "None");
  assert.equal(pods.spec.publishNotReadyAddresses, undefined, "clients ask routers that are ready");
  const registry = find(objects, "Service", "t-llm-registry");
  assert.deepEqual(registry.spec.ports, [{ name: "registry", port: 8460, targetPort: "registry" }]);
  assert.equal(registry.spec.publishNotReadyAddresses, true, "without workers no router is ready");
  assert.equal(kinds(render({ set: ["registration.enabled=false"] }), "Service").length, 4);
};

cases["router/ingress.yaml"] = () => {
  const [ingress] = kinds(render({ ci: "all-on" }), "Ingress");
  assert.deepEqual(ingress.spec.tls, [{ hosts: ["llm.example.com"], secretName: "llm-tls" }]);
  const [path] = ingress.spec.rules[0].http.paths;
  assert.deepEqual(path.backend.service, { name: "t-llm-router", port: { name: "grpc" } });
  assert.equal(kinds(render(), "Ingress").length, 0);
};

cases["router/grpcroute.yaml"] = () => {
  const [route] = kinds(render({ ci: "all-on" }), "GRPCRoute");
  const services = route.spec.rules[0].matches.map((m) => m.method.service);
  assert.ok(services.includes("tandem.v1.InferenceService"));
  assert.ok(!services.includes("tandem.v1.DecodeService"));
  assert.deepEqual(route.spec.rules[0].backendRefs, [{ name: "t-llm-router", port: 8440 }]);
  assert.equal(kinds(render(), "GRPCRoute").length, 0);
};

cases["workers/configmaps.yaml"] = () => {
  const objects = render({ ci: "all-on" });
  const decode = find(objects, "ConfigMap", "t-llm-decode").data;
  // One for each that may come: 3 replicas, 8 at most.
  assert.equal(Object.keys(decode).length, 8);
  const name = "t-llm-decode-7.t-llm-decode.apps.svc.cluster.local:8442";
  assert.ok(decode["t-llm-decode-7.textproto"].includes(`\nendpoint: "${name}"\n`));
  const prefill = find(objects, "ConfigMap", "t-llm-prefill").data;
  assert.equal(Object.keys(prefill).length, 4);
  assert.ok(prefill["t-llm-prefill-3.textproto"].includes(`decode_workers_allowed: "${name}"`));
  assert.ok(prefill["t-llm-prefill-3.textproto"].includes(`  registration {
    routers: "t-llm-registry.apps.svc.cluster.local:8460"
    endpoint: "t-llm-prefill-3.t-llm-prefill.apps.svc.cluster.local:8441"
  }
}`));
  assert.doesNotMatch(renderText({ set: ["registration.enabled=false"] }), /registration|registry/);
  const kind = (ci) => /kv_channel_kind: (\w+)/.exec(
    Object.values(find(render({ ci }), "ConfigMap", "t-tandem-prefill").data)[0])[1];
  assert.equal(kind("cpu"), "KV_CHANNEL_KIND_GRPC");
  assert.equal(kind("shared-pods"), "KV_CHANNEL_KIND_SHARED");
  // Whose weights a worker has, of both that are on the same GPUs.
  const weights = (ci, ...set) => configs(render({ ci, set })).filter((f) => f.role !== "router")
    .map(({ role, text }) => `${role} ${/^ +weights: (\w+)/m.exec(text)?.[1]}`).sort();
  assert.deepEqual(weights("shared-gpu"), ["decode WEIGHTS_SHARED", "prefill WEIGHTS_SHARED"]);
  const none = ["decode undefined", "prefill undefined"];
  assert.deepEqual(weights("shared-gpu", "prefill.config.worker.tensor_parallel=1"), none);
  assert.deepEqual(weights("shared-gpu", 'prefill.config.worker.weights="WEIGHTS_OWN"'), ["decode undefined", "prefill WEIGHTS_OWN"]);
  assert.deepEqual([...new Set(weights("shared-pods"))], none, "on CPUs");
  assert.deepEqual([...new Set(weights("gpu-split"))], none, "in pods of their own");
};

cases["workers/split.yaml"] = () => {
  const objects = render({ ci: "gpu-split" });
  const decode = find(objects, "StatefulSet", "t-tandem-decode");
  const prefill = find(objects, "StatefulSet", "t-tandem-prefill");
  assert.equal(decode.spec.replicas, 4);
  assert.equal(prefill.spec.replicas, 2);
  const [container] = containers(decode);
  assert.deepEqual(container.args, ["--config=/etc/tandem/decode/$(POD_NAME).textproto"]);
  assert.deepEqual(env(container), ["POD_NAME"]);
  assert.equal(container.resources.limits["nvidia.com/gpu"], 2);
  assert.equal(container.resources.limits.memory, "96Gi");
  const pod = decode.spec.template.spec;
  assert.equal(pod.nodeSelector["nvidia.com/gpu.compute.major"], "12");
  assert.equal(pod.topologySpreadConstraints[0].whenUnsatisfiable, "DoNotSchedule");
  const shm = pod.volumes.find((v) => v.name === "shm");
  assert.deepEqual(shm.emptyDir, { medium: "Memory", sizeLimit: "512Mi" }, "the pool is on the GPUs");
  const model = pod.volumes.find((v) => v.name === "model");
  assert.deepEqual(model.persistentVolumeClaim, { claimName: "models", readOnly: true });
  assert.equal(pod.hostIPC, undefined);
  // 1800 s to load a model.
  const { periodSeconds, failureThreshold } = container.startupProbe;
  assert.equal(periodSeconds * failureThreshold, 1800);
  assert.equal(kinds(render({ ci: "shared-pods" }), "StatefulSet").length, 1);
  // Both kinds stop at one number: a pair of either version.
  for (const set of kinds(render({ ci: "gpu-split", set: ["updatePartition=1"] }), "StatefulSet")) {
    assert.deepEqual(set.spec.updateStrategy, { rollingUpdate: { partition: 1 } });
  }
  assert.equal(decode.spec.updateStrategy.rollingUpdate.partition, 0, "all pods");
};

cases["workers/shared_pod.yaml"] = () => {
  const objects = render({ ci: "shared-gpu" });
  const worker = find(objects, "StatefulSet", "t-tandem-worker");
  const pod = worker.spec.template.spec;
  assert.deepEqual(pod.containers.map((c) => c.name), ["prefill", "decode"]);
  for (const container of pod.containers) {
    assert.deepEqual(container.resources.claims, [{ name: "gpus" }], "both see the same GPUs");
    assert.ok(container.volumeMounts.some((m) => m.name === "shm" && m.mountPath === "/dev/shm"));
  }
  assert.equal(pod.volumes.find((v) => v.name === "shm").emptyDir.sizeLimit, "512Mi");
  assert.equal(pod.shareProcessNamespace, true);
  const claim = find(objects, "ResourceClaimTemplate", "t-tandem-gpus");
  assert.equal(claim.spec.spec.devices.requests[0].exactly.count, 2);
  const without = find(render({ ci: "shared-pods" }), "StatefulSet", "t-tandem-worker");
  assert.equal(without.spec.template.spec.shareProcessNamespace, undefined);
  assert.equal(without.spec.replicas, 3);
};

cases["workers/services.yaml"] = () => {
  const decode = find(render(), "Service", "t-tandem-decode");
  assert.equal(decode.spec.clusterIP, "None");
  assert.equal(decode.spec.publishNotReadyAddresses, true);
  const worker = find(render({ ci: "shared-pods" }), "Service", "t-tandem-worker");
  assert.deepEqual(worker.spec.ports.map((p) => [p.name, p.port]), [["grpc-prefill", 8441],
    ["metrics-prefill", 9441], ["grpc-decode", 8442], ["metrics-decode", 9442]]);
};

cases["policy/pdb.yaml"] = () => {
  const budgets = kinds(render({ ci: "all-on" }), "PodDisruptionBudget");
  assert.equal(budgets.length, 3);
  assert.equal(budgets[0].spec.maxUnavailable, 1);
  assert.equal(kinds(render(), "PodDisruptionBudget").length, 0, "one pod: nodes could not drain");
  assert.equal(kinds(render({ ci: "existing" }), "PodDisruptionBudget").length, 0);
};

cases["policy/networkpolicy.yaml"] = () => {
  const objects = render({ ci: "all-on" });
  const component = (peer) => peer.podSelector?.matchLabels["app.kubernetes.io/component"];
  const callers = (name, port) =>
    find(objects, "NetworkPolicy", name).spec.ingress
      .filter((rule) => rule.ports.some((p) => p.port === port))
      .flatMap((rule) => rule.from.map(component));
  assert.deepEqual(callers("t-llm-prefill", 8441), ["router"]);
  assert.deepEqual(callers("t-llm-decode", 8442), ["router", "prefill"]);
  assert.deepEqual(callers("t-llm-router", 8440), [undefined, "test"]);
  assert.deepEqual(callers("t-llm-router", 8460), ["prefill", "decode"], "no client registers");
  const callees = (all, name) => find(all, "NetworkPolicy", name).spec.egress
    .flatMap((rule) => (rule.to ?? []).map((peer) => `${component(peer)}:${rule.ports[0].port}`));
  assert.deepEqual(callees(objects, "t-llm-decode"), ["router:8460"]);
  assert.deepEqual(callees(objects, "t-llm-prefill"), ["router:8460", "decode:8442"]);
  const listed = render({ ci: "cpu", set: ["registration.enabled=false"] });
  assert.deepEqual(find(listed, "NetworkPolicy", "t-tandem-decode").spec.egress, []);
  assert.deepEqual(callees(listed, "t-tandem-prefill"), ["decode:8442"]);
  const shared = find(render({ ci: "shared-pods" }), "NetworkPolicy", "t-tandem-worker");
  assert.deepEqual(shared.spec.ingress.map((r) => r.ports[0].port), [9441, 9442, 8441, 8442]);
  assert.deepEqual(shared.spec.egress.flatMap((r) => r.ports.map((p) => p.port)), [53, 53, 8460, 8442]);
  assert.equal(kinds(render({ ci: "existing" }), "NetworkPolicy").length, 0);
};

cases["policy/hpa.yaml"] = () => {
  const scalers = kinds(render({ ci: "existing" }), "HorizontalPodAutoscaler");
  const range = (name) => {
    const { spec } = scalers.find((s) => s.metadata.name === name);
    return [spec.minReplicas, spec.maxReplicas];
  };
  assert.deepEqual(range("t-tandem-router"), [2, 4]);
  assert.deepEqual(range("t-tandem-prefill"), [1, 3]);
  assert.deepEqual(range("t-tandem-decode"), [2, 5]);
  const decode = scalers.find((s) => s.metadata.name === "t-tandem-decode").spec.metrics[0].pods;
  assert.deepEqual([decode.metric.name, decode.target.averageValue], ["tandem_kv_cache_usage_ratio", "800m"]);
  assert.equal(kinds(render({ ci: "existing", set: ["decode.replicasMax=2"] }), "HorizontalPodAutoscaler").length, 2);
};

cases["policy/keda.yaml"] = () => {
  const scaled = kinds(render({ ci: "all-on" }), "ScaledObject");
  assert.equal(scaled.length, 3);
  const query = (name) => scaled.find((s) => s.metadata.name === name).spec.triggers[0].metadata.query;
  assert.equal(query("t-llm-prefill"),
    'sum(tandem_queue_depth{queue="waiting",namespace="apps",pod=~"t-llm-prefill-.*"})');
  assert.equal(query("t-llm-decode"),
    '100 * sum(tandem_kv_cache_usage_ratio{namespace="apps",pod=~"t-llm-decode-.*"})');
  assert.equal(kinds(render({ ci: "existing" }), "ScaledObject").length, 0);
};

cases["monitoring/monitors.yaml"] = () => {
  const monitors = kinds(render({ ci: "all-on" }), "ServiceMonitor");
  assert.equal(monitors.length, 3);
  assert.equal(monitors[0].metadata.labels.release, "kube-prometheus-stack");
  assert.equal(monitors[0].spec.endpoints[0].relabelings[0].replacement, "tandem");
  const shared = kinds(render({ ci: "shared-pods" }), "ServiceMonitor").find((m) => m.metadata.name === "t-tandem-worker");
  assert.deepEqual(shared.spec.endpoints.map((e) => e.port), ["metrics-prefill", "metrics-decode"]);
  assert.equal(kinds(render({ ci: "existing" }), "PodMonitor").length, 3);
  assert.equal(kinds(render(), "ServiceMonitor").length, 0);
};

cases["monitoring/rules.yaml"] = () => {
  assert.equal(kinds(render(), "PrometheusRule").length, 0);
  const [rule] = kinds(render({ ci: "all-on" }), "PrometheusRule");
  const groups = ["rules", "alerts"].flatMap((f) => parseYaml(read(`deploy/prometheus/${f}.yaml`)).groups);
  assert.deepEqual(rule.spec.groups, groups, 
    "run helm/copy_files.sh; {{ }} of an alert's text passes helm untouched");
};

cases["monitoring/dashboards.yaml"] = () => {
  assert.equal(kinds(render(), "ConfigMap").length, 3);
  const maps = kinds(render({ ci: "all-on" }), "ConfigMap").filter((m) => m.metadata.labels.grafana_dashboard);
  const boards = readdirSync(join(root, "deploy/grafana")).filter((name) => name.endsWith(".json"));
  assert.deepEqual(maps.flatMap((m) => Object.keys(m.data)).sort(), boards.sort(), "run helm/copy_files.sh");
  for (const map of maps) {
    const [[name, text]] = Object.entries(map.data);
    assert.deepEqual(JSON.parse(text), JSON.parse(read(`deploy/grafana/${name}`)), "run helm/copy_files.sh");
  }
};

cases["tests/generate.yaml"] = () => {
  const [pod] = kinds(render(), "Pod");
  assert.equal(pod.metadata.annotations["helm.sh/hook"], "test");
  const [container] = pod.spec.containers;
  assert.deepEqual(container.command, ["/opt/tandem/bin/tandem", "generate"]);
  assert.ok(container.args.includes("--target=t-tandem-router:8440"));
  assert.equal(kinds(render({ ci: "existing" }), "Pod").length, 0);
};

cases["NOTES.txt"] = () => {
  assert.match(renderText({ ci: "all-on", notes: true }), /plain text to the outside.*whoever reaches/s);
  assert.doesNotMatch(renderText({ ci: "tls", notes: true }), /NOTE:/);
  assert.match(renderText({ notes: true }), /helm test t -n apps/);
  assert.doesNotMatch(renderText({ ci: "gpu-split", notes: true }), /compute on the CPU/);
  assert.match(renderText({ set: ["decode.gpu.count=1"], notes: true }), /compute on the CPU/);
  assert.match(renderText({ ci: "shared-pods", notes: true }), /travel as bytes/);
};

const files = readdirSync(join(chart, "templates"), { recursive: true })
  .filter((name) => /\.(yaml|txt)$/.test(name));
for (const file of files) {
  test(file, () => {
    assert.ok(cases[file], `no case for templates/${file}`);
    cases[file]();
  });
}

test("with TLS secrets reach who reads them, and probes ask in plain text", () => {
  const mounts = (container) => container.volumeMounts.map((m) => m.mountPath)
    .filter((path) => /tls|keys/.test(path)).sort();
  const objects = render({ ci: "tls" });
  const pod = (kind, name) => find(objects, kind, name).spec.template.spec;
  const router = pod("Deployment", "t-tandem-router");
  assert.deepEqual(mounts(router.containers[0]), ["/etc/tandem/api-keys", "/etc/tandem/pod-tls", "/etc/tandem/tls"]);
  assert.deepEqual(router.volumes.find((v) => v.name === "tls").secret, { secretName: "llm-tls", defaultMode: 0o440 });
  for (const role of ["prefill", "decode"]) {
    assert.deepEqual(mounts(pod("StatefulSet", `t-tandem-${role}`).containers[0]), ["/etc/tandem/pod-tls"]);
  }
  for (const [container, port] of [[router.containers[0], 8450],
    [pod("StatefulSet", "t-tandem-decode").containers[0], 8452]]) {
    for (const probe of ["startupProbe", "livenessProbe", "readinessProbe"]) assert.equal(container[probe].grpc.port, port);
  }
  assert.equal(find(objects, "Service", "t-tandem-router").spec.ports[0].appProtocol, undefined);
  assert.equal(find(render(), "Service", "t-tandem-router").spec.ports[0].appProtocol, "kubernetes.io/h2c");
  const [asking] = kinds(objects, "Pod");
  for (const flag of ["--ca=/etc/tandem/tls/ca.crt", "--cert=/etc/tandem/tls/tls.crt", "--api-key-file=/etc/tandem/api-key/key"]) {
    assert.ok(asking.spec.containers[0].args.includes(flag), flag);
  }
  const shared = find(render({ ci: "tls-shared" }), "StatefulSet", "t-tandem-worker").spec.template.spec;
  assert.deepEqual(shared.containers.map(mounts), [["/etc/tandem/pod-tls"], ["/etc/tandem/pod-tls"]]);
  assert.deepEqual(shared.containers.map((c) => c.readinessProbe.grpc.port), [8451, 8452]);
});

test("every pod is locked down and outlives its drain", () => {
  for (const ci of ["cpu", "gpu-split", "shared-gpu", "all-on"]) {
    const objects = render({ ci });
    const workloads = [...kinds(objects, "Deployment"), ...kinds(objects, "StatefulSet")];
    const pods = [...workloads.map((w) => w.spec.template.spec), ...kinds(objects, "Pod").map((p) => p.spec)];
    for (const pod of pods) {
      assert.equal(pod.automountServiceAccountToken, false);
      assert.equal(pod.securityContext.runAsNonRoot, true);
      assert.deepEqual(pod.securityContext.seccompProfile, { type: "RuntimeDefault" });
      for (const { securityContext: security } of pod.containers) {
        assert.equal(security.readOnlyRootFilesystem, true);
        assert.equal(security.allowPrivilegeEscalation, false);
        assert.deepEqual(security.capabilities, { drop: ["ALL"] });
      }
    }
    const drains = configs(objects)
      .map(({ text }) => Number(/drain_timeout \{\s*seconds: (\d+)/.exec(text)[1]));
    for (const workload of workloads) {
      const grace = workload.spec.template.spec.terminationGracePeriodSeconds;
      assert.ok(grace > Math.max(...drains), `${workload.metadata.name}: ${grace} s`);
    }
  }
});
