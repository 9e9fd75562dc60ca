#include "core/tensor.h"

#include <sstream>

#include "harness.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

const Cases cases(
    "tensor", {
                  {"sizes count elements, rows and bytes", Backends::Cpu,
                   [](Tensors& t) {
                     const Tensor x = t.output(DType::BF16, {3, 4, 5});
                     expect(x.size() == 60 && x.rows() == 3 && x.row_size() == 20 && x.bytes() == 120 && x.dense(), x);
                     expect(Tensor().absent() && !Tensor() && Tensor().size() == 0, "a default tensor is absent");
                     expect(!t.output(DType::F32, {0, 4}).absent(), "a tensor without rows is not absent");
                     expect(text(x) == "(3, 4, 5) bf16" && text(Tensor()) == "(absent)", text(x), " ", text(Tensor()));
                   }},
                  {"a slice and a view of heads are the same memory", Backends::Cpu,
                   [](Tensors& t) {
                     std::vector<double> numbers;
                     for (int i = 0; i < 4 * 10; ++i) numbers.push_back(i);
                     const Tensor x = t.values(DType::F32, {4, 10}, numbers);
                     expect_near("slice", x.slice(1, 2), {numbers.begin() + 10, numbers.begin() + 30}, 0);
                     const Tensor heads = x.heads(4, 2, 3);  // columns 4 to 9
                     expect(heads.rank == 3 && heads.shape[1] == 2 && heads.shape[2] == 3 && !heads.dense(), heads);
                     expect_near("heads", heads.slice(2, 2), {24, 25, 26, 27, 28, 29, 34, 35, 36, 37, 38, 39}, 0);
                     expect(heads.slice(3, 1).dense(), "a single row is dense");
                   }},
                  {"reshape keeps the numbers, and refuses other sizes and strided rows", Backends::Cpu,
                   [](Tensors& t) {
                     const Tensor x = t.random(DType::F32, {4, 6}), y = x.reshape({2, 3, 4});
                     expect(y.data == x.data && y.rank == 3 && y.row_stride == 12, y);
                     expect_error("E_SHAPE", {"reshape", "25"}, [&] { x.reshape({5, 5}); });
                     expect_error("E_SHAPE", {"dense"}, [&] { x.heads(0, 1, 3).reshape({12}); });
                   }},
                  {"copy and zero refuse what does not fit", Backends::CpuAndCuda,
                   [](Tensors& t) {
                     const Tensor x = t.random(DType::F32, {4, 6}), y = t.output(DType::F32, {24});
                     copy(y, x);
                     expect_same_bits("copy", x, y);
                     zero(y);
                     expect_near("zero", y, std::vector<double>(24), 0);
                     expect_error("E_SHAPE", {"copy", "(23)"}, [&] { copy(t.output(DType::F32, {23}), x); });
                     expect_error("E_SHAPE", {"copy", "bf16"}, [&] { copy(t.output(DType::BF16, {24}), x); });
                     expect_error("E_SHAPE", {"zero"}, [&] { zero(x.heads(0, 1, 3)); });
                   }},
                  {"bf16 is the upper half of f32, rounded to nearest even",
                   [] {
                     expect(to_float(to_bf16(1.0f)) == 1 && to_float(to_bf16(-3.14159274f)) == -3.140625f, "1 and -pi");
                     expect(to_bf16(1.00390625f).bits == 0x3f80 && to_bf16(1.01171875f).bits == 0x3f82,
                            "ties go to even");
                     expect(to_bf16(3.4e38f).bits == 0x7f80, "beyond the largest is infinity");
                   }},
              });

}  // namespace
