// SPDX-License-Identifier: Apache-2.0
// A router with two fake workers and a client, in one process, for tests that speak the public
// contract.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "services/router/router.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/rpc/channel.h"
#include "tandem/v1/inference.grpc.pb.h"
#include "tests/services/router/fake_workers.h"

namespace tandem {

// All that one Generate call said.
struct Outcome {
  std::vector<v1::GenerateResponse> events;
  absl::Status status;

  // Of one choice, joined. `gaps` is true when first_index does not go on where the last delta
  // ended.
  struct Joined {
    std::string text;
    std::string reasoning;
    std::vector<uint32_t> token_ids;
    std::vector<float> logprobs;
    std::vector<v1::TopLogprobs> top;
    std::vector<v1::ToolCall> tool_calls;
    std::vector<float> prompt_logprobs;
    std::vector<v1::Finished> finished;
    bool gaps = false;
  };
  Joined Choice(uint32_t choice = 0) const;
};

class RouterHarness {
 public:
  RouterHarness() : RouterHarness(v1::RouterConfig()) {}
  // Fields that are set stay. `key`: the API key that calls show, where the config wants one.
  explicit RouterHarness(v1::RouterConfig config, FakeWorkerOptions decode = {},
                         std::string key = "");

  Stage& stage() { return stage_; }
  Router& router() { return *router_; }
  const ServedModel& model() const { return *model_; }
  std::unique_ptr<v1::InferenceService::Stub> Client() const;

  // Token ids of a text and the end-of-sentence token: what a worker would say.
  std::vector<uint32_t> Script(absl::string_view text) const;

  Outcome Generate(const v1::GenerateRequest& request, absl::Duration timeout = absl::Seconds(60),
                   const std::string& key = "") const;
  // Cuts what runs on it, and stays away.
  FakeWorker& decode() { return *decode_; }
  void KillDecode() { decode_.reset(); }
  void KillPrefill() { prefill_.reset(); }

 private:
  void WaitForWorkers() const;

  const std::string key_;
  Stage stage_;
  std::unique_ptr<ServedModel> model_;
  std::unique_ptr<FakeWorker> prefill_;
  std::unique_ptr<FakeWorker> decode_;
  std::unique_ptr<Router> router_;
  std::unique_ptr<Channel> channel_;
};

// What workers may be told to answer; and whether they are done with all.
inline constexpr char kStory[] = "Tom has 3 red apples and 4 green ones.";
inline bool Idle(const Seen& seen) {
  return seen.Idle();
}

// One Generate call that runs on a thread of its own.
class Running {
 public:
  Running(const RouterHarness& harness, v1::GenerateRequest request)
      : thread_(std::make_unique<Thread>(
            "client", [this, &harness, request] { outcome_ = harness.Generate(request); })) {}
  const Outcome& Join() {
    thread_.reset();
    return outcome_;
  }

 private:
  Outcome outcome_;
  std::unique_ptr<Thread> thread_;
};

// A series of a router, or the sum of those that carry the label (`name="value"`; empty = any).
struct WantedMetric {
  std::string name;
  std::string label;
  double value = 0;
};
double MetricOf(const Router& router, const std::string& name, const std::string& label);
// Within 10 s: what a client has read may be counted a moment later.
bool Becomes(const Router& router, const WantedMetric& wanted);

// The call is by whom this API key was given; empty = nobody.
void ShowKey(const std::string& key, grpc::ClientContext& context);

// A request for a text, greedy.
v1::GenerateRequest TextRequest(const std::string& text);
// A request with one message of a user.
v1::GenerateRequest ChatRequest(const std::string& question);

}  // namespace tandem
