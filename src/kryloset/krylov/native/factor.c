// SPDX-FileCopyrightText: Kryloset developers
// SPDX-License-Identifier: LGPL-3.0-or-later

// A sparse factor that is made once and applied thousands of times: A = L S U with unit block
// triangles L and U and a block diagonal S. A node is a few consecutive unknowns. Its rows are
// the later unknowns that its elimination touches. Each node keeps dense blocks in single
// precision: S^-1, its part of L and, unless A is symmetric, its part of U, transposed.
// Elimination is multifrontal, in double precision and without pivoting.

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef float pack __attribute__((vector_size(32), aligned(32)));
typedef float half_pack __attribute__((vector_size(16), aligned(16)));

#define INLINE static inline __attribute__((always_inline))

enum {
  WIDTH = 8,    // numbers in a pack; blocks have a multiple of this number of rows
  WIDEST = 64,  // largest number of unknowns of a node
};

// Pick four of two times four numbers, by their places.
#ifdef __clang__
#define PICK(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
typedef int32_t half_places __attribute__((vector_size(16), aligned(16)));
#define PICK(a, b, i, j, k, l) __builtin_shuffle(a, b, (half_places){i, j, k, l})
#endif

static const double ZERO = 1e-14;

INLINE int64_t padded(int64_t rows) { return (rows + WIDTH - 1) / WIDTH * WIDTH; }

// The cost of a node of this width and number of rows, in numbers read. weights: numbers in a
// pack, those that could be read while a row is gathered and scattered, and while a node begins and
// ends, and products that take as long as reading 1,000 numbers.
INLINE double cost(const int32_t *weights, double width, double rows)
{
  const double pack = weights[0], padded_rows = ceil(rows / pack) * pack;
  const double products = width * (width * width / 3 + width * rows + rows * rows) / 2;
  return width * (2 * padded_rows + ceil(width / pack) * pack) + weights[1] * rows + weights[2] +
         products * weights[3] / 1000.0;
}

// Find the elimination tree (J. Liu, SIAM J. Matrix Anal. Appl. 11, 1990, Algorithm 4.2).
// ancestor (n): room for the compressed paths.
static void elimination_tree(int n, const int32_t *offsets, const int32_t *columns,
                             const int32_t *order, const int32_t *place, int32_t *parent,
                             int32_t *ancestor)
{
  for (int i = 0; i < n; i++) {
    parent[i] = ancestor[i] = -1;
    for (int e = offsets[order[i]]; e < offsets[order[i] + 1]; e++)
      for (int k = place[columns[e]], next; k != -1 && k < i; k = next) {
        next = ancestor[k];
        ancestor[k] = i;
        if (next == -1) parent[k] = i;
      }
  }
}

// Count the rows below each unknown in its column of the factor: row i of the factor is the
// subtree between its entries and i.
static void count_rows(int n, const int32_t *offsets, const int32_t *columns,
                       const int32_t *order, const int32_t *place, const int32_t *parent,
                       int32_t *mark, int32_t *rows)
{
  for (int i = 0; i < n; i++) {
    mark[i] = -1;
    rows[i] = 0;
  }
  for (int i = 0; i < n; i++) {
    mark[i] = i;
    for (int e = offsets[order[i]]; e < offsets[order[i] + 1]; e++)
      for (int k = place[columns[e]]; k < i && mark[k] != i; k = parent[k]) {
        mark[k] = i;
        rows[k]++;
      }
  }
}

// analyse: the nodes of a pattern

// Reorder order (new -> old) so that each subtree of the elimination tree is numbered without a
// gap, which changes neither fill nor products. rows (n): those below each unknown in its column
// of the factor. Returns 1 without memory.
int kryloset_postorder(int n, const int32_t *offsets, const int32_t *columns, int32_t *order,
                       int32_t *rows)
{
  int32_t *memory = malloc(sizeof(int32_t) * 5 * (size_t)n);
  if (memory == NULL) return 1;
  int32_t *place = memory, *parent = place + n, *mark = parent + n, *size = mark + n,
          *counts = size + n;
  for (int j = 0; j < n; j++) place[order[j]] = j;
  elimination_tree(n, offsets, columns, order, place, parent, mark);
  count_rows(n, offsets, columns, order, place, parent, mark, counts);
  // place, mark: the new number of an unknown, and of the next subtree of its children. Parents
  // come after their children, so both are found from the last unknown on.
  for (int j = 0; j < n; j++) size[j] = 1;
  for (int j = 0; j < n; j++)
    if (parent[j] != -1) size[parent[j]] += size[j];
  int next = n;
  for (int j = n - 1; j >= 0; j--) {
    int32_t *const end = parent[j] == -1 ? &next : &mark[parent[j]];
    place[j] = mark[j] = *end - 1;
    *end -= size[j];
  }
  memcpy(mark, order, sizeof(int32_t) * (size_t)n);
  for (int j = 0; j < n; j++) {
    order[place[j]] = mark[j];
    rows[place[j]] = counts[j];
  }
  free(memory);
  return 0;
}

// Number the unknowns node by node. The pattern (by rows) is symmetric. order (n: new -> old)
// reduces fill, and becomes the order of the factor. weights: see cost(). starts (count + 1) is
// the first unknown of each node, row_offsets (count + 1) where its rows begin, and parents (count)
// the node of its first row, or -1. A node absorbs a child if that makes the factor cheaper, added
// zeros included. Returns the number of nodes, or -1 without memory.
int kryloset_analyse(int n, const int32_t *offsets, const int32_t *columns,
                     const int32_t *weights, int32_t *order, int32_t *starts,
                     int64_t *row_offsets, int32_t *parents)
{
  int32_t *memory = malloc(sizeof(int32_t) * 8 * (size_t)n);
  if (memory == NULL) return -1;
  int32_t *place = memory, *parent = place + n, *mark = parent + n, *rows = mark + n,
          *width = rows + n, *top = width + n, *child = top + n, *sibling = child + n;
  for (int j = 0; j < n; j++) {
    place[order[j]] = j;
    child[j] = -1;
    width[j] = 1;
  }
  elimination_tree(n, offsets, columns, order, place, parent, mark);
  count_rows(n, offsets, columns, order, place, parent, mark, rows);
  // mark: whether its parent has absorbed a column.
  for (int j = 0; j < n; j++) {
    mark[j] = 0;
    for (int c = child[j]; c != -1; c = sibling[c]) {
      const int both = width[j] + width[c];
      if (both > WIDEST) continue;
      if (cost(weights, both, rows[j]) >
          cost(weights, width[j], rows[j]) + cost(weights, width[c], rows[c]))
        continue;
      width[j] = both;
      mark[c] = 1;
    }
    if (parent[j] != -1) {
      sibling[j] = child[parent[j]];
      child[parent[j]] = j;
    }
  }
  // The last unknown of a node represents it. Nodes are in the order of these unknowns.
  for (int j = n - 1; j >= 0; j--) top[j] = mark[j] ? top[parent[j]] : j;
  int count = 0;
  int32_t *node = child, *next = sibling;
  starts[0] = 0;
  row_offsets[0] = 0;
  for (int j = 0; j < n; j++)
    if (top[j] == j) {
      next[j] = starts[count];
      starts[count + 1] = starts[count] + width[j];
      row_offsets[count + 1] = row_offsets[count] + rows[j];
      node[j] = count++;
    }
  for (int j = 0; j < n; j++) mark[next[top[j]]++] = order[j];
  for (int j = 0; j < n; j++)
    if (top[j] == j) parents[node[j]] = parent[j] == -1 ? -1 : node[top[parent[j]]];
  memcpy(order, mark, sizeof(int32_t) * (size_t)n);
  free(memory);
  return count;
}

static int compare(const void *a, const void *b)
{
  return *(const int32_t *)a < *(const int32_t *)b ? -1 : 1;
}

// Fill in the rows of all nodes, in ascending order. place: old -> new. Returns 1 without memory.
int kryloset_rows(int n, const int32_t *offsets, const int32_t *columns, const int32_t *order,
                  const int32_t *place, int count, const int32_t *starts,
                  const int64_t *row_offsets, const int32_t *parents, int32_t *rows)
{
  int32_t *memory = malloc(sizeof(int32_t) * ((size_t)n + 2 * (size_t)count));
  if (memory == NULL) return 1;
  int32_t *mark = memory, *child = mark + n, *sibling = child + count;
  for (int j = 0; j < n; j++) mark[j] = -1;
  for (int k = 0; k < count; k++) child[k] = -1;
  for (int k = 0; k < count; k++) {
    int32_t *const first = rows + row_offsets[k], *last = first;
    const int end = starts[k + 1];
    for (int j = starts[k]; j < end; j++)
      for (int e = offsets[order[j]]; e < offsets[order[j] + 1]; e++) {
        const int i = place[columns[e]];
        if (i >= end && mark[i] != k) mark[*last++ = i] = k;
      }
    for (int c = child[k]; c != -1; c = sibling[c])
      for (int64_t e = row_offsets[c]; e < row_offsets[c + 1]; e++)
        if (rows[e] >= end && mark[rows[e]] != k) mark[*last++ = rows[e]] = k;
    qsort(first, (size_t)(last - first), sizeof *rows, compare);
    if (parents[k] != -1) {
      sibling[k] = child[parents[k]];
      child[parents[k]] = k;
    }
  }
  free(memory);
  return 0;
}

// Find where in one room the fronts of nodes are put: offsets (count), of sizes (count). A front is
// there from the turn of its node's first child to its node's own. Those of nodes at even and at odd
// depths are two stacks, so that a node's is never on top of its children's. A subtree is numbered
// without a gap, its root last. Returns the size of the room, or -1 without memory.
int64_t kryloset_stack(int count, const int32_t *parents, const int64_t *sizes, int64_t *offsets)
{
  uint8_t *const odd = malloc((size_t)count + 1);
  if (odd == NULL) return -1;
  int64_t tops[2] = {0, 0}, rooms[2] = {0, 0};
  for (int k = count - 1; k >= 0; k--) {
    odd[k] = parents[k] >= 0 && !odd[parents[k]];
    offsets[k] = -1;
  }
  for (int k = 0; k < count; k++) {
    const int parent = parents[k];
    if (parent >= 0 && offsets[parent] < 0) {
      const int its = odd[parent];
      offsets[parent] = tops[its];
      tops[its] += sizes[parent];
      rooms[its] = tops[its] > rooms[its] ? tops[its] : rooms[its];
    }
    if (offsets[k] >= 0) tops[odd[k]] = offsets[k];
  }
  for (int k = 0; k < count; k++) offsets[k] += offsets[k] < 0 ? 1 : odd[k] ? rooms[0] : 0;
  free(odd);
  return rooms[0] + rooms[1];
}

// factorise: the entries

// c (rows) -= a (rows x width, column-major) times b.
INLINE void subtract_product(int64_t rows, int width, double *restrict c, const double *a,
                             int64_t lda, const double *b)
{
  int k = 0;
  for (; k + 4 <= width; k += 4, a += 4 * lda) {
    const double p = b[k], q = b[k + 1], s = b[k + 2], t = b[k + 3];
    for (int64_t i = 0; i < rows; i++)
      c[i] -= p * a[i] + q * a[i + lda] + s * a[i + 2 * lda] + t * a[i + 3 * lda];
  }
  for (; k < width; k++, a += lda)
    for (int64_t i = 0; i < rows; i++) c[i] -= b[k] * a[i];
}

// Turn the leading width x width block into its inverse, pivots on the diagonal. Returns 1 if a
// pivot is next to zero, compared with a unit diagonal, or not finite.
static int invert(int width, double *a, int64_t ld)
{
  for (int k = 0; k < width; k++) {
    double *const own = a + k * ld, pivot = own[k];
    if (!(fabs(pivot) > ZERO) || !isfinite(pivot)) return 1;
    own[k] = 0.0;
    for (int j = 0; j < width; j++) {
      if (j == k) continue;
      const double f = a[k + j * ld] / pivot;
      for (int i = 0; i < width; i++) a[i + j * ld] -= f * own[i];
      a[k + j * ld] = f;
    }
    for (int i = 0; i < width; i++) own[i] /= -pivot;
    own[k] = 1.0 / pivot;
  }
  return 0;
}

typedef struct {
  int rows;
  double *entries;  // (rows x rows), only the lower triangle if A is symmetric
} update;

// Compute the blocks. A is given by rows (offsets, columns, entries) and by columns (the names
// with _h), in old numbers. scale (n, old) multiplies rows and columns. block_offsets (count + 1)
// is where the blocks of each node begin. Returns 1 for a zero pivot, 2 without memory.
int kryloset_factorise(int n, const int32_t *offsets, const int32_t *columns,
                       const double *entries, const int32_t *offsets_h, const int32_t *columns_h,
                       const double *entries_h, const double *scale, const int32_t *order,
                       const int32_t *place, int count, const int32_t *starts,
                       const int64_t *row_offsets, const int32_t *rows, const int32_t *parents,
                       const int64_t *block_offsets, int symmetric, float *blocks)
{
  int status = 2;
  int64_t largest = 0;
  for (int k = 0; k < count; k++) {
    const int64_t m = starts[k + 1] - starts[k] + row_offsets[k + 1] - row_offsets[k];
    largest = m > largest ? m : largest;
  }
  int32_t *local = malloc(sizeof(int32_t) * (size_t)n);
  int32_t *child = malloc(sizeof(int32_t) * 2 * (size_t)count), *sibling = child + count;
  update *updates = calloc((size_t)count, sizeof *updates);
  double *front = malloc(sizeof(double) * (size_t)(largest * largest));
  double *product = malloc(sizeof(double) * (size_t)(largest * 2 * (WIDEST + 1)));
  if (!local || !child || !updates || !front || !product) goto done;
  for (int k = 0; k < count; k++) child[k] = -1;
  for (int k = 0; k < count; k++) {
    const int start = starts[k], end = starts[k + 1], width = end - start;
    const int32_t *const own = rows + row_offsets[k];
    const int64_t r = row_offsets[k + 1] - row_offsets[k], m = width + r;
    memset(front, 0, sizeof(double) * (size_t)(m * m));
    for (int i = 0; i < width; i++) local[start + i] = i;
    for (int i = 0; i < r; i++) local[own[i]] = width + i;
    for (int j = 0; j < width; j++) {
      const int old = order[start + j];
      for (int e = offsets_h[old]; e < offsets_h[old + 1]; e++) {
        const int other = columns_h[e], i = place[other];
        if (i >= start) front[local[i] + j * m] += scale[old] * scale[other] * entries_h[e];
      }
      for (int e = symmetric ? offsets[old + 1] : offsets[old]; e < offsets[old + 1]; e++) {
        const int other = columns[e], i = place[other];
        if (i >= end) front[j + local[i] * m] += scale[old] * scale[other] * entries[e];
      }
    }
    for (int c = child[k]; c != -1; c = sibling[c]) {
      const int32_t *const others = rows + row_offsets[c];
      const int size = updates[c].rows;
      for (int j = 0; j < size; j++) {
        const double *const from = updates[c].entries + (int64_t)j * size;
        double *const to = front + local[others[j]] * m;
        for (int i = symmetric ? j : 0; i < size; i++) to[local[others[i]]] += from[i];
      }
      free(updates[c].entries);
      updates[c].entries = NULL;
    }
    if (symmetric)
      for (int j = 1; j < width; j++)
        for (int i = 0; i < j; i++) front[i + j * m] = front[j + i * m];
    if (invert(width, front, m)) {
      status = 1;
      goto done;
    }
    // The part of L is F_21 S^-1, that of U is S^-1 F_12.
    double *const lower = product, *const upper = lower + r * width, *const b = upper + r * width;
    memset(product, 0, sizeof(double) * 2 * (size_t)(r * width));
    for (int j = 0; j < width; j++) {
      for (int i = 0; i < width; i++) b[i] = -front[i + j * m];
      subtract_product(r, width, lower + j * r, front + width, m, b);
    }
    if (!symmetric)
      for (int64_t i = 0; i < r; i++)
        for (int j = 0; j < width; j++) {
          double sum = 0.0;
          for (int l = 0; l < width; l++) sum += front[j + l * m] * front[l + (width + i) * m];
          upper[i + j * r] = sum;
        }
    float *block = blocks + block_offsets[k];
    const int64_t ld = padded(width), ldr = padded(r);
    for (int j = 0; j < width; j++, block += ld)
      for (int i = 0; i < width; i++)
        block[i] = (float)(symmetric && i < j ? front[j + i * m] : front[i + j * m]);
    for (int j = 0; j < width; j++, block += ldr)
      for (int64_t i = 0; i < r; i++) block[i] = (float)lower[i + j * r];
    if (!symmetric)
      for (int j = 0; j < width; j++, block += ldr)
        for (int64_t i = 0; i < r; i++) block[i] = (float)upper[i + j * r];
    if (parents[k] == -1) continue;
    double *const rest = malloc(sizeof(double) * (size_t)(r * r));
    if (rest == NULL) goto done;
    updates[k] = (update){(int)r, rest};
    for (int64_t j = 0; j < r; j++) {
      const int64_t from = symmetric ? j : 0;
      double *const column = rest + j * r;
      memcpy(column + from, front + width + from + (width + j) * m,
             sizeof(double) * (size_t)(r - from));
      for (int l = 0; l < width; l++)
        b[l] = symmetric ? front[width + j + l * m] : front[l + (width + j) * m];
      subtract_product(r - from, width, column + from, lower + from, r, b);
    }
    sibling[k] = child[parents[k]];
    child[parents[k]] = k;
  }
  status = 0;
done:
  for (int k = 0; updates && k < count; k++) free(updates[k].entries);
  free(product);
  free(front);
  free(updates);
  free(child);
  free(local);
  return status;
}

// apply: y = (scaled A)^-1 x

// packs times WIDTH rows of out = a x, a column-major. packs is a constant to the compiler.
INLINE void times_rows(const int packs, int width, const float *a, int64_t ld, const float *x,
                       float *out)
{
  pack sum[4] = {{0}};
  for (int j = 0; j < width; j++, a += ld)
    for (int i = 0; i < packs; i++) sum[i] += *(const pack *)(a + i * WIDTH) * x[j];
  for (int i = 0; i < packs; i++) *(pack *)(out + i * WIDTH) = sum[i];
}

// out (ld) = a x, a (ld x width).
INLINE void times(int width, const float *a, int64_t ld, const float *x, float *out)
{
  int64_t i = 0;
  for (; i + 4 * WIDTH <= ld; i += 4 * WIDTH) times_rows(4, width, a + i, ld, x, out + i);
  if (i + 2 * WIDTH <= ld) {
    times_rows(2, width, a + i, ld, x, out + i);
    i += 2 * WIDTH;
  }
  if (i < ld) times_rows(1, width, a + i, ld, x, out + i);
}

INLINE half_pack fold(pack a)
{
  half_pack half[2];
  memcpy(half, &a, sizeof half);
  return half[0] + half[1];
}

// out (width) -= a' x, a (ld x width).
INLINE void subtract_transposed(int width, const float *a, int64_t ld, const float *x, float *out)
{
  int j = 0;
  for (; j + 4 <= width; j += 4, a += 4 * ld) {
    pack sum[4] = {{0}};
    for (int64_t i = 0; i < ld; i += WIDTH) {
      const pack y = *(const pack *)(x + i);
      for (int l = 0; l < 4; l++) sum[l] += *(const pack *)(a + i + l * ld) * y;
    }
    const half_pack p = fold(sum[0]), q = fold(sum[1]), s = fold(sum[2]), t = fold(sum[3]);
    const half_pack pq = PICK(p, q, 0, 4, 2, 6) + PICK(p, q, 1, 5, 3, 7);
    const half_pack st = PICK(s, t, 0, 4, 2, 6) + PICK(s, t, 1, 5, 3, 7);
    const half_pack total = PICK(pq, st, 0, 1, 4, 5) + PICK(pq, st, 2, 3, 6, 7);
    for (int l = 0; l < 4; l++) out[j + l] -= total[l];
  }
  for (; j < width; j++, a += ld) {
    pack sum = {0};
    for (int64_t i = 0; i < ld; i += WIDTH) sum += *(const pack *)(a + i) * *(const pack *)(x + i);
    const half_pack p = fold(sum);
    out[j] -= (p[0] + p[1]) + (p[2] + p[3]);
  }
}

// y = T P' (L S U)^-1 P T x, T the scale (n, old), P the order. work: n + the largest number of
// rows or unknowns of a node, each padded, and aligned as packs are.
void kryloset_apply(int n, const double *x, double *y, const double *scale, const int32_t *order,
                    int count, const int32_t *starts, const int64_t *row_offsets,
                    const int32_t *rows, const int64_t *block_offsets, int symmetric,
                    const float *blocks, float *work)
{
  // Single precision ends at 1e-38, so x is scaled near 1 by a power of two.
  double size = 0.0;
  for (int i = 0; i < n; i++) {
    const double entry = fabs(scale[i] * x[i]);
    size = entry > size ? entry : size;
  }
  int exponent = 0;
  if (size > 0.0 && isfinite(size)) frexp(size, &exponent);
  const double down = ldexp(1.0, -exponent), up = ldexp(1.0, exponent);
  float *const v = work, *const near = work + padded(n);
  for (int i = 0; i < n; i++) {
    const int old = order[i];
    v[i] = (float)(scale[old] * x[old] * down);
  }
  for (int k = 0; k < count; k++) {
    const int start = starts[k], width = starts[k + 1] - start;
    const int32_t *const own = rows + row_offsets[k];
    const int64_t r = row_offsets[k + 1] - row_offsets[k];
    const float *const inverse = blocks + block_offsets[k];
    times(width, inverse + padded(width) * width, padded(r), v + start, near);
    for (int64_t i = 0; i < r; i++) v[own[i]] -= near[i];
    times(width, inverse, padded(width), v + start, near);
    memcpy(v + start, near, sizeof(float) * (size_t)width);
  }
  for (int k = count - 1; k >= 0; k--) {
    const int start = starts[k], width = starts[k + 1] - start;
    const int32_t *const own = rows + row_offsets[k];
    const int64_t r = row_offsets[k + 1] - row_offsets[k], ld = padded(r);
    const float *block = blocks + block_offsets[k] + padded(width) * width;
    if (!symmetric) block += ld * width;
    for (int64_t i = 0; i < r; i++) near[i] = v[own[i]];
    for (int64_t i = r; i < ld; i++) near[i] = 0.0f;
    subtract_transposed(width, block, ld, near, v + start);
  }
  for (int i = 0; i < n; i++) {
    const int old = order[i];
    y[old] = scale[old] * v[i] * up;
  }
}

// Bytes of a vector register of this processor.
int kryloset_register(void)
{
#if defined(__AVX512F__)
  return 64;
#elif defined(__AVX__)
  return 32;
#else
  return 16;
#endif
}
