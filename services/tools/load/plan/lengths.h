// SPDX-License-Identifier: Apache-2.0
// Lengths: how many tokens a prompt or an answer has. Written as
//   N                       always N
//   A..B                    uniform, both ends included
//   lognormal:MEAN,SIGMA,MAX  MEAN of the tokens, SIGMA of their logarithm; cut to 1 … MAX
//   file:PATH               a histogram: a line for each length, "LENGTH WEIGHT" or "LENGTH,WEIGHT"
// Immutable after Parse; thread-safe. Tokens, from 1 to kLengthMax.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/tools/load/plan/random.h"

namespace tandem {

inline constexpr uint32_t kLengthMax = 1 << 22;

class Lengths {
 public:
  // `flag` is what an error names, without its dashes.
  static absl::StatusOr<Lengths> Parse(absl::string_view flag, absl::string_view text);
  static Lengths Fixed(uint32_t tokens) { return Lengths(Uniform{tokens, tokens}); }

  uint32_t Draw(Random& random) const;
  // No draw is longer.
  uint32_t max() const;

 private:
  struct Uniform {
    uint32_t low = 1;
    uint32_t high = 1;
  };
  struct LogNormal {
    double mu = 0;  // of the logarithm
    double sigma = 0;
    uint32_t max = 1;
  };
  struct Histogram {
    std::vector<uint32_t> tokens;
    std::vector<double> cumulated;  // weights up to and with this length; rising
  };
  using Shape = std::variant<Uniform, LogNormal, Histogram>;
  explicit Lengths(Shape shape) : shape_(std::move(shape)) {}

  static absl::StatusOr<Lengths> ParseLogNormal(absl::string_view text);
  static absl::StatusOr<Lengths> ReadHistogram(const std::string& path);

  Shape shape_;
};

}  // namespace tandem
