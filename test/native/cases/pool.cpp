#include "ops/pool.h"

#include "harness.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

using Numbers = std::vector<double>;

const Cases cases(
    "pool",
    {
        {"takes the last token of each sequence, and gives its gradient back to that token only", Backends::Cpu,
         [](Tensors& t) {
           const Tensor x = t.random(DType::F32, {9, 13}), starts = t.indices({0, 1, 5, 9});
           const Tensor out = t.output(DType::F32, {3, 13}), dout = t.random(DType::F32, {3, 13}),
                        dx = t.output(DType::F32, {9, 13});
           pool_last_forward(out, x, starts);
           pool_last_backward(dx, dout, starts);
           const Numbers from = read(x), d = read(dout);
           Numbers expected, gradient(9 * 13);
           const size_t last[] = {0, 4, 8};
           for (size_t b = 0; b < 3; ++b)
             for (size_t c = 0; c < 13; ++c) {
               expected.push_back(from[last[b] * 13 + c]);
               gradient[last[b] * 13 + c] = d[b * 13 + c];
             }
           expect_near("out", out, expected, 0);
           expect_near("dx", dx, gradient, 0);
         }},
        {"no sequences are no error", Backends::Cpu,
         [](Tensors& t) {
           pool_last_forward(t.output(DType::F32, {0, 4}), t.output(DType::F32, {0, 4}), t.indices({0}));
         }},
        {"empty sequences, wrong ends and wrong shapes are refused by name", Backends::Cpu,
         [](Tensors& t) {
           const Tensor x = t.random(DType::F32, {9, 4}), out = t.output(DType::F32, {2, 4});
           expect_error("E_BATCH", {"pool_last_forward", "sequence 1 is empty"}, [&] {
             pool_last_forward(out, x, t.indices({0, 9, 9}));
           });
           expect_error("E_BATCH", {"0 to 8", "0 to 9"}, [&] { pool_last_forward(out, x, t.indices({0, 4, 8})); });
           expect_error("E_BATCH", {"pool_last_backward"}, [&] { pool_last_backward(x, out, t.indices({1, 4, 9})); });
           expect_error("E_SHAPE", {"starts (2) i32", "(3)"}, [&] { pool_last_forward(out, x, t.indices({0, 9})); });
           expect_error("E_SHAPE", {"out (2, 5)"}, [&] {
             pool_last_forward(t.output(DType::F32, {2, 5}), x, t.indices({0, 4, 9}));
           });
         }},
    });

}  // namespace
