// SPDX-FileCopyrightText: Kryloset developers
// SPDX-License-Identifier: LGPL-3.0-or-later

// Products of ensembles: sparse matrices with one pattern, and a lane for each. The numbers of all
// lanes lie side by side, so that an index is read once for all and no lane waits for another.

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef double pack __attribute__((vector_size(32), aligned(8)));

#define INLINE static inline __attribute__((always_inline))

enum { WIDTH = 4 };  // numbers in a pack

// y = A x, or b - A x if there is a b. `packs` and `constant` are constants to the compiler.
INLINE void multiply(const int packs, const int constant, ptrdiff_t n, const int32_t *offsets,
                     const int32_t *columns, const double *entries, const double *x,
                     const double *b, double *y)
{
  const ptrdiff_t lanes = packs * WIDTH;
  for (ptrdiff_t i = 0; i < n; i++) {
    pack sum[4] = {{0}};
    for (ptrdiff_t p = offsets[i]; p < offsets[i + 1]; p++) {
      const double *from = x + columns[p] * lanes;
      for (int v = 0; v < packs; v++) {
        const pack right = *(const pack *)(from + v * WIDTH);
        if (constant) sum[v] += entries[p] * right;
        else sum[v] += *(const pack *)(entries + p * lanes + v * WIDTH) * right;
      }
    }
    for (int v = 0; v < packs; v++) {
      const ptrdiff_t at = i * lanes + v * WIDTH;
      *(pack *)(y + at) = b ? *(const pack *)(b + at) - sum[v] : sum[v];
    }
  }
}

// y = A' x.
INLINE void multiply_transpose(const int packs, const int constant, ptrdiff_t n,
                               const int32_t *offsets, const int32_t *columns,
                               const double *entries, const double *x, double *y)
{
  const ptrdiff_t lanes = packs * WIDTH;
  memset(y, 0, sizeof(double) * (size_t)(n * lanes));
  for (ptrdiff_t i = 0; i < n; i++) {
    pack left[4];
    for (int v = 0; v < packs; v++) left[v] = *(const pack *)(x + i * lanes + v * WIDTH);
    for (ptrdiff_t p = offsets[i]; p < offsets[i + 1]; p++) {
      double *to = y + columns[p] * lanes;
      for (int v = 0; v < packs; v++) {
        if (constant) *(pack *)(to + v * WIDTH) += entries[p] * left[v];
        else *(pack *)(to + v * WIDTH) += *(const pack *)(entries + p * lanes + v * WIDTH) * left[v];
      }
    }
  }
}

// Call a function with constant numbers of packs and of matrices.
#define EACH(function, ...)                            \
  do {                                                 \
    if (constant && lanes == 4) function(1, 1, __VA_ARGS__);       \
    else if (constant && lanes == 8) function(2, 1, __VA_ARGS__);  \
    else if (constant) function(4, 1, __VA_ARGS__);                \
    else if (lanes == 4) function(1, 0, __VA_ARGS__);              \
    else if (lanes == 8) function(2, 0, __VA_ARGS__);              \
    else function(4, 0, __VA_ARGS__);                              \
  } while (0)

// y (n x lanes) = A x, or b - A x if b is not null. The entries are (nnz x lanes), or (nnz) of one
// matrix if `constant`. lanes is 4, 8 or 16.
void kryloset_lanes_multiply(ptrdiff_t n, int lanes, int constant, const int32_t *offsets,
                             const int32_t *columns, const double *entries, const double *x,
                             const double *b, double *y)
{
  EACH(multiply, n, offsets, columns, entries, x, b, y);
}

// y (n x lanes) = A' x, with the entries of kryloset_lanes_multiply.
void kryloset_lanes_multiply_transpose(ptrdiff_t n, int lanes, int constant,
                                       const int32_t *offsets, const int32_t *columns,
                                       const double *entries, const double *x, double *y)
{
  EACH(multiply_transpose, n, offsets, columns, entries, x, y);
}
