// SPDX-License-Identifier: Apache-2.0
// LabelCap: keeps a label that comes from outside, a tenant or a peer, to so many values: the first
// ones stay what they are, the rest is "other". Not thread-safe.
#pragma once

#include <cstddef>
#include <set>
#include <string>

namespace tandem {

class LabelCap {
 public:
  static constexpr size_t kValuesMax = 128;

  std::string Of(const std::string& value) {
    if (values_.contains(value)) return value;
    if (values_.size() >= kValuesMax) return "other";
    values_.insert(value);
    return value;
  }

 private:
  std::set<std::string> values_;
};

}  // namespace tandem
