// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/parallel/host_group.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "services/runtime/base/check.h"
#include "services/runtime/parallel/reduced.h"

namespace tandem {

using kernels::Bf16;

class HostGroup::Rank final : public Communicator {
 public:
  Rank(HostGroup& group, int rank) : group_(group), rank_(rank) {}

  void AllReduce(const kernels::AllReduceArgs& args, kernels::Stream& stream) override {
    kernels::CheckAllReduce(args);
    group_.parts_[rank_] = args.x;
    if (!Meet(stream)) return;
    kernels::Scratch scratch(stream);
    const kernels::TensorView<Bf16, 2> sum = {scratch.Take<Bf16>(args.x.size()),
                                              {args.x.shape[0], args.x.shape[1]}};
    Sum(sum);
    // x may be written again only when every rank has read it.
    if (!Meet(stream)) return;
    if (args.y.data != nullptr) std::copy_n(sum.data, sum.size(), args.y.data);
    PostReduced(group_.table_, args, sum, stream);
  }

  void Gather(const kernels::GatherArgs& args, kernels::Stream& stream) override {
    kernels::CheckGather(args);
    group_.columns_[rank_] = args.x;
    if (!Meet(stream)) return;
    for (size_t r = 0; rank_ == 0 && r < group_.columns_.size(); ++r) {
      const kernels::TensorView<const float, 2>& x = group_.columns_[r];
      CHECK_EQ(x.shape[0], args.y.shape[0]);
      CHECK_EQ(x.row_size() * static_cast<int64_t>(group_.columns_.size()), args.y.row_size());
      for (int64_t row = 0; row < x.shape[0]; ++row) {
        std::copy_n(x.row(row), x.row_size(),
                    args.y.row(row) + static_cast<int64_t>(r) * x.row_size());
      }
    }
    (void)Meet(stream);  // as above
  }

  absl::Status Wait(kernels::Stream&, absl::Duration) override { return group_.barrier_.failure(); }

  void Abort() override {
    group_.barrier_.Fail(absl::AbortedError(absl::StrCat("rank ", rank_, " has failed")));
  }

 private:
  bool Meet(kernels::Stream& stream) {
    const absl::Status status = group_.barrier_.Meet(rank_);
    if (!status.ok()) stream.RecordError(std::string(status.message()));
    return status.ok();
  }

  void Sum(const kernels::TensorView<Bf16, 2>& sum) const {
    for (const auto& part : group_.parts_) {
      CHECK_EQ(part.shape[0], sum.shape[0]);
      CHECK_EQ(part.shape[1], sum.shape[1]);
    }
    for (int64_t i = 0; i < sum.size(); ++i) {
      float value = 0;
      for (const auto& part : group_.parts_) value += kernels::ToFloat(part.data[i]);
      sum.data[i] = kernels::ToBf16(value);
    }
  }

  HostGroup& group_;
  const int rank_;
};

HostGroup::HostGroup(const kernels::KernelTable& table, const Options& options)
    : table_(table),
      barrier_(options.ranks, options.limit),
      parts_(static_cast<size_t>(options.ranks)),
      columns_(static_cast<size_t>(options.ranks)) {
  for (int r = 0; r < options.ranks; ++r) ranks_.push_back(std::make_unique<Rank>(*this, r));
}

HostGroup::~HostGroup() = default;

Communicator& HostGroup::rank(int rank) {
  return *ranks_[rank];
}

}  // namespace tandem
