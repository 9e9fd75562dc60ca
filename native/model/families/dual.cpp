// Dual encoders: CLIP (models: CLIPModel) and SigLIP (SiglipModel).
#include "model/dual_encoder.h"
#include "model/family.h"

namespace vlm2vec {

namespace {

// torch.nn.MultiheadAttention calls its joint projection in_proj_weight and in_proj_bias.
const char *const kIn = "vision_model.head.attention.in_proj.", *const kStoredIn =
                                                                    "vision_model.head.attention.in_proj_";

}  // namespace

const Family kClip{"clip", "", dual_encoder_parameters, {{"hub", {}}}, {"logit_scale"}};
const Family kSiglip{
    "siglip", "", dual_encoder_parameters, {{"hub", {{kIn, kStoredIn}}}}, {"logit_scale", "logit_bias"}};

}  // namespace vlm2vec
