// Kernels of the contrastive loss on CUDA. The loss looks at the scores from two sides: a query over all targets, and,
// when it is symmetric, a target over all queries. What both need is one struct.
#pragma once
#include "core/cuda_kernel.h"

namespace vlm2vec::cuda {

// One side of the loss: its rows (queries or targets), their positives on the other side, and what pass 1 finds out.
struct LossSide {
  int64_t count;
  double weight;          // of a row's loss in the whole
  const int32_t* starts;  // (count + 1): entries of row i are starts[i] .. starts[i + 1] - 1
  const int32_t* others;  // index of the positive on the other side, by entry
  const int32_t* pairs;   // index of the pair of query and positive, by entry
  // over the negatives of each row: the largest score, sum of e^(score - top), and sum of e^(score - top) score
  float* top;
  double* sum;
  double* moment;
  // the row's share in d loss / d s of a negative is e^(s + log_weight)
  float* log_weight;
  double* loss;         // the row's loss
  double* score_slope;  // sum over j of (the row's share in d loss / d s_ij) s_ij
};

// A tile of scores in f32, `columns` wide and dense: queries first_row.., targets first_column...
struct ScoreTile {
  float* scores;
  int64_t first_row, rows, first_column, columns;
};

constexpr int kLossThreads = 256, kLossWarps = kLossThreads / kWarp;
constexpr int kLossRows = kLossThreads / kWarp;  // rows of a block of column statistics

// Joins what is known of row i with a part of it, in the order of the tiles. A NaN among the scores makes the sums NaN.
__device__ inline void join(const LossSide& side, int64_t i, float top, double sum, double moment) {
  if (sum == 0) return;
  const float before = side.top[i], next = fmaxf(before, top);
  const double keep = before == -INFINITY ? 0 : exp(double(before) - double(next)),
               add = exp(double(top) - double(next));
  side.sum[i] = side.sum[i] * keep + sum * add;
  side.moment[i] = side.moment[i] * keep + moment * add;
  side.top[i] = next;
}

static __global__ void start_side_kernel(LossSide side) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= side.count) return;
  side.top[i] = -INFINITY;
  side.sum[i] = side.moment[i] = 0;
}

// ---------------------------------------------------------------------------------------------------------------------
// Scores that are no negatives' become -inf: e^s is then 0 everywhere.

static __global__ void mask_positives_kernel(ScoreTile tile, LossSide queries) {
  const int64_t r = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (r >= tile.rows) return;
  for (int32_t e = queries.starts[tile.first_row + r]; e < queries.starts[tile.first_row + r + 1]; ++e) {
    const int64_t c = queries.others[e] - tile.first_column;
    if (c >= 0 && c < tile.columns) tile.scores[r * tile.columns + c] = -INFINITY;
  }
}

// Ids of query i: ids[starts[i]] .. ids[starts[i + 1] - 1]. Ids below 0 match nothing.
static __global__ void mask_ids_kernel(ScoreTile tile, const int32_t* starts, const int32_t* ids,
                                       const int32_t* target_ids) {
  const int64_t c = int64_t(blockIdx.x) * blockDim.x + threadIdx.x, r = blockIdx.y;
  if (c >= tile.columns) return;
  const int32_t id = target_ids[tile.first_column + c];
  if (id < 0) return;
  for (int32_t e = starts[tile.first_row + r]; e < starts[tile.first_row + r + 1]; ++e)
    if (ids[e] == id) tile.scores[r * tile.columns + c] = -INFINITY;
}

// ---------------------------------------------------------------------------------------------------------------------
// Pass 1

// Sums of one thread. base: the largest score, or 0 where there is none.
struct Negatives {
  float base;
  double sum, moment;
  __device__ void add(float score) {
    const float e = expf(score - base);
    if (e == 0) return;  // -inf times 0 is no number
    sum += e;
    moment += double(e) * score;
  }
};

// A block a row of the tile.
static __global__ void row_statistics_kernel(ScoreTile tile, LossSide queries) {
  double* shared = reinterpret_cast<double*>(dynamic_shared());  // (kLossWarps)
  const float* scores_r = tile.scores + int64_t(blockIdx.x) * tile.columns;
  float top = -INFINITY;
  for (int64_t c = threadIdx.x; c < tile.columns; c += kLossThreads) top = fmaxf(top, scores_r[c]);
  top = block_max<kLossWarps>(top, reinterpret_cast<float*>(shared));
  Negatives part = {top == -INFINITY ? 0 : top, 0, 0};
  for (int64_t c = threadIdx.x; c < tile.columns; c += kLossThreads) part.add(scores_r[c]);
  const double sum = block_sum<kLossWarps>(part.sum, shared), moment = block_sum<kLossWarps>(part.moment, shared);
  if (threadIdx.x == 0) join(queries, tile.first_row + blockIdx.x, top, sum, moment);
}

// A block 32 columns of the tile, a warp every eighth row.
static __global__ void column_statistics_kernel(ScoreTile tile, LossSide targets) {
  double* sums = reinterpret_cast<double*>(dynamic_shared());  // (kLossRows, 32)
  double* moments = sums + kLossThreads;                       // (kLossRows, 32)
  float* tops = reinterpret_cast<float*>(moments + kLossThreads);
  const int lane = threadIdx.x % kWarp, first = threadIdx.x / kWarp;
  const int64_t c = int64_t(blockIdx.x) * kWarp + lane;
  const bool inside = c < tile.columns;
  float top = -INFINITY;
  for (int64_t r = first; inside && r < tile.rows; r += kLossRows) top = fmaxf(top, tile.scores[r * tile.columns + c]);
  tops[threadIdx.x] = top;
  __syncthreads();
  for (int i = 0; i < kLossRows; ++i) top = fmaxf(top, tops[i * kWarp + lane]);
  Negatives part = {top == -INFINITY ? 0 : top, 0, 0};
  for (int64_t r = first; inside && r < tile.rows; r += kLossRows) part.add(tile.scores[r * tile.columns + c]);
  sums[threadIdx.x] = part.sum;
  moments[threadIdx.x] = part.moment;
  __syncthreads();
  if (first > 0 || !inside) return;
  for (int i = 1; i < kLossRows; ++i) {
    part.sum += sums[i * kWarp + lane];
    part.moment += moments[i * kWarp + lane];
  }
  join(targets, tile.first_column + c, top, part.sum, part.moment);
}

// score of each pair of a query and its positive: a warp a pair
static __global__ void pair_scores_kernel(float* scores, LossSide queries, const float* q, const float* t, int64_t D,
                                          double inverse_temperature) {
  const int64_t i = int64_t(blockIdx.x) * kLossWarps + threadIdx.x / kWarp;
  if (i >= queries.count) return;
  for (int32_t e = queries.starts[i]; e < queries.starts[i + 1]; ++e) {
    double sum = 0;
    for (int64_t d = threadIdx.x % kWarp; d < D; d += kWarp) sum += double(q[i * D + d]) * t[queries.others[e] * D + d];
    sum = warp_sum(sum);
    if (threadIdx.x % kWarp == 0) scores[queries.pairs[e]] = float(sum * inverse_temperature);
  }
}

// log(1 + e^x)
__device__ inline double softplus(double x) { return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)); }

// Losses of a side, the weights of its negatives, and its share in d loss / d s of the pairs: written, or (add) added.
static __global__ void side_loss_kernel(LossSide side, const float* scores, float* slopes, bool add) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= side.count) return;
  const int32_t first = side.starts[i], last = side.starts[i + 1];
  const double log_rest = side.sum[i] == 0 ? -INFINITY : side.top[i] + log(side.sum[i]);  // log R_i
  const double share = side.weight / double(last - first);
  double loss = 0, score_slope = 0, log_inverse = -INFINITY;  // log of the sum over p of 1 / (R_i + e^(s_ip))
  for (int32_t e = first; e < last; ++e) {
    // log(R + e^s) - s, and its derivative -R / (R + e^s)
    const double score = scores[side.pairs[e]], pair_loss = softplus(log_rest - score),
                 slope = share * expm1(-pair_loss);
    loss += pair_loss;
    log_inverse = softplus(log_inverse + score + pair_loss) - score - pair_loss;
    score_slope += slope * score;
    slopes[side.pairs[e]] = float(slope + (add ? double(slopes[side.pairs[e]]) : 0.0));
  }
  const double log_weight = first == last ? -INFINITY : log_inverse + log(share);
  side.log_weight[i] = float(log_weight);
  side.loss[i] = first == last ? 0 : loss / double(last - first);
  side.score_slope[i] =
      score_slope + (side.sum[i] != 0 && first < last ? side.moment[i] * exp(log_weight + side.top[i]) : 0);
}

// ---------------------------------------------------------------------------------------------------------------------
// Pass 2

// Scores become d loss / d s of the negatives. by_target: the targets' weights, or null.
static __global__ void score_slopes_kernel(ScoreTile tile, const float* by_query, const float* by_target) {
  const int64_t c = int64_t(blockIdx.x) * blockDim.x + threadIdx.x, r = blockIdx.y;
  if (c >= tile.columns) return;
  float* place = tile.scores + r * tile.columns + c;
  const float score = *place;
  float slope = expf(score + by_query[tile.first_row + r]);
  if (by_target) slope += expf(score + by_target[tile.first_column + c]);
  *place = slope;
}

// dx_i += factor * sum over the entries of row i of slope * row of the other side: a block a row
static __global__ void add_positives_kernel(float* dx, LossSide side, const float* slopes, const float* other,
                                            int64_t D, float factor) {
  const int64_t i = blockIdx.x;
  for (int64_t d = threadIdx.x; d < D; d += kLossThreads) {
    float sum = 0;
    for (int32_t e = side.starts[i]; e < side.starts[i + 1]; ++e)
      sum += slopes[side.pairs[e]] * other[side.others[e] * D + d];
    dx[i * D + d] += factor * sum;
  }
}

}  // namespace vlm2vec::cuda
