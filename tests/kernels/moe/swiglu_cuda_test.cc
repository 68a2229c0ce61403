// SPDX-License-Identifier: Apache-2.0
// Goal: swiglu on a device. Method: fresh random input with values beyond both clamps, sizes around
// a vector and the model's, against the reference; in place.
#include "kernels/moe/swiglu.h"
#include "tests/kernels/cuda/device.h"

namespace tandem::kernels {
namespace {

using SwigluCudaTest = OnDevice;

TEST_F(SwigluCudaTest, EqualsTheReference) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  for (const int64_t rows : {1, 5, 48}) {
    for (const int64_t inner : {1, 7, 8, 9, 256, 2048, 3072}) {
      for (const bool weighted : {true, false}) {
        Tensor<Bf16, 2> a(rows, inner), b(rows, inner), expected(rows, inner);
        Tensor<float, 1> weight(rows);
        random.Fill(a, 8);
        random.Fill(b, 8);
        random.Fill(weight);
        const TensorView<float, 1> none;
        reference.swiglu(
            {.a = a, .b = b, .weight = weighted ? weight.view : none, .limit = 10, .out = expected},
            host);
        const DeviceTensor da(a), db(b);
        const DeviceTensor dweight(weight);
        cuda.swiglu(
            {.a = da, .b = db, .weight = weighted ? dweight.view() : none, .limit = 10, .out = da},
            stream);
        Wait();
        ExpectNear(da.Fetch().values, expected.values);
      }
    }
  }
}

}  // namespace
}  // namespace tandem::kernels
