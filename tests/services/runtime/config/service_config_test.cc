// SPDX-License-Identifier: Apache-2.0
// Goal: a wrong file is one clear error, a right one gets every default. Method: table of texts and
// what the error names.
#include "services/runtime/config/service_config.h"

#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/config/duration.h"
#include "services/runtime/config/text_config.h"

namespace tandem {
namespace {

using testing::HasSubstr;

std::string Write(const std::string& text) {
  const std::string path = testing::TempDir() + "/service_config_test.textproto";
  std::ofstream(path) << text;
  return path;
}

constexpr char kRouter[] =
    "listen: \"127.0.0.1:1\" model_dir: \"/models/tiny-v4/\" prefill_workers: \"a:2\" "
    "decode_workers: \"[::1]:3\" ";

TEST(ServiceConfigTest, DefaultsAreTheContracts) {
  const auto router = LoadRouterConfig(Write(kRouter));
  ASSERT_TRUE(router.ok()) << router.status();
  EXPECT_EQ(router->model_name(), "tiny-v4");
  EXPECT_EQ(router->requests_max(), 1024U);
  EXPECT_EQ(FromProto(router->deadline_max()), absl::Seconds(600));
  EXPECT_EQ(router->stream_tokens_max(), 4096U);
  EXPECT_EQ(router->metrics_compat(), v1::METRICS_COMPAT_VLLM);
  const auto decode =
      LoadDecodeConfig(Write("worker { listen: \"h:4\" model_dir: \"m\" } stream_tokens_max: 9"));
  ASSERT_TRUE(decode.ok()) << decode.status();
  EXPECT_EQ(decode->endpoint(), "h:4");
  EXPECT_EQ(decode->pages(), 1024U);
  EXPECT_EQ(decode->stream_tokens_max(), 9U);
  EXPECT_EQ(decode->worker().kernels(), v1::KERNELS_CPU);
  EXPECT_EQ(decode->worker().metrics_compat(), v1::METRICS_COMPAT_VLLM);
  const auto prefill = LoadPrefillConfig(Write("worker { listen: \"h:4\" model_dir: \"m\" }"));
  ASSERT_TRUE(prefill.ok()) << prefill.status();
  EXPECT_EQ(prefill->kv_channel_kind(), v1::KV_CHANNEL_KIND_SHARED);
  EXPECT_EQ(prefill->chunk_tokens(), 256U);
  const auto on_gpu =
      LoadPrefillConfig(Write("worker { listen: \"h:4\" model_dir: \"m\" device: DEVICE_CUDA }"));
  ASSERT_TRUE(on_gpu.ok()) << on_gpu.status();
  EXPECT_EQ(on_gpu->chunk_tokens(), 4096U);
  EXPECT_FALSE(prefill->has_queue_wait_max());
  const auto never = LoadPrefillConfig(
      Write("worker { listen: \"h:4\" model_dir: \"m\" } queue_wait_max { seconds: 0 }"));
  EXPECT_THAT(std::string(never.status().message()), HasSubstr("queue_wait_max: 0 is not above 0"));
}

// "1, 2, 3" and so on.
std::string Rising(int count) {
  std::vector<std::string> out;
  for (int i = 1; i <= count; ++i) out.push_back(absl::StrCat(i));
  return absl::StrJoin(out, ", ");
}

TEST(ServiceConfigTest, BoundsOfHistogramsAreTakenAsTheyStand) {
  const auto router = LoadRouterConfig(Write(
      std::string(kRouter) + "histogram_bounds { ttft: [0.5, 1e3] stage: [" + Rising(64) + "] }"));
  ASSERT_TRUE(router.ok()) << router.status();
  EXPECT_THAT(router->histogram_bounds().ttft(), testing::ElementsAre(0.5, 1000));
  EXPECT_EQ(router->histogram_bounds().stage_size(), 64);
  EXPECT_TRUE(router->histogram_bounds().e2e().empty());
  const auto worker = LoadDecodeConfig(
      Write("worker { listen: \"h:4\" model_dir: \"m\" histogram_bounds { tpot: [2, 1] } }"));
  EXPECT_THAT(std::string(worker.status().message()),
              HasSubstr("worker.histogram_bounds.tpot: 1 is not finite and above 2"));
}

TEST(ServiceConfigTest, EachErrorNamesFieldLimitAndValue) {
  const std::string base = kRouter;
  const std::vector<std::pair<std::string, std::vector<std::string>>> cases = {
      {"listen: \"127.0.0.1:1\"", {"model_dir", "required"}},
      {base + "requests_max: 0", {"requests_max", "0", "1 to 1048576"}},
      {base + "metrics_listen: \"here\"", {"metrics_listen", "\"here\"", "host:port"}},
      {base + "health_listen: \"here\"", {"health_listen", "\"here\"", "host:port"}},
      {base + "prefill_workers: \"a:0\"", {"prefill_workers", "port 0", "65535"}},
      {base + "prefill_workers: \"a:70000\"", {"prefill_workers", "70000"}},
      {base + "decode_workers: \"http://a:1\"", {"decode_workers", "http://a:1"}},
      {base + "stream_tokens_max: 0", {"stream_tokens_max", "0", "1 to 16777216"}},
      {base + "metrics_compat: 7", {"metrics_compat", "no known system"}},
      {base + "metrics_compat: SGLANG", {":1:", "SGLANG"}},
      {base + "deadline_max { seconds: -1 }", {"deadline_max", "-1s"}},
      {base + "\nno_such_field: 1", {":2:", "no_such_field"}},
      {base + "\n  choices_max: \"x\"", {":2:"}},
      {base + "choices_max: 5000000000", {"5000000000"}},
      {base + "slo { tpot { nanos: 0 } }", {"slo.tpot", "0", "above 0"}},
      {base + "slo { ttft { seconds: 1 } e2e { seconds: -1 } }", {"slo.e2e", "-1s"}},
      {base + "histogram_bounds { ttft: [0.5, 1, 1] }",
       {"histogram_bounds.ttft", "1 is not finite and above 1"}},
      {base + "histogram_bounds { tpot: [-0.1] }", {"histogram_bounds.tpot", "-0.1", "above 0"}},
      {base + "histogram_bounds { e2e: [1, inf] }", {"histogram_bounds.e2e", "inf is not finite"}},
      {base + "histogram_bounds { stage: nan }", {"histogram_bounds.stage", "nan"}},
      {base + "histogram_bounds { stage: [" + Rising(65) + "] }",
       {"histogram_bounds.stage", "at most 64 bounds, got 65"}},
      {base + "registry {}", {"registry.listen", "required"}},
      {base + "registry { listen: \"h:1\" tls { cert_file: \"c\" } }", {"registry.tls.ca_file"}},
      {base + "registry { listen: \"h:1\" worker_ttl { nanos: 1 } }",
       {"registry.worker_ttl", "1ns", "1s to 10m"}},
      {base + "registry { listen: \"h:1\" worker_ttl { seconds: 601 } }", {"10m1s"}},
      {base + "registry { listen: \"h:1\" workers_max: 0 }",
       {"registry.workers_max", "0", "1 to 65536"}},
      {"listen: \"h:1\" model_dir: \"m\" prefill_workers: \"a:2\"", {"decode_workers", "one"}},
      {base + "listen {", {"listen"}},
  };
  for (const auto& [text, parts] : cases) {
    testing::internal::CaptureStderr();
    const auto config = LoadRouterConfig(Write(text));
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
    ASSERT_FALSE(config.ok()) << text;
    const std::string message(config.status().message());
    EXPECT_THAT(message, HasSubstr("service_config_test.textproto")) << text;
    EXPECT_EQ(message.find('\n'), std::string::npos);
    for (const std::string& part : parts) EXPECT_THAT(message, HasSubstr(part)) << text;
  }
}

TEST(ServiceConfigTest, TheSimulatedEnginesTimesAreDefaultedAndBounded) {
  const auto load = [](const std::string& more) {
    return LoadDecodeConfig(
        Write(absl::StrCat("worker { listen: \"h:4\" model_dir: \"m\" ", more, " }")));
  };
  const auto sim = load("engine: ENGINE_SIM sim { decode_step { nanos: 0 } }");
  ASSERT_TRUE(sim.ok()) << sim.status();
  EXPECT_EQ(FromProto(sim->worker().sim().decode_step()), absl::ZeroDuration());
  EXPECT_EQ(FromProto(sim->worker().sim().decode_sequence()), absl::Microseconds(50));
  EXPECT_EQ(load("")->worker().engine(), v1::ENGINE_MODEL);
  const std::vector<std::pair<std::string, std::vector<std::string>>> cases = {
      {"engine: ENGINE_SIM sim { prefill_token { nanos: -1 } }",
       {"worker.sim.prefill_token", "-1ns", "0 to 1m"}},
      {"engine: ENGINE_SIM sim { decode_step { seconds: 61 } }",
       {"worker.sim.decode_step", "1m1s", "0 to 1m"}},
      {"sim { }", {"worker.sim", "ENGINE_SIM"}},
      {"engine: ENGINE_SIM load_format: LOAD_FORMAT_DUMMY",
       {"worker.load_format", "ENGINE_MODEL only"}},
      {"engine: ENGINE_SIM weights: WEIGHTS_SHARED", {"worker.weights", "ENGINE_MODEL only"}},
      {"weights: 9", {"worker.weights", "no known place"}},
      {"load_format: 9", {"worker.load_format", "no known format"}},
      {"engine: ENGINE_FAST", {"engine", "ENGINE_FAST"}},
  };
  for (const auto& [text, parts] : cases) {
    const auto config = load(text);
    ASSERT_FALSE(config.ok()) << text;
    for (const std::string& part : parts)
      EXPECT_THAT(std::string(config.status().message()), HasSubstr(part)) << text;
  }
}

TEST(ServiceConfigTest, AGpuWorkerComputesAModel) {
  const auto load = [](const std::string& more) {
    return LoadPrefillConfig(
        Write(absl::StrCat("worker { listen: \"h:4\" model_dir: \"m\" ", more, " }")));
  };
  const auto gpu = load("device: DEVICE_CUDA");
  ASSERT_TRUE(gpu.ok()) << gpu.status();
  EXPECT_EQ(gpu->worker().gpu(), 0U);
  EXPECT_EQ(gpu->worker().cuda_graphs(), v1::CUDA_GRAPHS_ON);
  EXPECT_EQ(load("device: DEVICE_CUDA cuda_graphs: CUDA_GRAPHS_OFF")->worker().cuda_graphs(),
            v1::CUDA_GRAPHS_OFF);
  EXPECT_EQ(load("")->worker().cuda_graphs(), v1::CUDA_GRAPHS_UNSPECIFIED);
  EXPECT_EQ(load("")->worker().device(), v1::DEVICE_CPU);
  EXPECT_EQ(load("")->worker().tensor_parallel(), 1U);
  const auto two = load("device: DEVICE_CUDA tensor_parallel: 2 gpus: [3, 1]");
  ASSERT_TRUE(two.ok()) << two.status();
  EXPECT_FALSE(two->worker().has_gpu());
  EXPECT_EQ(load("")->worker().load_format(), v1::LOAD_FORMAT_CHECKPOINT);
  EXPECT_EQ(load("")->worker().weights(), v1::WEIGHTS_OWN);
  const std::vector<std::pair<std::string, std::vector<std::string>>> cases = {
      {"gpu: 1", {"worker.gpu", "DEVICE_CUDA only"}},
      {"device: DEVICE_CUDA gpu: 1024", {"worker.gpu", "0 to 1023", "1024"}},
      {"gpus: 1", {"worker.gpus", "DEVICE_CUDA only"}},
      {"cuda_graphs: CUDA_GRAPHS_ON", {"worker.cuda_graphs", "DEVICE_CUDA only"}},
      {"device: DEVICE_CUDA cuda_graphs: 9", {"worker.cuda_graphs", "neither on nor off"}},
      {"device: DEVICE_CUDA gpu: 0 gpus: 0", {"worker.gpus", "instead of gpu"}},
      {"device: DEVICE_CUDA gpus: [0, 1]", {"worker.gpus", "tensor_parallel", "(1), got 2"}},
      {"device: DEVICE_CUDA gpus: 1024", {"worker.gpus", "0 to 1023", "1024"}},
      {"tensor_parallel: 0", {"worker.tensor_parallel", "1 to 8", "0"}},
      {"tensor_parallel: 16", {"worker.tensor_parallel", "1 to 8", "16"}},
      {"tensor_parallel: 6", {"worker.tensor_parallel", "1, 2, 4, 8", "6"}},
      {"engine: ENGINE_SIM tensor_parallel: 2", {"worker.tensor_parallel", "ENGINE_MODEL only"}},
      {"device: DEVICE_CUDA kernels: KERNELS_CPU", {"worker.kernels", "DEVICE_CPU only"}},
      {"device: DEVICE_CUDA engine: ENGINE_SIM", {"worker.device", "ENGINE_MODEL only"}},
      {"device: 9", {"worker.device", "no known device"}}};
  for (const auto& [text, parts] : cases) {
    const auto config = load(text);
    ASSERT_FALSE(config.ok()) << text;
    for (const std::string& part : parts)
      EXPECT_THAT(std::string(config.status().message()), HasSubstr(part)) << text;
  }
}

TEST(ServiceConfigTest, RowsGoByNcclFromGpusAlone) {
  const std::string worker = "worker { listen: \"h:4\" model_dir: \"m\" ";
  const std::string nccl = " } kv_channel_kind: KV_CHANNEL_KIND_NCCL";
  const auto on_cpu = LoadPrefillConfig(Write(worker + nccl));
  ASSERT_FALSE(on_cpu.ok());
  EXPECT_THAT(std::string(on_cpu.status().message()),
              HasSubstr("kv_channel_kind: NCCL is for worker.device: DEVICE_CUDA only"));
  EXPECT_TRUE(LoadPrefillConfig(Write(worker + "device: DEVICE_CUDA" + nccl)).ok());
}

TEST(ServiceConfigTest, AllowedWorkersAreEndpointsOrHostsOfAnyPort) {
  const std::string base = "worker { listen: \"h:4\" model_dir: \"m\" } ";
  for (const char* good : {"a:1", "a:*", "10.0.0.1:*", "[::1]:*", "[::1]:65535"}) {
    const auto config =
        LoadPrefillConfig(Write(absl::StrCat(base, "decode_workers_allowed: \"", good, "\"")));
    EXPECT_TRUE(config.ok()) << config.status();
  }
  for (const char* bad :
       {"", "*", ":*", "a", "a:", "a:0", "a:*1", "*:*", "*.a:1", "*:*:*", "dns:///a:*", "::1:*"}) {
    const auto config =
        LoadPrefillConfig(Write(absl::StrCat(base, "decode_workers_allowed: \"", bad, "\"")));
    EXPECT_THAT(std::string(config.status().message()), HasSubstr("decode_workers_allowed")) << bad;
  }
}

TEST(ServiceConfigTest, MissingFileAndFolderAreSaid) {
  const auto missing = LoadRouterConfig("/no/such/file");
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("/no/such/file: No such file"));
  const auto folder = LoadRouterConfig(testing::TempDir());
  EXPECT_FALSE(folder.ok());
}

TEST(ServiceConfigTest, WhoRegistersTellsAnAddressOfItsOwn) {
  const auto router =
      LoadRouterConfig(Write("listen: \"h:1\" model_dir: \"m\" registry { listen: \"h:0\" }"));
  ASSERT_TRUE(router.ok()) << router.status();
  EXPECT_EQ(FromProto(router->registry().worker_ttl()), absl::Seconds(10));
  EXPECT_EQ(router->registry().workers_max(), 1024U);
  const auto worker = [](const std::string& listen, const std::string& registration) {
    return "worker { listen: \"" + listen + "\" model_dir: \"m\" registration { " + registration +
           " } } ";
  };
  const std::string routers = "routers: \"r:8460\"";
  EXPECT_EQ(LoadPrefillConfig(Write(worker("h:4", routers)))->worker().registration().endpoint(),
            "h:4");
  EXPECT_EQ(LoadDecodeConfig(Write(worker("0.0.0.0:4", routers) + "endpoint: \"h:5\""))
                ->worker()
                .registration()
                .endpoint(),
            "h:5");
  const std::vector<std::pair<std::string, std::string>> cases = {
      {worker("h:4", ""), "worker.registration.routers: needs at least one"},
      {worker("h:4", "routers: \"r\""), "worker.registration.routers: \"r\" is not host:port"},
      {worker("0.0.0.0:4", routers), "\"0.0.0.0:4\" is no address to reach this worker at"},
      {worker("[::]:4", routers), "no address to reach this worker at"},
      {worker("h:0", routers), "worker.registration.endpoint: port 0"},
  };
  for (const auto& [text, what] : cases) {
    EXPECT_THAT(std::string(LoadPrefillConfig(Write(text)).status().message()), HasSubstr(what));
  }
}

}  // namespace
}  // namespace tandem
