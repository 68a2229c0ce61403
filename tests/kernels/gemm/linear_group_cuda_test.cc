// SPDX-License-Identifier: Apache-2.0
// Goal: linear layers of one input in one launch on a device. Method: fresh random input at the
// model's groups and odd ones, 1 token to more than a launch takes, inputs as they come: the same
// bits as norm, quantiser and linears one by one, which their own tests judge; twice.
#include "kernels/gemm/linear_group.h"
#include "tests/kernels/cuda/device.h"
#include "tests/kernels/gemm/group_world.h"

namespace tandem::kernels {
namespace {

using enum GroupInput;

class LinearGroupCudaTest : public OnDevice {
 protected:
  void ExpectItsLinears(const GroupShape& shape, const std::vector<int64_t>& counts,
                        Random& random) {
    const auto owned = WeightsOf(shape, random);
    std::vector<const OwnedWeight*> pointers;
    for (const auto& weight : owned) pointers.push_back(weight.get());
    const DeviceWeights prepared(pointers);
    std::vector<LinearWeight> weights;
    for (size_t i = 0; i < owned.size(); ++i) {
      weights.push_back(prepared[static_cast<int64_t>(i)]);
    }
    for (const int64_t tokens : counts) {
      SCOPED_TRACE(testing::Message() << "K " << shape.k << ", " << tokens << " tokens");
      Tensor<Bf16, 2> x(tokens, shape.k);
      Tensor<Bf16, 1> norm(shape.k);
      random.Fill(x);
      random.Fill(norm);
      GroupSide<DeviceTensor> together(shape, weights, x, norm), apart(shape, weights, x, norm),
          again(shape, weights, x, norm);
      together.RunTogether(cuda, stream);
      apart.RunApart(cuda, stream);
      again.RunTogether(cuda, stream);
      Wait();
      const auto read = [](const auto& tensor) { return tensor.Fetch().values; };
      ExpectSameOutputs(together, apart, read);
      ExpectSameOutputs(together, again, read);
    }
  }
};

// wq_a, wkv, the compressor's, the indexer's and weights_proj; wq_b and the indexer's; wo_b.
TEST_F(LinearGroupCudaTest, IsItsLinearsAtTheModelsShapes) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  const std::vector<int64_t> counts = {1, 2, 4, 5, 8, 9, 16, 17, 65};
  ExpectItsLinears({kGiven, 4096, {1024, 512}, {1024, 1024, 256, 256, 64}}, counts, random);
  ExpectItsLinears({kGiven, 4096, {1024, 512}, {512, 512}}, {1, 8, 16}, random);
  ExpectItsLinears({kGiven, 4096, {1024, 512}, {}}, {1, 8, 16}, random);
  ExpectItsLinears({kNormed, 1024, {16384, 8192}, {}}, counts, random);
  ExpectItsLinears({kQuantised, 4096, {4096}, {}}, counts, random);
  ExpectItsLinears({kNormed, 1536, {4096, 8192}, {}}, {1, 3, 8}, random);
  ExpectItsLinears({kGiven, 7168, {1536, 512}, {1024, 1024, 256, 256, 64}}, {1, 8}, random);
}

TEST_F(LinearGroupCudaTest, IsItsLinearsAtOddSizes) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  const std::vector<int64_t> counts = {1, 3, 7, 8, 13, 16, 20};
  ExpectItsLinears({kGiven, 128, {128, 256}, {1, 15, 17, 300}}, counts, random);
  ExpectItsLinears({kGiven, 384, {}, {16, 33}}, counts, random);
  ExpectItsLinears({kQuantised, 256, {128, 384, 128}, {64}}, counts, random);
  ExpectItsLinears({kNormed, 128, {128}, {}}, counts, random);
  ExpectItsLinears({kNormed, 1152, {640, 128}, {}}, counts, random);
  ExpectItsLinears({kNormed, 2048, {128}, {}}, counts, random);
  ExpectItsLinears({kNormed, 2176, {128}, {}}, counts, random);
  ExpectItsLinears({kGiven, 256, {128, 128, 128, 128, 20480}, {100, 100, 40000}}, {1, 8, 16},
                   random);
}

}  // namespace
}  // namespace tandem::kernels
