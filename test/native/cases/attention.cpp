#include "ops/attention.h"

#include <cmath>

#include "attention_tensors.h"
#include "harness.h"
#include "ops/attention_reference.h"

namespace vlm2vec::test {

namespace {

using Numbers = std::vector<double>;

struct Layout {
  int64_t NH, NKV, HS;
  bool causal;
  std::vector<int32_t> starts;  // sequences of unequal length, some empty
  int64_t gap = 1;              // between rows, as when q, k and v are columns of one product; 0: dense
  int64_t T() const { return starts.back(); }
  int64_t Q() const { return T(); }
  AttentionSizes sizes() const { return {float(1 / std::sqrt(double(HS))), causal}; }
  AttentionShape shape() const { return {starts.data(), int64_t(starts.size()) - 1, NH, NKV, HS, sizes()}; }
};

// Around the tiles (12, 6, 4 rows; 32, 16, 8 columns), the 96 rows of a block and its 192 keys.
std::vector<Layout> layouts() {
  return {{1, 1, 1, true, {0, 1}},
          {2, 1, 5, false, {0, 3, 3, 20}},
          {4, 2, 80, false, {0, 31, 64, 65}},
          {6, 2, 16, true, {0, 33, 34, 130}},
          {3, 3, 33, true, {0, 11, 24, 121}},
          {6, 1, 128, true, {0, 41, 70}},
          {1, 1, 8, true, {0, 191, 384, 577}},
          {2, 1, 72, false, {0, 194}},
          {1, 1, 264, true, {0, 7, 20}},
          // rows that may be read 16 bytes at a time
          {4, 2, 128, true, {0, 70, 131}, 0},
          {2, 1, 80, false, {0, 63, 128}, 8},
          {2, 2, 256, true, {0, 45, 77}, 0},
          // many short sequences, and the head sizes of the models
          {4, 4, 64, false, {0, 1, 2, 4, 7, 12, 25, 49, 50, 66, 99}, 0},
          {7, 1, 64, true, {0, 1, 3, 18, 29, 61}},
          {3, 1, 96, true, {0, 97, 290}},
          {2, 2, 80, false, {0, 209, 386}, 0}};
}

using Inputs = AttentionInputs;
using Outputs = AttentionOutputs;

void run(const Outputs& o, const Inputs& in, const Layout& l) {
  attention_forward(o.out, o.lse, in.q, in.k, in.v, in.starts, l.sizes());
  attention_backward(o.dq, o.dk, o.dv, in.dout, in.q, in.k, in.v, o.out, o.lse, in.starts, l.sizes());
}

// bf16 numbers as the reference would round them; cancellation in ds (p (dp - delta), delta from a rounded out) is
// allowed as much again.
double backward_bound(DType type, const Numbers& expected) {
  return type == DType::F32 ? 1e-11 : 2 * bound_for(type, expected);
}

void check_against_reference(Tensors& t, const Layout& l, DType type) {
  const Inputs in(t, l, type);
  const Outputs o(t, l, type);
  run(o, in, l);
  const Numbers q = read(in.q), k = read(in.k), v = read(in.v), dout = read(in.dout);
  Numbers out(q.size()), lse(size_t(l.NH * l.T())), dq(q.size()), dk(k.size()), dv(v.size());
  attention_forward_reference(out.data(), lse.data(), q.data(), k.data(), v.data(), l.shape());
  const auto name = [&](const char* what) {
    return text(what, " NH=", l.NH, " HS=", l.HS, " T=", l.T(), " ", name_of(type));
  };
  expect_near(name("out"), o.out, out, bound_for(type, out));
  expect_near(name("lse"), o.lse, lse, 1e-12);
  const Numbers rounded_out = read(o.out);  // what the kernel's backward pass starts from
  attention_backward_reference(dq.data(), dk.data(), dv.data(), dout.data(), q.data(), k.data(), v.data(),
                               rounded_out.data(), lse.data(), l.shape());
  if (l.T() > 1) {  // of one key ds is 0 up to rounding, which has no relative size
    expect_near(name("dq"), o.dq, dq, backward_bound(type, dq));
    expect_near(name("dk"), o.dk, dk, backward_bound(type, dk));
  }
  expect_near(name("dv"), o.dv, dv, backward_bound(type, dv));
}

std::vector<uint8_t> all_bits(const Outputs& o) {
  std::vector<uint8_t> all;
  for (const Tensor& x : {o.out, o.lse, o.dq, o.dk, o.dv}) {
    const auto part = bits(x);
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

// Sequence 1 of three, alone, has the bits that it has among the others.
void check_alone(Tensors& t, const Layout& l, DType type) {
  const Inputs in(t, l, type);
  const Outputs o(t, l, type);
  run(o, in, l);
  const int32_t first = l.starts[1], count = l.starts[2] - first;
  Layout one = l;
  one.starts = {0, count};
  Inputs part(t, one, type);
  part.q = in.q.slice(first, count), part.k = in.k.slice(first, count), part.v = in.v.slice(first, count);
  part.dout = in.dout.slice(first, count);
  const Outputs p(t, one, type);
  run(p, part, one);
  expect_same_bits("out", p.out, o.out.slice(first, count));
  expect_same_bits("dq", p.dq, o.dq.slice(first, count));
  expect_same_bits("dk", p.dk, o.dk.slice(first, count));
  expect_same_bits("dv", p.dv, o.dv.slice(first, count));
}

void check_gradients() {
  for (const bool causal : {false, true}) {
    const Layout l = {4, 2, 3, causal, {0, 2, 7}};
    const Numbers q = random_numbers(l.T() * 12, 1), k = random_numbers(l.T() * 6, 2), v = random_numbers(l.T() * 6, 3);
    const Numbers dout = random_numbers(l.T() * 12, 4);
    Numbers out(q.size()), lse(size_t(l.NH * l.T())), dq(q.size()), dk(k.size()), dv(v.size());
    const auto loss = [&](const Numbers& q, const Numbers& k, const Numbers& v) {
      Numbers result(out.size()), unused(lse.size());
      attention_forward_reference(result.data(), unused.data(), q.data(), k.data(), v.data(), l.shape());
      return dot(result, dout);
    };
    attention_forward_reference(out.data(), lse.data(), q.data(), k.data(), v.data(), l.shape());
    attention_backward_reference(dq.data(), dk.data(), dv.data(), dout.data(), q.data(), k.data(), v.data(), out.data(),
                                 lse.data(), l.shape());
    expect_gradient(
        "dq", [&](const Numbers& at) { return loss(at, k, v); }, q, dq);
    expect_gradient(
        "dk", [&](const Numbers& at) { return loss(q, at, v); }, k, dk);
    expect_gradient(
        "dv", [&](const Numbers& at) { return loss(q, k, at); }, v, dv);
  }
}

void check_large_scores(Tensors& t) {
  Layout l = {2, 1, 16, true, {0, 200}};
  Inputs in(t, l, DType::F32);
  in.q = t.random(DType::F32, {l.T(), l.NH, l.HS}, 40);
  in.k = t.random(DType::F32, {l.T(), l.NKV, l.HS}, 40);
  const Outputs o(t, l, DType::F32);
  run(o, in, l);
  const Numbers q = read(in.q), k = read(in.k), v = read(in.v);
  Numbers out(q.size()), lse(size_t(l.NH * l.T()));
  attention_forward_reference(out.data(), lse.data(), q.data(), k.data(), v.data(), l.shape());
  expect_near("out", o.out, out, 1e-6);  // scores of some thousands, of which f32 holds steps of 2e-4
  expect_near("lse", o.lse, lse, 1e-12);
}

void check_errors(Tensors& t) {
  const Layout l = {4, 2, 8, true, {0, 2, 5}};
  const Inputs in(t, l, DType::F32);
  const Outputs o(t, l, DType::F32);
  const auto forward = [&](Tensor out, Tensor lse, Tensor k, Tensor starts) {
    attention_forward(out, lse, in.q, k, in.v, starts, l.sizes());
  };
  expect_error("E_SHAPE", {"attention_forward", "out"}, [&] { forward(in.k, o.lse, in.k, in.starts); });
  expect_error("E_SHAPE", {"attention_forward", "lse"}, [&] { forward(o.out, in.starts, in.k, in.starts); });
  expect_error("E_SHAPE", {"attention_forward", "heads"}, [&] {
    forward(o.out, o.lse, t.zeros(DType::F32, {5, 3, 8}), in.starts);
  });
  expect_error("E_SHAPE", {"attention_forward", "k", "bf16"}, [&] {
    forward(o.out, o.lse, t.zeros(DType::BF16, {5, 2, 8}), in.starts);
  });
  expect_error("E_BATCH", {"starts", "from 0 to 4"}, [&] { forward(o.out, o.lse, in.k, t.indices({0, 4})); });
  expect_error("E_BATCH", {"starts fall from 5 to 3"}, [&] { forward(o.out, o.lse, in.k, t.indices({0, 5, 3, 5})); });
  expect_error("E_SHAPE", {"attention_backward", "dk"}, [&] {
    attention_backward(o.dq, o.dq, o.dv, in.dout, in.q, in.k, in.v, o.out, o.lse, in.starts, l.sizes());
  });
}

const Cases cases(
    "attention",
    {
        {"the backward formulas agree with differences of the forward one", [] { check_gradients(); }},
        {"forward and backward agree with the reference", Backends::CpuAndCuda,
         [](Tensors& t) {
           for (const Layout& l : layouts()) {
             if (t.device().is_cuda() && l.HS > 256) continue;  // refused, below
             for (const DType type : {DType::F32, DType::BF16}) check_against_reference(t, l, type);
           }
         }},
        {"a long sequence, whose keys are divided, agrees with the reference", Backends::Cpu,
         [](Tensors& t) {
           for (const DType type : {DType::F32, DType::BF16}) {
             check_against_reference(t, {2, 1, 8, true, {0, 1600}}, type);
             check_against_reference(t, {1, 1, 9, false, {0, 20, 1557}}, type);
           }
         }},
        {"CUDA refuses heads of more than 256 elements", Backends::Cuda,
         [](Tensors& t) {
           const Layout l = {1, 1, 257, true, {0, 3}};
           const Inputs in(t, l, DType::F32);
           const Outputs o(t, l, DType::F32);
           expect_error("E_SHAPE", {"attention", "257", "256"}, [&] { run(o, in, l); });
         }},
        {"a sequence has the same bits alone and among others", Backends::CpuAndCuda,
         [](Tensors& t) {
           for (const DType type : {DType::F32, DType::BF16}) {
             check_alone(t, {4, 2, 24, true, {0, 13, 130, 151}}, type);
             check_alone(t, {2, 2, 40, false, {0, 50, 51, 90}}, type);
             check_alone(t, {1, 1, 64, false, {0, 1, 230, 260}}, type);
             check_alone(t, {3, 1, 72, true, {0, 17, 310, 330}}, type);
           }
         }},
        {"results do not depend on the number of threads", Backends::Cpu,
         [](Tensors& t) {
           Layout unequal = {4, 2, 8, true, {0, 13, 130, 151, 300, 1850}}, many = {8, 4, 40, true, {}};
           for (int32_t i = 0; i <= 12; ++i) many.starts.push_back(40 * i);
           for (const Layout& l : {unequal, many})
             for (const DType type : {DType::F32, DType::BF16})
               expect_same_bits_for_any_threads("attention", t.device().isa(), [&](Tensors& other) {
                 const Inputs in(other, l, type);
                 const Outputs o(other, l, type);
                 run(o, in, l);
                 return all_bits(o);
               });
         }},
        {"scores of thousands do not overflow", Backends::CpuAndCuda, [](Tensors& t) { check_large_scores(t); }},
        {"no sequences are no work", Backends::CpuAndCuda,
         [](Tensors& t) {
           const Layout l = {2, 1, 4, true, {0}};
           run(Outputs(t, l, DType::F32), Inputs(t, l, DType::F32), l);
         }},
        {"refuses sizes, types and starts that do not fit", Backends::Cpu, [](Tensors& t) { check_errors(t); }},
    });

}  // namespace

}  // namespace vlm2vec::test
