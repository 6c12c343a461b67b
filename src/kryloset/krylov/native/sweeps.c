// SPDX-FileCopyrightText: Kryloset developers
// SPDX-License-Identifier: LGPL-3.0-or-later

// Incomplete factors and multigrid of ensembles, in single precision: sweeps over the rows of
// sparse matrices with one pattern, a lane for each. A row waits for the one before, but its lanes
// do not wait for each other. Symmetric matrices are kept as their strictly lower triangles L.
//
// This file includes itself for each width: LANES is the number of right-hand sides, OWN that of
// matrices, which is LANES, or 1 if all lanes share one matrix.

#ifndef LANES

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define JOIN(name, lanes, own) name##_##lanes##_##own
#define EXPAND(name, lanes, own) JOIN(name, lanes, own)
#define NAME(name) EXPAND(name, LANES, OWN)

enum { AHEAD = 8 };  // rows between what is fetched from memory and what is computed

// Fetch the lines of the cache that a row is in.
#define PREFETCH(row)                               \
  for (size_t at = 0; at < sizeof *(row); at += 64) \
    __builtin_prefetch((const char *)(row) + at)

#define LANES 1
#define OWN 1
#include __FILE__
#undef LANES
#define LANES 4
#include __FILE__
#undef LANES
#define LANES 8
#include __FILE__
#undef LANES
#define LANES 16
#include __FILE__
#undef OWN
#define OWN 16
#include __FILE__
#undef LANES
#undef OWN
#define LANES 8
#define OWN 8
#include __FILE__
#undef LANES
#undef OWN
#define LANES 4
#define OWN 4
#include __FILE__

// Call the function of a width. `own` is `lanes` or 1, and `lanes` 1, 4, 8 or 16.
#define EACH(name, ...)                            \
  do {                                             \
    if (lanes == 1) name##_1_1(__VA_ARGS__);       \
    else if (own == 4) name##_4_4(__VA_ARGS__);    \
    else if (own == 8) name##_8_8(__VA_ARGS__);    \
    else if (own == 16) name##_16_16(__VA_ARGS__); \
    else if (lanes == 4) name##_4_1(__VA_ARGS__);  \
    else if (lanes == 8) name##_8_1(__VA_ARGS__);  \
    else name##_16_1(__VA_ARGS__);                 \
  } while (0)

// The same where there is one width.
#define EACH_WIDTH(name, ...)                     \
  do {                                            \
    if (lanes == 1) name##_1_1(__VA_ARGS__);      \
    else if (lanes == 4) name##_4_4(__VA_ARGS__); \
    else if (lanes == 8) name##_8_8(__VA_ARGS__); \
    else name##_16_16(__VA_ARGS__);               \
  } while (0)

// z (n x lanes) = scale x / peak, where peak (lanes) becomes the largest |scale x| of each lane, so
// that nothing leaves the range of single precision, and squares (lanes) = z'z. scale (n x own) may
// be null: 1.
void kryloset_sweeps_narrow(ptrdiff_t n, int lanes, int own, const float *scale, const double *x,
                            float *z, double *peak, double *squares)
{
  EACH(narrow, n, scale, x, z, peak, squares);
}

// y (n x lanes) = factor scale z, with a factor of each lane.
void kryloset_sweeps_widen(ptrdiff_t n, int lanes, int own, const float *scale, const float *z,
                           const double *factor, double *y)
{
  EACH(widen, n, scale, z, factor, y);
}

// scale (n x own) = 1 / sqrt(diagonal), the entries at `places`. status (own) becomes 2 for a lane
// where that is not a positive number in single precision, or a place is -1.
void kryloset_sweeps_scale(ptrdiff_t n, int own, const int32_t *places, const double *entries,
                           float *scale, int32_t *status)
{
  const int lanes = own;
  EACH_WIDTH(scale, n, places, entries, scale, status);
}

// to (count x own) = factor from[places], with a factor of each lane. A place of -1 gives 0.
// status (own) becomes 1 for a lane with a number that is not finite.
void kryloset_sweeps_gather(ptrdiff_t count, int own, const int32_t *places, const double *from,
                            const double *factor, float *to, int32_t *status)
{
  const int lanes = own;
  EACH_WIDTH(gather, count, places, from, factor, to, status);
}

// y (n x own) = W x with one sparse matrix W for all lanes, or y + W x if `add`.
void kryloset_sweeps_combine(ptrdiff_t n, int lanes, const int32_t *offsets, const int32_t *columns,
                             const float *weights, int add, const float *x, float *y)
{
  EACH_WIDTH(combine, n, offsets, columns, weights, add, x, y);
}

// Factor T A T ~ R M M' R, with ones on the diagonal of the lower triangle M and R diagonal.
// On entry scale is the diagonal of T; on return, it is that of T R^-1. shift (own) is added to the
// diagonal, which is 1. status (own) becomes 1 where a pivot is too small, and 2 where it is not a
// number. pairs are the places (in the row; in M) of the factors of each product, by entry.
void kryloset_sweeps_eliminate(ptrdiff_t n, int own, const int32_t *offsets, const int32_t *columns,
                               const int32_t *places, const int64_t *pair_offsets,
                               const int32_t *pairs, const double *entries, const float *shift,
                               float least, float *m, float *scale, float *work, int32_t *status)
{
  const int lanes = own;
  EACH_WIDTH(eliminate, n, offsets, columns, places, pair_offsets, pairs, entries, shift, least, m,
             scale, work, status);
}

// Replace z (n x lanes) by M'^-1 M^-1 z.
void kryloset_sweeps_solve(ptrdiff_t n, int lanes, int own, const int32_t *offsets,
                           const int32_t *columns, const float *m, float *z)
{
  EACH(solve, n, offsets, columns, m, z);
}

// x = (D + L)^-1 b and r = b - A x, for A = L + D + L' and `inverse` = D^-1.
void kryloset_sweeps_descend(ptrdiff_t n, int lanes, int own, const int32_t *offsets,
                             const int32_t *columns, const float *lower, const float *inverse,
                             const float *b, float *x, float *r)
{
  EACH(descend, n, offsets, columns, lower, inverse, b, x, r);
}

// x = (D + L')^-1 (b - L x), a sweep of Gauss and Seidel from the last row to the first, and dots
// (lanes) = b'x. It overwrites work (n x lanes).
void kryloset_sweeps_ascend(ptrdiff_t n, int lanes, int own, const int32_t *offsets,
                            const int32_t *columns, const float *lower, const float *inverse,
                            const float *b, float *x, float *work, double *dots)
{
  EACH(ascend, n, offsets, columns, lower, inverse, b, x, work, dots);
}

// p = z + factor p, with a factor of each lane, q = A p and dots (lanes) = p'q.
void kryloset_sweeps_turn(ptrdiff_t n, int lanes, int own, const int32_t *offsets,
                          const int32_t *columns, const float *lower, const float *diagonal,
                          const float *factor, const float *z, float *p, float *q, double *dots)
{
  EACH(turn, n, offsets, columns, lower, diagonal, factor, z, p, q, dots);
}

// x = x + factor p, r = r - factor q and dots (lanes) = r'r.
void kryloset_sweeps_step(ptrdiff_t n, int lanes, const float *factor, const float *p,
                          const float *q, float *x, float *r, double *dots)
{
  EACH_WIDTH(step, n, factor, p, q, x, r, dots);
}

// Return the number of products that an elimination on a pattern of rows takes, and write the
// places of their factors unless `pairs` is null. place (n) is filled with -1.
int64_t kryloset_sweeps_pairs(ptrdiff_t n, const int32_t *offsets, const int32_t *columns,
                              int32_t *place, int64_t *pair_offsets, int32_t *pairs)
{
  int64_t count = 0;
  for (ptrdiff_t i = 0; i < n; i++) {
    const int32_t begin = offsets[i], end = offsets[i + 1];
    for (int32_t p = begin; p < end; p++) {
      const int32_t k = columns[p];
      pair_offsets[p] = count;
      // Entries before p are in `place` already, and those are the ones that row k has, too.
      for (int32_t q = offsets[k]; q < offsets[k + 1]; q++)
        if (place[columns[q]] >= 0) {
          if (pairs) {
            pairs[2 * count] = place[columns[q]];
            pairs[2 * count + 1] = q;
          }
          count++;
        }
      place[k] = p - begin;
    }
    for (int32_t p = begin; p < end; p++) place[columns[p]] = -1;
  }
  pair_offsets[offsets[n]] = count;
  return count;
}

#else

// Arrays of NumPy are aligned to one number only.
typedef float NAME(vec) __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef double NAME(wide) __attribute__((vector_size(8 * LANES), aligned(8), may_alias));
#if OWN == 1
typedef float NAME(own);
#define WIDE(value) ((double)(value))
#else
typedef NAME(vec) NAME(own);
#define WIDE(value) __builtin_convertvector(value, NAME(wide))
#endif
#define VEC NAME(vec)
#define DOUBLE NAME(wide)
#define MATRIX NAME(own)

static void NAME(narrow)(ptrdiff_t n, const float *scale, const double *x, float *z, double *peak,
                         double *squares)
{
  const MATRIX *s = (const MATRIX *)scale;
  const DOUBLE *from = (const DOUBLE *)x;
  VEC *to = (VEC *)z;
  // Compilers have no comparisons of vectors that are wider than the processor's.
  double most[LANES] = {0};
  for (ptrdiff_t i = 0; i < n; i++) {
    DOUBLE value = from[i];
    if (s) value *= WIDE(s[i]);
    for (int l = 0; l < LANES; l++) {
      const double size = fabs(value[l]);
      most[l] = size > most[l] ? size : most[l];
    }
  }
  DOUBLE unit;
  for (int l = 0; l < LANES; l++) {
    // A lane of zeros, or of numbers whose reciprocals overflow, is left as it is.
    peak[l] = most[l] > 1e-300 ? most[l] : 1.0;
    unit[l] = 1.0 / peak[l];
  }
  DOUBLE total = {0};
  for (ptrdiff_t i = 0; i < n; i++) {
    DOUBLE value = from[i];
    if (s) value *= WIDE(s[i]);
    value *= unit;
    to[i] = __builtin_convertvector(value, VEC);
    total += value * value;
  }
  *(DOUBLE *)squares = total;
}

static void NAME(widen)(ptrdiff_t n, const float *scale, const float *z, const double *factor,
                        double *y)
{
  const MATRIX *s = (const MATRIX *)scale;
  const VEC *from = (const VEC *)z;
  DOUBLE *to = (DOUBLE *)y;
  const DOUBLE by = *(const DOUBLE *)factor;
  for (ptrdiff_t i = 0; i < n; i++) {
    DOUBLE value = __builtin_convertvector(from[i], DOUBLE) * by;
    if (s) value *= WIDE(s[i]);
    to[i] = value;
  }
}

static void NAME(solve)(ptrdiff_t n, const int32_t *offsets, const int32_t *columns, const float *m,
                        float *z)
{
  const MATRIX *lower = (const MATRIX *)m;
  VEC *at = (VEC *)z;
  for (ptrdiff_t i = 0; i < n; i++) {
    VEC sum = at[i];
    for (int32_t p = offsets[i]; p < offsets[i + 1]; p++) sum -= lower[p] * at[columns[p]];
    at[i] = sum;
  }
  for (ptrdiff_t i = n - 1; i >= 0; i--) {
    const VEC value = at[i];
    // Backward through memory, as the rows go.
    for (int32_t p = offsets[i + 1] - 1; p >= offsets[i]; p--) at[columns[p]] -= lower[p] * value;
  }
}

static void NAME(descend)(ptrdiff_t n, const int32_t *offsets, const int32_t *columns,
                          const float *l, const float *d, const float *right, float *solution,
                          float *residual)
{
  const MATRIX *lower = (const MATRIX *)l, *inverse = (const MATRIX *)d;
  const VEC *b = (const VEC *)right;
  VEC *x = (VEC *)solution, *r = (VEC *)residual;
  for (ptrdiff_t i = 0; i < n; i++) {
    VEC sum = b[i];
    for (int32_t p = offsets[i]; p < offsets[i + 1]; p++) sum -= lower[p] * x[columns[p]];
    const VEC value = sum * inverse[i];
    x[i] = value;
    // (D + L) x = b, so that L' x is all that is left of the residual.
    r[i] = (VEC){0};
    for (int32_t p = offsets[i]; p < offsets[i + 1]; p++) r[columns[p]] -= lower[p] * value;
  }
}

static void NAME(ascend)(ptrdiff_t n, const int32_t *offsets, const int32_t *columns,
                         const float *l, const float *d, const float *right, float *solution,
                         float *work, double *dots)
{
  const MATRIX *lower = (const MATRIX *)l, *inverse = (const MATRIX *)d;
  const VEC *b = (const VEC *)right;
  VEC *x = (VEC *)solution, *rest = (VEC *)work;
  DOUBLE dot = {0};
  memset(rest, 0, sizeof(VEC) * (size_t)n);
  for (ptrdiff_t i = n - 1; i >= 0; i--) {
    VEC sum = rest[i] + b[i];
    // Backward through memory, as the rows go.
    for (int32_t p = offsets[i + 1] - 1; p >= offsets[i]; p--) sum -= lower[p] * x[columns[p]];
    const VEC value = sum * inverse[i];
    x[i] = value;
    dot += __builtin_convertvector(value * b[i], DOUBLE);
    for (int32_t p = offsets[i]; p < offsets[i + 1]; p++) rest[columns[p]] -= lower[p] * value;
  }
  *(DOUBLE *)dots = dot;
}

static void NAME(turn)(ptrdiff_t n, const int32_t *offsets, const int32_t *columns, const float *l,
                       const float *d, const float *factor, const float *preconditioned,
                       float *direction, float *product, double *dots)
{
  const MATRIX *lower = (const MATRIX *)l, *diagonal = (const MATRIX *)d;
  const VEC *z = (const VEC *)preconditioned, by = *(const VEC *)factor;
  VEC *p = (VEC *)direction, *q = (VEC *)product;
  DOUBLE dot = {0};
  for (ptrdiff_t i = 0; i < n; i++) {
    const VEC own = z[i] + by * p[i];
    VEC sum = {0};
    for (int32_t at = offsets[i]; at < offsets[i + 1]; at++) {
      sum += lower[at] * p[columns[at]];
      q[columns[at]] += lower[at] * own;
    }
    const VEC middle = diagonal[i] * own + sum;
    p[i] = own;
    q[i] = middle;
    // p'A p = p'D p + 2 p'L p.
    dot += __builtin_convertvector(own * (middle + sum), DOUBLE);
  }
  *(DOUBLE *)dots = dot;
}

#if OWN == LANES

static void NAME(scale)(ptrdiff_t n, const int32_t *places, const double *entries, float *scale,
                        int32_t *status)
{
  const DOUBLE *from = (const DOUBLE *)entries;
  VEC *to = (VEC *)scale, finite = {0};
  for (ptrdiff_t i = 0; i < n; i++) {
    if (i + AHEAD < n && places[i + AHEAD] >= 0) PREFETCH(&from[places[i + AHEAD]]);
    const DOUBLE value = places[i] < 0 ? (DOUBLE){0} : from[places[i]];
    DOUBLE root;
    for (int l = 0; l < LANES; l++) root[l] = 1.0 / sqrt(value[l]);
    to[i] = __builtin_convertvector(root, VEC);
    // 0, or NaN if a number or its inverse is not finite.
    finite += to[i] * 0.0f + 0.0f / to[i];
  }
  for (int l = 0; l < LANES; l++)
    if (finite[l] != 0.0f) status[l] = 2;
}

static void NAME(gather)(ptrdiff_t count, const int32_t *places, const double *entries,
                         const double *factor, float *numbers, int32_t *status)
{
  const DOUBLE *from = (const DOUBLE *)entries, by = *(const DOUBLE *)factor;
  VEC *to = (VEC *)numbers, finite = {0};
  for (ptrdiff_t i = 0; i < count; i++) {
    if (i + AHEAD < count && places[i + AHEAD] >= 0) PREFETCH(&from[places[i + AHEAD]]);
    to[i] = places[i] < 0 ? (VEC){0} : __builtin_convertvector(from[places[i]] * by, VEC);
    // 0, or NaN if that is not finite.
    finite += to[i] * 0.0f;
  }
  for (int l = 0; l < LANES; l++) status[l] |= finite[l] != 0.0f;
}

static void NAME(combine)(ptrdiff_t n, const int32_t *offsets, const int32_t *columns,
                          const float *weights, int add, const float *x, float *y)
{
  const VEC *from = (const VEC *)x;
  VEC *to = (VEC *)y;
  for (ptrdiff_t i = 0; i < n; i++) {
    VEC sum = add ? to[i] : (VEC){0};
    for (int32_t p = offsets[i]; p < offsets[i + 1]; p++) sum += weights[p] * from[columns[p]];
    to[i] = sum;
  }
}

static void NAME(step)(ptrdiff_t n, const float *factor, const float *direction,
                       const float *product, float *solution, float *residual, double *dots)
{
  const VEC *p = (const VEC *)direction, *q = (const VEC *)product, by = *(const VEC *)factor;
  VEC *x = (VEC *)solution, *r = (VEC *)residual;
  DOUBLE dot = {0};
  for (ptrdiff_t i = 0; i < n; i++) {
    x[i] += by * p[i];
    const VEC rest = r[i] - by * q[i];
    r[i] = rest;
    dot += __builtin_convertvector(rest * rest, DOUBLE);
  }
  *(DOUBLE *)dots = dot;
}

static void NAME(eliminate)(ptrdiff_t n, const int32_t *offsets, const int32_t *columns,
                            const int32_t *places, const int64_t *pair_offsets,
                            const int32_t *pairs, const double *entries, const float *shift,
                            float least, float *m, float *scale, float *work, int32_t *status)
{
  const DOUBLE *a = (const DOUBLE *)entries;
  VEC *lower = (VEC *)m, *s = (VEC *)scale, *row = (VEC *)work;
  const VEC diagonal = 1.0f + *(const VEC *)shift;
  for (ptrdiff_t i = 0; i < n; i++) {
    const DOUBLE own = __builtin_convertvector(s[i], DOUBLE);
    VEC pivot = diagonal;
    const int32_t begin = offsets[i], end = offsets[i + 1];
    for (int32_t p = begin; p < end; p++) {
      VEC sum = {0};
      if (places[p] >= 0)
        sum = __builtin_convertvector(
          a[places[p]] * own * __builtin_convertvector(s[columns[p]], DOUBLE), VEC);
      for (int64_t q = pair_offsets[p]; q < pair_offsets[p + 1]; q++)
        sum -= row[pairs[2 * q]] * lower[pairs[2 * q + 1]];
      row[p - begin] = sum;
      pivot -= sum * sum;
    }
    VEC inverse;
    for (int l = 0; l < LANES; l++) {
      if (!(pivot[l] > least)) status[l] = pivot[l] <= least && status[l] < 2 ? 1 : 2;
      inverse[l] = pivot[l] > least ? 1.0f / sqrtf(pivot[l]) : 1.0f;
    }
    for (int32_t p = begin; p < end; p++) lower[p] = row[p - begin] * inverse;
    s[i] *= inverse;
  }
}

#endif

#undef VEC
#undef DOUBLE
#undef MATRIX
#undef WIDE

#endif
