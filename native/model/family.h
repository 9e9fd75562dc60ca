// What makes a model family: its parameter table and the names that its checkpoints use. One file a family in
// model/families/; everything else follows from the numbers of ModelConfig.
#pragma once
#include "model/parameters.h"

namespace vlm2vec {

// A way to spell parameters: prefixes in place of canonical ones. A tensor that no prefix covers keeps its name.
struct Naming {
  std::string name;  // 'transformers-5', 'transformers-4', 'bare': what adapters were trained with
  struct Prefix {
    std::string canonical, spelled;
  };
  std::vector<Prefix> prefixes;
};

struct Family {
  std::string name;
  std::string text_prefix;  // of the decoder's parameters
  void (*parameters)(ParameterTable& table, const ModelConfig& config);
  std::vector<Naming> namings;  // the first is the canonical one
  // Tensors that no computation uses but a written model carries on, by canonical name.
  std::vector<std::string> carried = {};
  // Checkpoint names of tensors that repeat those of another name; where both are there, these are left out.
  std::vector<std::string> repeated = {};

  // The table's name for a tensor of a checkpoint, whichever naming it has: the longest prefix that fits decides.
  std::string canonical_name(const std::string& checkpoint_name) const;
  // The name that a parameter or module has in a naming.
  std::string spell(const std::string& canonical_name, const Naming& naming) const;
};

// E_MODEL for a family that has no engine.
const Family& find_family(const std::string& name);

// The families, in model/families/.
extern const Family kQwen2Vl, kQwen2_5Vl, kQwen3Vl, kLlavaNext, kPhi3V, kClip, kSiglip, kQwen2, kQwen3, kMistral, kPhi3;

// model.visual.* and model.language_model.* (transformers 4.52 and later), visual.* and model.* (hub), visual.* and
// language_model.* (the bare model).
std::vector<Naming> qwen_namings();

}  // namespace vlm2vec
