// The contrastive loss on CUDA. Pass 1 goes over tiles of scores (products by cuBLASLt) for the sums over the
// negatives; pass 2 makes the tiles again, turns them into d loss / d s, and multiplies them into both gradients.
// Positives and masked targets are -inf in the tiles; positives are then added exactly. Kernels: ops/cuda_info_nce.h.
#include <algorithm>
#include <vector>

#include "core/cuda_device.h"
#include "ops/cuda_gemm.h"
#include "ops/cuda_info_nce.h"
#include "ops/info_nce.h"

namespace vlm2vec::cuda {

namespace {

constexpr int64_t kTileRows = 1024, kTileColumns = 2048;  // 8 MiB of scores

dim3 blocks_of(int64_t count, int64_t per_block) { return dim3(unsigned(divide_up(count, per_block))); }

class Loss {
 public:
  Loss(Tensor queries, Tensor targets, const InfoNceOptions& options, Arena& scratch)
      : device_(cuda_device(queries)), scratch_(scratch), options_(options), queries_(queries), targets_(targets) {
    const int64_t B = queries.rows(), N = targets.rows(), pairs = options.positive_starts[B];
    make_query_side(B, pairs);
    make_target_side(B, N, pairs);
    pair_scores_ = scratch.allocate(DType::F32, {pairs}).as<float>();
    pair_slopes_ = scratch.allocate(DType::F32, {pairs}).as<float>();
    tile_ = scratch.allocate(DType::F32, {std::min(B, kTileRows), std::min(N, kTileColumns)});
    if (!options.target_ids) return;
    query_id_starts_ = upload(options.query_id_starts, B + 1);
    query_ids_ = upload(options.query_ids, options.query_id_starts[B]);
    target_ids_ = upload(options.target_ids, N);
  }

  InfoNceResult run(Tensor dqueries, Tensor dtargets) {
    pass([&](const ScoreTile& tile) { statistics(tile); });
    const int64_t D = queries_.shape[1];
    device_.launch(pair_scores_kernel, blocks_of(by_query_.count, kLossWarps), kLossThreads, 0, pair_scores_, by_query_,
                   queries_.as<float>(), targets_.as<float>(), D, 1.0 / double(options_.temperature));
    InfoNceResult result = {0, 0};
    finish_side(by_query_, false, result);
    if (options_.symmetric) finish_side(by_target_, true, result);
    if (!dqueries) return {result.loss, 0};
    zero(dqueries);
    zero(dtargets);
    pass([&](const ScoreTile& tile) { gradients(tile, dqueries, dtargets); });
    const float factor = 1 / options_.temperature;
    device_.launch(add_positives_kernel, dim3(unsigned(by_query_.count)), kLossThreads, 0, dqueries.as<float>(),
                   by_query_, pair_slopes_, targets_.as<float>(), D, factor);
    device_.launch(add_positives_kernel, dim3(unsigned(by_target_.count)), kLossThreads, 0, dtargets.as<float>(),
                   by_target_, pair_slopes_, queries_.as<float>(), D, factor);
    return result;
  }

 private:
  const int32_t* upload(const int32_t* from, int64_t count) {
    void* to = scratch_.allocate(DType::I32, {count}).data;
    device_.to_device(to, from, size_t(count) * sizeof(int32_t));
    return static_cast<const int32_t*>(to);
  }
  const int32_t* upload(const std::vector<int32_t>& from) { return upload(from.data(), int64_t(from.size())); }
  template <typename T>
  T* room(int64_t count) {
    return static_cast<T*>(scratch_.allocate_bytes(size_t(count) * sizeof(T)));
  }

  void allocate_results(LossSide& side, int64_t count) {
    side.count = count;
    side.top = room<float>(count);
    side.sum = room<double>(count);
    side.moment = room<double>(count);
    side.log_weight = room<float>(count);
    side.loss = room<double>(count);
    side.score_slope = room<double>(count);
    device_.launch(start_side_kernel, blocks_of(count, kLossThreads), kLossThreads, 0, side);
  }

  void make_query_side(int64_t B, int64_t pairs) {
    std::vector<int32_t> identity(static_cast<size_t>(pairs));
    for (size_t e = 0; e < identity.size(); ++e) identity[e] = int32_t(e);
    by_query_.starts = upload(options_.positive_starts, B + 1);
    by_query_.others = upload(options_.positives, pairs);
    by_query_.pairs = upload(identity);
    by_query_.weight = (options_.symmetric ? 0.5 : 1.0) / double(B);
    allocate_results(by_query_, B);
  }

  // The queries that name each target, in their order. Needed for dtargets also where the loss is not symmetric.
  void make_target_side(int64_t B, int64_t N, int64_t pairs) {
    std::vector<int32_t> starts(size_t(N + 1), 0), others(static_cast<size_t>(pairs)), pair(static_cast<size_t>(pairs));
    for (int64_t e = 0; e < pairs; ++e) ++starts[size_t(options_.positives[e]) + 1];
    int64_t named = 0;
    for (int64_t j = 0; j < N; ++j) {
      named += starts[size_t(j) + 1] > 0;
      starts[size_t(j) + 1] += starts[size_t(j)];
    }
    std::vector<int32_t> next(starts.begin(), starts.end() - 1);
    for (int64_t i = 0; i < B; ++i)
      for (int32_t e = options_.positive_starts[i]; e < options_.positive_starts[i + 1]; ++e) {
        const size_t place = size_t(next[size_t(options_.positives[e])]++);
        others[place] = int32_t(i);
        pair[place] = e;
      }
    by_target_.starts = upload(starts);
    by_target_.others = upload(others);
    by_target_.pairs = upload(pair);
    by_target_.weight = 0.5 / double(named);
    by_target_.count = N;
    if (options_.symmetric) allocate_results(by_target_, N);
  }

  // Calls f with every tile of scores, those of no negative being -inf.
  template <typename F>
  void pass(const F& f) {
    const int64_t B = queries_.rows(), N = targets_.rows();
    for (int64_t r = 0; r < B; r += kTileRows)
      for (int64_t c = 0; c < N; c += kTileColumns) {
        const ScoreTile tile = {tile_.as<float>(), r, std::min(kTileRows, B - r), c, std::min(kTileColumns, N - c)};
        gemm({matrix(tile), queries_.slice(r, tile.rows), targets_.slice(c, tile.columns), false, true,
              1 / options_.temperature});
        device_.launch(mask_positives_kernel, blocks_of(tile.rows, kLossThreads), kLossThreads, 0, tile, by_query_);
        if (target_ids_)
          device_.launch(mask_ids_kernel, elements(tile), kLossThreads, 0, tile, query_id_starts_, query_ids_,
                         target_ids_);
        f(tile);
      }
  }

  Tensor matrix(const ScoreTile& tile) { return Tensor(device_, tile.scores, DType::F32, {tile.rows, tile.columns}); }
  static dim3 elements(const ScoreTile& tile) {
    return dim3(unsigned(divide_up(tile.columns, kLossThreads)), unsigned(tile.rows));
  }

  void statistics(const ScoreTile& tile) {
    device_.launch(row_statistics_kernel, dim3(unsigned(tile.rows)), kLossThreads, kLossWarps * sizeof(double), tile,
                   by_query_);
    if (options_.symmetric)
      device_.launch(column_statistics_kernel, blocks_of(tile.columns, kWarp), kLossThreads,
                     kLossThreads * (2 * sizeof(double) + sizeof(float)), tile, by_target_);
  }

  void gradients(const ScoreTile& tile, Tensor dqueries, Tensor dtargets) {
    device_.launch(score_slopes_kernel, elements(tile), kLossThreads, 0, tile, by_query_.log_weight,
                   options_.symmetric ? by_target_.log_weight : nullptr);
    const float factor = 1 / options_.temperature;
    const Tensor slopes = matrix(tile);
    gemm({dqueries.slice(tile.first_row, tile.rows), slopes, targets_.slice(tile.first_column, tile.columns), false,
          false, factor, 1});
    gemm({dtargets.slice(tile.first_column, tile.columns), slopes, queries_.slice(tile.first_row, tile.rows), true,
          false, factor, 1});
  }

  // Adds a side's part to the result, row by row in f64.
  void finish_side(const LossSide& side, bool add, InfoNceResult& result) {
    device_.launch(side_loss_kernel, blocks_of(side.count, kLossThreads), kLossThreads, 0, side, pair_scores_,
                   pair_slopes_, add);
    std::vector<double> loss(size_t(side.count)), score_slope(loss.size());
    device_.to_host(loss.data(), side.loss, loss.size() * sizeof(double));
    device_.to_host(score_slope.data(), side.score_slope, loss.size() * sizeof(double));
    for (size_t i = 0; i < loss.size(); ++i) {
      result.loss += side.weight * loss[i];
      result.dtemperature -= score_slope[i] / double(options_.temperature);
    }
  }

  CudaDevice& device_;
  Arena& scratch_;
  const InfoNceOptions& options_;
  Tensor queries_, targets_, tile_;
  LossSide by_query_ = {}, by_target_ = {};
  float *pair_scores_ = nullptr, *pair_slopes_ = nullptr;
  const int32_t *query_id_starts_ = nullptr, *query_ids_ = nullptr, *target_ids_ = nullptr;
};

}  // namespace

InfoNceResult info_nce(Tensor dqueries, Tensor dtargets, Tensor queries, Tensor targets, const InfoNceOptions& options,
                       Arena& scratch) {
  const ArenaScope scope(scratch);
  return Loss(queries, targets, options, scratch).run(dqueries, dtargets);
}

}  // namespace vlm2vec::cuda
