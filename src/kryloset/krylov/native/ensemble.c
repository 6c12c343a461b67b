// SPDX-FileCopyrightText: Kryloset developers
// SPDX-License-Identifier: LGPL-3.0-or-later

// Sparse factors of up to 16 matrices of one pattern at once. Each number of a factor is a vector
// with a lane for each matrix, so that indices are read once and no lane waits for another. This
// file is compiled for one precision and number of lanes: REAL is float or double, BITS an integer
// of its size, LANES the numbers in a register. With SHARED, one factor serves all lanes.
//
// The factor is A = L D U, with unit triangles and without pivoting; U = L' if A is symmetric. Its
// nodes are those of factor.c. A node has a panel of L: a column for each of its unknowns, a row
// for each unknown and for each of its rows, numbers row by row. Its triangle is packed, with
// inverse pivots on the diagonal. Unless A is symmetric, there is such a panel of D U transposed.
// Elimination is multifrontal (I. Duff and J. Reid, ACM Trans. Math. Software 9, 1983): a node goes
// through its panels and its front once, a few rows at a time, and adds what is left to its parent's
// front, a packed triangle. One without children has none of its own.

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

// Write a number past the caches: reading its line first would take as long as writing it. A factor
// of fewer bytes than STAYS stays in a cache until it is applied.
enum { STAYS = 1 << 23 };
#if defined(__AVX__) && !SHARED
#define STREAM(to, value) __asm__ volatile("vmovntps %1, %0" : "=m"(to) : "v"(value))
#else
#define STREAM(to, value) to = value
#endif

// Entries are in the order of A, so that the next one is not where a processor looks for it.
enum { AHEAD = 8 };

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

// What Python hands over as an array of numbers and addresses, all of one size.
typedef struct {
  int64_t n, lanes, count, symmetric;
  int64_t singular;                // whether pivots next to zero are put to 1
  const int32_t *order;            // (n) new -> old
  const int32_t *starts;           // (count + 1) first unknown of each node
  const int64_t *row_offsets;      // (count + 1) where its rows begin
  const int32_t *rows;             // later unknowns that its elimination touches
  const int32_t *places;           // the same, as rows of the parent's panel
  const int32_t *parents;          // (count) -1 of a root
  const int64_t *block_offsets;    // (count + 1) in numbers
  const int64_t *front_offsets;    // (count) in numbers, of nodes with children
  const int64_t *entry_offsets;    // (count + 1) its entries, row by row, and AHEAD more:
  const int32_t *sources;          //   number of an entry in A,
  const int32_t *lefts, *rights;   //   its row and column, new,
  const int32_t *entry_rows;       //   its row in the node's panel
  const int32_t *targets;          //   and its place in the panel
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

// scale: the matrix T A T

// Find T, the root of the diagonal's inverse; where that is zero, of the norm of the row. shifts is
// then filled with what is added to the diagonal: in such rows, shift with the opposite sign of the
// other entries (quasidefinite: R. Vanderbei, SIAM J. Optim. 5, 1995), and NaN in a row of zeros,
// which has no factor. Returns whether there are such rows. offsets, columns, own: rows of A, and
// places of its diagonal entries or -1; place: old -> new. entries (nnz, lanes) are those of A;
// scale and shifts (n, lanes), new. There is one lane if SHARED.
int kryloset_ensemble_scale(const plan *p, const int32_t *offsets, const int32_t *columns,
                            const int32_t *own, const int32_t *place, const double *entries,
                            double shift, double *scale, double *shifts)
{
  const int64_t copies = SHARED ? 1 : p->lanes, size = p->n * copies;
  double least[COPIES], sign[16] = {0};
  for (int l = 0; l < COPIES; l++) least[l] = 1.0;
  for (int64_t i = 0; i < size; i += COPIES) {
    const int64_t at = own[p->order[i / copies]];
    const int64_t next = i / copies + AHEAD < p->n ? own[p->order[i / copies + AHEAD]] : -1;
    for (int l = 0; l < COPIES && next >= 0; l += 8)
      __builtin_prefetch(entries + next * copies + i % copies + l);
    double entry[COPIES] = {0};
    if (at >= 0) memcpy(entry, entries + at * copies + i % copies, sizeof entry);
    for (int l = 0; l < COPIES; l++) {
      const double diagonal = fabs(entry[l]);
      least[l] = diagonal < least[l] ? diagonal : least[l];
      scale[i + l] = 1.0 / sqrt(diagonal > 0.0 && diagonal <= DBL_MAX ? diagonal : 1.0);
    }
  }
  int zeros = 0;
  for (int l = 0; l < COPIES; l++) zeros |= least[l] == 0.0;
  if (!zeros) return 0;
  // Rows to be scaled by their norms have a shift, the others none.
  for (int64_t i = 0; i < size; i++) {
    const int64_t at = own[p->order[i / copies]];
    const double entry = at < 0 ? 0.0 : entries[at * copies + i % copies];
    shifts[i] = entry == 0.0 ? shift : 0.0;
    sign[i % copies] += entry > 0.0 ? 1.0 : entry < 0.0 ? -1.0 : 0.0;
  }
  for (int64_t i = 0; i < size; i++) {
    if (shifts[i] == 0.0) continue;
    const int64_t old = p->order[i / copies];
    double sum = 0.0;
    for (int64_t e = offsets[old]; e < offsets[old + 1]; e++) {
      const int64_t other = place[columns[e]] * copies + i % copies;
      const double entry = scale[other] * entries[e * copies + i % copies];
      sum += shifts[other] == 0.0 ? entry * entry : 0.0;
    }
    if (sum > 0.0 && sum <= DBL_MAX) scale[i] = 1.0 / sqrt(sum);
    shifts[i] = sum == 0.0 ? NAN : sign[i % copies] < 0.0 ? shift : -shift;
  }
  return 1;
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
// in both panels; if symmetric, entries are in upper. inverse: of the pivots. Pivots below least
// are put to 1. Returns for which lanes all pivots are usable; the others go on with a pivot of 1.
INLINE mask eliminate(const int size, int done, int width, number *lower, number *upper,
                      number *inverse, int symmetric, REAL least)
{
  const REAL smallest = 1e-14, largest = 1e14;  // compared with a unit diagonal
  number tile[TILE][TILE];
  mask usable = (mask){0} == (mask){0};
  product(size, size, done, width, lower, upper, tile);
  lower += done;
  upper += done;
  UNROLL for (int i = 0; i < size; i++)
    UNROLL for (int j = 0; j < size; j++)
      tile[i][j] = (i < j       ? upper[j * width + i]
                    : symmetric ? upper[i * width + j]
                                : lower[i * width + j]) - tile[i][j];
  UNROLL for (int k = 0; k < size; k++) {
    const number pivot = tile[k][k];
    const mask next_to_zero = (pivot < least) & (pivot > -least);
    const mask good = ((pivot > smallest) | (pivot < -smallest)) &
                      ((pivot < largest) & (pivot > -largest)) & ~next_to_zero;
    const number known = (number)((good & (mask)pivot) | (~good & (mask)((number){0} + 1)));
    usable &= good | next_to_zero;
    inverse[k] = lower[k * width + k] = 1 / known;
    UNROLL for (int i = k + 1; i < size; i++) {
      const number factor = tile[i][k] * inverse[k];
      UNROLL for (int j = k + 1; j < size; j++) tile[i][j] -= factor * tile[k][j];
      lower[i * width + k] = factor;
      upper[i * width + k] = tile[k][i];
    }
  }
  return usable;
}

// Finish a tile after done columns: that of T A T less products, at from, becomes one of L or of
// D U. left, other: first row of the tile in its own panel, and of the tile on the diagonal in the
// other. inverse: of the pivots, if this is a tile of L.
INLINE void solve(const int tall, const int wide, int done, int width, number *from, number *left,
                  const number *other, const number *inverse)
{
  number tile[TILE][TILE];
  product(tall, wide, done, width, left, other, tile);
  UNROLL for (int i = 0; i < tall; i++)
    UNROLL for (int j = 0; j < wide; j++) tile[i][j] = from[i * width + done + j] - tile[i][j];
  UNROLL for (int k = 0; k < wide; k++)
    UNROLL for (int i = 0; i < tall; i++) {
      const number factor = inverse != NULL ? tile[i][k] * inverse[done + k] : tile[i][k];
      if (from != left) from[i * width + done + k] = tile[i][k];
      left[i * width + done + k] = factor;
      UNROLL for (int j = k + 1; j < wide; j++) tile[i][j] -= factor * other[j * width + done + k];
    }
}

// Hand a tile of a node's front over: what the children left of it, at from, less the product of rows
// a and b of the panels, is added to the parent's. rows, columns: of the tile there, those in a packed
// triangle. The rows at from have first, first + 1, ... numbers; NULL if there are no children. Only
// the lower triangle counts if the tile is on the diagonal.
INLINE void update(const int tall, const int wide, const int diagonal, int width, const number *a,
                   const number *b, const number *from, ptrdiff_t first, number *to,
                   const int32_t *rows, const int32_t *columns)
{
  number tile[TILE][TILE];
  product(tall, wide, width, width, a, b, tile);
  UNROLL for (int i = 0; i < tall; i++) {
    number *const row = to + (ptrdiff_t)rows[i] * (rows[i] + 1) / 2;
    UNROLL for (int j = 0; j < wide; j++)
      if (!diagonal || i >= j) {
        if (from != NULL) row[columns[j]] += from[j] - tile[i][j];
        else row[columns[j]] -= tile[i][j];
      }
    if (from != NULL) from += first++;
  }
}

// factorise: nodes

#define TILES(one)                         \
  switch ((tall - 1) * TILE + wide - 1) {  \
    FOR_TILES(one)                         \
  }

// Eliminate a node's unknowns from rows i, ..., i + tall - 1 of its panels: l and u. inverse: of
// the pivots. If symmetric, entries are in u, which gets L D.
static mask eliminate_rows(int i, int tall, int width, const number *lower, const number *upper,
                           number *l, number *u, number *inverse, int symmetric, REAL least)
{
  const int columns = i < width ? i : width;
  mask usable = (mask){0} == (mask){0};
  for (int k = 0, wide; k < columns; k += wide) {
    const number *const low = lower + (ptrdiff_t)k * width;
    const number *const up = upper + (ptrdiff_t)k * width;
    wide = columns - k < TILE ? columns - k : TILE;
    if (symmetric) {
#define ONE(tall, wide)                                 \
  case (tall - 1) * TILE + wide - 1:                    \
    solve(tall, wide, k, width, u, l, up, inverse);     \
    break;
      TILES(ONE)
#undef ONE
    } else {
#define ONE(tall, wide)                                 \
  case (tall - 1) * TILE + wide - 1:                    \
    solve(tall, wide, k, width, l, l, up, inverse);     \
    solve(tall, wide, k, width, u, u, low, NULL);       \
    break;
      TILES(ONE)
#undef ONE
    }
  }
  if (i < width) switch (tall) {
#define ONE(size)                                                        \
  case size:                                                             \
    usable = eliminate(size, i, width, l, u, inverse + i, symmetric, least);    \
    break;
      FOR_SIZES(ONE)
#undef ONE
    }
  return usable;
}

static ptrdiff_t triangle(ptrdiff_t rows)
{
  return rows * (rows + 1) / 2;
}

// A node at work. Fronts are packed triangles of its unknowns and rows, one of L and one of D U.
typedef struct {
  int width, rows;
  const number *front;    // what its children left, or NULL
  number *parent;         // its parent's front
  const int32_t *places;  // its rows there
  int64_t entry;          // its entry that comes next
} node;

// Hand rows i, ..., i + tall - 1 of a front over. a: these rows of a panel, less the unknowns, b: all
// earlier rows of the other, to: the parent's front.
INLINE void update_all(const int tall, const int kept, ptrdiff_t i, int width, const number *a,
                       const number *b, const number *from, const int32_t *places, number *to)
{
  const ptrdiff_t first = width + i + 1;
  for (ptrdiff_t j = 0; j < i; j += TILE)
    update(tall, TILE, 0, width, a, b + j * width, kept ? from + j : NULL, first, to, places + i,
           places + j);
  update(tall, tall, 1, width, a, b + i * width, kept ? from + i : NULL, first, to, places + i,
         places + i);
}

static void update_rows(ptrdiff_t i, int tall, const node *own, const number *a, const number *b,
                        ptrdiff_t half, number *to)
{
  const number *const from =
      own->front ? own->front + half + triangle(own->width + i) + own->width : NULL;
  switch (tall) {
#define ONE(size)                                                                          \
  case size:                                                                               \
    if (from) update_all(size, 1, i, own->width, a, b, from, own->places, to);             \
    else update_all(size, 0, i, own->width, a, b, NULL, own->places, to);                  \
    break;
    FOR_SIZES(ONE)
#undef ONE
  }
}

// Copy rows i, ..., i + tall - 1 of what the children left of a panel, nothing without children.
static void take(int i, int tall, int width, const number *front, number *panel)
{
  if (front == NULL) {
    memset(panel, 0, sizeof(number) * (size_t)(tall * width));
    return;
  }
  front += (ptrdiff_t)i * (i + 1) / 2;
  for (int row = i; row < i + tall; row++, panel += width, front += row)
    for (int j = 0; j < width && j <= row; j++) panel[j] = front[j];
}

// Gather rows i, ..., i + tall - 1 of the panels of node k: entries of T A T, and what its children
// left. lower, upper: these rows, upper alone if symmetric.
static void gather(const plan *p, int64_t k, int i, int tall, node *own, number *lower,
                   number *upper, ptrdiff_t half, const double *entries, const double *scale,
                   const double *shifts)
{
  const int64_t copies = SHARED ? 1 : p->lanes;
  const int width = own->width;
  take(i, tall, width, own->front, p->symmetric ? upper : lower);
  if (!p->symmetric) take(i, tall, width, own->front ? own->front + half : NULL, upper);
  for (int64_t e = own->entry; e < p->entry_offsets[k + 1] && p->entry_rows[e] < i + tall; e++) {
    for (int l = 0; l < COPIES; l += 8)
      __builtin_prefetch(entries + p->sources[e + AHEAD] * copies + l);
    const double *const from = entries + p->sources[e] * copies;
    const double *const left = scale + p->lefts[e] * copies;
    const double *const right = scale + p->rights[e] * copies;
    for (int l = 0; l < COPIES; l += 8)
      __builtin_prefetch(scale + p->rights[e + AHEAD] * copies + l);
    number *const rows = p->symmetric || p->lefts[e] < p->rights[e] ? upper : lower;
    REAL *const to = (REAL *)(rows + p->targets[e] - i * width);
    for (int l = 0; l < COPIES; l++) to[l] += (REAL)(left[l] * right[l] * from[l]);
    own->entry++;
  }
  for (int j = 0; j < tall && i < width && shifts != NULL; j++) {
    const double *const from = shifts + (p->starts[k] + i + j) * copies;
    REAL *const to = (REAL *)((p->symmetric ? upper : lower) + j * width + i + j);
    for (int l = 0; l < COPIES; l++) to[l] += (REAL)from[l];
  }
}

// Write finished rows i, ..., i + tall - 1 to a panel of the factor, which has a packed triangle.
static void keep(int i, int tall, int width, const number *rows, number *panel, int large)
{
  const int square = i >= width, count = square ? 1 : tall;
  panel += square ? (ptrdiff_t)width * (width + 1) / 2 + (ptrdiff_t)(i - width) * width
                  : (ptrdiff_t)i * (i + 1) / 2;
  for (int row = 0; row < count; row++, rows += width) {
    const int size = square ? tall * width : i + row + 1;
    if (large) for (int j = 0; j < size; j++) STREAM(panel[j], rows[j]);
    else for (int j = 0; j < size; j++) panel[j] = rows[j];
    panel += size;
  }
}

// Factorise COPIES matrices. room: for the largest panel, twice, and the most pivots.
static void factorise(const plan *p, const double *entries, const double *scale,
                      const double *shifts, number *blocks, number *fronts, number *room,
                      uint8_t *begun, uint8_t *usable)
{
  // That of a singular matrix is about the rounding error.
  const REAL least = p->singular ? sizeof(REAL) == 4 ? 1e-5 : 1e-12 : 0;
  const int large = p->block_offsets[p->count] * (int64_t)sizeof(number) > STAYS;
  mask good = (mask){0} == (mask){0};
  memset(begun, 0, (size_t)p->count);
  for (int64_t k = 0; k < p->count; k++) {
    const int rows = (int)(p->row_offsets[k + 1] - p->row_offsets[k]);
    const int width = p->starts[k + 1] - p->starts[k];
    const ptrdiff_t square = (ptrdiff_t)width * width;
    number *const inverse = room, *const upper = inverse + width;
    number *const lower = upper + square + (ptrdiff_t)rows * width;
    number *const block = blocks + p->block_offsets[k];
    node own = {width, rows, begun[k] ? fronts + p->front_offsets[k] : NULL, NULL,
                p->places + p->row_offsets[k], p->entry_offsets[k]};
    const ptrdiff_t half = triangle(width + rows);
    ptrdiff_t parents_half = 0;
    if (rows > 0) {
      const int64_t parent = p->parents[k];
      parents_half = triangle(p->starts[parent + 1] - p->starts[parent] +
                              p->row_offsets[parent + 1] - p->row_offsets[parent]);
      own.parent = fronts + p->front_offsets[parent];
      const ptrdiff_t numbers = p->symmetric ? parents_half : 2 * parents_half;
      if (!begun[parent]) memset(own.parent, 0, sizeof(number) * (size_t)numbers);
      begun[parent] = 1;
    }
    for (int i = 0, tall; i < width + rows; i += tall) {
      const int end = i < width ? width : width + rows;
      number *const u = upper + (ptrdiff_t)i * width;
      // If symmetric, no later row asks for those of L.
      number *const l = p->symmetric ? lower : lower + (ptrdiff_t)i * width;
      tall = end - i < TILE ? end - i : TILE;
      gather(p, k, i, tall, &own, l, u, half, entries, scale, shifts);
      good &= eliminate_rows(i, tall, width, lower, upper, l, u, inverse, (int)p->symmetric, least);
      if (i >= width) update_rows(i - width, tall, &own, l, upper + square, 0, own.parent);
      keep(i, tall, width, l, block, large);
      if (p->symmetric) continue;
      if (i >= width)
        update_rows(i - width, tall, &own, u, lower + square, half, own.parent + parents_half);
      keep(i, tall, width, u, block + (square + width) / 2 + (ptrdiff_t)rows * width, large);
    }
  }
  for (int l = 0; l < COPIES; l++) {
    usable[l] = good[l] != 0;
    if (usable[l]) continue;
    // The identity. Numbers of other lanes are not touched.
    REAL *const numbers = (REAL *)blocks + l;
    for (int64_t i = 0; i < p->block_offsets[p->count]; i++) numbers[i * COPIES] = 0;
    for (int64_t k = 0; k < p->count; k++)
      for (int64_t i = 0, width = p->starts[k + 1] - p->starts[k]; i < width; i++)
        numbers[(p->block_offsets[k] + i * (i + 3) / 2) * COPIES] = 1;
  }
}

// Factorise T A T of all lanes. entries, scale and shifts, unless NULL: see above. blocks get the
// factor, the lanes of a register side by side; fronts are room for the fronts of nodes whose turn is
// still to come, room for a node, begun for count numbers. usable (lanes): whether all pivots are. The
// factor of a lane where they are not is the identity.
void kryloset_ensemble_factorise(const plan *p, const double *entries, const double *scale,
                                 const double *shifts, void *blocks, void *fronts, void *room,
                                 uint8_t *begun, uint8_t *usable)
{
  const unsigned before = flush();
  for (int64_t l = 0; l < (SHARED ? 1 : p->lanes); l += LANES)
    factorise(p, entries + l, scale + l, shifts == NULL ? NULL : shifts + l,
              (number *)blocks + l / LANES * p->block_offsets[p->count], fronts, room,
              begun, usable + l);
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
    for (int32_t i = 0; i < width; a += ++i) subtract_rows(1, i, width, a, x, x, &i);
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
    const ptrdiff_t triangle = (ptrdiff_t)width * (width + 1) / 2;
    const number *const own = p->symmetric ? lower : lower + triangle + count * width;
    const number *const a = own + triangle;
    lanes *const x = v + p->starts[k];
    if (p->symmetric)
      for (ptrdiff_t j = 0; j < width; j++) x[j] *= SPREAD(lower[j * (j + 3) / 2]);
    int64_t i = 0;
    for (; i + TALL <= count; i += TALL)
      subtract_columns(TALL, width, width, a + i * width, x, v, rows + i);
    for (; i < count; i++) subtract_columns(1, width, width, a + i * width, x, v, rows + i);
    for (int32_t j = width - 1; j >= 0; j--) {
      const ptrdiff_t row = (ptrdiff_t)j * (j + 1) / 2;
      if (!p->symmetric) x[j] *= SPREAD(lower[row + j]);
      subtract_columns(1, j, width, own + row, x, x, &j);
    }
  }
}

// y = A^-1 x for LANES lanes.
static void apply(const plan *p, const number *blocks, const double *scale, const double *x,
                  double *y, lanes *v)
{
  const int64_t copies = SHARED ? 1 : p->lanes, own = !SHARED;
  // Single precision ends at 1e-38: a lane far from 1 is scaled by a power of two.
  double size[LANES] = {0}, down[LANES], up[LANES];
  for (int l = 0; l < LANES; l++) down[l] = up[l] = 1.0;
  for (int far = 1; far;) {
    for (int64_t i = 0; i < p->n; i++) {
      const double *const t = scale + i * copies, *const from = x + p->order[i] * p->lanes;
      REAL *const to = (REAL *)(v + i);
      for (int l = 0; l < LANES; l++) {
        const double entry = t[own * l] * from[l] * down[l];
        size[l] = fabs(entry) > size[l] ? fabs(entry) : size[l];
        to[l] = (REAL)entry;
      }
    }
    far = 0;
    for (int l = 0; l < LANES; l++) {
      int exponent = 0;
      if (down[l] != 1.0 || size[l] == 0.0 || size[l] > DBL_MAX) continue;
      if (size[l] > 0x1p-40 && size[l] < 0x1p40) continue;
      frexp(size[l], &exponent);
      exponent = exponent < -1000 ? -1000 : exponent;
      down[l] = ldexp(1.0, -exponent);
      up[l] = ldexp(1.0, exponent);
      far = 1;
    }
  }
  forward(p, blocks, v);
  backward(p, blocks, v);
  for (int64_t i = 0; i < p->n; i++) {
    const double *const t = scale + i * copies;
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
