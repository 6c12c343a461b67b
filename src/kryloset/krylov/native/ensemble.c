// SPDX-FileCopyrightText: Kryloset developers
// SPDX-License-Identifier: LGPL-3.0-or-later

// Sparse factors of up to 16 matrices of one pattern at once. Each number of a factor is a vector
// with a lane for each matrix, so that indices are read once and no lane waits for another. This
// file is compiled for one precision and number of lanes: REAL is float or double, BITS an integer
// of its size, LANES the numbers in a register. With SHARED, one factor serves all lanes.
//
// The factor is A = L D U, with unit triangles and without pivoting; U = L' if A is symmetric. Its
// nodes are those of factor.c. A node has a panel of L: a column for each of its unknowns, a row
// for each unknown and for each of its rows, numbers row by row, inverse pivots on the diagonal.
// Unless A is symmetric, it has such a panel of D U transposed. Elimination is multifrontal (I. Duff
// and J. Reid, ACM Trans. Math. Software 9, 1983), but a node's product goes from registers straight
// to its parent's panels and fronts: scattered vectors cost no more than consecutive ones.

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { COPIES = SHARED ? 1 : LANES };  // numbers of a factor that lie side by side

typedef REAL lanes __attribute__((vector_size(sizeof(REAL) * LANES)));
typedef REAL number __attribute__((vector_size(sizeof(REAL) * COPIES)));
typedef BITS mask __attribute__((vector_size(sizeof(REAL) * COPIES)));

#if SHARED
#define SPREAD(value) (value)[0]
#else
#define SPREAD(value) (value)
#endif

// Registers hold a tile of products. KEEP has a number read once: compilers read it again for each
// product, and reading is then what takes the time.
#if SHARED
enum { TILE = 2, TALL = 8 };
#define FOR_SIZES(one) one(1) one(2)
#define FOR_TILES(one) one(1, 1) one(1, 2) one(2, 1) one(2, 2)
#elif defined(__AVX512F__) || defined(__aarch64__)
enum { TILE = 4, TALL = 8 };
#define FOR_SIZES(one) one(1) one(2) one(3) one(4)
#define FOR_TILES(one)                                                                \
  one(1, 1) one(1, 2) one(1, 3) one(1, 4) one(2, 1) one(2, 2) one(2, 3) one(2, 4)     \
  one(3, 1) one(3, 2) one(3, 3) one(3, 4) one(4, 1) one(4, 2) one(4, 3) one(4, 4)
#else
enum { TILE = 3, TALL = 4 };
#define FOR_SIZES(one) one(1) one(2) one(3)
#define FOR_TILES(one)                                                                \
  one(1, 1) one(1, 2) one(1, 3) one(2, 1) one(2, 2) one(2, 3) one(3, 1) one(3, 2) one(3, 3)
#endif

#if defined(__x86_64__) && !SHARED
#define KEEP(value) __asm__("" : "+v"(value))
#elif defined(__aarch64__) && !SHARED
#define KEEP(value) __asm__("" : "+w"(value))
#else
#define KEEP(value)
#endif

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

// What Python hands over as an array of numbers and addresses, all of one size.
typedef struct {
  int64_t n, lanes, count, symmetric;
  const int32_t *order;          // (n) new -> old
  const int32_t *starts;         // (count + 1) first unknown of each node
  const int64_t *row_offsets;    // (count + 1) where its rows begin
  const int32_t *rows;           // later unknowns that its elimination touches
  const int32_t *places;         // the same, as rows of the parent's panel
  const int32_t *parents;        // (count) or -1
  const int32_t *first;          // (count) whether a node is the first one with its parent
  const int64_t *block_offsets;  // (count + 1) in numbers
  const int64_t *front_offsets;  // (count) in numbers
  const int64_t *entry_offsets;  // (count + 1) entries of a node, the diagonal left out:
  const int32_t *sources;        //   number of an entry in A,
  const int32_t *lefts;          //   its row and
  const int32_t *rights;         //   column, old,
  const int32_t *targets;        //   and where it goes in the node's block
} plan;

// Numbers below the smallest normal one become zero: they occur where influence decays, and
// arithmetic on them takes a hundred times as long. Returns what restore() is given.
static unsigned flush(void)
{
#if defined(__SSE__)
  const unsigned before = __builtin_ia32_stmxcsr();
  __builtin_ia32_ldmxcsr(before | 0x8040);
  return before;
#else
  return 0;
#endif
}

static void restore(unsigned before)
{
#if defined(__SSE__)
  __builtin_ia32_ldmxcsr(before);
#else
  (void)before;
#endif
}

// factorise: tiles. Their sizes, tall and wide, are constants to the compiler.

// tile[i][j] = sum over k < depth of a[i][k] b[j][k]. A row of the panels has width numbers.
INLINE void product(const int tall, const int wide, int depth, int width, const number *a,
                    const number *b, number tile[TILE][TILE])
{
  number sum[TILE][TILE];
  UNROLL for (int i = 0; i < tall; i++)
    UNROLL for (int j = 0; j < wide; j++) sum[i][j] = (number){0};
  for (int k = 0; k < depth; k++) {
    number right[TILE];
    UNROLL for (int j = 0; j < wide; j++) {
      right[j] = b[(ptrdiff_t)j * width + k];
      KEEP(right[j]);
    }
    UNROLL for (int i = 0; i < tall; i++) {
      number left = a[(ptrdiff_t)i * width + k];
      KEEP(left);
      UNROLL for (int j = 0; j < wide; j++) sum[i][j] += left * right[j];
    }
  }
  UNROLL for (int i = 0; i < tall; i++)
    UNROLL for (int j = 0; j < wide; j++) tile[i][j] = sum[i][j];
}

// Eliminate size unknowns: a tile on the diagonal, after done others. lower, upper: its first rows
// in both panels. Returns for which lanes all pivots are usable; the others go on with a pivot of 1.
INLINE mask eliminate(const int size, int done, int width, number *lower, number *upper,
                      int symmetric)
{
  const REAL smallest = 1e-14, largest = 1e14;  // compared with a unit diagonal
  number tile[TILE][TILE];
  mask usable = (mask){0} == (mask){0};
  product(size, size, done, width, lower, upper, tile);
  lower += done;
  upper += done;
  UNROLL for (int i = 0; i < size; i++)
    UNROLL for (int j = 0; j < size; j++)
      tile[i][j] = (i >= j    ? lower[i * width + j]
                    : symmetric ? lower[j * width + i]
                                : upper[j * width + i]) - tile[i][j];
  UNROLL for (int k = 0; k < size; k++) {
    const number pivot = tile[k][k];
    const mask good = ((pivot > smallest) | (pivot < -smallest)) &
                      ((pivot < largest) & (pivot > -largest));
    const number inverse = 1 / (number)((good & (mask)pivot) | (~good & (mask)((number){0} + 1)));
    usable &= good;
    lower[k * width + k] = inverse;
    UNROLL for (int i = k + 1; i < size; i++) {
      const number factor = tile[i][k] * inverse;
      UNROLL for (int j = k + 1; j < size; j++) tile[i][j] -= factor * tile[k][j];
      lower[i * width + k] = factor;
      upper[i * width + k] = tile[k][i];
    }
  }
  return usable;
}

// Finish a tile after done columns. own, other: first row of the tile in its own panel, and of the
// tile on the diagonal in the other. pivots: the latter in the panel of L if this is a tile of L,
// whose columns are divided by pivots, else NULL. copy: gets the tile before that, unless NULL.
INLINE void solve(const int tall, const int wide, int done, int width, number *own,
                  const number *other, const number *pivots, number *copy)
{
  number tile[TILE][TILE];
  product(tall, wide, done, width, own, other, tile);
  UNROLL for (int i = 0; i < tall; i++)
    UNROLL for (int j = 0; j < wide; j++) tile[i][j] = own[i * width + done + j] - tile[i][j];
  UNROLL for (int k = 0; k < wide; k++)
    UNROLL for (int i = 0; i < tall; i++) {
      const int place = i * width + done + k;
      const number value = tile[i][k];
      const number factor = pivots != NULL ? value * pivots[k * width + done + k] : value;
      if (copy != NULL) copy[place] = value;
      own[place] = factor;
      UNROLL for (int j = k + 1; j < wide; j++) tile[i][j] -= factor * other[j * width + done + k];
    }
}

// Add a tile of the front, unless that is NULL, less the node's product to the parent. a, b: the
// tile's rows and columns in the panels. A row of the front has rows numbers, one of the parent's
// panel or front stride; row, column: where the tile's are there.
INLINE void update(const int tall, const int wide, int width, const number *a, const number *b,
                   const number *front, ptrdiff_t rows, number *to, ptrdiff_t stride,
                   const int32_t *row, const int32_t *column)
{
  number tile[TILE][TILE];
  product(tall, wide, width, width, a, b, tile);
  UNROLL for (int i = 0; i < tall; i++) {
    number *const target = to + row[i] * stride;
    UNROLL for (int j = 0; j < wide; j++)
      target[column[j]] += front != NULL ? front[i * rows + j] - tile[i][j] : -tile[i][j];
  }
}

// factorise: nodes

#define TILES(one)                         \
  switch ((tall - 1) * TILE + wide - 1) {  \
    FOR_TILES(one)                         \
  }

// Eliminate the unknowns of a node with these panels, in which entries and the products of earlier
// nodes are. If symmetric, upper is an empty panel.
static mask eliminate_node(int width, int rows, number *lower, number *upper, int symmetric)
{
  mask usable = (mask){0} == (mask){0};
  for (int i = 0, tall; i < width + rows; i += tall) {
    const int end = i < width ? width : width + rows, columns = i < width ? i : width;
    number *const l = lower + (ptrdiff_t)i * width, *const u = upper + (ptrdiff_t)i * width;
    tall = end - i < TILE ? end - i : TILE;
    for (int k = 0, wide; k < columns; k += wide) {
      const number *const low = lower + (ptrdiff_t)k * width, *const up = upper + (low - lower);
      wide = columns - k < TILE ? columns - k : TILE;
      if (symmetric) {
#define ONE(tall, wide)                              \
  case (tall - 1) * TILE + wide - 1:                 \
    solve(tall, wide, k, width, l, up, low, u); break;
        TILES(ONE)
#undef ONE
      } else {
#define ONE(tall, wide)                                  \
  case (tall - 1) * TILE + wide - 1:                     \
    solve(tall, wide, k, width, l, up, low, NULL);       \
    solve(tall, wide, k, width, u, low, NULL, NULL); break;
        TILES(ONE)
#undef ONE
      }
    }
    if (i >= width) continue;
    switch (tall) {
#define ONE(size) \
  case size: usable &= eliminate(size, i, width, l, u, symmetric); break;
      FOR_SIZES(ONE)
#undef ONE
    }
  }
  return usable;
}

// Update the parent's panel and front of one triangle by a node's, whose first shared rows are
// unknowns of the parent. a, b: the node's rows in its panels of this triangle and of the other.
static void update_parent(int width, int rows, int shared, const number *a, const number *b,
                          const number *front, const int32_t *places, int parent_width,
                          int parent_rows, number *parent_panel, number *parent_front)
{
  for (int j = 0, wide; j < rows; j += wide) {
    const int own = j < shared, end = own ? shared : rows;
    const ptrdiff_t stride = own ? parent_width : parent_rows;
    // Place (parent_width, parent_width) is the front's first.
    number *const to = own ? parent_panel : parent_front - parent_width * (stride + 1);
    wide = end - j < TILE ? end - j : TILE;
    for (int i = j, tall; i < rows; i += tall) {
      const number *const before = front != NULL ? front + (ptrdiff_t)i * rows + j : NULL;
      const number *const left = a + (ptrdiff_t)i * width, *const right = b + (ptrdiff_t)j * width;
      tall = rows - i < TILE ? rows - i : TILE;
#define ONE(tall, wide)                                                                        \
  case (tall - 1) * TILE + wide - 1:                                                           \
    update(tall, wide, width, left, right, before, rows, to, stride, places + i, places + j);  \
    break;
      TILES(ONE)
#undef ONE
    }
  }
}

// Set a node's panels to its entries of T A T, its fronts to zero.
static void begin(const plan *p, int64_t k, const double *entries, const double *scale,
                  const double *diagonal, number *block, number *front)
{
  const int64_t copies = SHARED ? 1 : p->lanes, rows = p->row_offsets[k + 1] - p->row_offsets[k];
  const int64_t start = p->starts[k], width = p->starts[k + 1] - start;
  memset(block, 0, sizeof(number) * (size_t)(p->block_offsets[k + 1] - p->block_offsets[k]));
  for (int half = 0; half < (p->symmetric ? 1 : 2); half++, front += rows * rows)
    for (int64_t i = 0; i < rows; i++)
      // Tiles on the diagonal reach above it.
      memset(front + i * rows, 0, sizeof(number) * (size_t)(i + TILE < rows ? i + TILE : rows));
  for (int64_t i = 0; i < width; i++) {
    const double *const from = diagonal + p->order[start + i] * copies;
    REAL *const to = (REAL *)(block + i * width + i);
    for (int l = 0; l < COPIES; l++) to[l] = (REAL)from[l];
  }
  for (int64_t e = p->entry_offsets[k]; e < p->entry_offsets[k + 1]; e++) {
    const double *const from = entries + p->sources[e] * copies;
    const double *const left = scale + p->lefts[e] * copies;
    const double *const right = scale + p->rights[e] * copies;
    REAL *const to = (REAL *)(block + p->targets[e]);
    for (int l = 0; l < COPIES; l++) to[l] = (REAL)(left[l] * right[l] * from[l]);
  }
}

// Factorise COPIES matrices.
static void factorise(const plan *p, const double *entries, const double *scale,
                      const double *diagonal, number *blocks, number *fronts, number *panel,
                      uint8_t *usable)
{
  mask good = (mask){0} == (mask){0};
  for (int64_t k = 0; k < p->count; k++) {
    const int64_t offset = p->row_offsets[k], rows = p->row_offsets[k + 1] - offset;
    const int64_t width = p->starts[k + 1] - p->starts[k], parent = p->parents[k];
    const int leaf = k == 0 || p->parents[k - 1] != k;
    number *const lower = blocks + p->block_offsets[k], *const front = fronts + p->front_offsets[k];
    number *const upper = p->symmetric ? panel : lower + (width + rows) * width;
    if (leaf) begin(p, k, entries, scale, diagonal, lower, front);
    good &= eliminate_node((int)width, (int)rows, lower, upper, (int)p->symmetric);
    if (parent < 0) continue;
    const int64_t parent_width = p->starts[parent + 1] - p->starts[parent];
    const int64_t parent_rows = p->row_offsets[parent + 1] - p->row_offsets[parent];
    number *const block = blocks + p->block_offsets[parent];
    number *const parent_front = fronts + p->front_offsets[parent];
    if (p->first[k]) begin(p, parent, entries, scale, diagonal, block, parent_front);
    int shared = 0;
    while (shared < rows && p->rows[offset + shared] < p->starts[parent + 1]) shared++;
    for (int half = 0; half < (p->symmetric ? 1 : 2); half++)
      update_parent((int)width, (int)rows, shared, (half ? upper : lower) + width * width,
                    (half ? lower : upper) + width * width,
                    leaf ? NULL : front + half * rows * rows, p->places + offset,
                    (int)parent_width, (int)parent_rows,
                    block + half * (parent_width + parent_rows) * parent_width,
                    parent_front + half * parent_rows * parent_rows);
  }
  for (int l = 0; l < COPIES; l++) {
    usable[l] = good[l] != 0;
    if (usable[l]) continue;
    // The identity. Numbers of other lanes are not touched.
    REAL *const numbers = (REAL *)blocks + l;
    for (int64_t i = 0; i < p->block_offsets[p->count]; i++) numbers[i * COPIES] = 0;
    for (int64_t k = 0; k < p->count; k++)
      for (int64_t i = 0, width = p->starts[k + 1] - p->starts[k]; i < width; i++)
        numbers[(p->block_offsets[k] + i * width + i) * COPIES] = 1;
  }
}

// Factorise T A T of all lanes. entries (nnz, lanes) are those of A; scale and diagonal (n, lanes)
// as kryloset_diagonal() finds them, one of each if SHARED. blocks get the factor, the lanes of a register side by
// side; fronts and panel are room for the fronts of a path and for the largest panel. usable
// (lanes): whether all pivots are. The factor of a lane where they are not is the identity.
void kryloset_ensemble_factorise(const plan *p, const double *entries, const double *scale,
                                 const double *diagonal, void *blocks, void *fronts, void *panel,
                                 uint8_t *usable)
{
  const unsigned before = flush();
  for (int64_t l = 0; l < (SHARED ? 1 : p->lanes); l += LANES)
    factorise(p, entries + l, scale + l, diagonal + l,
              (number *)blocks + l / LANES * p->block_offsets[p->count], fronts, panel, usable + l);
  restore(before);
}

// apply

// x_i -= sum over k < depth of a[i][k] x[k], for tall numbers x_i = v[rows[i]].
INLINE void subtract_rows(const int tall, int depth, int width, const number *a, const lanes *x,
                          lanes *v, const int32_t *rows)
{
  lanes sum[TALL];
  UNROLL for (int i = 0; i < tall; i++) sum[i] = (lanes){0};
  for (int k = 0; k < depth; k++)
    UNROLL for (int i = 0; i < tall; i++) sum[i] += SPREAD(a[(ptrdiff_t)i * width + k]) * x[k];
  UNROLL for (int i = 0; i < tall; i++) v[rows[i]] -= sum[i];
}

// x[k] -= sum over i < tall of a[i][k] v[rows[i]], k < depth.
INLINE void subtract_columns(const int tall, int depth, int width, const number *a, lanes *x,
                             const lanes *v, const int32_t *rows)
{
  lanes value[TALL];
  UNROLL for (int i = 0; i < tall; i++) value[i] = v[rows[i]];
  for (int k = 0; k < depth; k++) {
    lanes sum = x[k];
    UNROLL for (int i = 0; i < tall; i++) sum -= SPREAD(a[(ptrdiff_t)i * width + k]) * value[i];
    x[k] = sum;
  }
}

static void forward(const plan *p, const number *blocks, lanes *v)
{
  for (int64_t k = 0; k < p->count; k++) {
    const int width = p->starts[k + 1] - p->starts[k];
    const int64_t count = p->row_offsets[k + 1] - p->row_offsets[k];
    const int32_t *const rows = p->rows + p->row_offsets[k];
    const number *a = blocks + p->block_offsets[k];
    lanes *const x = v + p->starts[k];
    for (int32_t i = 1; i < width; i++) subtract_rows(1, i, width, a + i * width, x, x, &i);
    a += (ptrdiff_t)width * width;
    int64_t i = 0;
    for (; i + TALL <= count; i += TALL)
      subtract_rows(TALL, width, width, a + i * width, x, v, rows + i);
    for (; i < count; i++) subtract_rows(1, width, width, a + i * width, x, v, rows + i);
  }
}

static void backward(const plan *p, const number *blocks, lanes *v)
{
  for (int64_t k = p->count - 1; k >= 0; k--) {
    const int width = p->starts[k + 1] - p->starts[k];
    const int64_t count = p->row_offsets[k + 1] - p->row_offsets[k];
    const int32_t *const rows = p->rows + p->row_offsets[k];
    const number *const lower = blocks + p->block_offsets[k];
    const number *const own = p->symmetric ? lower : lower + (width + count) * width;
    const number *const a = own + (ptrdiff_t)width * width;
    lanes *const x = v + p->starts[k];
    if (p->symmetric)
      for (int j = 0; j < width; j++) x[j] *= SPREAD(lower[(ptrdiff_t)j * width + j]);
    int64_t i = 0;
    for (; i + TALL <= count; i += TALL)
      subtract_columns(TALL, width, width, a + i * width, x, v, rows + i);
    for (; i < count; i++) subtract_columns(1, width, width, a + i * width, x, v, rows + i);
    for (int32_t j = width - 1; j >= 0; j--) {
      if (!p->symmetric) x[j] *= SPREAD(lower[(ptrdiff_t)j * width + j]);
      subtract_columns(1, j, width, own + (ptrdiff_t)j * width, x, x, &j);
    }
  }
}

// y = A^-1 x for LANES lanes.
static void apply(const plan *p, const number *blocks, const double *scale, const double *x,
                  double *y, lanes *v)
{
  const int64_t copies = SHARED ? 1 : p->lanes, own = !SHARED;
  // x is scaled near 1 by a power of two, for single precision ends at 1e-38.
  double size[LANES] = {0}, down[LANES], up[LANES];
  for (int64_t i = 0; i < p->n; i++)
    for (int l = 0; l < LANES; l++) {
      const double entry = fabs(scale[i * copies + own * l] * x[i * p->lanes + l]);
      size[l] = entry > size[l] ? entry : size[l];
    }
  for (int l = 0; l < LANES; l++) {
    int exponent = 0;
    if (size[l] > 0.0 && size[l] <= DBL_MAX) frexp(size[l], &exponent);
    down[l] = ldexp(1.0, -exponent);
    up[l] = ldexp(1.0, exponent);
  }
  for (int64_t i = 0; i < p->n; i++) {
    const double *const t = scale + p->order[i] * copies, *const from = x + p->order[i] * p->lanes;
    REAL *const to = (REAL *)(v + i);
    for (int l = 0; l < LANES; l++) to[l] = (REAL)(t[own * l] * from[l] * down[l]);
  }
  forward(p, blocks, v);
  backward(p, blocks, v);
  for (int64_t i = 0; i < p->n; i++) {
    const double *const t = scale + p->order[i] * copies;
    double *const to = y + p->order[i] * p->lanes;
    const REAL *const from = (const REAL *)(v + i);
    for (int l = 0; l < LANES; l++) to[l] = t[own * l] * (double)from[l] * up[l];
  }
}

// y = A^-1 x for all lanes; x, y (n, lanes), work (n, LANES).
void kryloset_ensemble_apply(const plan *p, const void *blocks, const double *scale,
                             const double *x, double *y, void *work)
{
  const unsigned before = flush();
  for (int64_t l = 0; l < p->lanes; l += LANES)
    apply(p, (const number *)blocks + (SHARED ? 0 : l / LANES * p->block_offsets[p->count]),
          scale + (SHARED ? 0 : l), x + l, y + l, work);
  restore(before);
}
