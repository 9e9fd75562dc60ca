// What attention reads and writes, of all tokens or of the last ones; gaps between rows differ from tensor to tensor.
#pragma once
#include "harness.h"

namespace vlm2vec::test {

// A layout says the heads NH, NKV and their size HS, the sequences' `starts`, the tokens T() and the rows Q() of
// queries, and whether there is a `gap` between rows.
struct AttentionInputs {
  Tensor q, k, v, starts, dout;
  template <typename Layout>
  AttentionInputs(Tensors& t, const Layout& l, DType type)
      : q(t.random(type, {l.Q(), l.NH, l.HS}, 1.5, l.NH * l.HS + 7 * l.gap)),
        k(t.random(type, {l.T(), l.NKV, l.HS}, 1.5, l.NKV * l.HS + 3 * l.gap)),
        v(t.random(type, {l.T(), l.NKV, l.HS}, 1, l.NKV * l.HS + l.gap)),
        starts(t.indices(l.starts)),
        dout(t.random(type, {l.Q(), l.NH, l.HS}, 1, l.NH * l.HS + 2 * l.gap)) {}
};

struct AttentionOutputs {
  Tensor out, lse, dq, dk, dv;
  template <typename Layout>
  AttentionOutputs(Tensors& t, const Layout& l, DType type)
      : out(t.output(type, {l.Q(), l.NH, l.HS}, l.NH * l.HS + 5 * l.gap)),
        lse(t.output(DType::F32, {l.NH, l.Q()})),
        dq(t.output(type, {l.Q(), l.NH, l.HS}, l.NH * l.HS + l.gap)),
        dk(t.output(type, {l.T(), l.NKV, l.HS}, l.NKV * l.HS + 2 * l.gap)),
        dv(t.output(type, {l.T(), l.NKV, l.HS}, l.NKV * l.HS + 4 * l.gap)) {}
};

}  // namespace vlm2vec::test
