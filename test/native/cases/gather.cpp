#include "ops/gather.h"

#include "harness.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

using Numbers = std::vector<double>;
const std::vector<int32_t> kRows = {2, -1, 0, 2, -2, 4, -1};
constexpr size_t kCount = 7;

const Cases cases(
    "gather",
    {
        {"forward takes rows of the table and of the learned vectors exactly", Backends::Cpu,
         [](Tensors& t) {
           for (int64_t columns : {1, 7, 33}) {
             const Tensor x = t.random(DType::F32, {5, columns}), extra = t.random(DType::F32, {2, columns}),
                          out = t.output(DType::F32, {int64_t(kCount), columns});
             gather_rows_forward(out, x, extra, t.indices(kRows));
             const Numbers a = read(x), b = read(extra), actual = read(out);
             const size_t width = size_t(columns);
             for (size_t i = 0; i < actual.size(); ++i) {
               const int32_t row = kRows[i / width];
               const double expected =
                   row >= 0 ? a[size_t(row) * width + i % width] : b[size_t(-1 - row) * width + i % width];
               expect(actual[i] == expected, "out[", i, "] = ", actual[i], ", expected ", expected);
             }
           }
         }},
        {"backward adds the gradients of equal rows, to what is wanted", Backends::Cpu,
         [](Tensors& t) {
           for (int64_t columns : {1, 7, 150}) {
             const size_t width = size_t(columns);
             const Tensor dx = t.random(DType::F32, {5, columns}), dextra = t.random(DType::F32, {2, columns}),
                          dout = t.random(DType::F32, {int64_t(kCount), columns});
             Numbers a = read(dx), b = read(dextra);
             const Numbers d = read(dout), before = read(dx);
             for (size_t i = 0; i < d.size(); ++i) {
               const int32_t row = kRows[i / width];
               (row >= 0 ? a[size_t(row) * width + i % width] : b[size_t(-1 - row) * width + i % width]) += d[i];
             }
             const Tensor alone = t.values(DType::F32, {5, columns}, before);
             gather_rows_backward(dx, dextra, dout, t.indices(kRows));
             expect_near(text("dx ", dx), dx, a, 1e-13);
             expect_near(text("dextra ", dextra), dextra, b, 1e-13);
             gather_rows_backward(alone, Tensor(), dout, t.indices(kRows));
             expect_same_bits("dx without dextra", alone, dx);
           }
         }},
        {"the gradient is the same bits for any number of threads", Backends::Cpu,
         [](Tensors& t) {
           expect_same_bits_for_any_threads("dx", t.device().isa(), [](Tensors& own) {
             std::vector<int32_t> rows;
             for (int32_t i = 0; i < 200; ++i) rows.push_back(i * i % 9);
             const Tensor dx = own.zeros(DType::F32, {9, 777});
             gather_rows_backward(dx, Tensor(), own.random(DType::F32, {200, 777}), own.indices(rows));
             return bits(dx);
           });
         }},
        {"a row outside of the tables, and wrong shapes, are refused by name", Backends::Cpu,
         [](Tensors& t) {
           const Tensor x = t.random(DType::F32, {3, 4}), extra = t.random(DType::F32, {1, 4}),
                        out = t.output(DType::F32, {2, 4});
           expect_error("E_BATCH", {"gather_rows_forward", "rows[1] = 3", "3 rows"}, [&] {
             gather_rows_forward(out, x, extra, t.indices({0, 3}));
           });
           expect_error("E_BATCH", {"rows[0] = -2"}, [&] { gather_rows_forward(out, x, extra, t.indices({-2, 0})); });
           expect_error("E_BATCH", {"rows[0] = -1"}, [&] {
             gather_rows_forward(out, x, Tensor(), t.indices({-1, 0}));
           });
           expect_error("E_SHAPE", {"extra"}, [&] {
             gather_rows_forward(out, x, t.random(DType::F32, {1, 5}), t.indices({0, 0}));
           });
           expect_error("E_SHAPE", {"dx"}, [&] {
             gather_rows_backward(t.zeros(DType::F32, {3, 5}), Tensor(), out, t.indices({0, 0}));
           });
         }},
    });

}  // namespace
