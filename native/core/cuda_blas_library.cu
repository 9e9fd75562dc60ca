// Loads libcublasLt.so with dlopen; the machine may have it from a CUDA toolkit or from the Python package
// nvidia-cublas.
#include <dlfcn.h>

#include "core/cuda_blas.h"

namespace vlm2vec {

namespace {

// cuBLASLt has the major version of the toolkit that it comes with.
constexpr int kMajor = CUDART_VERSION / 1000;
const std::string& library_name() {
  static const std::string name = "libcublasLt.so." + std::to_string(kMajor);
  return name;
}

void* open_library() {
  // the plain name is looked up in the RPATH of the addon, LD_LIBRARY_PATH and the system's folders
  const std::string places[] = {library_name(), "/usr/local/cuda/lib64/" + library_name()};
  std::string tried;
  for (const std::string& place : places) {
    if (void* library = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
    const char* problem = dlerror();
    tried += std::string(tried.empty() ? "" : "; ") + (problem ? problem : place.c_str());
  }
  fail("E_CUDA", "the CUDA backend needs ", library_name(), ", which was not found (", tried,
       "). Install the CUDA toolkit ", kMajor,
       ", or `pip install nvidia-cublas` and put the folder of the library into LD_LIBRARY_PATH; or use "
       "--device cpu");
}

template <typename Function>
void find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  require(function != nullptr, "E_CUDA", library_name(), " lacks ", name, "; it is damaged or of another version");
}

blas::Functions load() {
  void* library = open_library();
  blas::Functions f;
  find(library, "cublasLtCreate", f.Create);
  find(library, "cublasLtDestroy", f.Destroy);
  find(library, "cublasLtGetStatusName", f.GetStatusName);
  find(library, "cublasLtMatmulDescCreate", f.MatmulDescCreate);
  find(library, "cublasLtMatmulDescDestroy", f.MatmulDescDestroy);
  find(library, "cublasLtMatmulDescSetAttribute", f.MatmulDescSetAttribute);
  find(library, "cublasLtMatrixLayoutCreate", f.MatrixLayoutCreate);
  find(library, "cublasLtMatrixLayoutDestroy", f.MatrixLayoutDestroy);
  find(library, "cublasLtMatmulPreferenceCreate", f.MatmulPreferenceCreate);
  find(library, "cublasLtMatmulPreferenceDestroy", f.MatmulPreferenceDestroy);
  find(library, "cublasLtMatmulPreferenceSetAttribute", f.MatmulPreferenceSetAttribute);
  find(library, "cublasLtMatmulAlgoGetHeuristic", f.MatmulAlgoGetHeuristic);
  find(library, "cublasLtMatmul", f.Matmul);
  return f;
}

}  // namespace

// Once a process, also where several devices use it; a failure is tried again.
const blas::Functions& cuda_blas_functions() {
  static const blas::Functions functions = load();
  return functions;
}

}  // namespace vlm2vec
