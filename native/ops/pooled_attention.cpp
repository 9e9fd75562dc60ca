#include "ops/pooled_attention.h"

#include <algorithm>

#include "ops/op_check.h"
#include "ops/pooled_attention_kernels.h"
#include "ops/workspace.h"

namespace vlm2vec {

namespace {

PooledRows rows_of(Tensor x) { return {x.data, x.row_stride}; }

PooledAttention checked(const OpCheck& check, Tensor out, Tensor lse, Tensor q, Tensor k, Tensor v, Tensor starts,
                        float scale, const char* op) {
  check.main(3, Types::Float, Rows::Strided);
  require(!k.absent() && k.rank == 3, "E_SHAPE", op, ": k ", k, " is not a tensor of rank 3");
  const int64_t B = q.shape[0], NH = q.shape[1], HS = q.shape[2], T = k.shape[0], NKV = k.shape[1];
  require(NKV > 0 && NH % NKV == 0, "E_SHAPE", op, ": the heads of q ", q, " are no multiple of those of k ", k);
  const auto fits = [&](const char* name, Tensor x, int64_t rows, int64_t heads) {
    check.fits(name, x, {rows, heads, HS}, Types::Float, Rows::Strided);
    require(x.dtype == q.dtype, "E_SHAPE", op, ": ", name, " ", x, " is of another type than q ", q);
  };
  fits("k", k, T, NKV);
  fits("v", v, T, NKV);
  fits("out", out, B, NH);
  check.fits("lse", lse, {NH, B}, Types::F32);
  check.fits("starts", starts, {B + 1}, Types::I32);
  check.on_cpu();
  const int32_t* at = starts.as<int32_t>();
  require(at[0] == 0 && at[B] == T, "E_BATCH", op, ": starts go from ", at[0], " to ", at[B], ", expected 0 to ", T);
  int64_t longest = 0;
  for (int64_t b = 0; b < B; ++b) {
    require(at[b] < at[b + 1], "E_BATCH", op, ": sequence ", b, " is empty");
    longest = std::max<int64_t>(longest, at[b + 1] - at[b]);
  }
  PooledAttention problem = {};
  problem.q = rows_of(q);
  problem.k = rows_of(k);
  problem.v = rows_of(v);
  problem.out = rows_of(out);
  problem.lse = lse.as<float>();
  problem.starts = at;
  problem.B = B;
  problem.NKV = NKV;
  problem.group = NH / NKV;
  problem.HS = HS;
  problem.scale = scale;
  problem.type = q.dtype;
  problem.longest = longest;
  Device& device = *q.device;
  // K and V pass through once: threads are worth it from about a cache of them on
  problem.threads = T * NH * HS < (int64_t(1) << 16) ? 1 : device.threads();
  problem.scratch =
      static_cast<float*>(device.state<Workspace>().reserve(size_t(B * NH * longest) * sizeof(float) + sizeof(float)));
  return problem;
}

}  // namespace

void pooled_attention_forward(Tensor out, Tensor lse, Tensor q, Tensor k, Tensor v, Tensor starts, float scale) {
  const char* op = "pooled_attention_forward";
  const PooledAttention problem = checked(OpCheck(op, "q", q), out, lse, q, k, v, starts, scale, op);
  VLM2VEC_KERNELS(q.device->isa(), pooled_attention_kernels).forward(problem);
}

void pooled_attention_backward(Tensor dq, Tensor dk, Tensor dv, Tensor dout, Tensor q, Tensor k, Tensor v, Tensor out,
                               Tensor lse, Tensor starts, float scale) {
  const char* op = "pooled_attention_backward";
  const OpCheck check(op, "q", q);
  PooledAttention problem = checked(check, out, lse, q, k, v, starts, scale, op);
  const auto like = [&](const char* name, Tensor x, Tensor other) {
    check.fits(name, x, {other.shape[0], other.shape[1], other.shape[2]}, Types::Float, Rows::Strided);
    require(x.dtype == q.dtype, "E_SHAPE", op, ": ", name, " ", x, " is of another type than q ", q);
  };
  like("dq", dq, q);
  like("dout", dout, q);
  like("dk", dk, k);
  like("dv", dv, v);
  problem.dq = rows_of(dq);
  problem.dk = rows_of(dk);
  problem.dv = rows_of(dv);
  problem.dout = rows_of(dout);
  VLM2VEC_KERNELS(q.device->isa(), pooled_attention_kernels).backward(problem);
}

}  // namespace vlm2vec
