// The export table. src/native.ts holds the typed interface.
#include <dnnl.hpp>

#include "model/family.h"
#include "napi/exports.h"

namespace vlm2vec {

Napi::Value backend_info(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Napi::Object result = Napi::Object::New(env);
  result.Set("version", VLM2VEC_VERSION);
  result.Set("isa", name_of(detect_isa()));
  result.Set("cores", double(std::thread::hardware_concurrency()));
  const dnnl_version_t* version = dnnl_version();
  result.Set("oneDnn", std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
                           std::to_string(version->patch));
  std::string problem;
  const auto devices = cuda_devices(&problem);
  Napi::Object cuda = Napi::Object::New(env);
#if defined(VLM2VEC_CUDA)
  cuda.Set("built", true);
#else
  cuda.Set("built", false);
#endif
  Napi::Array list = Napi::Array::New(env, devices.size());
  for (uint32_t i = 0; i < devices.size(); ++i) {
    Napi::Object device = Napi::Object::New(env);
    device.Set("name", devices[i].name);
    device.Set("memory", double(devices[i].memory));
    device.Set("computeCapability", std::to_string(devices[i].major) + "." + std::to_string(devices[i].minor));
    list.Set(i, device);
  }
  cuda.Set("devices", list);
  if (!problem.empty()) cuda.Set("problem", problem);
  result.Set("cuda", cuda);
  return result;
}

Napi::Value linear_modules(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Napi::Array result = Napi::Array::New(env);
  uint32_t count = 0;
  const ModelConfig config = ModelConfig::from_json(to_json(info[0]));
  const Family& family = find_family(config.family);
  for (const ParameterSpec& spec : parameter_table(config)) {
    if (spec.role != Role::Linear) continue;
    Napi::Object module = Napi::Object::New(env);
    module.Set("name", spec.module());
    module.Set("part", name_of(spec.part));
    module.Set("inFeatures", double(spec.k()));
    module.Set("outFeatures", double(spec.n()));
    Napi::Object spellings = Napi::Object::New(env);
    for (const Naming& naming : family.namings) spellings.Set(naming.name, family.spell(spec.module(), naming));
    module.Set("spellings", spellings);
    result.Set(count++, module);
  }
  return result;
}

static Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  Environment::create(env);
  const auto add = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  add("backendInfo", guard<backend_info>);
  add("linearModules", guard<linear_modules>);
  add("trainingMemory", guard<training_memory_export>);
  add("contrastiveLoss", guard<contrastive_loss>);
  add("topK", guard<top_k_export>);
  add("prepareImage", guard<prepare_image>);
  add("prepareTiles", guard<prepare_tiles>);
  add("patchify", guard<patchify_export>);
  add("loadModel", guard<load_model>);
  add("createTrainer", guard<create_trainer>);
  add("benchPeak", guard<bench_peak>);
  add("benchCase", guard<bench_case>);
  add("writeRandomModel", guard<write_random_model_export>);
  return exports;
}

}  // namespace vlm2vec

static Napi::Object vlm2vec_initialize(Napi::Env env, Napi::Object exports) {
  return vlm2vec::initialize(env, exports);
}
NODE_API_MODULE(vlm2vec_native, vlm2vec_initialize)
