// The functions of the export table (addon.cpp), one file a subject.
#pragma once
#include "napi/arguments.h"

namespace vlm2vec {

Napi::Value backend_info(const Napi::CallbackInfo& info);
Napi::Value linear_modules(const Napi::CallbackInfo& info);
Napi::Value training_memory_export(const Napi::CallbackInfo& info);
Napi::Value contrastive_loss(const Napi::CallbackInfo& info);
Napi::Value top_k_export(const Napi::CallbackInfo& info);
Napi::Value prepare_image(const Napi::CallbackInfo& info);
Napi::Value prepare_tiles(const Napi::CallbackInfo& info);
Napi::Value patchify_export(const Napi::CallbackInfo& info);
Napi::Value load_model(const Napi::CallbackInfo& info);
Napi::Value create_trainer(const Napi::CallbackInfo& info);
Napi::Value bench_peak(const Napi::CallbackInfo& info);
Napi::Value bench_case(const Napi::CallbackInfo& info);
Napi::Value write_random_model_export(const Napi::CallbackInfo& info);

// Adds a method to a handle's object: function(handle, info), guarded.
template <auto function, typename Handle>
void method(Napi::Object object, const char* name, const Handle& handle) {
  object.Set(name, Napi::Function::New(
                       object.Env(),
                       [handle](const Napi::CallbackInfo& info) -> Napi::Value {
                         try {
                           return function(handle, info);
                         } catch (const Napi::Error&) {
                           throw;
                         } catch (...) {
                           throw to_js_error(info.Env(), std::current_exception());
                         }
                       },
                       name));
}

}  // namespace vlm2vec
