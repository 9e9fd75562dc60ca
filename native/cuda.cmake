# The CUDA backend: every core/*.cu and ops/*.cu, with a static cudart. cuBLASLt is loaded at run time (core/cuda_blas.h), so
# that only its header is needed here and the addon also starts on machines without a GPU.
#
#   VLM2VEC_CUDA         AUTO (built where a toolkit and cublasLt.h are found), ON (an error where they are not), OFF
#   VLM2VEC_CUBLASLT_DIR a folder with include/cublasLt.h, and lib/ for the tests, if neither the toolkit nor the Python
#                        package nvidia-cublas has it
#   CMAKE_CUDA_ARCHITECTURES  80 and 90, and PTX of 90 for later devices, unless given
#
# Run path: the build tree finds cuBLASLt where it was found now; an installed addon looks beside itself ($ORIGIN), then where
# the system looks.
set(VLM2VEC_CUBLASLT_DIR "" CACHE PATH "Folder that holds include/cublasLt.h")

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
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)

# --- cuBLASLt ---------------------------------------------------------------------------------------------------------
# Folders of the Python packages: nvidia/cu13 from CUDA 13 on, nvidia/cublas before.
set(cublaslt_roots "${VLM2VEC_CUBLASLT_DIR}")
find_program(VLM2VEC_PYTHON NAMES python3 python)
if(VLM2VEC_PYTHON)
  execute_process(COMMAND "${VLM2VEC_PYTHON}" -c "import nvidia; print(*nvidia.__path__, sep=';', end='')"
                  OUTPUT_VARIABLE nvidia_packages ERROR_QUIET)
  foreach(package IN LISTS nvidia_packages)
    list(APPEND cublaslt_roots "${package}/cu${CUDAToolkit_VERSION_MAJOR}" "${package}/cublas")
  endforeach()
endif()
find_path(VLM2VEC_CUBLASLT_INCLUDE cublasLt.h HINTS ${cublaslt_roots} PATHS ${CUDAToolkit_INCLUDE_DIRS} PATH_SUFFIXES include)
if(NOT VLM2VEC_CUBLASLT_INCLUDE)
  vlm2vec_without_cuda("no cublasLt.h beside nvcc ${CUDAToolkit_VERSION} (install libcublas-dev of the CUDA toolkit, or `pip install nvidia-cublas`, or set VLM2VEC_CUBLASLT_DIR)")
endif()
file(STRINGS "${VLM2VEC_CUBLASLT_INCLUDE}/cublas_api.h" cublas_major REGEX "define CUBLAS_VER_MAJOR +[0-9]+")
string(REGEX REPLACE ".* ([0-9]+).*" "\\1" cublas_major "${cublas_major}")
if(NOT cublas_major EQUAL CUDAToolkit_VERSION_MAJOR)
  vlm2vec_without_cuda("cuBLASLt ${cublas_major} in ${VLM2VEC_CUBLASLT_INCLUDE} does not fit nvcc ${CUDAToolkit_VERSION}")
endif()
find_file(VLM2VEC_CUBLASLT_LIBRARY "libcublasLt.so.${cublas_major}" HINTS "${VLM2VEC_CUBLASLT_INCLUDE}/.."
          PATHS ${CUDAToolkit_LIBRARY_DIR} PATH_SUFFIXES lib lib64)
if(VLM2VEC_CUBLASLT_LIBRARY)
  get_filename_component(cublaslt_folder "${VLM2VEC_CUBLASLT_LIBRARY}" DIRECTORY)
  list(APPEND CMAKE_BUILD_RPATH "${cublaslt_folder}")
endif()

# --- the backend ------------------------------------------------------------------------------------------------------
file(GLOB cuda_sources CONFIGURE_DEPENDS native/core/*.cu native/ops/*.cu)
target_sources(vlm2vec_core PRIVATE ${cuda_sources})
target_compile_definitions(vlm2vec_options INTERFACE VLM2VEC_CUDA)
target_include_directories(vlm2vec_core SYSTEM PRIVATE "${VLM2VEC_CUBLASLT_INCLUDE}")
target_compile_options(vlm2vec_core PRIVATE
  $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings -Xcompiler=-Wall,-Wextra,-Werror>)
target_link_libraries(vlm2vec_core PUBLIC CUDA::cudart_static ${CMAKE_DL_LIBS})
message(STATUS "CUDA backend: nvcc ${CUDAToolkit_VERSION}, architectures ${CMAKE_CUDA_ARCHITECTURES}, cuBLASLt header in ${VLM2VEC_CUBLASLT_INCLUDE}")
