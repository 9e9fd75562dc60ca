// bf16 attention on tensor cores (ops/cuda_mma.h). A block of 4 warps owns 64 rows, a warp 16 of them, so that no
// result is shared between warps; the tile of the other side passes through shared memory. Scores stay in registers: as
// D of one product they are A of the next.
#include "ops/cuda_attention.h"
#include "ops/cuda_mma.h"

namespace vlm2vec::cuda {

namespace {

constexpr int kWarps = 4, kThreads = kWarps * kWarp, kBlockRows = kWarps * 16;
constexpr int kVector = 8;  // elements of 16 bytes
constexpr float kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;

// Rows are 16 bytes longer than the head: the 8 rows of an ldmatrix then lie in different banks.
template <int kSize>
constexpr int kStrideOf = kSize + kVector;

// What a lane holds of a D fragment: element e is row row_of(e), column column_of(e).
__device__ inline int row_of(int e) { return int(threadIdx.x % kWarp / 4) + e / 2 * 8; }
__device__ inline int column_of(int e) { return int(threadIdx.x % 4) * 2 + e % 2; }

// Rows first .. first + kRows - 1 of a sequence, zero beyond its end and beyond the head's size.
template <int kRows, int kSize>
__device__ void load_rows(bf16* tile, const HeadRows<const bf16>& x, const SequenceTile& sequence, int first, int head,
                          int head_size) {
  constexpr int kVectors = kSize / kVector;
  for (int i = threadIdx.x; i < kRows * kVectors; i += kThreads) {
    const int r = i / kVectors, c = i % kVectors * kVector;
    bf16* to = tile + r * kStrideOf<kSize> + c;
    const bool inside = first + r < sequence.length && c < head_size;
    const bf16* from = inside ? x.at(sequence.begin + first + r, head, head_size) + c : nullptr;
    if (inside && x.wide)
      *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
    else
      for (int e = 0; e < kVector; ++e) to[e] = inside && c + e < head_size ? from[e] : bf16{0};
  }
}

// scores (16, kColumns) of a warp = rows `row`.. of a · the rows of b
template <int kSize, int kColumns>
__device__ void dot_rows(float (&scores)[kColumns / 8][4], const bf16* a, int row, const bf16* b) {
  constexpr int kStride = kStrideOf<kSize>;
#pragma unroll
  for (int n = 0; n < kColumns / 8; ++n)
    for (int e = 0; e < 4; ++e) scores[n][e] = 0;
#pragma unroll
  for (int d = 0; d < kSize; d += 16) {
    uint32_t a_d[4], b_d[4];
    load_a<kStride>(a_d, a, row, d);
#pragma unroll
    for (int n = 0; n < kColumns; n += 16) {
      load_b_transposed<kStride>(b_d, b, n, d);
      mma_bf16(scores[n / 8], a_d, b_d);
      mma_bf16(scores[n / 8 + 1], a_d, b_d + 2);
    }
  }
}

// sums (16, kSize) of a warp += weights (16, kColumns) · rows (kColumns, kSize)
template <int kSize, int kColumns>
__device__ void add_weighted_rows(float (&sums)[kSize / 8][4], const float (&weights)[kColumns / 8][4],
                                  const bf16* rows) {
  constexpr int kStride = kStrideOf<kSize>;
#pragma unroll
  for (int n = 0; n < kColumns; n += 16) {
    uint32_t a[4], b[4];
    to_a(a, weights[n / 8], weights[n / 8 + 1]);
#pragma unroll
    for (int d = 0; d < kSize; d += 16) {
      load_b<kStride>(b, rows, n, d);
      mma_bf16(sums[d / 8], a, b);
      mma_bf16(sums[d / 8 + 1], a, b + 2);
    }
  }
}

// factors: of the lane's two rows
template <int kSize>
__device__ void store_rows(const HeadRows<bf16>& to, const float (&sums)[kSize / 8][4], const float (&factors)[2],
                           const SequenceTile& tile, int warp_row, int head, int head_size) {
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    const int row = tile.first + warp_row + row_of(e);
    if (row >= tile.length) continue;
    bf16* to_row = to.at(tile.begin + row, head, head_size);
#pragma unroll
    for (int d = 0; d < kSize / 8; ++d) {
      const int column = d * 8 + column_of(e);
      if (column < head_size) to_row[column] = to_bf16(sums[d][e] * factors[e / 2]);
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Kernels

// Scores are kept in units of log 2, for exp2f.
template <int kSize, int kKeys>
__global__ void __launch_bounds__(kThreads)
    attention_forward_bf16_kernel(AttentionForward<bf16> t, AttentionProblem p) {
  SequenceTile tile;
  if (!find_tile<kBlockRows>(tile, p, blockIdx.x)) return;
  bf16* q = reinterpret_cast<bf16*>(dynamic_shared());
  bf16 *k = q + kBlockRows * kStrideOf<kSize>, *v = k + kKeys * kStrideOf<kSize>;
  const int head = blockIdx.y, kv_head = head / (p.heads / p.kv_heads), warp_row = int(threadIdx.x / kWarp) * 16;
  load_rows<kBlockRows, kSize>(q, t.q, tile, tile.first, head, p.head_size);
  float out[kSize / 8][4] = {}, top[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};  // sum: of this lane's columns
  const int keys = keys_of(p, tile, kBlockRows);
  for (int first = 0; first < keys; first += kKeys) {
    __syncthreads();
    load_rows<kKeys, kSize>(k, t.k, tile, first, kv_head, p.head_size);
    load_rows<kKeys, kSize>(v, t.v, tile, first, kv_head, p.head_size);
    __syncthreads();
    float scores[kKeys / 8][4];
    dot_rows<kSize, kKeys>(scores, q, warp_row, k);
    float base[2] = {top[0], top[1]};
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n)
      for (int e = 0; e < 4; ++e) {
        const bool seen = attends(p, tile.length, tile.first + warp_row + row_of(e), first + n * 8 + column_of(e));
        scores[n][e] = seen ? scores[n][e] * (p.scale * kLog2E) : -INFINITY;
        base[e / 2] = fmaxf(base[e / 2], scores[n][e]);
      }
    for (int r = 0; r < 2; ++r) {
      base[r] = warp_max<4>(base[r]);  // the four lanes that share a row
      const float next = base[r];
      if (base[r] == -INFINITY) base[r] = 0;
      const float fade = exp2f(top[r] - base[r]);
      top[r] = next;
      sum[r] *= fade;
#pragma unroll
      for (int d = 0; d < kSize / 8; ++d) out[d][2 * r] *= fade, out[d][2 * r + 1] *= fade;
    }
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n)
      for (int e = 0; e < 4; ++e) {
        scores[n][e] = exp2f(scores[n][e] - base[e / 2]);
        sum[e / 2] += scores[n][e];
      }
    add_weighted_rows<kSize, kKeys>(out, scores, v);
  }
  float inverse[2];
  for (int r = 0; r < 2; ++r) {
    const int row = tile.first + warp_row + row_of(2 * r);
    const float total = warp_sum<4>(sum[r]);
    inverse[r] = 1 / total;
    if (threadIdx.x % 4 == 0 && row < tile.length)
      t.lse[head * p.tokens + tile.begin + row] = top[r] * kLn2 + logf(total);
  }
  store_rows<kSize>(t.out, out, inverse, tile, warp_row, head, p.head_size);
}

// scores and dweights (dout_i · v_j) become p_ij and ds_ij / scale. forward: out_i = sum_j p_ij v_j, p_ij = e^(s_ij -
// lse_i)
__device__ inline void to_weights(float& score, float& dweight, bool seen, float scale, float lse, float delta) {
  score = seen ? exp2f(score * (scale * kLog2E) - lse * kLog2E) : 0;
  dweight = score * (dweight - delta);
}

// A block owns a tile of keys of one key-value head, and goes over the query heads that read it and their queries.
template <int kSize, int kQueries>
__global__ void __launch_bounds__(kThreads)
    attention_backward_kv_bf16_kernel(AttentionBackward<bf16> t, AttentionProblem p) {
  constexpr int kStride = kStrideOf<kSize>;
  SequenceTile tile;
  if (!find_tile<kBlockRows>(tile, p, blockIdx.x)) return;
  bf16* k = reinterpret_cast<bf16*>(dynamic_shared());
  bf16 *v = k + kBlockRows * kStride, *q = v + kBlockRows * kStride, *dout = q + kQueries * kStride;
  float *lse = reinterpret_cast<float*>(dout + kQueries * kStride), *delta = lse + kQueries;
  const int kv_head = blockIdx.y, group = p.heads / p.kv_heads, warp_row = int(threadIdx.x / kWarp) * 16;
  load_rows<kBlockRows, kSize>(k, t.k, tile, tile.first, kv_head, p.head_size);
  load_rows<kBlockRows, kSize>(v, t.v, tile, tile.first, kv_head, p.head_size);
  float dk[kSize / 8][4] = {}, dv[kSize / 8][4] = {};
  for (int head = kv_head * group; head < (kv_head + 1) * group; ++head)
    for (int first = p.causal ? tile.first : 0; first < tile.length; first += kQueries) {
      __syncthreads();
      load_rows<kQueries, kSize>(q, t.q, tile, first, head, p.head_size);
      load_rows<kQueries, kSize>(dout, t.dout, tile, first, head, p.head_size);
      for (int r = threadIdx.x; r < kQueries; r += kThreads) {
        const int64_t at = head * p.tokens + tile.begin + first + r;
        lse[r] = first + r < tile.length ? t.lse[at] : 0;
        delta[r] = first + r < tile.length ? t.delta[at] : 0;
      }
      __syncthreads();
      float weights[kQueries / 8][4], dscores[kQueries / 8][4];  // (keys, queries)
      dot_rows<kSize, kQueries>(weights, k, warp_row, q);
      dot_rows<kSize, kQueries>(dscores, v, warp_row, dout);
#pragma unroll
      for (int n = 0; n < kQueries / 8; ++n)
        for (int e = 0; e < 4; ++e) {
          const int query = n * 8 + column_of(e), key = tile.first + warp_row + row_of(e);
          to_weights(weights[n][e], dscores[n][e], attends(p, tile.length, first + query, key), p.scale, lse[query],
                     delta[query]);
        }
      add_weighted_rows<kSize, kQueries>(dv, weights, dout);
      add_weighted_rows<kSize, kQueries>(dk, dscores, q);
    }
  const float one[2] = {1, 1}, scale[2] = {p.scale, p.scale};
  store_rows<kSize>(t.dv, dv, one, tile, warp_row, kv_head, p.head_size);
  store_rows<kSize>(t.dk, dk, scale, tile, warp_row, kv_head, p.head_size);
}

// A block owns a tile of queries of one head, and goes over the keys.
template <int kSize, int kKeys>
__global__ void __launch_bounds__(kThreads)
    attention_backward_q_bf16_kernel(AttentionBackward<bf16> t, AttentionProblem p) {
  constexpr int kStride = kStrideOf<kSize>;
  SequenceTile tile;
  if (!find_tile<kBlockRows>(tile, p, blockIdx.x)) return;
  bf16* q = reinterpret_cast<bf16*>(dynamic_shared());
  bf16 *dout = q + kBlockRows * kStride, *k = dout + kBlockRows * kStride, *v = k + kKeys * kStride;
  const int head = blockIdx.y, kv_head = head / (p.heads / p.kv_heads), warp_row = int(threadIdx.x / kWarp) * 16;
  load_rows<kBlockRows, kSize>(q, t.q, tile, tile.first, head, p.head_size);
  load_rows<kBlockRows, kSize>(dout, t.dout, tile, tile.first, head, p.head_size);
  float lse[2], delta[2];
  for (int r = 0; r < 2; ++r) {
    const int row = tile.first + warp_row + row_of(2 * r);
    const int64_t at = head * p.tokens + tile.begin + row;
    lse[r] = row < tile.length ? t.lse[at] : 0;
    delta[r] = row < tile.length ? t.delta[at] : 0;
  }
  float dq[kSize / 8][4] = {};
  const int keys = keys_of(p, tile, kBlockRows);
  for (int first = 0; first < keys; first += kKeys) {
    __syncthreads();
    load_rows<kKeys, kSize>(k, t.k, tile, first, kv_head, p.head_size);
    load_rows<kKeys, kSize>(v, t.v, tile, first, kv_head, p.head_size);
    __syncthreads();
    float weights[kKeys / 8][4], dscores[kKeys / 8][4];
    dot_rows<kSize, kKeys>(weights, q, warp_row, k);
    dot_rows<kSize, kKeys>(dscores, dout, warp_row, v);
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n)
      for (int e = 0; e < 4; ++e) {
        const int query = tile.first + warp_row + row_of(e), key = first + n * 8 + column_of(e);
        to_weights(weights[n][e], dscores[n][e], attends(p, tile.length, query, key), p.scale, lse[e / 2],
                   delta[e / 2]);
      }
    add_weighted_rows<kSize, kKeys>(dq, dscores, k);
  }
  const float scale[2] = {p.scale, p.scale};
  store_rows<kSize>(t.dq, dq, scale, tile, warp_row, head, p.head_size);
}

// ---------------------------------------------------------------------------------------------------------------------
// Launchers. The size of the passing tiles keeps a block within 99 KiB of shared memory and the accumulators in
// registers.

template <int kSize>
void launch_forward(CudaDevice& device, const AttentionForward<bf16>& t, const AttentionProblem& p) {
  constexpr int kKeys = kSize <= 128 ? 64 : 32;
  device.launch(attention_forward_bf16_kernel<kSize, kKeys>, attention_grid(p, kBlockRows, p.heads), kThreads,
                (kBlockRows + 2 * kKeys) * kStrideOf<kSize> * sizeof(bf16), t, p);
}

template <int kSize>
void launch_backward(CudaDevice& device, const AttentionBackward<bf16>& t, const AttentionProblem& p) {
  constexpr int kPassing = kSize <= 128 ? 32 : 16;
  constexpr size_t kShared = 2 * (kBlockRows + kPassing) * kStrideOf<kSize> * sizeof(bf16);
  device.launch(attention_backward_kv_bf16_kernel<kSize, kPassing>, attention_grid(p, kBlockRows, p.kv_heads), kThreads,
                kShared + 2 * kPassing * sizeof(float), t, p);
  device.launch(attention_backward_q_bf16_kernel<kSize, kPassing>, attention_grid(p, kBlockRows, p.heads), kThreads,
                kShared, t, p);
}

}  // namespace

void attention_forward_bf16(CudaDevice& device, const AttentionForward<bf16>& t, const AttentionProblem& p) {
  if (p.head_size <= 64)
    launch_forward<64>(device, t, p);
  else if (p.head_size <= 80)
    launch_forward<80>(device, t, p);
  else if (p.head_size <= 128)
    launch_forward<128>(device, t, p);
  else
    launch_forward<256>(device, t, p);
}

void attention_backward_bf16(CudaDevice& device, const AttentionBackward<bf16>& t, const AttentionProblem& p) {
  if (p.head_size <= 64)
    launch_backward<64>(device, t, p);
  else if (p.head_size <= 80)
    launch_backward<80>(device, t, p);
  else if (p.head_size <= 128)
    launch_backward<128>(device, t, p);
  else
    launch_backward<256>(device, t, p);
}

}  // namespace vlm2vec::cuda
