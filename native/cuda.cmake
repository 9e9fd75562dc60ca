# The CUDA backend: every core/*.cu and ops/*.cu, with a static cudart. cuBLASLt is loaded at run time (core/cuda_blas.h), so
# that building takes nvcc alone and the addon also starts on machines without a GPU.
#
#   VLM2VEC_CUDA              AUTO (built where nvcc and cuBLASLt are found), ON (an error without nvcc), OFF
#   VLM2VEC_CUBLASLT_DIR      a folder whose lib/ holds cuBLASLt, where neither the toolkit nor the Python package
#                             nvidia-cublas has it
#   CMAKE_CUDA_ARCHITECTURES  80 and 90, and PTX of 90 for later devices, unless given
#
# Run path: the build tree finds cuBLASLt where it was found now; an installed addon looks beside itself ($ORIGIN), then where
# the system looks.
set(VLM2VEC_CUBLASLT_DIR "" CACHE PATH "Folder whose lib/ holds libcublasLt")

if(NOT VLM2VEC_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "VLM2VEC_CUDA is '${VLM2VEC_CUDA}'; it must be AUTO, ON or OFF")
endif()
if(VLM2VEC_CUDA STREQUAL "OFF")
  return()
endif()

macro(vlm2vec_without_cuda reason)
  if(VLM2VEC_CUDA STREQUAL "ON")
    message(FATAL_ERROR "CUDA backend: ${reason}")
  endif()
  message(STATUS "CUDA backend: not built; ${reason}")
  return()
endmacro()

# --- the compiler -----------------------------------------------------------------------------------------------------
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  find_program(VLM2VEC_NVCC nvcc HINTS ENV CUDA_PATH ENV CUDA_HOME PATHS /usr/local/cuda PATH_SUFFIXES bin)
  if(VLM2VEC_NVCC)
    set(ENV{CUDACXX} "${VLM2VEC_NVCC}")
  endif()
endif()
include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  vlm2vec_without_cuda("no working nvcc (looked at CUDACXX, CUDA_PATH, PATH and /usr/local/cuda)")
endif()
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES "80-real;90")
endif()
if(NOT DEFINED CMAKE_CUDA_HOST_COMPILER)
  set(CMAKE_CUDA_HOST_COMPILER "${CMAKE_CXX_COMPILER}")
endif()
enable_language(CUDA)
find_package(CUDAToolkit QUIET REQUIRED)

# --- cuBLASLt ---------------------------------------------------------------------------------------------------------
# The toolkit has it in targets/; the Python package in nvidia/cu13 from CUDA 13 on, in nvidia/cublas before.
set(cublaslt_roots ${VLM2VEC_CUBLASLT_DIR})
find_program(VLM2VEC_PYTHON NAMES python3 python)
if(VLM2VEC_PYTHON)
  execute_process(COMMAND "${VLM2VEC_PYTHON}" -c "import nvidia; print(*nvidia.__path__, sep=';', end='')"
                  OUTPUT_VARIABLE nvidia_packages ERROR_QUIET)
  foreach(package IN LISTS nvidia_packages)
    list(APPEND cublaslt_roots "${package}/cu${CUDAToolkit_VERSION_MAJOR}" "${package}/cublas")
  endforeach()
endif()
find_file(VLM2VEC_CUBLASLT "libcublasLt.so.${CUDAToolkit_VERSION_MAJOR}" HINTS ${cublaslt_roots}
          PATHS ${CUDAToolkit_LIBRARY_DIR} ${CUDAToolkit_LIBRARY_ROOT} /usr/local/cuda
          /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE} /usr/lib64 PATH_SUFFIXES lib lib64)
if(VLM2VEC_CUBLASLT)
  get_filename_component(cublaslt_folder "${VLM2VEC_CUBLASLT}" DIRECTORY)
  list(APPEND CMAKE_BUILD_RPATH "${cublaslt_folder}")
  set(cublaslt_found "${VLM2VEC_CUBLASLT}")
elseif(VLM2VEC_CUDA STREQUAL "AUTO")
  vlm2vec_without_cuda("there is nvcc ${CUDAToolkit_VERSION} but no cuBLASLt ${CUDAToolkit_VERSION_MAJOR} to run with; install the library of the toolkit or `pip install nvidia-cublas`, set VLM2VEC_CUBLASLT_DIR, or build with VLM2VEC_CUDA=ON")
else()
  set(cublaslt_found "not found here, looked for at run time")
endif()

# --- the backend ------------------------------------------------------------------------------------------------------
file(GLOB cuda_sources CONFIGURE_DEPENDS native/core/*.cu native/ops/*.cu)
target_sources(vlm2vec_core PRIVATE ${cuda_sources})
set_target_properties(vlm2vec_core PROPERTIES
  CUDA_ARCHITECTURES "${CMAKE_CUDA_ARCHITECTURES}" CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON)
target_compile_definitions(vlm2vec_options INTERFACE VLM2VEC_CUDA)
target_compile_options(vlm2vec_core PRIVATE
  $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings -Xcompiler=-Wall,-Wextra,-Werror>)
target_link_libraries(vlm2vec_core PUBLIC CUDA::cudart_static ${CMAKE_DL_LIBS})

# What we declare of cuBLASLt, against NVIDIA's header where there is one.
find_path(VLM2VEC_CUBLASLT_INCLUDE cublasLt.h HINTS ${cublaslt_roots} PATHS ${CUDAToolkit_INCLUDE_DIRS} PATH_SUFFIXES include)
if(VLM2VEC_TESTS AND VLM2VEC_CUBLASLT_INCLUDE)
  add_library(vlm2vec_cublaslt_abi OBJECT test/native/abi/cublaslt.cpp)
  target_include_directories(vlm2vec_cublaslt_abi PRIVATE native)
  target_include_directories(vlm2vec_cublaslt_abi SYSTEM PRIVATE "${VLM2VEC_CUBLASLT_INCLUDE}" ${CUDAToolkit_INCLUDE_DIRS})
endif()
message(STATUS "CUDA backend: nvcc ${CUDAToolkit_VERSION}, architectures ${CMAKE_CUDA_ARCHITECTURES}; cuBLASLt: ${cublaslt_found}")
