// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/text/chat/multi_match.h"

#include <utility>

#include "services/runtime/base/check.h"

namespace tandem {
namespace {

uint64_t Edge(uint32_t node, char byte) {
  return uint64_t{node} << 8 | static_cast<unsigned char>(byte);
}

}  // namespace

MultiMatch::MultiMatch(std::vector<std::string> strings) : strings_(std::move(strings)), nodes_(1) {
  struct Child {
    uint32_t parent;
    char byte;
  };
  std::vector<Child> made_by = {{}};  // [nodes]
  std::vector<std::vector<uint32_t>> levels(1, {0});
  for (size_t i = 0; i < strings_.size(); ++i) {
    CHECK(!strings_[i].empty());
    uint32_t node = 0;
    for (const char byte : strings_[i]) {
      const auto [child, is_new] = children_.try_emplace(Edge(node, byte), nodes_.size());
      if (is_new) {
        const uint32_t depth = nodes_[node].depth + 1;
        if (levels.size() == depth) levels.emplace_back();
        levels[depth].push_back(child->second);
        nodes_.push_back({.depth = depth});
        made_by.push_back({node, byte});
      }
      node = child->second;
    }
    if (nodes_[node].match < 0) nodes_[node].match = static_cast<int>(i);
  }
  // Breadth first: a node's fail link is shallower than the node.
  for (size_t depth = 2; depth < levels.size(); ++depth) {
    for (const uint32_t node : levels[depth]) {
      const auto [parent, byte] = made_by[node];
      nodes_[node].fail = Next(nodes_[parent].fail, byte);
    }
  }
  for (const std::vector<uint32_t>& level : levels) {
    for (const uint32_t node : level) {
      if (nodes_[node].match < 0) nodes_[node].match = nodes_[nodes_[node].fail].match;
    }
  }
}

uint32_t MultiMatch::Next(uint32_t node, char byte) const {
  while (true) {
    const auto child = children_.find(Edge(node, byte));
    if (child != children_.end()) return child->second;
    if (node == 0) return 0;
    node = nodes_[node].fail;
  }
}

MultiMatchStream::Step MultiMatchStream::Read(absl::string_view input, std::string* passed) {
  size_t consumed = 0;
  while (consumed < input.size()) {
    node_ = strings_->Next(node_, input[consumed++]);
    const MultiMatch::Node& node = strings_->nodes_[node_];
    if (node.match < 0) continue;
    held_.append(input.data(), consumed);
    passed->append(held_, begin_, held_.size() - begin_ - strings_->strings_[node.match].size());
    held_.clear();
    begin_ = 0;
    node_ = 0;
    return {.consumed = consumed, .match = node.match};
  }
  held_.append(input.data(), input.size());
  const size_t begin = held_.size() - strings_->nodes_[node_].depth;
  passed->append(held_, begin_, begin - begin_);
  begin_ = begin;
  // Erasing only when half is spent keeps the cost of a byte constant.
  if (begin_ * 2 > held_.size()) {
    held_.erase(0, begin_);
    begin_ = 0;
  }
  return {.consumed = consumed};
}

void MultiMatchStream::Flush(std::string* passed) {
  passed->append(held_, begin_);
  held_.clear();
  begin_ = 0;
  node_ = 0;
}

}  // namespace tandem
