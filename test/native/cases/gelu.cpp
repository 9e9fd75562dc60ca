#include "ops/gelu.h"

#include <cmath>

#include "harness.h"
#include "ops/gelu_reference.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

using Numbers = std::vector<double>;
constexpr Activation kKinds[] = {Activation::GeluErf, Activation::GeluTanh, Activation::GeluQuick, Activation::Silu};

Numbers forward(const Numbers& x, Activation kind) {
  Numbers out(x.size());
  for (size_t i = 0; i < x.size(); ++i) out[i] = gelu_reference(x[i], kind);
  return out;
}

Numbers backward(const Numbers& dout, const Numbers& x, Activation kind) {
  Numbers dx(x.size());
  for (size_t i = 0; i < x.size(); ++i) dx[i] = dout[i] * gelu_derivative_reference(x[i], kind);
  return dx;
}

const Cases cases(
    "gelu",
    {
        {"the reference has the known values at 1",
         [] {
           // torch.nn.functional.gelu(1), gelu(1, approximate='tanh'), 1 * sigmoid(1.702), silu(1)
           const double expected[] = {0.8413447460685429, 0.8411919906082768, 0.8457957659328212, 0.7310585786300049};
           for (int i = 0; i < 4; ++i) expect_close("f(1)", gelu_reference(1.0, kKinds[i]), expected[i], 1e-12);
         }},
        {"the reference's gradients are those of finite differences",
         [] {
           const Numbers x = random_numbers(19, 1, 2), dout = random_numbers(19, 2);
           for (Activation kind : kKinds)
             expect_gradient(
                 "dx", [&](const Numbers& at) { return dot(forward(at, kind), dout); }, x, backward(dout, x, kind));
         }},
        {"forward and backward agree with the reference, for any shape", Backends::Cpu,
         [](Tensors& t) {
           for (Activation kind : kKinds)
             for (DType type : {DType::F32, DType::BF16})
               for (int64_t size : {1, 7, 17, 1023, 4097, 0}) {
                 const Tensor x = t.random(type, {size}, 3), dout = t.random(type, {size});
                 const Tensor out = t.output(type, {size}), dx = t.output(type, {size});
                 gelu_forward(out, x, kind);
                 gelu_backward(dx, dout, x, kind);
                 const Numbers y = forward(read(x), kind), d = backward(read(dout), read(x), kind);
                 const std::string which = text(" of kind ", int(kind), " ", x);
                 expect_near("out" + which, out, y, bound_for(type, y));
                 expect_near("dx" + which, dx, d, bound_for(type, d));
               }
           const Tensor x = t.random(DType::F32, {2, 3, 5}), out = t.output(DType::F32, {2, 3, 5});
           gelu_forward(out, x, Activation::GeluErf);
           expect_near("out of rank 3", out, forward(read(x), Activation::GeluErf), 1e-12);
         }},
        {"absolute errors stay below 4e-7 of the argument", Backends::Cpu,
         [](Tensors& t) {
           Numbers numbers;
           for (double x = -12; x < 12; x += 0.00390625) numbers.push_back(x);
           const Tensor x = t.values(DType::F32, {int64_t(numbers.size())}, numbers);
           for (Activation kind : kKinds) {
             const Tensor out = t.output(DType::F32, {int64_t(numbers.size())});
             gelu_forward(out, x, kind);
             const Numbers actual = read(out), expected = forward(numbers, kind);
             for (size_t i = 0; i < actual.size(); ++i)
               expect(std::fabs(actual[i] - expected[i]) <= 4e-7 * std::fabs(numbers[i]), "kind ", int(kind), " at ",
                      numbers[i], ": ", actual[i], ", expected ", expected[i]);
           }
         }},
        {"works in place", Backends::Cpu,
         [](Tensors& t) {
           const Tensor x = t.random(DType::F32, {100}), y = t.output(DType::F32, {100}),
                        dout = t.random(DType::F32, {100}), dx = t.output(DType::F32, {100});
           gelu_forward(y, x, Activation::GeluQuick);
           gelu_backward(dx, dout, x, Activation::GeluQuick);
           gelu_backward(dout, dout, x, Activation::GeluQuick);
           gelu_forward(x, x, Activation::GeluQuick);
           expect_same_bits("out", x, y);
           expect_same_bits("dx", dout, dx);
         }},
        {"wrong shapes and types are refused by name", Backends::Cpu,
         [](Tensors& t) {
           const Tensor x = t.random(DType::F32, {2, 8});
           expect_error("E_SHAPE", {"gelu_forward", "out (8, 2)", "x (2, 8)"}, [&] {
             gelu_forward(t.output(DType::F32, {8, 2}), x, Activation::GeluErf);
           });
           expect_error("E_SHAPE", {"gelu_backward", "dout", "bf16"}, [&] {
             gelu_backward(t.output(DType::F32, {2, 8}), t.random(DType::BF16, {2, 8}), x, Activation::GeluErf);
           });
           expect_error("E_SHAPE", {"i32"}, [&] { gelu_forward(x, t.indices({1, 2}), Activation::GeluErf); });
         }},
    });

}  // namespace
