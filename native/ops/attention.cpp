#include "ops/attention.h"

#include <algorithm>
#include <vector>

#include "ops/attention_kernels.h"
#include "ops/op_check.h"
#include "ops/small_work.h"
#include "ops/workspace.h"

namespace vlm2vec {

namespace cuda {
void attention_forward(Tensor out, Tensor lse, Tensor q, Tensor k, Tensor v, Tensor starts, AttentionSizes sizes);
void attention_backward(Tensor dq, Tensor dk, Tensor dv, Tensor dout, Tensor q, Tensor k, Tensor v, Tensor out,
                        Tensor lse, Tensor starts, AttentionSizes sizes);
}  // namespace cuda

namespace {

// Keys and values are packed for this many bytes' worth of pairs at a time.
constexpr size_t kPackedBytes = size_t(64) << 20;
// Sequences of more than kUndivided tokens are divided into parts of about kPartKeys keys, at most kMostParts; their
// shares of dq are kept for this many bytes' worth of pairs at a time.
constexpr int64_t kUndivided = 1536, kPartKeys = 1024, kMostParts = 4;
constexpr size_t kSharesBytes = size_t(128) << 20;

const AttentionForwardKernels& forward_kernels(const Device& device, [[maybe_unused]] DType type) {
#if defined(VLM2VEC_X86)
  if (device.isa() == Isa::Amx && type == DType::BF16) return avx512::attention_amx_forward_kernels;
#endif
  return VLM2VEC_KERNELS(device.isa(), attention_forward_kernels);
}

const AttentionBackwardKernels& backward_kernels(const Device& device, [[maybe_unused]] DType type) {
#if defined(VLM2VEC_X86)
  if (device.isa() == Isa::Amx && type == DType::BF16) return avx512::attention_amx_backward_kernels;
#endif
  return VLM2VEC_KERNELS(device.isa(), attention_backward_kernels);
}

// x (T, heads, HS), of q's type, rows possibly strided.
void check_heads(const char* op, const char* name, Tensor x, Tensor q, int64_t heads) {
  OpCheck(op, "q", q).fits(name, x, {q.rows(), heads, q.shape[2]}, Types::Float, Rows::Strided);
  require(x.dtype == q.dtype, "E_SHAPE", op, ": ", name, " ", x, " is of another type than q ", q);
}

void check_inputs(const char* op, Tensor q, Tensor k, Tensor v, Tensor lse, Tensor starts, AttentionSizes sizes) {
  const OpCheck check(op, "q", q);
  check.main(3, Types::Float, Rows::Strided);
  const int64_t T = q.rows(), NH = q.shape[1], HS = q.shape[2], NKV = k.rank == 3 ? k.shape[1] : 0;
  require(NKV > 0 && NH % NKV == 0 && NH > 0 && HS > 0, "E_SHAPE", op, ": the heads of q ", q,
          " are not a multiple of those of k ", k);
  check_heads(op, "k", k, q, NKV);
  check_heads(op, "v", v, q, NKV);
  check.fits("lse", lse, {NH, T}, Types::F32);
  require(starts.rank == 1 && starts.dtype == DType::I32 && starts.rows() >= 1 && starts.dense(), "E_SHAPE", op,
          ": starts ", starts, " is not a list of i32");
  require(sizes.scale > 0, "E_OPTION", op, ": scale ", sizes.scale, " is not above 0");
  if (q.device->is_cuda()) return;
  const int32_t* s = starts.as<int32_t>();
  const int64_t last = starts.rows() - 1;
  require(s[0] == 0 && s[last] == T, "E_BATCH", op, ": starts go from ", s[0], " to ", s[last], ", not from 0 to ", T);
  for (int64_t i = 0; i < last; ++i)
    require(s[i] <= s[i + 1], "E_BATCH", op, ": starts fall from ", s[i], " to ", s[i + 1], " at sequence ", i);
}

AttentionRows rows_of(Tensor x) { return {x.data, x.row_stride}; }

AttentionProblem problem_of(Tensor q, Tensor k, Tensor v, Tensor out, Tensor lse, AttentionSizes sizes) {
  AttentionProblem problem = {};
  problem.q = rows_of(q), problem.k = rows_of(k), problem.v = rows_of(v), problem.out = rows_of(out);
  problem.lse = lse.as<float>();
  problem.T = q.rows(), problem.group = q.shape[1] / k.shape[1], problem.HS = q.shape[2];
  problem.scale = sizes.scale, problem.causal = sizes.causal;
  problem.type = q.dtype;
  return problem;
}

// Multiply-adds of the forward pass; a causal mask halves them.
int64_t work_of(const AttentionProblem& problem, const std::vector<AttentionPair>& pairs) {
  int64_t squares = 0;
  for (const AttentionPair& pair : pairs) squares += pair.length * pair.length;
  return 2 * squares * problem.group * problem.HS;
}

// The longest first: the last to finish is then a short one.
std::vector<AttentionPair> pairs_of(Tensor starts, int64_t NKV) {
  std::vector<AttentionPair> pairs;
  const int32_t* s = starts.as<int32_t>();
  for (int64_t i = 0; i + 1 < starts.rows(); ++i)
    for (int64_t head = 0; head < NKV && s[i + 1] > s[i]; ++head)
      pairs.push_back({s[i], s[i + 1] - s[i], head, nullptr});
  std::stable_sort(pairs.begin(), pairs.end(),
                   [](const AttentionPair& a, const AttentionPair& b) { return a.length > b.length; });
  return pairs;
}

// One wave: pairs [0, count), whose keys and values are packed at once.
void forward_wave(AttentionProblem problem, AttentionPair* pairs, int64_t count, Device& device) {
  const AttentionForwardKernels& kernel = forward_kernels(device, problem.type);
  int64_t floats = problem.threads * kernel.scratch_floats(problem.HS);
  for (int64_t i = 0; i < count; ++i) floats += kernel.packed_floats(pairs[i].length, problem.HS);
  problem.scratch = static_cast<float*>(device.state<Workspace>().reserve(size_t(floats) * sizeof(float)));
  float* packed = problem.scratch + problem.threads * kernel.scratch_floats(problem.HS);
  std::vector<AttentionBlock> blocks;
  for (int64_t i = 0; i < count; ++i) {
    pairs[i].packed = packed;
    packed += kernel.packed_floats(pairs[i].length, problem.HS);
    const int64_t rows = pairs[i].length * problem.group;
    for (int64_t b = (rows - 1) / kAttentionQueryRows; b >= 0; --b) blocks.push_back({int32_t(i), int32_t(b)});
  }
  problem.pairs = pairs, problem.pair_count = count;
  problem.blocks = blocks.data(), problem.block_count = int64_t(blocks.size());
  kernel.pack(problem);
  kernel.forward(problem);
}

// Each pair as one thread's work, where the kernel can, all threads would be done at about the same time and memory
// allows it. Whether it was done. `pairs`: the longest first.
bool forward_by_pairs(AttentionProblem problem, const std::vector<AttentionPair>& pairs, Device& device) {
  const AttentionForwardKernels& kernel = forward_kernels(device, problem.type);
  if (!kernel.forward_pairs || pairs.empty()) return false;
  const int64_t longest = pairs[0].length;
  const int64_t thread = kernel.scratch_floats(problem.HS) + kernel.packed_floats(longest, problem.HS);
  const size_t bytes = size_t(problem.threads * thread) * sizeof(float);
  int64_t squares = 0;
  for (const AttentionPair& pair : pairs) squares += pair.length * pair.length;
  if (problem.threads > 1 && (bytes > kPackedBytes || 8 * problem.threads * longest * longest > squares)) return false;
  problem.scratch = static_cast<float*>(device.state<Workspace>().reserve(bytes));
  problem.pairs = pairs.data(), problem.pair_count = int64_t(pairs.size());
  kernel.forward_pairs(problem, thread);
  return true;
}

// Parts of a pair for the backward pass, and the floats of dq that each of several has.
int64_t parts_of(int64_t length) {
  return length <= kUndivided ? 1 : std::min(kMostParts, (length + kPartKeys - 1) / kPartKeys);
}
int64_t share_floats(const AttentionProblem& problem, const AttentionPair& pair) {
  return parts_of(pair.length) == 1 ? 0 : pair.length * problem.group * problem.HS;
}

// One wave: pairs [first, last), whose shares of dq are there at once.
void backward_wave(AttentionProblem problem, int64_t first, int64_t last, int64_t shares, Device& device) {
  const AttentionBackwardKernels& kernel = backward_kernels(device, problem.type);
  std::vector<AttentionPart> parts;
  int64_t longest = 0;
  for (int64_t i = first; i < last; ++i) {
    const int64_t length = problem.pairs[i].length, count = parts_of(length);
    for (int64_t p = 0; p < count; ++p) {
      const int64_t begin = length * p / count, end = length * (p + 1) / count;
      parts.push_back({i, begin, end - begin, nullptr});
      longest = std::max(longest, end - begin);
    }
  }
  const int64_t scratch = problem.threads * kernel.scratch_floats(longest, problem.HS);
  problem.scratch = static_cast<float*>(device.state<Workspace>().reserve(size_t(scratch + shares) * sizeof(float)));
  float* next = problem.scratch + scratch;
  for (AttentionPart& part : parts)
    if (const int64_t floats = share_floats(problem, problem.pairs[part.pair]); floats > 0)
      part.dq = next, next += floats;
  problem.parts = parts.data(), problem.part_count = int64_t(parts.size());
  kernel.backward(problem);
}

}  // namespace

void attention_forward(Tensor out, Tensor lse, Tensor q, Tensor k, Tensor v, Tensor starts, AttentionSizes sizes) {
  check_inputs("attention_forward", q, k, v, lse, starts, sizes);
  check_heads("attention_forward", "out", out, q, q.shape[1]);
  VLM2VEC_DISPATCH_CUDA(*q.device, attention_forward(out, lse, q, k, v, starts, sizes));
  std::vector<AttentionPair> pairs = pairs_of(starts, k.shape[1]);
  AttentionProblem problem = problem_of(q, k, v, out, lse, sizes);
  problem.threads = threads_for(*q.device, work_of(problem, pairs));
  if (forward_by_pairs(problem, pairs, *q.device)) return;
  const AttentionForwardKernels& kernel = forward_kernels(*q.device, q.dtype);
  for (size_t first = 0, last; first < pairs.size(); first = last) {
    size_t bytes = 0;
    for (last = first; last < pairs.size() && (last == first || bytes < kPackedBytes); ++last)
      bytes += size_t(kernel.packed_floats(pairs[last].length, problem.HS)) * sizeof(float);
    forward_wave(problem, pairs.data() + first, int64_t(last - first), *q.device);
  }
}

void attention_backward(Tensor dq, Tensor dk, Tensor dv, Tensor dout, Tensor q, Tensor k, Tensor v, Tensor out,
                        Tensor lse, Tensor starts, AttentionSizes sizes) {
  check_inputs("attention_backward", q, k, v, lse, starts, sizes);
  const int64_t NH = q.shape[1], NKV = k.shape[1];
  check_heads("attention_backward", "dq", dq, q, NH);
  check_heads("attention_backward", "dk", dk, q, NKV);
  check_heads("attention_backward", "dv", dv, q, NKV);
  check_heads("attention_backward", "dout", dout, q, NH);
  check_heads("attention_backward", "out", out, q, NH);
  VLM2VEC_DISPATCH_CUDA(*q.device, attention_backward(dq, dk, dv, dout, q, k, v, out, lse, starts, sizes));
  const std::vector<AttentionPair> pairs = pairs_of(starts, NKV);
  if (pairs.empty()) return;
  AttentionProblem problem = problem_of(q, k, v, out, lse, sizes);
  problem.dq = rows_of(dq), problem.dk = rows_of(dk), problem.dv = rows_of(dv), problem.dout = rows_of(dout);
  problem.pairs = pairs.data(), problem.pair_count = int64_t(pairs.size());
  problem.threads = threads_for(*q.device, 3 * work_of(problem, pairs));
  for (size_t first = 0, last; first < pairs.size(); first = last) {
    int64_t shares = 0;  // floats of dq
    for (last = first; last < pairs.size() && (last == first || shares * sizeof(float) < kSharesBytes); ++last)
      shares += share_floats(problem, pairs[last]) * parts_of(pairs[last].length);
    backward_wave(problem, int64_t(first), int64_t(last), shares, *q.device);
  }
}

}  // namespace vlm2vec
