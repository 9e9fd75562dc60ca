// Features to the rows of the placeholders that they stand at, and their gradients back. A batch's features are those
// of its own pictures, then those of known ones, which another batch of the same step has brought; each may stand at
// any number of places (Batch::feature_rows).
#pragma once
#include <vector>

#include "model/batch.h"
#include "model/context.h"

namespace vlm2vec {

// What the tower makes (model/vision.h): levels M + S rows of C.
struct FeatureShape {
  int64_t levels = 1, separators = 0, merged = 1, width = 0;  // merged: patches a feature
  int64_t rows(int64_t features) const { return levels * features + separators; }
  int64_t features(Tensor x) const { return x ? (x.rows() - separators) / levels : 0; }
};

// A picture that several batches of a step use. The batch that brings it is the first to embed and the last to go
// backward.
struct SharedPicture {
  Tensor features;  // (levels n + S, C)
  Tensor gradient;  // the same, what the others have added up; absent where the tower is frozen
};

// The pictures of one batch that others of its step use too.
struct Sharing {
  std::vector<SharedPicture*> brought;  // one a picture of the batch, null: no other uses it; or empty
  std::vector<SharedPicture*> known;    // in the order in which their features follow the batch's own
};

// Copies what others will need of own (levels M + S, C).
void keep_features(const FeatureShape& shape, const Batch& batch, Tensor own, const Sharing& sharing);
// (levels N, C), level by level, in the scratch memory: `own` itself where features simply follow each other. own is
// absent in a batch without pictures of its own.
Tensor place_features(const Context& context, const FeatureShape& shape, const Batch& batch, Tensor own,
                      const Sharing& sharing);
// The mirror image: of dplaced (levels N, C), which may be overwritten, adds to the gradients of known pictures, and
// returns that of the batch's own (levels M + S, C), with what others have added up.
Tensor place_backward(const Context& context, const FeatureShape& shape, const Batch& batch, Tensor dplaced,
                      const Sharing& sharing);

}  // namespace vlm2vec
