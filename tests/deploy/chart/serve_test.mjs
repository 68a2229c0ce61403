// SPDX-License-Identifier: Apache-2.0
// Goal: what the chart renders serves, a decode worker that Kubernetes ends takes no stream with it,
// and a rolling restart of everything loses no request. Method: the configs of ci/local as processes
// (pods.mjs). First: the router lists workers, a third decode worker never comes, as below
// replicasMax; 50 streams run while one of two decode workers gets SIGTERM; each must end with the
// tokens of the same request alone. Second: workers register; two of each role, restarted one after another under load; an attempt may
// only fail with UNAVAILABLE and before its first token, and succeeds when repeated.
//
//   node serve_test.mjs BIN
import assert from "node:assert/strict";
import { test } from "node:test";
import { kinds } from "./chart.mjs";
import { Pods, sleep, waitFor } from "./pods.mjs";

const bin = process.argv[2];
const streams = 50;
const prompt = "Dan has 14 oranges and gets 7 more. How many oranges does Dan have now?";
const greedy = [`--prompt=${prompt}`, "--temperature=0", "--ignore-eos", "--timeout=300s"];

test("SIGTERM of a decode worker ends no stream", { timeout: 500_000 }, async (context) => {
  const pods = await Pods.create(bin, { ci: "local", set: ["decode.replicasMax=3", "registration.enabled=false"] });
  context.after(() => pods.destroy());
  await pods.startAll();
  const router = "t-tandem-router-0";
  const leaving = "t-tandem-decode-0";
  const generate = (tokens) => pods.tandem(router, "generate", ...greedy, `--max-tokens=${tokens}`, "--json");
  const inflight = (stage) => pods.metric(router, "tandem_requests_inflight", { stage });

  // What `helm test` runs.
  const [{ command, args }] = kinds(pods.objects, "Pod")[0].spec.containers;
  const asked = await pods.tandem(router, command[1], ...args.filter((word) => !word.startsWith("--target=")));
  assert.match(asked.out, /The answer is 9\./, asked.out + asked.err);

  const alone = await generate(96);
  assert.equal(alone.code, 0, alone.err);
  const expected = JSON.parse(alone.out).token_ids;
  assert.equal(expected.length, 96);

  let finished = 0;
  const running = Array.from({ length: streams }, async () => {
    const answer = await generate(96);
    ++finished;
    return answer;
  });
  // All have their memory, and the worker that is to leave writes some of the answers.
  await waitFor("all streams run", 120, async () => {
    const past = (await inflight("prefill")) + (await inflight("decode")) + finished;
    return past === streams && (await inflight("reserve")) === 0;
  });
  await waitFor("the leaving worker writes", 120, async () =>
    (await pods.metric(leaving, "tandem_kv_leases", { state: "committed" })) >= 3);
  const before = finished;
  const ended = pods.terminate(leaving);
  assert.ok(before < streams / 2, `${before} streams were over when the worker was told to end`);
  const answers = await Promise.all(running);
  assert.deepEqual(answers.filter((a) => a.code !== 0).map((a) => a.err), []);
  for (const answer of answers) assert.deepEqual(JSON.parse(answer.out).token_ids, expected);
  assert.equal(await ended, 0, "the worker ends by itself, within its grace period");

  assert.equal((await pods.tandem(router, "health")).code, 0, "one is left: the router stays ready");
  assert.equal((await generate(8)).code, 0);
  pods.start(leaving);
  await pods.waitAllSeen();
});

test("a rolling restart of two of each loses no request", { timeout: 500_000 }, async (context) => {
  const two = ["router.replicas=2", "prefill.replicas=2"];
  const pods = await Pods.create(bin, { ci: "local", set: two });
  context.after(() => pods.destroy());
  await pods.startAll();
  const routers = pods.names("router");
  const alone = await pods.tandem(routers[0], "generate", ...greedy, "--max-tokens=24");
  assert.equal(alone.code, 0, alone.err);

  let over = false;
  let complete = 0;
  let repeated = 0;
  const client = async (first) => {
    for (let i = first; !over; ++i) {
      const answer = await pods.tandem(routers[i % 2], "generate", ...greedy, "--max-tokens=24");
      if (answer.code === 0) {
        assert.equal(answer.out, alone.out);
        ++complete;
      } else {
        // A Service would send it to the other router; so does the next turn.
        assert.match(answer.err, /UNAVAILABLE/);
        assert.equal(answer.out, "", "a stream broke off");
        ++repeated;
        await sleep(100);
      }
    }
  };
  const clients = Array.from({ length: 6 }, (_, i) => client(i));
  const load = Promise.all(clients);
  const roll = async () => {
    for (const name of pods.names()) {
      const goal = complete + 6;
      await waitFor("answers before the next restart", 120, () => complete >= goal);
      assert.equal(await pods.terminate(name), 0, name);
      pods.start(name);
      await pods.waitServing(name);
      await pods.waitAllSeen();
    }
  };
  try {
    await Promise.race([roll(), load]);
  } finally {
    over = true;
  }
  await load;
  context.diagnostic(`${complete} answers, ${repeated} attempts repeated`);
  assert.ok(complete >= 6 * pods.names().length);
});
