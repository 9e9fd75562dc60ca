// CUDA and cuBLASLt calls that throw E_CUDA with the statement, its place and the device.
#pragma once
#include <cuda_runtime.h>

#define CUDA_CHECK(device, statement) (device).check((statement), #statement, __FILE__, __LINE__)

// For cuBLASLt's status type, with its text.
#define CUBLAS_CHECK(blas, statement) (blas).check((statement), #statement, __FILE__, __LINE__)
