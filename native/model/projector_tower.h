// A CLIP tower whose patches a two-layer projector brings to the width of a decoder, learned vectors standing between
// them (models: LlavaNextModel; Phi-3.5-V's Phi3ImageEmbedding).
//   x = hidden states of block `feature_blocks`, class tokens left out, merge x merge neighbours joined: (P / merged,
//       merged E)
//   LLaVA: features = [projector(x); separators]
//   Phi:   features = projector([x; separators])
#pragma once
#include "model/vision.h"

namespace vlm2vec {

struct ProjectorTowerSpec {
  std::string tower;          // prefix of the CLIP parameters
  std::string first, second;  // linear layers of the projector
  Activation activation;
  std::vector<std::string> separators;  // parameters, for rows -1, -2, ...
  bool separators_projected;            // they enter before the projector
};

std::unique_ptr<VisionTower> make_projector_tower(Weights& weights, const ProjectorTowerSpec& spec);
PassBytes projector_tower_bytes(const VisionConfig& config, DType compute, int64_t patches);

// Parameters of tower, projector and separators.
void projector_tower_parameters(ParameterTable& table, const VisionConfig& config, const ProjectorTowerSpec& spec);

// The families' specs.
ProjectorTowerSpec llava_tower(const VisionConfig& config);
ProjectorTowerSpec phi3_tower(const VisionConfig& config);

}  // namespace vlm2vec
