// The second copy of a packed weight, made out of the first.
#include <cstring>

#include "harness.h"
#include "ops/matmul_weight.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

// Where oneDNN's blocks of 64 columns have element (row, column) of a matrix with so many rows.
int64_t place_of(int64_t row, int64_t column, int64_t rows, DType type) {
  const int64_t pair = type == DType::BF16 ? 2 : 1;
  return column / 64 * rows * 64 + row / pair * 64 * pair + column % 64 * pair + row % pair;
}

template <typename Number>
void check_turn(Device& device, int64_t n, int64_t k, DType type) {
  std::vector<Number> from(size_t(n * k)), expected(from.size()), to(from.size());
  for (int64_t row = 0; row < n; ++row)
    for (int64_t column = 0; column < k; ++column) {
      const auto number = Number(row * k + column);
      from[size_t(place_of(column, row, k, type))] = number;
      expected[size_t(place_of(row, column, n, type))] = number;
    }
  matmul_kernels(device).turn(to.data(), from.data(), n, k, type, device.threads());
  expect(to == expected, "a weight (", n, ", ", k, ") of ", name_of(type), " is not turned");
}

const Cases cases("turned_weight",
                  {{"blocks change places, and are turned each", Backends::Cpu,
                    [](Tensors& t) {
                      for (const auto& [n, k] : {std::pair<int64_t, int64_t>{64, 64}, {128, 192}, {320, 64}}) {
                        check_turn<uint32_t>(t.device(), n, k, DType::F32);
                        check_turn<uint16_t>(t.device(), n, k, DType::BF16);
                      }
                    }},
                   {"a weight that is packed for both directions needs its values no more", Backends::Cpu,
                    [](Tensors& t) {
                      for (const auto& [n, k] : {std::pair<int64_t, int64_t>{128, 192}, {96, 64}, {256, 7}})
                        for (DType type : {DType::F32, DType::BF16}) {
                          const Tensor w = t.random(type, {n, k});
                          const std::vector<uint8_t> before = bits(w);
                          const Weight plain(t.raw(type, {n, k}, before.data()));
                          Weight packed(w);
                          if (!packed.pack(true)) continue;  // bf16 is read as it is by our own kernels
                          std::memset(w.data, 0xff, w.bytes());
                          for (int64_t m : {300, 5, 192, 1}) {
                            keep_turned_copies(t.device(), m < 100);
                            const Tensor dout = t.random(type, {m, n}), x = t.random(type, {m, k});
                            Tensor dx = t.output(DType::F32, {m, k}), same = t.output(DType::F32, {m, k});
                            matmul_backward_x(dx, dout, plain);
                            matmul_backward_x(same, dout, packed);
                            expect_same_bits("dx", dx, same);
                            Tensor out = t.output(DType::F32, {m, n}), other = t.output(DType::F32, {m, n});
                            matmul_forward(out, x, plain, {});
                            matmul_forward(other, x, packed, {});
                            expect_same_bits("out", out, other);
                          }
                        }
                    }}});

}  // namespace
