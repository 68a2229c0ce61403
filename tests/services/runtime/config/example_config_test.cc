// SPDX-License-Identifier: Apache-2.0
// Goal: the examples in deploy/config load, name every field there is, and say its true default.
// Method: each file against the defaults of a config that has only what is required.
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"
#include "services/runtime/config/service_config.h"
#include "services/runtime/config/text_config.h"

namespace tandem {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

std::string PathOf(const std::string& role) {
  return std::string(TANDEM_SOURCE_DIR) + "/deploy/config/" + role + ".textproto";
}

std::string TextOf(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

bool IsSet(const Message& message, const FieldDescriptor& field) {
  if (field.is_repeated()) return message.GetReflection()->FieldSize(message, &field) > 0;
  return message.GetReflection()->HasField(message, &field);
}

// Their default cannot be written: they are spoken of in a comment instead.
const std::set<std::string>& UnsetByDefault() {
  static const auto* const fields = new std::set<std::string>{"context_tokens_max",
                                                              "decode_workers_allowed",
                                                              "gpu",
                                                              "cuda_graphs",
                                                              "sim",
                                                              "tls",
                                                              "worker_tls",
                                                              "decode_tls",
                                                              "health_listen",
                                                              "api_keys_file",
                                                              "gpus",
                                                              "histogram_bounds",
                                                              "queue_wait_max",
                                                              "registry",
                                                              "registration",
                                                              "slo"};
  return *fields;
}

void ExpectEveryField(const Message& message, const std::string& text) {
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& field = *message.GetDescriptor()->field(i);
    EXPECT_NE(text.find(field.name()), std::string::npos) << field.full_name();
    if (!UnsetByDefault().contains(field.name())) {
      EXPECT_TRUE(IsSet(message, field)) << field.full_name() << " is not set";
    }
  }
}

// `required` is text; the rest of it is filled with defaults.
template <typename Config>
void ExpectDefaults(const std::string& role, const std::string& required) {
  const std::string text = TextOf(PathOf(role));
  Config example;
  ASSERT_TRUE(ParseTextConfig(role, text, example).ok());
  ASSERT_TRUE(Validate(example).ok()) << Validate(example);
  ExpectEveryField(example, text);
  Config defaults;
  ASSERT_TRUE(ParseTextConfig("required", required, defaults).ok());
  ApplyDefaults(defaults);
  google::protobuf::util::MessageDifferencer differ;
  std::string difference;
  differ.ReportDifferencesToString(&difference);
  EXPECT_TRUE(differ.Compare(defaults, example)) << difference;
  if constexpr (requires { example.worker(); }) ExpectEveryField(example.worker(), text);
}

std::string Worker(const std::string& grpc, const std::string& metrics) {
  return "worker { listen: \"127.0.0.1:" + grpc + "\" metrics_listen: \"127.0.0.1:" + metrics +
         "\" model_dir: \"deploy/models/tiny-v4\" }";
}

TEST(ExampleConfigTest, RouterNamesEveryFieldAndItsDefault) {
  ExpectDefaults<v1::RouterConfig>(
      "router",
      "listen: \"127.0.0.1:8440\" metrics_listen: \"127.0.0.1:9440\" model_dir: "
      "\"deploy/models/tiny-v4\" prefill_workers: \"127.0.0.1:8441\" decode_workers: "
      "\"127.0.0.1:8442\"");
}

TEST(ExampleConfigTest, PrefillNamesEveryFieldAndItsDefault) {
  ExpectDefaults<v1::PrefillConfig>("prefill", Worker("8441", "9441"));
}

TEST(ExampleConfigTest, DecodeNamesEveryFieldAndItsDefault) {
  ExpectDefaults<v1::DecodeConfig>("decode", Worker("8442", "9442"));
}

template <typename Config>
void ExpectSimulated(const std::string& role) {
  const std::string text = TextOf(PathOf(role + "_sim"));
  Config example;
  ASSERT_TRUE(ParseTextConfig(role, text, example).ok());
  ExpectEveryField(example.worker().sim(), text);
  Config defaults = example;
  defaults.mutable_worker()->clear_sim();
  ApplyDefaults(defaults);
  ApplyDefaults(example);
  ASSERT_TRUE(Validate(example).ok()) << Validate(example);
  EXPECT_EQ(example.worker().engine(), v1::ENGINE_SIM);
  EXPECT_EQ(example.worker().sim().DebugString(), defaults.worker().sim().DebugString());
}

TEST(ExampleConfigTest, TheSimulatedWorkersSayTheirDefaultTimes) {
  ExpectSimulated<v1::PrefillConfig>("prefill");
  ExpectSimulated<v1::DecodeConfig>("decode");
}

}  // namespace
}  // namespace tandem
