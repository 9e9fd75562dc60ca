#include "ops/swiglu.h"

#include "harness.h"
#include "ops/swiglu_reference.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

using Numbers = std::vector<double>;

Numbers forward(const Numbers& gate, const Numbers& up) {
  Numbers out(gate.size());
  swiglu_forward_reference(out.data(), gate.data(), up.data(), int64_t(gate.size()));
  return out;
}

struct Gradients {
  Numbers dgate, dup;
};
Gradients backward(const Numbers& dout, const Numbers& gate, const Numbers& up) {
  Gradients d{Numbers(gate.size()), Numbers(gate.size())};
  swiglu_backward_reference(d.dgate.data(), d.dup.data(), dout.data(), gate.data(), up.data(), int64_t(gate.size()));
  return d;
}

const int64_t kShapes[][2] = {{1, 1}, {3, 7}, {5, 17}, {1, 1023}, {41, 1025}, {0, 4}};

const Cases cases(
    "swiglu",
    {
        {"the reference's gradients are those of finite differences",
         [] {
           const Numbers gate = random_numbers(19, 1, 2), up = random_numbers(19, 2), dout = random_numbers(19, 3);
           const Gradients d = backward(dout, gate, up);
           expect_gradient(
               "dgate", [&](const Numbers& at) { return dot(forward(at, up), dout); }, gate, d.dgate);
           expect_gradient(
               "dup", [&](const Numbers& at) { return dot(forward(gate, at), dout); }, up, d.dup);
         }},
        {"forward and backward agree with the reference", Backends::Cpu,
         [](Tensors& t) {
           for (const auto& [rows, columns] : kShapes)
             for (DType type : {DType::F32, DType::BF16}) {
               const Tensor gate = t.random(type, {rows, columns}, 4), up = t.random(type, {rows, columns});
               const Tensor dout = t.random(type, {rows, columns}), out = t.output(type, {rows, columns});
               const Tensor dgate = t.output(type, {rows, columns}), dup = t.output(type, {rows, columns});
               swiglu_forward(out, gate, up);
               swiglu_backward(dgate, dup, dout, gate, up);
               const Numbers expected = forward(read(gate), read(up));
               const Gradients d = backward(read(dout), read(gate), read(up));
               expect_near(text("out ", out), out, expected, bound_for(type, expected));
               expect_near(text("dgate ", out), dgate, d.dgate, bound_for(type, d.dgate));
               expect_near(text("dup ", out), dup, d.dup, bound_for(type, d.dup));
             }
         }},
        {"works in place, and large gates overflow to neither NaN nor infinity", Backends::Cpu,
         [](Tensors& t) {
           const Tensor gate = t.values(DType::F32, {1, 5}, {-200, -100, 0, 100, 200}),
                        up = t.values(DType::F32, {1, 5}, {1, 2, 3, 4, 5});
           const Tensor dout = t.values(DType::F32, {1, 5}, {1, 1, 1, 1, 1});
           const Tensor out = t.values(DType::F32, {1, 5}, {-200, -100, 0, 100, 200});
           swiglu_forward(out, out, up);
           expect_near("out", out, {0, 0, 0, 400, 1000}, 1e-12);
           swiglu_backward(gate, up, dout, gate, up);
           expect_near("dgate", gate, {0, 0, 1.5, 4, 5}, 1e-12);
           expect_near("dup", up, {0, 0, 0, 100, 200}, 1e-12);
         }},
        {"an element has the same bits wherever it stands", Backends::Cpu,
         [](Tensors& t) {
           const Tensor gate = t.random(DType::F32, {1, 2049}, 3), up = t.random(DType::F32, {1, 2049}),
                        out = t.output(DType::F32, {1, 2049});
           swiglu_forward(out, gate, up);
           for (int64_t first : {1, 7, 1030}) {
             const auto part = [&](Tensor x) { return x.reshape({2049, 1}).slice(first, 1001).reshape({1, 1001}); };
             const Tensor alone = t.output(DType::F32, {1, 1001});
             swiglu_forward(alone, part(gate), part(up));
             expect_same_bits(text("from ", first), alone, part(out));
           }
         }},
        {"halves of wider rows have the bits of dense tensors", Backends::Cpu,
         [](Tensors& t) {
           for (const auto& [rows, columns] : kShapes)
             for (DType type : {DType::F32, DType::BF16}) {
               const Tensor both = t.random(type, {rows, 2 * columns}), dboth = t.output(type, {rows, 2 * columns});
               const auto half = [&, columns = columns](Tensor x, int index) {
                 Tensor part = x;
                 part.data = static_cast<char*>(x.data) + size_t(index * columns) * size_of(x.dtype);
                 part.shape[1] = columns;
                 return part;
               };
               const Numbers all = read(both);
               Numbers first, second;
               for (size_t i = 0; i < all.size(); ++i)
                 (int64_t(i) % (2 * columns) < columns ? first : second).push_back(all[i]);
               const Tensor gate = t.values(type, {rows, columns}, first), up = t.values(type, {rows, columns}, second);
               const Tensor dense = t.output(type, {rows, columns}), strided = t.output(type, {rows, columns});
               swiglu_forward(dense, gate, up);
               swiglu_forward(strided, half(both, 0), half(both, 1));
               expect_same_bits("out", strided, dense);
               const Tensor dout = t.random(type, {rows, columns});
               const Tensor dgate = t.output(type, {rows, columns}), dup = t.output(type, {rows, columns});
               swiglu_backward(dgate, dup, dout, gate, up);
               swiglu_backward(half(dboth, 0), half(dboth, 1), dout, half(both, 0), half(both, 1));
               const Numbers d = read(dboth), g = read(dgate), u = read(dup);
               for (size_t i = 0; i < d.size(); ++i) {
                 const size_t row = i / size_t(2 * columns), column = i % size_t(2 * columns);
                 const bool in_gate = int64_t(column) < columns;
                 const double want =
                     (in_gate ? g : u)[row * size_t(columns) + column - (in_gate ? 0 : size_t(columns))];
                 expect(d[i] == want, "dboth[", i, "] = ", d[i], ", expected ", want);
               }
             }
         }},
        {"wrong shapes and types are refused by name", Backends::Cpu,
         [](Tensors& t) {
           const Tensor gate = t.random(DType::F32, {2, 8}), out = t.output(DType::F32, {2, 8});
           expect_error("E_SHAPE", {"swiglu_forward", "up (2, 7)", "gate (2, 8)"}, [&] {
             swiglu_forward(out, gate, t.random(DType::F32, {2, 7}));
           });
           expect_error("E_SHAPE", {"up (2, 8) bf16"}, [&] {
             swiglu_forward(out, gate, t.random(DType::BF16, {2, 8}));
           });
           expect_error("E_SHAPE", {"swiglu_backward", "dup"}, [&] {
             swiglu_backward(out, t.output(DType::F32, {8, 2}), gate, gate, gate);
           });
         }},
    });

}  // namespace
