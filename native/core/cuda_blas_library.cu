// Loads libcublasLt.so with dlopen; the machine may have it from a CUDA toolkit or from the Python package nvidia-cublas.
#include <dlfcn.h>

#include "core/cuda_blas.h"

#define VLM2VEC_TEXT_OF(x) #x
#define VLM2VEC_TEXT(x) VLM2VEC_TEXT_OF(x)

namespace vlm2vec {

namespace {

const char kLibrary[] = "libcublasLt.so." VLM2VEC_TEXT(CUBLAS_VER_MAJOR);

void* open_library() {
  // the plain name is looked up in the RPATH of the addon, LD_LIBRARY_PATH and the system's folders
  const std::string places[] = {kLibrary, std::string("/usr/local/cuda/lib64/") + kLibrary};
  std::string tried;
  for (const std::string& place : places) {
    if (void* library = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
    const char* problem = dlerror();
    tried += std::string(tried.empty() ? "" : "; ") + (problem ? problem : place.c_str());
  }
  fail("E_CUDA", "the CUDA backend needs ", kLibrary, ", which was not found (", tried, "). Install the CUDA toolkit ",
       CUBLAS_VER_MAJOR, ", or `pip install nvidia-cublas` and put the folder of the library into LD_LIBRARY_PATH; or use "
       "--device cpu");
}

template <typename Function>
void find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  require(function != nullptr, "E_CUDA", kLibrary, " lacks ", name, "; it is damaged or of another version");
}

CudaBlasFunctions load() {
  void* library = open_library();
  CudaBlasFunctions f;
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
const CudaBlasFunctions& cuda_blas_functions() {
  static const CudaBlasFunctions functions = load();
  return functions;
}

}  // namespace vlm2vec
