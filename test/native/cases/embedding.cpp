#include "ops/embedding.h"

#include "harness.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

using Numbers = std::vector<double>;
const std::vector<int32_t> kTokens = {3, 0, 6, 3, 3, 5};

const Cases cases(
    "embedding",
    {
        {"forward takes the tokens' rows exactly, from tables of either type", Backends::Cpu,
         [](Tensors& t) {
           for (DType type : {DType::F32, DType::BF16})
             for (int64_t columns : {1, 7, 33}) {
               const Tensor table = t.random(type, {7, columns}), out = t.output(DType::F32, {6, columns});
               embedding_forward(out, t.indices(kTokens), table);
               const Numbers rows = read(table), actual = read(out);
               for (size_t i = 0; i < actual.size(); ++i) {
                 const size_t row = size_t(kTokens[i / size_t(columns)]);
                 expect(actual[i] == rows[row * size_t(columns) + i % size_t(columns)], "out[", i, "] = ", actual[i]);
               }
             }
         }},
        {"backward adds the gradients of equal tokens", Backends::Cpu,
         [](Tensors& t) {
           for (int64_t columns : {1, 7, 150}) {
             const Tensor dtable = t.random(DType::F32, {7, columns}), dout = t.random(DType::F32, {6, columns});
             Numbers expected = read(dtable);
             const Numbers d = read(dout);
             for (size_t i = 0; i < d.size(); ++i)
               expected[size_t(kTokens[i / size_t(columns)]) * size_t(columns) + i % size_t(columns)] += d[i];
             embedding_backward(dtable, t.indices(kTokens), dout);
             expect_near(text("dtable ", dtable), dtable, expected, 1e-13);
           }
         }},
        {"the gradient is the same bits for any number of threads", Backends::Cpu,
         [](Tensors& t) {
           expect_same_bits_for_any_threads("dtable", t.device().isa(), [](Tensors& own) {
             std::vector<int32_t> tokens;
             for (int32_t i = 0; i < 200; ++i) tokens.push_back(i * i % 9);
             const Tensor dtable = own.zeros(DType::F32, {9, 777});
             embedding_backward(dtable, own.indices(tokens), own.random(DType::F32, {200, 777}));
             return bits(dtable);
           });
         }},
        {"features are scattered over their rows, and their gradient is gathered and taken away", Backends::Cpu,
         [](Tensors& t) {
           const std::vector<int32_t> rows = {4, 0, 2};
           const Tensor x = t.random(DType::F32, {5, 13}), features = t.random(DType::F32, {3, 13});
           Numbers expected = read(x);
           const Numbers from = read(features);
           for (size_t n = 0; n < 3; ++n)
             for (size_t c = 0; c < 13; ++c) expected[size_t(rows[n]) * 13 + c] = from[n * 13 + c];
           scatter_rows_forward(x, features, t.indices(rows));
           expect_near("x", x, expected, 0);

           const Tensor dx = t.random(DType::F32, {5, 13}), dfeatures = t.output(DType::F32, {3, 13});
           const Numbers before = read(dx);
           Numbers gathered(3 * 13), left = before;
           for (size_t n = 0; n < 3; ++n)
             for (size_t c = 0; c < 13; ++c) {
               gathered[n * 13 + c] = before[size_t(rows[n]) * 13 + c];
               left[size_t(rows[n]) * 13 + c] = 0;
             }
           const Tensor again = t.values(DType::F32, {5, 13}, before);
           scatter_rows_backward(dfeatures, dx, t.indices(rows));
           expect_near("dfeatures", dfeatures, gathered, 0);
           expect_near("dx", dx, left, 0);
           scatter_rows_backward(Tensor(), again, t.indices(rows));
           expect_same_bits("dx without dfeatures", again, dx);
         }},
        {"a token below zero is a row of zeros and has no gradient", Backends::Cpu,
         [](Tensors& t) {
           const Tensor table = t.random(DType::F32, {7, 4}), out = t.output(DType::F32, {3, 4});
           embedding_forward(out, t.indices({-1, 6, -2000000}), table);
           const std::vector<double> rows = read(out), stored = read(table);
           for (size_t c = 0; c < 4; ++c)
             expect(rows[c] == 0 && rows[4 + c] == stored[24 + c] && rows[8 + c] == 0, "column ", c);
           const Tensor dtable = t.zeros(DType::F32, {7, 4});
           embedding_backward(dtable, t.indices({-1, -7, -2}), out);
           for (double each : read(dtable)) expect(each == 0, "a gradient of ", each);
         }},
        {"no tokens and no pictures are no error", Backends::Cpu,
         [](Tensors& t) {
           embedding_forward(t.output(DType::F32, {0, 4}), t.indices({}), t.random(DType::F32, {7, 4}));
           scatter_rows_forward(t.random(DType::F32, {2, 4}), t.output(DType::F32, {0, 4}), t.indices({}));
           scatter_rows_backward(t.output(DType::F32, {0, 4}), t.random(DType::F32, {2, 4}), t.indices({}));
         }},
        {"a token or row outside of the table, and wrong shapes, are refused by name", Backends::Cpu,
         [](Tensors& t) {
           const Tensor table = t.random(DType::F32, {7, 4}), out = t.output(DType::F32, {2, 4});
           expect_error("E_BATCH", {"embedding_forward", "tokens[1] = 7", "7 rows"}, [&] {
             embedding_forward(out, t.indices({0, 7}), table);
           });
           expect_error("E_BATCH", {"tokens[0] = 8"}, [&] { embedding_backward(table, t.indices({8, 0}), out); });
           expect_error("E_BATCH", {"rows[0] = 9"}, [&] { scatter_rows_forward(table, out, t.indices({9, 0})); });
           expect_error("E_SHAPE", {"out (2, 4)", "table (7, 5)"}, [&] {
             embedding_forward(out, t.indices({0, 1}), t.random(DType::F32, {7, 5}));
           });
           expect_error("E_SHAPE", {"features"}, [&] { scatter_rows_forward(table, out, t.indices({0, 1, 2})); });
         }},
    });

}  // namespace
