// SPDX-FileCopyrightText: Kryloset developers
// SPDX-License-Identifier: LGPL-3.0-or-later

// Ensembles: sparse matrices with one pattern, and a lane for each. The numbers of all lanes lie side
// by side, so that an index is read once for all and no lane waits for another. Nothing passes from
// lane to lane: each has the numbers that it would have alone, whatever is in the others.

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef double pack __attribute__((vector_size(32), aligned(8)));

#define INLINE static inline __attribute__((always_inline))

enum { WIDTH = 4 };  // numbers in a pack

// y = A x and dots = x'y; if there is a b, y = b - A x and dots = y'y, lane by lane. `packs` and
// `constant` are constants to the compiler.
INLINE void multiply(const int packs, const int constant, ptrdiff_t n, const int32_t *offsets,
                     const int32_t *columns, const double *entries, const double *x,
                     const double *b, double *y, double *dots)
{
  const ptrdiff_t lanes = packs * WIDTH;
  pack total[4] = {{0}};
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
      const pack out = b ? *(const pack *)(b + at) - sum[v] : sum[v];
      *(pack *)(y + at) = out;
      total[v] += (b ? out : *(const pack *)(x + at)) * out;
    }
  }
  for (int v = 0; v < packs; v++) *(pack *)(dots + v * WIDTH) = total[v];
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
#define EACH(function, ...)                                        \
  do {                                                             \
    if (constant && lanes == 4) function(1, 1, __VA_ARGS__);       \
    else if (constant && lanes == 8) function(2, 1, __VA_ARGS__);  \
    else if (constant) function(4, 1, __VA_ARGS__);                \
    else if (lanes == 4) function(1, 0, __VA_ARGS__);              \
    else if (lanes == 8) function(2, 0, __VA_ARGS__);              \
    else function(4, 0, __VA_ARGS__);                              \
  } while (0)

// y (n x lanes) = A x and dots (lanes) = x'y; if b is not null, y = b - A x and dots = y'y. The
// entries are (nnz x lanes), or (nnz) of one matrix if `constant`. lanes is 4, 8 or 16.
void kryloset_lanes_multiply(ptrdiff_t n, int lanes, int constant, const int32_t *offsets,
                             const int32_t *columns, const double *entries, const double *x,
                             const double *b, double *y, double *dots)
{
  EACH(multiply, n, offsets, columns, entries, x, b, y, dots);
}

// y (n x lanes) = A' x, with the entries of kryloset_lanes_multiply.
void kryloset_lanes_multiply_transpose(ptrdiff_t n, int lanes, int constant,
                                       const int32_t *offsets, const int32_t *columns,
                                       const double *entries, const double *x, double *y)
{
  EACH(multiply_transpose, n, offsets, columns, entries, x, y);
}

// Vectors (n x lanes) with a factor for each lane.

INLINE void dot(const int packs, ptrdiff_t n, const double *x, const double *y, double *dots)
{
  const ptrdiff_t lanes = packs * WIDTH;
  pack total[4] = {{0}};
  for (ptrdiff_t i = 0; i < n; i++)
    for (int v = 0; v < packs; v++) {
      const ptrdiff_t at = i * lanes + v * WIDTH;
      total[v] += *(const pack *)(x + at) * *(const pack *)(y + at);
    }
  for (int v = 0; v < packs; v++) *(pack *)(dots + v * WIDTH) = total[v];
}

// x += a p, r -= a q and squares = r'r.
INLINE void step(const int packs, ptrdiff_t n, const double *a, const double *p, const double *q,
                 double *x, double *r, double *squares)
{
  const ptrdiff_t lanes = packs * WIDTH;
  pack total[4] = {{0}}, factor[4];
  for (int v = 0; v < packs; v++) factor[v] = *(const pack *)(a + v * WIDTH);
  for (ptrdiff_t i = 0; i < n; i++)
    for (int v = 0; v < packs; v++) {
      const ptrdiff_t at = i * lanes + v * WIDTH;
      *(pack *)(x + at) += factor[v] * *(const pack *)(p + at);
      const pack left = *(const pack *)(r + at) - factor[v] * *(const pack *)(q + at);
      *(pack *)(r + at) = left;
      total[v] += left * left;
    }
  for (int v = 0; v < packs; v++) *(pack *)(squares + v * WIDTH) = total[v];
}

// z = a x + c y and squares = z'z; z may be x or y.
INLINE void combine(const int packs, ptrdiff_t n, const double *a, const double *x,
                    const double *c, const double *y, double *z, double *squares)
{
  const ptrdiff_t lanes = packs * WIDTH;
  pack total[4] = {{0}}, first[4], second[4];
  for (int v = 0; v < packs; v++) {
    first[v] = *(const pack *)(a + v * WIDTH);
    second[v] = *(const pack *)(c + v * WIDTH);
  }
  for (ptrdiff_t i = 0; i < n; i++)
    for (int v = 0; v < packs; v++) {
      const ptrdiff_t at = i * lanes + v * WIDTH;
      const pack sum = first[v] * *(const pack *)(x + at) + second[v] * *(const pack *)(y + at);
      *(pack *)(z + at) = sum;
      total[v] += sum * sum;
    }
  for (int v = 0; v < packs; v++) *(pack *)(squares + v * WIDTH) = total[v];
}

#define EACH_WIDTH(function, ...)                   \
  do {                                              \
    if (lanes == 4) function(1, __VA_ARGS__);       \
    else if (lanes == 8) function(2, __VA_ARGS__);  \
    else function(4, __VA_ARGS__);                  \
  } while (0)

void kryloset_lanes_dot(ptrdiff_t n, int lanes, const double *x, const double *y, double *dots)
{
  EACH_WIDTH(dot, n, x, y, dots);
}

void kryloset_lanes_add(ptrdiff_t n, int lanes, const double *a, const double *x,
                            const double *c, const double *y, double *z, double *squares)
{
  EACH_WIDTH(combine, n, a, x, c, y, z, squares);
}

// A step of conjugate gradients, after z = M^-1 r, in the lanes that are live: `alpha` and `product`
// are those of the step before, 0 and 1 at first. Lanes that are not, or whose z'r or p'A p is not
// positive, keep x and r.
INLINE void conjugate(const int packs, const int constant, ptrdiff_t n, const int32_t *offsets,
                      const int32_t *columns, const double *entries, const double *z, double *p,
                      double *q, double *x, double *r, const double *live, double *alpha,
                      double *product, double *curvature, double *squares)
{
  const int lanes = packs * WIDTH;
  double now[16], changed[16], one[16], beta[16];
  dot(packs, n, z, r, now);
  dot(packs, n, z, q, changed);
  for (int l = 0; l < lanes; l++) {
    one[l] = 1.0;
    beta[l] = live[l] ? -alpha[l] * changed[l] / product[l] : 0.0;
  }
  combine(packs, n, one, z, beta, p, p, squares);
  multiply(packs, constant, n, offsets, columns, entries, p, NULL, q, curvature);
  for (int l = 0; l < lanes; l++) {
    const double step = now[l] / curvature[l];
    alpha[l] = live[l] && now[l] > 0.0 && curvature[l] > 0.0 && step - step == 0.0 ? step : 0.0;
    product[l] = now[l];
  }
  step(packs, n, alpha, p, q, x, r, squares);
}

// z, p, q, x and r are (n x lanes), the other numbers (lanes); the matrix is that of
// kryloset_lanes_multiply. product becomes z'r, curvature p'A p and squares r'r.
void kryloset_lanes_conjugate(ptrdiff_t n, int lanes, int constant, const int32_t *offsets,
                              const int32_t *columns, const double *entries, const double *z,
                              double *p, double *q, double *x, double *r, const double *live,
                              double *alpha, double *product, double *curvature, double *squares)
{
  EACH(conjugate, n, offsets, columns, entries, z, p, q, x, r, live, alpha, product, curvature,
       squares);
}
