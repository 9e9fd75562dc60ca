#include "model/family.h"

#include "core/error.h"

namespace vlm2vec {

namespace {

bool starts_with(const std::string& text, const std::string& prefix) { return text.rfind(prefix, 0) == 0; }

}  // namespace

std::string Family::canonical_name(const std::string& name) const {
  const Naming::Prefix* best = nullptr;
  for (const Naming& naming : namings)
    for (const auto& prefix : naming.prefixes)
      if (starts_with(name, prefix.spelled) && (!best || prefix.spelled.size() > best->spelled.size())) best = &prefix;
  return best ? best->canonical + name.substr(best->spelled.size()) : name;
}

std::string Family::spell(const std::string& name, const Naming& naming) const {
  const Naming::Prefix* best = nullptr;
  for (const auto& prefix : naming.prefixes)
    if (starts_with(name, prefix.canonical) && (!best || prefix.canonical.size() > best->canonical.size()))
      best = &prefix;
  return best ? best->spelled + name.substr(best->canonical.size()) : name;
}

const Family& find_family(const std::string& name) {
  static const Family* const families[] = {&kQwen2Vl, &kQwen2_5Vl, &kQwen3Vl, &kLlavaNext, &kPhi3V, &kClip,
                                           &kSiglip,  &kQwen2,     &kQwen3,   &kMistral,   &kPhi3};
  for (const Family* family : families)
    if (family->name == name) return *family;
  fail("E_MODEL", "config: no engine for the model family ", name);
}

}  // namespace vlm2vec
