// What the system has left.
#pragma once
#include <cstddef>

namespace vlm2vec {

// Bytes that can still be allocated without swapping: what the machine has free or can free (file pages), and not more
// than the control group of this process leaves. The largest number where the system does not say.
size_t available_memory();

}  // namespace vlm2vec
