// SPDX-License-Identifier: Apache-2.0
// Goal: the Dockerfile is clean, and its images are what the chart expects. Method: two linters, and
// the instructions of each stage, read.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { kinds, read, render, requireBuilt, root } from "../chart/chart.mjs";

const path = "deploy/docker/Dockerfile";
const text = read(path);

// Stages by name: [{name, base, instructions: [[word, rest]]}].
function stages() {
  const lines = text.replace(/\\\n\s*/g, "").split("\n").filter((l) => l !== "" && !l.startsWith("#"));
  const out = [];
  const args = {};
  for (const line of lines) {
    const [, word, rest] = /^(\w+) +(.*)$/.exec(line);
    if (word === "FROM") {
      const [, base, name] = /^(\S+) AS (\S+)$/.exec(rest);
      const from = out.find((stage) => stage.name === base);
      out.push({ name, base: from?.base ?? args[base.slice(2, -1)], instructions: [...(from?.instructions ?? [])] });
    } else if (out.length === 0) {
      args[rest.split("=")[0]] = rest.slice(rest.indexOf("=") + 1);
    } else {
      out.at(-1).instructions.push([word, rest]);
    }
  }
  return out;
}

const rests = (stage, word) => stage.instructions.filter(([w]) => w === word).map(([, rest]) => rest);
// What ships has something to run.
const images = stages().filter((stage) => rests(stage, "CMD").length > 0);

test("dockerfile-utils finds nothing", () => {
  const { validate } = requireBuilt("dockerfile-utils");
  assert.deepEqual(validate(text, {}), []);
  assert.notEqual(validate("FROM a\nRUNN b\n", {}).length, 0);
});

test("dockerfilelint finds nothing", () => {
  const lint = requireBuilt("dockerfilelint").run;
  // It reads no ARG and no stage's name, so bases are put in; of an option it reads no more than --start.
  let plain = text.replace(/ --start-period=\w+/g, "");
  for (const { name, base } of stages()) plain = plain.replace(/FROM (?:\$\{\w+\}|packages)( AS \S+)/, `FROM ${base}$1`).replace(` AS ${name}`, ` AS  ${name}`);
  plain = plain.replace(/ AS  /g, " AS ");
  const found = (source) => JSON.parse(JSON.stringify(lint("/", source)));
  assert.deepEqual(found(plain).filter((f) => f), []);
  assert.notDeepEqual(found("FROM debian\nRUN sudo x\n").filter((f) => f), []);
});

test("bases have a version", () => {
  for (const { name, base } of stages()) assert.match(base, /^[\w./-]+:\d[\w.-]+(@sha256:[0-9a-f]{64})?$/, name);
});

test("each image is labelled, unprivileged and checks its health", () => {
  assert.deepEqual(images.map((i) => i.name), ["router", "worker-cpu", "worker-cuda"]);
  for (const image of images) {
    const labels = rests(image, "LABEL").join(" ");
    for (const label of ["title", "description", "licenses", "version", "revision"]) {
      assert.match(labels, new RegExp(`org\\.opencontainers\\.image\\.${label}="`), image.name);
    }
    assert.deepEqual(rests(image, "USER"), ["10001:10001"]);
    assert.match(rests(image, "HEALTHCHECK")[0], /tandem.*health/);
    // Nothing is fetched or built in what is shipped.
    assert.deepEqual(rests(image, "RUN"), []);
    assert.deepEqual(rests(image, "ADD"), []);
    const build = image.name === "worker-cuda" ? "build-cuda" : "build";
    assert.deepEqual(rests(image, "COPY"), [`--from=${build} /out/${image.name.split("-")[0]} /opt/tandem`]);
  }
});

// Both are needed: what is built without the header has no NCCL, and what runs without the library
// finds none. NVIDIA: `runtime` builds on `base` and adds NCCL, `devel` adds its header.
test("images for GPUs have NCCL's header to build with and its library to run with", () => {
  const build = stages().find((stage) => stage.name === "build-cuda");
  assert.ok(rests(build, "COPY").some((rest) => /^--from=toolkit \S*\/nccl\.h \/usr\/local\/cuda\/include\/$/.test(rest)));
  assert.match(stages().find((stage) => stage.name === "toolkit").base, /-devel-/);
  assert.match(images.find((image) => image.name === "worker-cuda").base, /-runtime-/);
});

test("a build with CUDA and without NCCL says so", () => {
  const configure = (headers) => spawnSync("cmake", [`-DCUDAToolkit_INCLUDE_DIRS=${headers}`, "-P", join(root, "cmake/nccl.cmake")], { encoding: "utf8" }).stderr;
  const folder = mkdtempSync(join(tmpdir(), "tandem-nccl-"));
  assert.match(configure(folder), /CMake Warning[^]*libnccl-dev/);
  writeFileSync(join(folder, "nccl.h"), "");
  assert.doesNotMatch(configure(folder), /Warning/);
  rmSync(folder, { recursive: true });
});

test("what is copied from the tree is there", () => {
  const copied = stages().flatMap((stage) => rests(stage, "COPY")).filter((rest) => !rest.startsWith("--from"));
  assert.ok(copied.length > 2);
  for (const rest of copied) {
    for (const source of rest.split(" ").slice(0, -1)) assert.ok(existsSync(join(root, source)), source);
  }
});

test("no folder that CMake adds is left out of the context", () => {
  for (const line of read(".dockerignore").split("\n").filter((l) => /^\w/.test(l))) {
    assert.ok(!existsSync(join(root, line, "CMakeLists.txt")), line);
  }
});

test("the chart runs as the image's user, and asks its default ports", () => {
  const pods = [...kinds(render(), "Deployment"), ...kinds(render(), "StatefulSet")].map((w) => w.spec.template.spec);
  for (const { securityContext, containers } of pods) {
    assert.equal(`${securityContext.runAsUser}:${securityContext.runAsGroup}`, "10001:10001");
    const image = images.find((i) => containers[0].image.startsWith(`tandem-${i.name}:`));
    const exposed = rests(image, "EXPOSE").join(" ").split(" ").map(Number);
    for (const port of containers[0].ports) assert.ok(exposed.includes(port.containerPort), `${port.containerPort}`);
  }
});
