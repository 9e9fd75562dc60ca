#include "ops/weighted_rows.h"

#include "harness.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

using Numbers = std::vector<double>;
const std::vector<int32_t> kIndex = {2, 2, 0, 4, 1, 2, 3, 3, 0};  // (3, 3)
constexpr size_t kTerms = 3, kRows = 3;

Tensor indices(Tensors& t) { return t.indices(kIndex).reshape({int64_t(kRows), int64_t(kTerms)}); }

const Cases cases(
    "weighted_rows",
    {
        {"forward adds weighted sums of rows, from tables of either type", Backends::Cpu,
         [](Tensors& t) {
           for (DType type : {DType::F32, DType::BF16})
             for (int64_t columns : {1, 7, 33}) {
               const size_t width = size_t(columns);
               const Tensor x = t.random(DType::F32, {kRows, columns}), table = t.random(type, {5, columns}),
                            weight = t.random(DType::F32, {kRows, kTerms});
               Numbers expected = read(x);
               const Numbers rows = read(table), weights = read(weight);
               for (size_t i = 0; i < expected.size(); ++i)
                 for (size_t k = 0; k < kTerms; ++k) {
                   const size_t term = i / width * kTerms + k;
                   expected[i] += weights[term] * rows[size_t(kIndex[term]) * width + i % width];
                 }
               weighted_rows_forward(x, table, indices(t), weight);
               expect_near(text("x ", x), x, expected, 1e-13);
             }
         }},
        {"backward adds to the rows what their weights say", Backends::Cpu,
         [](Tensors& t) {
           for (int64_t columns : {1, 7, 150}) {
             const size_t width = size_t(columns);
             const Tensor dtable = t.random(DType::F32, {5, columns}), dx = t.random(DType::F32, {kRows, columns}),
                          weight = t.random(DType::F32, {kRows, kTerms});
             Numbers expected = read(dtable);
             const Numbers d = read(dx), weights = read(weight);
             for (size_t i = 0; i < d.size(); ++i)
               for (size_t k = 0; k < kTerms; ++k) {
                 const size_t term = i / width * kTerms + k;
                 expected[size_t(kIndex[term]) * width + i % width] += weights[term] * d[i];
               }
             weighted_rows_backward(dtable, dx, indices(t), weight);
             expect_near(text("dtable ", dtable), dtable, expected, 1e-13);
           }
         }},
        {"the gradient is the same bits for any number of threads", Backends::Cpu,
         [](Tensors& t) {
           expect_same_bits_for_any_threads("dtable", t.device().isa(), [](Tensors& own) {
             std::vector<int32_t> index;
             for (int32_t i = 0; i < 400; ++i) index.push_back(i * i % 9);
             const Tensor dtable = own.zeros(DType::F32, {9, 777});
             weighted_rows_backward(dtable, own.random(DType::F32, {100, 777}), own.indices(index).reshape({100, 4}),
                                    own.random(DType::F32, {100, 4}));
             return bits(dtable);
           });
         }},
        {"a row outside of the table, and wrong shapes, are refused by name", Backends::Cpu,
         [](Tensors& t) {
           const Tensor x = t.random(DType::F32, {1, 4}), table = t.random(DType::F32, {3, 4}),
                        weight = t.random(DType::F32, {1, 2});
           expect_error("E_BATCH", {"weighted_rows_forward", "index[0, 1] = 3", "3 rows"}, [&] {
             weighted_rows_forward(x, table, t.indices({0, 3}).reshape({1, 2}), weight);
           });
           expect_error("E_SHAPE", {"weight"}, [&] {
             weighted_rows_forward(x, table, t.indices({0, 1, 2}).reshape({1, 3}), weight);
           });
           expect_error("E_SHAPE", {"weighted_rows_backward", "x"}, [&] {
             weighted_rows_backward(table, t.random(DType::F32, {2, 4}), t.indices({0, 1}).reshape({1, 2}), weight);
           });
         }},
    });

}  // namespace
