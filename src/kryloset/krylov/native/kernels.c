// SPDX-FileCopyrightText: Kryloset developers
// SPDX-License-Identifier: LGPL-3.0-or-later

// The products of tall column-major blocks (n rows, tens of columns) that recycling uses most.
// BLAS is far from the machine's speed on these shapes. Here a panel of rows is loaded into the
// cache once, and products are formed in tiles that fit the registers.

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef double pack __attribute__((vector_size(32), aligned(8)));

#define INLINE static inline __attribute__((always_inline))

enum {
  WIDTH = 4,          // numbers in a pack
  PANEL = 2048,       // rows at a time when columns are streamed
  NEAR_ROWS = 192,    // rows at a time when a panel is copied into the cache
  TILE_ROWS = 12,     // a tile: three packs by four columns, all in registers
  TILE_COLUMNS = 4,
  STREAMS = 6         // columns read side by side
};

// inner: g = a' b

// Add p x q inner products over the rows to g. p and q are constants to the compiler.
INLINE void inner_tile(const int p, const int q, ptrdiff_t rows, const double *a, ptrdiff_t lda,
                       const double *b, ptrdiff_t ldb, double *g, ptrdiff_t ldg)
{
  pack sum[STREAMS * 2] = {{0}};
  ptrdiff_t row = 0;
  for (; row + WIDTH <= rows; row += WIDTH) {
    pack x[8];
    for (int i = 0; i < p; i++) x[i] = *(const pack *)(a + row + i * lda);
    for (int j = 0; j < q; j++) {
      const pack y = *(const pack *)(b + row + j * ldb);
      for (int i = 0; i < p; i++) sum[i + j * p] += x[i] * y;
    }
  }
  for (int j = 0; j < q; j++)
    for (int i = 0; i < p; i++) {
      const pack s = sum[i + j * p];
      double total = (s[0] + s[1]) + (s[2] + s[3]);
      for (ptrdiff_t r = row; r < rows; r++) total += a[r + i * lda] * b[r + j * ldb];
      g[i + j * ldg] += total;
    }
}

INLINE void inner_columns(const int tile, const int q, ptrdiff_t rows, int p, const double *a, ptrdiff_t lda,
                          const double *b, ptrdiff_t ldb, double *g, ptrdiff_t ldg)
{
  int i = 0;
  for (; i + tile <= p; i += tile)
    inner_tile(tile, q, rows, a + i * lda, lda, b, ldb, g + i, ldg);
  for (; i < p; i++) inner_tile(1, q, rows, a + i * lda, lda, b, ldb, g + i, ldg);
}

// g (p x q, leading dimension p) = a' b, a (n x p), b (n x q).
void kryloset_inner(ptrdiff_t n, int p, const double *a, ptrdiff_t lda, int q, const double *b,
                    ptrdiff_t ldb, double *g)
{
  const int symmetric = a == b && lda == ldb && p == q;
  memset(g, 0, sizeof(double) * (size_t)p * (size_t)q);
  for (ptrdiff_t row = 0; row < n; row += PANEL) {
    const ptrdiff_t rows = n - row < PANEL ? n - row : PANEL;
    int j = 0;
    while (j < q) {
      // Only below the diagonal if the product is symmetric.
      const int i = symmetric ? j : 0;
      const double *ai = a + row + i * lda, *bj = b + row + j * ldb;
      double *gij = g + i + (ptrdiff_t)j * p;
      if (q - j >= 4) {
        inner_columns(3, 4, rows, p - i, ai, lda, bj, ldb, gij, p);
        j += 4;
      } else if (q - j >= 2) {
        inner_columns(6, 2, rows, p - i, ai, lda, bj, ldb, gij, p);
        j += 2;
      } else {
        inner_columns(8, 1, rows, p - i, ai, lda, bj, ldb, gij, p);
        j += 1;
      }
    }
  }
  if (symmetric)
    for (int j = 1; j < q; j++)
      for (int i = 0; i < j; i++) g[i + (ptrdiff_t)j * p] = g[j + (ptrdiff_t)i * p];
}

// combine: out = a s + b t

// Add the products of one run of columns to k columns of sums.
INLINE void add_streams(const int streams, const int k, ptrdiff_t rows, const double *restrict a,
                        ptrdiff_t lda, const double *restrict s, ptrdiff_t lds,
                        double (*restrict sum)[PANEL])
{
  double coefficient[2][STREAMS];
  for (int c = 0; c < k; c++)
    for (int i = 0; i < streams; i++) coefficient[c][i] = s[i + c * lds];
  for (ptrdiff_t r = 0; r < rows; r++)
    for (int c = 0; c < k; c++) {
      double total = 0.0;
      for (int i = 0; i < streams; i++) total += coefficient[c][i] * a[r + i * lda];
      sum[c][r] += total;
    }
}

// One or two columns of out, which stay in the cache while the columns of the block stream by.
INLINE void add_narrow(const int k, ptrdiff_t rows, int p, const double *a, ptrdiff_t lda,
                       const double *s, double (*sum)[PANEL])
{
  int l = 0;
  for (; l + STREAMS <= p; l += STREAMS)
    add_streams(STREAMS, k, rows, a + l * lda, lda, s + l, p, sum);
  for (; l < p; l++) add_streams(1, k, rows, a + l * lda, lda, s + l, p, sum);
}

INLINE void combine_narrow(const int k, ptrdiff_t n, double *out, ptrdiff_t ldo, int p,
                           const double *a, ptrdiff_t lda, const double *s, int q,
                           const double *b, ptrdiff_t ldb, const double *t)
{
  double sum[2][PANEL];
  for (ptrdiff_t row = 0; row < n; row += PANEL) {
    const ptrdiff_t rows = n - row < PANEL ? n - row : PANEL;
    memset(sum, 0, sizeof sum);
    add_narrow(k, rows, p, a + row, lda, s, sum);
    add_narrow(k, rows, q, b + row, ldb, t, sum);
    for (int c = 0; c < k; c++)
      memcpy(out + row + c * ldo, sum[c], sizeof(double) * (size_t)rows);
  }
}

// tile (TILE_ROWS x TILE_COLUMNS) += near (TILE_ROWS x p) s, s stored row by row.
INLINE void add_tile(int p, const double *near, const double *s, pack *tile)
{
  for (int l = 0; l < p; l++, near += NEAR_ROWS, s += TILE_COLUMNS) {
    pack x = *(const pack *)near, y = *(const pack *)(near + 4), z = *(const pack *)(near + 8);
#ifdef __AVX__
    // Kept in registers: otherwise the compiler would load them again for each product.
    __asm__("" : "+x"(x), "+x"(y), "+x"(z));
#endif
    for (int c = 0; c < TILE_COLUMNS; c++) {
      tile[3 * c] += x * s[c];
      tile[3 * c + 1] += y * s[c];
      tile[3 * c + 2] += z * s[c];
    }
  }
}

// The coefficients (p x k, column-major) in strips of TILE_COLUMNS columns, row by row.
static void pack_coefficients(int p, int k, const double *s, double *packed)
{
  for (int c = 0; c < k; c += TILE_COLUMNS)
    for (int l = 0; l < p; l++)
      for (int i = 0; i < TILE_COLUMNS; i++)
        *packed++ = c + i < k ? s[l + (ptrdiff_t)(c + i) * p] : 0.0;
}

static int combine_wide(ptrdiff_t n, int k, double *out, ptrdiff_t ldo, int p, const double *a,
                        ptrdiff_t lda, const double *s, int q, const double *b, ptrdiff_t ldb,
                        const double *t)
{
  const size_t strips = ((size_t)k + TILE_COLUMNS - 1) / TILE_COLUMNS;
  const size_t held = (size_t)(p + q), near_size = held * NEAR_ROWS;
  double *near = malloc(sizeof(double) * (near_size + held * strips * TILE_COLUMNS));
  if (near == NULL) return 1;
  double *packed_s = near + near_size, *packed_t = packed_s + (size_t)p * strips * TILE_COLUMNS;
  memset(near, 0, sizeof(double) * near_size);
  pack_coefficients(p, k, s, packed_s);
  pack_coefficients(q, k, t, packed_t);
  for (ptrdiff_t row = 0; row < n; row += NEAR_ROWS) {
    const ptrdiff_t rows = n - row < NEAR_ROWS ? n - row : NEAR_ROWS;
    const size_t bytes = sizeof(double) * (size_t)rows;
    for (int l = 0; l < p; l++) memcpy(near + l * NEAR_ROWS, a + row + l * lda, bytes);
    for (int l = 0; l < q; l++) memcpy(near + (p + l) * NEAR_ROWS, b + row + l * ldb, bytes);
    for (ptrdiff_t r = 0; r < rows; r += TILE_ROWS)
      for (int strip = 0; strip < (int)strips; strip++) {
        pack tile[3 * TILE_COLUMNS] = {{0}};
        add_tile(p, near + r, packed_s + (ptrdiff_t)strip * p * TILE_COLUMNS, tile);
        add_tile(q, near + p * NEAR_ROWS + r, packed_t + (ptrdiff_t)strip * q * TILE_COLUMNS, tile);
        const ptrdiff_t count = rows - r < TILE_ROWS ? rows - r : TILE_ROWS;
        for (int c = 0; c < TILE_COLUMNS && strip * TILE_COLUMNS + c < k; c++)
          memcpy(out + row + r + (strip * TILE_COLUMNS + c) * ldo, tile + 3 * c,
                 sizeof(double) * (size_t)count);
      }
  }
  free(near);
  return 0;
}

// out (n x k) = a s + b t, a (n x p), b (n x q), s and t column-major without gaps. out may
// share memory with a and b row by row. Returns 1 without memory.
int kryloset_combine(ptrdiff_t n, int k, double *out, ptrdiff_t ldo, int p, const double *a,
                     ptrdiff_t lda, const double *s, int q, const double *b, ptrdiff_t ldb,
                     const double *t)
{
  if (k == 1) combine_narrow(1, n, out, ldo, p, a, lda, s, q, b, ldb, t);
  else if (k == 2) combine_narrow(2, n, out, ldo, p, a, lda, s, q, b, ldb, t);
  else return combine_wide(n, k, out, ldo, p, a, lda, s, q, b, ldb, t);
  return 0;
}

// project: (last - leading p) scale, a Gram-Schmidt pass

// The last one or two of the columns become (those minus the leading ones times p) times
// scale, which is upper triangular: (first, above, second). p is the leading part of
// inner(all columns, last ones), which is overwritten.
void kryloset_project(ptrdiff_t n, int columns, int count, double *block, ptrdiff_t ld,
                      double *products, double first, double above, double second)
{
  const int leading = columns - count;
  double *last = block + leading * ld;
  if (count == 2) {
    double *p = products, *q = products + columns;
    for (int l = 0; l < leading; l++) {
      q[l] = -(p[l] * above + q[l] * second);
      p[l] *= -first;
    }
    p[leading] = first;
    p[leading + 1] = 0.0;
    q[leading] = above;
    q[leading + 1] = second;
    combine_narrow(2, n, last, ld, columns, block, ld, products, 0, last, ld, products);
  } else {
    for (int l = 0; l < leading; l++) products[l] *= -first;
    products[leading] = first;
    combine_narrow(1, n, last, ld, columns, block, ld, products, 0, last, ld, products);
  }
}
