// SPDX-License-Identifier: Apache-2.0
// Goal: penalties, uniform and top_logprobs on a device. Method: fresh random input, vocabularies
// from 1 to the model's, against the reference: exact but for log-probabilities, whose sums differ
// in order. Twice, for the same bits.
#include <limits>

#include "kernels/sampling/penalties.h"
#include "kernels/sampling/top_logprobs.h"
#include "kernels/sampling/uniform.h"
#include "tests/kernels/cuda/device.h"

namespace tandem::kernels {
namespace {

constexpr int64_t kVocabulary = 129280;

class SamplingCudaTest : public OnDevice {
 protected:
  static void ExpectClose(const std::vector<float>& actual, const std::vector<float>& expected) {
    ASSERT_EQ(actual.size(), expected.size());
    for (size_t i = 0; i < actual.size(); ++i) {
      if (std::isinf(expected[i])) {
        ASSERT_EQ(actual[i], expected[i]) << i;
      } else {
        ASSERT_NEAR(actual[i], expected[i], 2e-7 * std::fabs(expected[i]) + 1e-9) << i;
      }
    }
  }
  Random random_{std::random_device{}()};
};

TEST_F(SamplingCudaTest, UniformEqualsTheReference) {
  SCOPED_TRACE(random_.Trace());
  for (const int64_t tokens : {1, 127, 128, 129, 1000}) {
    Tensor<uint64_t, 1> seed(tokens), counter(tokens);
    Tensor<float, 1> u(tokens), poison(tokens);
    for (int64_t t = 0; t < tokens; ++t) {
      seed[t] = static_cast<uint64_t>(random_.Below(int64_t{1} << 62)) * 3;
      counter[t] = t % 3 == 0 ? ~uint64_t{0} - t : static_cast<uint64_t>(random_.Below(100000));
    }
    reference.uniform({.seed = seed, .counter = counter, .u = u}, host);
    const DeviceTensor d_seed(seed);
    const DeviceTensor d_counter(counter);
    const DeviceTensor d_u(poison.Poison());
    cuda.uniform({.seed = d_seed, .counter = d_counter, .u = d_u}, stream);
    Wait();
    EXPECT_EQ(d_u.Fetch().values, u.values);
  }
}

TEST_F(SamplingCudaTest, PenaltiesEqualTheReference) {
  SCOPED_TRACE(random_.Trace());
  for (const int64_t vocabulary : {1, 100, 5000}) {
    constexpr int64_t kTokens = 9;
    Tensor<float, 2> logits(kTokens, vocabulary);
    random_.Fill(logits, 5);
    Tensor<int32_t, 1> begin(kTokens + 1);
    std::vector<int32_t> tokens, counts;
    for (int64_t t = 0; t < kTokens; ++t) {
      const int64_t step = t == 3 ? vocabulary + 1 : 1 + random_.Below(5);
      for (int64_t v = step == vocabulary + 1 ? vocabulary : 0; v < vocabulary; v += step) {
        tokens.push_back(static_cast<int32_t>(v));
        counts.push_back(static_cast<int32_t>(random_.Below(4)));
      }
      begin[t + 1] = static_cast<int32_t>(tokens.size());
    }
    const auto n = static_cast<int64_t>(tokens.size());
    Tensor<int32_t, 1> token(n), count(n);
    token.values.assign(tokens.begin(), tokens.end());
    count.values.assign(counts.begin(), counts.end());
    token.view.data = token.values.data();
    count.view.data = count.values.data();
    Tensor<float, 1> repetition(kTokens), presence(kTokens), frequency(kTokens);
    for (int64_t t = 0; t < kTokens; ++t) {
      repetition[t] = t == 0 ? 1 : 1 + std::fabs(random_.Normal());
      presence[t] = t == 0 ? 0 : random_.Normal();
      frequency[t] = t == 0 ? 0 : random_.Normal();
    }
    const DeviceTensor d_logits(logits);
    const DeviceTensor d_begin(begin);
    const DeviceTensor d_token(token);
    const DeviceTensor d_count(count);
    const DeviceTensor d_repetition(repetition);
    const DeviceTensor d_presence(presence);
    const DeviceTensor d_frequency(frequency);
    reference.penalties({logits, begin, token, count, repetition, presence, frequency}, host);
    cuda.penalties({d_logits, d_begin, d_token, d_count, d_repetition, d_presence, d_frequency},
                   stream);
    Wait();
    EXPECT_EQ(d_logits.Fetch().values, logits.values);
  }
}

TEST_F(SamplingCudaTest, TopLogprobsEqualTheReference) {
  SCOPED_TRACE(random_.Trace());
  for (const int64_t vocabulary :
       {int64_t{1}, int64_t{5}, int64_t{1000}, int64_t{8193}, kVocabulary}) {
    for (const int64_t k : {0, 1, 20, 1025}) {
      if (k > vocabulary) continue;
      constexpr int64_t kTokens = 7;
      Tensor<float, 2> logits(kTokens, vocabulary), values(kTokens, k), poison(kTokens, k);
      random_.Fill(logits, 3);
      for (int64_t v = 0; v < vocabulary; ++v) {
        logits.view.row(1)[v] = std::round(logits.view.row(1)[v]);  // ties
        logits.view.row(2)[v] = 1.5f;
        if (v % 3 != 0) logits.view.row(3)[v] = -std::numeric_limits<float>::infinity();
        if (v % 7 == 0) logits.view.row(4)[v] = std::numeric_limits<float>::quiet_NaN();
        logits.view.row(5)[v] = std::numeric_limits<float>::quiet_NaN();
      }
      logits.view.row(6)[vocabulary / 2] = std::numeric_limits<float>::infinity();
      Tensor<int32_t, 1> token(kTokens);
      for (int64_t t = 0; t < kTokens; ++t)
        token[t] = static_cast<int32_t>(random_.Below(vocabulary));
      token[0] = -1;
      Tensor<float, 1> chosen(kTokens), poison_chosen(kTokens);
      Tensor<int32_t, 2> ids(kTokens, k), poison_ids(kTokens, k);
      reference.top_logprobs({logits, token, chosen, ids, values}, host);
      const DeviceTensor d_logits(logits);
      const DeviceTensor d_chosen(poison_chosen.Poison());
      const DeviceTensor d_token(token);
      const DeviceTensor d_ids(poison_ids.Poison());
      const DeviceTensor d_values(poison.Poison());
      cuda.top_logprobs({d_logits, d_token, d_chosen, d_ids, d_values}, stream);
      Wait();
      EXPECT_EQ(d_ids.Fetch().values, ids.values) << vocabulary << " " << k;
      const auto first = d_values.Fetch().values;
      ExpectClose(first, values.values);
      ExpectClose(d_chosen.Fetch().values, chosen.values);
      cuda.top_logprobs({d_logits, d_token, d_chosen, d_ids, d_values}, stream);
      Wait();
      EXPECT_EQ(std::memcmp(first.data(), d_values.Fetch().values.data(), first.size() * 4), 0);
    }
  }
}

}  // namespace
}  // namespace tandem::kernels
