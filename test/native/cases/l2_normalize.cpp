#include "ops/l2_normalize.h"

#include <cmath>

#include "harness.h"
#include "ops/l2_normalize_reference.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

using Numbers = std::vector<double>;

struct Result {
  Numbers out, norm;
};
Result forward(const Numbers& x, int64_t rows, int64_t columns) {
  Result y{Numbers(x.size()), Numbers(size_t(rows))};
  l2_normalize_forward_reference(y.out.data(), y.norm.data(), x.data(), rows, columns);
  return y;
}

const Cases cases(
    "l2_normalize",
    {
        {"the reference's gradients are those of finite differences",
         [] {
           const Numbers x = random_numbers(21, 1), dout = random_numbers(21, 2);
           const Result y = forward(x, 3, 7);
           Numbers dx(21);
           l2_normalize_backward_reference(dx.data(), dout.data(), y.out.data(), y.norm.data(), 3, 7);
           expect_gradient(
               "dx", [&](const Numbers& at) { return dot(forward(at, 3, 7).out, dout); }, x, dx);
         }},
        {"rows get length 1, and agree with the reference forward and backward", Backends::Cpu,
         [](Tensors& t) {
           for (int64_t columns : {1, 7, 1536}) {
             const Tensor x = t.random(DType::F32, {3, columns}, 100), out = t.output(DType::F32, {3, columns}),
                          norm = t.output(DType::F32, {3});
             l2_normalize_forward(out, norm, x);
             const Result y = forward(read(x), 3, columns);
             expect_near(text("out ", out), out, y.out, 1e-13);
             expect_near(text("norm ", out), norm, y.norm, 1e-13);
             for (int64_t r = 0; r < 3; ++r) {
               const Numbers row = read(out.slice(r, 1));
               expect_close("length", std::sqrt(dot(row, row)), 1, 1e-6);
             }
             const Tensor dout = t.random(DType::F32, {3, columns}), dx = t.output(DType::F32, {3, columns});
             Numbers expected(size_t(3 * columns));
             l2_normalize_backward_reference(expected.data(), read(dout).data(), read(out).data(), read(norm).data(), 3,
                                             columns);
             l2_normalize_backward(dx, dout, out, norm);
             if (columns > 1) expect_near(text("dx ", out), dx, expected, 1e-12);
             l2_normalize_forward(x, norm, x);
             expect_same_bits("in place", x, out);
           }
         }},
        {"a row of zeros stays zero", Backends::Cpu,
         [](Tensors& t) {
           const Tensor x = t.zeros(DType::F32, {2, 5}), out = t.output(DType::F32, {2, 5}),
                        norm = t.output(DType::F32, {2});
           l2_normalize_forward(out, norm, x);
           expect_near("out", out, Numbers(10), 0);
           expect_near("norm", norm, Numbers(2, 1e-12), 1e-12);
         }},
        {"wrong shapes are refused by name", Backends::Cpu,
         [](Tensors& t) {
           const Tensor x = t.random(DType::F32, {2, 8}), norm = t.output(DType::F32, {2});
           expect_error("E_SHAPE", {"l2_normalize_forward", "out (2, 7)", "x (2, 8)"}, [&] {
             l2_normalize_forward(t.output(DType::F32, {2, 7}), norm, x);
           });
           expect_error("E_SHAPE", {"norm (3)"}, [&] { l2_normalize_forward(x, t.output(DType::F32, {3}), x); });
           expect_error("E_SHAPE", {"l2_normalize_backward", "dout"}, [&] {
             l2_normalize_backward(x, t.output(DType::F32, {1, 8}), x, norm);
           });
         }},
    });

}  // namespace
