#include "ops/grad_norm.h"

#include <cstring>

#include "harness.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

const Cases cases(
    "grad_norm",
    {
        {"sums squares in f64", Backends::Cpu,
         [](Tensors& t) {
           for (int64_t size : {0, 1, 15, 17, 16384, 16385, 100003}) {
             const Tensor x = t.random(DType::F32, {size});
             const std::vector<double> numbers = read(x);
             expect_close(text("sum of ", x), sum_of_squares(x), dot(numbers, numbers), 1e-13);
           }
         }},
        {"neither overflows nor underflows where f32 would", Backends::Cpu,
         [](Tensors& t) {
           expect_close("large", sum_of_squares(t.values(DType::F32, {2}, {3e30, 4e30})), 25e60, 1e-6);
           expect_close("small", sum_of_squares(t.values(DType::F32, {2}, {3e-30, 4e-30})), 25e-60, 1e-6);
         }},
        {"is the same bits for any number of threads", Backends::Cpu,
         [](Tensors& t) {
           expect_same_bits_for_any_threads("sum", t.device().isa(), [](Tensors& own) {
             const double sum = sum_of_squares(own.random(DType::F32, {3, 50001}));
             std::vector<uint8_t> bytes(sizeof sum);
             std::memcpy(bytes.data(), &sum, sizeof sum);
             return bytes;
           });
         }},
        {"other types are refused", Backends::Cpu,
         [](Tensors& t) {
           expect_error("E_SHAPE", {"sum_of_squares", "bf16"}, [&] { sum_of_squares(t.random(DType::BF16, {3})); });
         }},
    });

}  // namespace
