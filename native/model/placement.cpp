#include "model/placement.h"

#include "ops/cast.h"
#include "ops/gather.h"

namespace vlm2vec {

namespace {

// f(rows of the picture, rows of the batch) for the pictures of the batch that others use: `picture` says which of
// their tensors, of x (levels M + S, C).
template <typename F>
void each_brought(const FeatureShape& shape, const Batch& batch, const Sharing& sharing, Tensor SharedPicture::*picture,
                  Tensor x, const F& f) {
  const int64_t m = shape.features(x);
  int64_t first = 0;
  for (int64_t i = 0; i < int64_t(sharing.brought.size()); ++i) {
    const int64_t count = batch.pictures[size_t(i)].patches() / shape.merged;
    if (const SharedPicture* shared = sharing.brought[size_t(i)]) {
      const Tensor own = shared->*picture;
      for (int64_t level = 0; level < shape.levels; ++level)
        f(own.slice(level * count, count), x.slice(level * m + first, count));
      f(own.slice(shape.levels * count, shape.separators), x.slice(shape.levels * m, shape.separators));
    }
    first += count;
  }
}

Tensor rows_of(const Context& context, const Batch& batch) {
  return Tensor(context.device, const_cast<int32_t*>(batch.feature_rows), DType::I32, {batch.feature_row_count});
}

void add(Tensor to, Tensor from) {
  if (from.rows() > 0) add_scaled(to, from, 1);
}

}  // namespace

void keep_features(const FeatureShape& shape, const Batch& batch, Tensor own, const Sharing& sharing) {
  each_brought(shape, batch, sharing, &SharedPicture::features, own, copy);
}

Tensor place_features(const Context& context, const FeatureShape& shape, const Batch& batch, Tensor own,
                      const Sharing& sharing) {
  if (!batch.feature_rows) return own;
  Arena& arena = context.scratch;
  const int64_t n = batch.feature_row_count, m = shape.features(own), there = m + batch.known_features;
  if (there == 0) return {};
  Tensor placed = arena.allocate(DType::F32, {shape.levels * n, shape.width});
  ArenaScope scope(arena);
  Tensor table = own;
  if (!sharing.known.empty()) {
    table = arena.allocate(DType::F32, {shape.levels * there, shape.width});
    for (int64_t level = 0; level < shape.levels; ++level) {
      int64_t at = level * there;
      if (m > 0) copy(table.slice(at, m), own.slice(level * m, m));
      at += m;
      for (const SharedPicture* picture : sharing.known) {
        const int64_t count = shape.features(picture->features);
        copy(table.slice(at, count), picture->features.slice(level * count, count));
        at += count;
      }
    }
  }
  const Tensor& brings = own ? own : sharing.known[0]->features;
  const Tensor separators = brings.slice(shape.levels * shape.features(brings), shape.separators);
  for (int64_t level = 0; level < shape.levels; ++level)
    gather_rows_forward(placed.slice(level * n, n), table.slice(level * there, there), separators,
                        rows_of(context, batch));
  return placed;
}

static Tensor gathered(const Context& context, const FeatureShape& shape, const Batch& batch, Tensor dplaced,
                       const Sharing& sharing) {
  if (!batch.feature_rows) return dplaced;
  Arena& arena = context.scratch;
  const int64_t n = batch.feature_row_count, m = batch.patch_count() / shape.merged, there = m + batch.known_features;
  Tensor down = arena.allocate_zero(DType::F32, {shape.rows(m), shape.width});
  ArenaScope scope(arena);
  Tensor separators = arena.allocate_zero(DType::F32, {shape.separators, shape.width});
  Tensor table = arena.allocate_zero(DType::F32, {shape.levels * there, shape.width});
  for (int64_t level = 0; level < shape.levels; ++level) {
    Tensor here = table.slice(level * there, there);
    gather_rows_backward(here, separators, dplaced.slice(level * n, n), rows_of(context, batch));
    add(down.slice(level * m, m), here.slice(0, m));
    int64_t at = m;
    for (SharedPicture* picture : sharing.known) {
      const int64_t count = shape.features(picture->gradient);
      add(picture->gradient.slice(level * count, count), here.slice(at, count));
      at += count;
    }
  }
  if (m > 0) {
    add(down.slice(shape.levels * m, shape.separators), separators);
  } else {  // whoever brings the first of the known pictures computes the separators too
    Tensor gradient = sharing.known[0]->gradient;
    add(gradient.slice(shape.levels * shape.features(gradient), shape.separators), separators);
  }
  return down;
}

Tensor place_backward(const Context& context, const FeatureShape& shape, const Batch& batch, Tensor dplaced,
                      const Sharing& sharing) {
  Tensor down = gathered(context, shape, batch, dplaced, sharing);
  each_brought(shape, batch, sharing, &SharedPicture::gradient, down, [](Tensor from, Tensor to) { add(to, from); });
  return down;
}

}  // namespace vlm2vec
