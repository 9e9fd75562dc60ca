#include "ops/pooled_attention.h"

#include <cmath>

#include "attention_tensors.h"
#include "harness.h"
#include "ops/attention_reference.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

using Numbers = std::vector<double>;

struct Layout {
  int64_t NH, NKV, HS;
  std::vector<int32_t> starts;
  int64_t gap = 1;  // between rows
  int64_t B() const { return int64_t(starts.size()) - 1; }
  int64_t T() const { return starts.back(); }
  int64_t Q() const { return B(); }
  float scale() const { return float(1 / std::sqrt(double(HS))); }
};

std::vector<Layout> layouts() {
  return {{1, 1, 1, {0, 1}},           {2, 1, 5, {0, 3, 4, 20}},
          {4, 2, 80, {0, 31, 64, 65}}, {12, 4, 64, {0, 96, 128, 129, 400}, 0},
          {66, 1, 33, {0, 17, 30}},    {3, 3, 16, {0, 300, 317}}};
}

using Inputs = AttentionInputs;
using Outputs = AttentionOutputs;

void run(const Outputs& o, const Inputs& in, const Layout& l) {
  pooled_attention_forward(o.out, o.lse, in.q, in.k, in.v, in.starts, l.scale());
  pooled_attention_backward(o.dq, o.dk, o.dv, in.dout, in.q, in.k, in.v, o.out, o.lse, in.starts, l.scale());
}

// What attention over all tokens gives where only the last one of each sequence asks and has a gradient.
struct Expected {
  Numbers out, lse, dq, dk, dv;
  Expected(const Inputs& in, const Layout& l) : lse(size_t(l.NH * l.B())) {
    const int64_t width = l.NH * l.HS, T = l.T();
    const AttentionShape shape{l.starts.data(), l.B(), l.NH, l.NKV, l.HS, {l.scale(), true}};
    const auto spread = [&](const Numbers& rows) {
      Numbers all(size_t(T * width));
      for (int64_t b = 0; b < l.B(); ++b)
        std::copy_n(rows.begin() + b * width, width, all.begin() + (l.starts[size_t(b) + 1] - 1) * width);
      return all;
    };
    const auto last = [&](const Numbers& all) {
      Numbers rows;
      for (int64_t b = 0; b < l.B(); ++b) {
        const auto at = all.begin() + (l.starts[size_t(b) + 1] - 1) * width;
        rows.insert(rows.end(), at, at + width);
      }
      return rows;
    };
    const Numbers q = spread(read(in.q)), k = read(in.k), v = read(in.v), dout = spread(read(in.dout));
    Numbers all(size_t(T * width)), all_lse(size_t(l.NH * T)), all_dq(size_t(T * width));
    dk.resize(k.size());
    dv.resize(v.size());
    attention_forward_reference(all.data(), all_lse.data(), q.data(), k.data(), v.data(), shape);
    attention_backward_reference(all_dq.data(), dk.data(), dv.data(), dout.data(), q.data(), k.data(), v.data(),
                                 all.data(), all_lse.data(), shape);
    out = last(all);
    dq = last(all_dq);
    for (int64_t h = 0; h < l.NH; ++h)
      for (int64_t b = 0; b < l.B(); ++b)
        lse[size_t(h * l.B() + b)] = all_lse[size_t(h * T + l.starts[size_t(b) + 1] - 1)];
  }
};

const Cases cases(
    "pooled_attention",
    {
        {"is what attention gives for the last token of each sequence", Backends::Cpu,
         [](Tensors& t) {
           for (const Layout& l : layouts())
             for (DType type : {DType::F32, DType::BF16}) {
               const Inputs in(t, l, type);
               const Outputs o(t, l, type);
               run(o, in, l);
               const Expected e(in, l);
               const auto bound = [&](const Numbers& expected) {
                 return type == DType::F32 ? 1e-11 : 2 * bound_for(type, expected);
               };
               expect_near("out", o.out, e.out, bound(e.out));
               expect_near("lse", o.lse, e.lse, 1e-11);
               expect_near("dq", o.dq, e.dq, bound(e.dq));
               expect_near("dk", o.dk, e.dk, bound(e.dk));
               expect_near("dv", o.dv, e.dv, bound(e.dv));
             }
         }},
        {"a sequence alone has the bits that it has among others", Backends::Cpu,
         [](Tensors& t) {
           const Layout l{4, 2, 24, {0, 37, 40, 90}, 0};
           const Inputs in(t, l, DType::F32);
           const Outputs o(t, l, DType::F32);
           run(o, in, l);
           for (int64_t b = 0; b < l.B(); ++b) {
             const int64_t first = l.starts[size_t(b)], count = l.starts[size_t(b) + 1] - first;
             const Layout one{4, 2, 24, {0, int32_t(count)}, 0};
             const Outputs alone(t, one, DType::F32);
             const Tensor starts = t.indices(one.starts), q = in.q.slice(b, 1), k = in.k.slice(first, count),
                          v = in.v.slice(first, count), dout = in.dout.slice(b, 1);
             pooled_attention_forward(alone.out, alone.lse, q, k, v, starts, l.scale());
             pooled_attention_backward(alone.dq, alone.dk, alone.dv, dout, q, k, v, alone.out, alone.lse, starts,
                                       l.scale());
             expect_near("out", alone.out, read(o.out.slice(b, 1)), 0);
             expect_near("dq", alone.dq, read(o.dq.slice(b, 1)), 0);
             expect_near("dk", alone.dk, read(o.dk.slice(first, count)), 0);
             expect_near("dv", alone.dv, read(o.dv.slice(first, count)), 0);
           }
         }},
        {"no sequences are no error; empty ones and wrong shapes are refused by name", Backends::Cpu,
         [](Tensors& t) {
           const Layout none{2, 1, 8, {0}, 0};
           const Inputs nothing(t, none, DType::F32);
           run(Outputs(t, none, DType::F32), nothing, none);
           const Layout l{2, 1, 8, {0, 4, 9}, 0};
           const Inputs in(t, l, DType::F32);
           const Outputs o(t, l, DType::F32);
           const auto forward = [&](Tensor q, Tensor v, Tensor starts) {
             pooled_attention_forward(o.out, o.lse, q, in.k, v, starts, 1);
           };
           expect_error("E_BATCH", {"sequence 1 is empty"}, [&] { forward(in.q, in.v, t.indices({0, 9, 9})); });
           expect_error("E_BATCH", {"0 to 8", "0 to 9"}, [&] { forward(in.q, in.v, t.indices({0, 4, 8})); });
           expect_error("E_SHAPE", {"pooled_attention_forward", "v (9, 2, 8)"}, [&] {
             forward(in.q, t.random(DType::F32, {9, 2, 8}), in.starts);
           });
           expect_error("E_SHAPE", {"another type"}, [&] {
             forward(in.q, t.random(DType::BF16, {9, 1, 8}), in.starts);
           });
         }},
    });

}  // namespace
