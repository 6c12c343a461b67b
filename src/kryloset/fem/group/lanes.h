// SPDX-FileCopyrightText: Kryloset developers
// SPDX-License-Identifier: LGPL-3.0-or-later
//
// Types and macros of kernels that FFCx generated and formatter.py wrote with lanes. LANES is the
// number of instances of a group. A vector has WIDTH of them, as many as the processor's hold: wider
// ones are taken apart by compilers, badly. The vectors are GCC's generic ones.

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define HELD 8
#elif defined(__AVX__)
#define HELD 4
#else
#define HELD 2
#endif
#define WIDTH (LANES < HELD ? LANES : HELD)
#define VECTORS (LANES / WIDTH)

typedef double lanes __attribute__((vector_size(8 * WIDTH)));

// All bits of a lane for true, none for false.
typedef int64_t masks __attribute__((vector_size(8 * WIDTH)));

// Lanes anywhere in an array of double.
typedef double unaligned __attribute__((vector_size(8 * WIDTH), aligned(8), may_alias));

// An expression evaluated for each lane.
#define EACH(expression)                        \
  ({                                            \
    lanes each;                                 \
    for (int lane = 0; lane < WIDTH; ++lane)    \
      each[lane] = (expression);                \
    each;                                       \
  })

// A condition that is the same for all lanes.
#define EVERY(condition) ((masks){0} - (int64_t)((condition) ? 1 : 0))

#define SELECT(mask, yes, no) ((lanes)(((masks)(yes) & (mask)) | ((masks)(no) & ~(mask))))

// As fmin and fmax of C, which prefer a number to NaN.
#define MIN(a, b) SELECT(((a) < (b)) | ((b) != (b)), a, b)
#define MAX(a, b) SELECT(((a) > (b)) | ((b) != (b)), a, b)

static inline lanes power(lanes x, int exponent) {
  lanes product = EACH(1.0);
  for (int i = 0; i < (exponent < 0 ? -exponent : exponent); ++i) product *= x;
  return exponent < 0 ? 1.0 / product : product;
}

// Add element tensors to A, (VECTORS, size), for coefficients w, (VECTORS, slots), and constants c,
// (VECTORS, constants). What follows is as in ufcx.h.
typedef void kernel(lanes *restrict A, const lanes *restrict w, const lanes *restrict c, int size,
                    int slots, int constants, const double *restrict coordinate_dofs,
                    const int *restrict entity_local_index,
                    const uint8_t *restrict quadrature_permutation);
