// SPDX-License-Identifier: Apache-2.0
// A client of Tandem: streams one answer to stdout as it is written; Ctrl-C cancels it; an error
// says which field is wrong, or when to try again.
//
//   node client.mjs [--target HOST:PORT] [--max-tokens N] [--temperature X] [--timeout SECONDS]
//     [--ca FILE] [--api-key-file FILE] [--cancel-after DELTAS] [--proto FOLDER] PROMPT
import {readFileSync} from 'node:fs';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';

const text = (value) => ({type: 'string', default: value});
const {values: flags, positionals} = parseArgs({
  allowPositionals: true,
  options: {
    'target': text('127.0.0.1:8440'), 'max-tokens': text('256'), 'temperature': text(undefined),
    'timeout': text('60'), 'cancel-after': text(undefined), 'ca': text(undefined),
    'api-key-file': text(undefined),
    'proto': text(fileURLToPath(new URL('../../../proto', import.meta.url))),
  },
});

const contract = loader.loadSync(
    ['tandem/v1/inference.proto', 'google/rpc/status.proto', 'google/rpc/error_details.proto'],
    {includeDirs: [flags.proto], keepCase: true, longs: Number, enums: String, oneofs: true,
     defaults: true});
const {InferenceService} = grpc.loadPackageDefinition(contract).tandem.v1;

function requestOf(prompt) {
  const request = {
    chat: {messages: [{role: 'user', content: prompt}]},
    max_tokens: Number(flags['max-tokens']),
  };
  if (flags.temperature !== undefined) {  // absent: the model's own
    request.sampling = {temperature: Number(flags.temperature)};
  }
  return request;
}

// Prints the answer; resolves to its end, a Finished message, or throws the call's error.
async function stream(call, cancelAfter) {
  let finished;
  let deltas = 0;
  for await (const event of call) {
    if (event.event === 'delta') {
      process.stdout.write(event.delta.text);
      // The server frees the request's memory within one step.
      if (++deltas === cancelAfter) call.cancel();
    } else if (event.event === 'finished') {
      finished = event.finished;
    }
    // Also: "accepted" with the request's id, and "heartbeat" while a long prompt is read.
  }
  return finished;
}

// The google.rpc details of an error: type name → message.
function detailsOf(error) {
  const details = {};
  for (const bytes of error.metadata?.get('grpc-status-details-bin') ?? []) {
    for (const packed of contract['google.rpc.Status'].deserialize(bytes).details) {
      const name = packed.type_url.split('/').pop();
      if (name in contract) details[name] = contract[name].deserialize(packed.value);
    }
  }
  return details;
}

function explain(error) {
  if (error.code === undefined) throw error;  // not the call's
  console.error(`\n${grpc.status[error.code]}: ${error.details}`);
  const details = detailsOf(error);
  const info = details['google.rpc.ErrorInfo'];
  if (info) console.error(`reason: ${info.reason}`);
  for (const wrong of details['google.rpc.BadRequest']?.field_violations ?? []) {
    console.error(`field ${wrong.field}: ${wrong.description}`);
  }
  const delay = details['google.rpc.RetryInfo']?.retry_delay;
  if (delay) console.error(`try again in ${delay.seconds + delay.nanos / 1e9} s`);
}

const metadata = new grpc.Metadata();
const keyFile = flags['api-key-file'];
if (keyFile) metadata.set('authorization', 'Bearer ' + readFileSync(keyFile, 'utf8').trim());
const client = new InferenceService(
    flags.target, flags.ca ? grpc.credentials.createSsl(readFileSync(flags.ca)) :
                             grpc.credentials.createInsecure());
const call = client.Generate(requestOf(positionals[0] ?? ''), metadata,
                             {deadline: Date.now() + 1000 * Number(flags.timeout)});
process.on('SIGINT', () => call.cancel());
try {
  const {reason, usage} = await stream(call, Number(flags['cancel-after']));
  const {prompt_tokens: read, completion_tokens: written} = usage;
  console.error(`\n${reason}, ${read} tokens read, ${written} written`);
} catch (error) {
  explain(error);
  process.exitCode = 1;
}
client.close();
