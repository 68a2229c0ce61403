// SPDX-License-Identifier: Apache-2.0
// Goal: sample draws the reference's token on a device. Method: fresh random logits with ties,
// masks and every filter, many u; another token is right only where u lies within rounding of the
// edge between the two, by sums over the tokens that the definition keeps. Twice, for the same
// tokens.
#include <algorithm>
#include <limits>
#include <numeric>

#include "kernels/sampling/sample.h"
#include "tests/kernels/cuda/device.h"

namespace tandem::kernels {
namespace {

constexpr int64_t kVocabulary = 129280;
constexpr double kRounding = 1e-10;  // of a sum

// A batch of rows with their parameters.
struct SampleRows {
  Tensor<float, 2> logits;
  Tensor<float, 1> temperature, top_p, min_p, u;
  Tensor<int32_t, 1> top_k, token;
  SampleRows(int64_t tokens, int64_t vocabulary)
      : logits(tokens, vocabulary),
        temperature(tokens),
        top_p(tokens),
        min_p(tokens),
        u(tokens),
        top_k(tokens),
        token(tokens) {}
};

class SampleCudaTest : public OnDevice {
 protected:
  // Row t's logits in one of several shapes.
  void FillRow(SampleRows& rows, int64_t t, int64_t kind) {
    const int64_t n = rows.logits.view.shape[1];
    float* l = rows.logits.view.row(t);
    for (int64_t v = 0; v < n; ++v) {
      l[v] = 3 * random_.Normal();
      if (kind == 1) l[v] = std::round(2 * l[v]) / 2;                                // ties
      if (kind == 2) l[v] = 0.25f;                                                   // one tie
      if (kind == 3 && v % 50 != 0) l[v] = -std::numeric_limits<float>::infinity();  // masks
      if (kind == 4 && v % 3 == 0) l[v] = std::numeric_limits<float>::quiet_NaN();
      if (kind == 5) l[v] = l[v] * 1e-3f + 7;  // flat
    }
    if (kind == 6) l[random_.Below(n)] = 40;
  }
  void FillParameters(SampleRows& rows, int64_t t) {
    const float temperatures[] = {0, 0.3f, 1, 1, 1, 2};
    const int32_t top_ks[] = {0, 0, -1, 1, 2, 50, 1000, 5000};
    const float top_ps[] = {1, 1, 0, 0.3f, 0.9f, 0.999f};
    const float min_ps[] = {0, 0, 0.01f, 0.5f};
    rows.temperature[t] = temperatures[random_.Below(6)];
    rows.top_k[t] = top_ks[random_.Below(8)];
    rows.top_p[t] = top_ps[random_.Below(6)];
    rows.min_p[t] = min_ps[random_.Below(4)];
    rows.u[t] = static_cast<float>(random_.Below(1 << 24)) * 0x1p-24f;
  }

  // Probabilities by the definition, zero where dropped.
  static std::vector<double> Kept(const SampleRows& rows, int64_t t) {
    const int64_t n = rows.logits.view.shape[1];
    const float* l = rows.logits.view.row(t);
    float most = -std::numeric_limits<float>::infinity();
    for (int64_t v = 0; v < n; ++v) most = l[v] > most ? l[v] : most;
    std::vector<double> p(static_cast<size_t>(n));
    for (int64_t v = 0; v < n; ++v) {
      double ratio =
          l[v] == most ? 1 : std::exp((static_cast<double>(l[v]) - most) / rows.temperature[t]);
      if (std::isnan(ratio)) ratio = 0;
      p[v] = ratio >= rows.min_p[t] ? ratio : 0;
    }
    std::vector<int32_t> order(static_cast<size_t>(n));
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(),
              [&](int32_t a, int32_t b) { return p[a] != p[b] ? p[a] > p[b] : a < b; });
    const int32_t k = rows.top_k[t];
    const int64_t most_kept = k > 0 && k < n ? k : n;
    double sum = 0, reached = 0;
    for (int64_t i = 0; i < most_kept; ++i) sum += p[order[i]];
    int64_t kept = 0;
    const double top_p = rows.top_p[t];
    while (kept < most_kept && (kept == 0 || top_p >= 1 || reached < top_p * sum)) {
      reached += p[order[kept++]];
    }
    for (int64_t i = kept; i < n; ++i) p[order[i]] = 0;
    return p;
  }

  // Both tokens are kept, with nothing between them but what is smaller than rounding, and the goal
  // is at that edge.
  static bool AtAnEdge(const SampleRows& rows, int64_t t, int32_t a, int32_t b) {
    const std::vector<double> p = Kept(rows, t);
    const double sum = std::accumulate(p.begin(), p.end(), 0.0), goal = rows.u[t] * sum;
    double running = 0;
    for (int32_t v = 0; v <= std::max(a, b); ++v) {
      if (v >= std::min(a, b) && v < std::max(a, b) &&
          std::fabs(running + p[v] - goal) > kRounding * sum) {
        return false;
      }
      running += p[v];
    }
    return p[a] > 0 && p[b] > 0;
  }

  void Check(SampleRows& rows) {
    const auto args = [](auto& in, const auto& token) {
      return SampleArgs{.logits = in.logits,
                        .temperature = in.temperature,
                        .top_k = in.top_k,
                        .top_p = in.top_p,
                        .min_p = in.min_p,
                        .u = in.u,
                        .token = token};
    };
    Tensor<int32_t, 1> poison(rows.token.view.shape[0]);
    reference.sample(args(rows, rows.token.view), host);
    struct {
      DeviceTensor<float, 2> logits;
      DeviceTensor<float, 1> temperature, top_p, min_p, u;
      DeviceTensor<int32_t, 1> top_k;
    } device{DeviceTensor(rows.logits), DeviceTensor(rows.temperature), DeviceTensor(rows.top_p),
             DeviceTensor(rows.min_p),  DeviceTensor(rows.u),           DeviceTensor(rows.top_k)};
    const DeviceTensor token(poison.Poison());
    const DeviceTensor again(poison);
    cuda.sample(args(device, token.view()), stream);
    cuda.sample(args(device, again.view()), stream);
    Wait();
    const auto actual = token.Fetch().values;
    EXPECT_EQ(actual, again.Fetch().values);
    for (int64_t t = 0; t < rows.token.view.shape[0]; ++t) {
      if (actual[t] == rows.token[t]) continue;
      ASSERT_GE(actual[t], 0);
      ASSERT_LT(actual[t], rows.logits.view.shape[1]);
      ASSERT_TRUE(rows.temperature[t] > 0 && AtAnEdge(rows, t, actual[t], rows.token[t]))
          << "row " << t << " drew " << actual[t] << " for " << rows.token[t] << ": temperature "
          << rows.temperature[t] << " top_k " << rows.top_k[t] << " top_p " << rows.top_p[t]
          << " min_p " << rows.min_p[t] << " u " << rows.u[t];
    }
  }
  Random random_{std::random_device{}()};
};

TEST_F(SampleCudaTest, DrawsTheReferencesTokenFromSmallRows) {
  SCOPED_TRACE(random_.Trace());
  for (const int64_t vocabulary : {1, 2, 3, 255, 1023, 1024, 1025, 5000}) {
    SampleRows rows(140, vocabulary);
    for (int64_t t = 0; t < 140; ++t) {
      FillRow(rows, t, t % 7);
      FillParameters(rows, t);
    }
    rows.u[0] = 0;
    Check(rows);
  }
}

TEST_F(SampleCudaTest, DrawsTheReferencesTokenFromTheModelsVocabulary) {
  SCOPED_TRACE(random_.Trace());
  SampleRows rows(42, kVocabulary);
  for (int64_t t = 0; t < 42; ++t) {
    FillRow(rows, t, t % 7);
    FillParameters(rows, t);
  }
  Check(rows);
}

TEST_F(SampleCudaTest, DrawsEveryTokenForSomeU) {
  SCOPED_TRACE(random_.Trace());
  SampleRows rows(2048, 40);
  FillRow(rows, 0, 0);
  for (int64_t t = 0; t < 2048; ++t) {
    std::copy_n(rows.logits.view.row(0), 40, rows.logits.view.row(t));
    rows.temperature[t] = 3;
    rows.top_p[t] = 1;
    rows.u[t] = static_cast<float>(t) / 2048;
  }
  Check(rows);
}

TEST_F(SampleCudaTest, KnowsDegenerateRows) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<std::vector<float>> list = {
      {-kInfinity, 0, kNan}, {0, kInfinity, 3},
      {kNan, kNan, kNan},    {1, 2, 3},
      {kNan, -1, kNan},      {-kInfinity, -kInfinity, kNan},
      {-0.0f, 0.0f, -0.0f}};
  for (const float temperature : {0.0f, 1.0f, 1e-30f, 1e30f}) {
    for (const float top_p : {1.0f, 0.5f}) {
      for (const float u : {0.0f, 0.5f, 0.99999994f}) {
        SampleRows rows(static_cast<int64_t>(list.size()), 3);
        for (size_t t = 0; t < list.size(); ++t) {
          std::copy_n(list[t].begin(), 3, rows.logits.view.row(static_cast<int64_t>(t)));
          rows.temperature.values[t] = temperature;
          rows.top_p.values[t] = top_p;
          rows.u.values[t] = u;
        }
        // Equal probabilities of different logits: the device goes by the logits.
        if (temperature > 1 && top_p < 1) continue;
        Check(rows);
      }
    }
  }
}

}  // namespace
}  // namespace tandem::kernels
