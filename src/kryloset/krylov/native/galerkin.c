// SPDX-FileCopyrightText: Kryloset developers
// SPDX-License-Identifier: LGPL-3.0-or-later

// The entries of P' A P as sums of those of A, for all symmetric A of one pattern. Of A and P' A P
// only the lower triangles are kept. Entries below the diagonal come first, row by row, and then
// the diagonal.

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// Write the rows of a symmetric pattern that is given below its diagonal, and the numbers of their
// entries.
static void complete(int n, const int32_t *offsets, const int32_t *columns, int32_t *full_offsets,
                     int32_t *full_columns, int32_t *entries)
{
  const int32_t size = offsets[n];
  // Counted two places further on, rows begin one place further on, and end where they belong.
  int32_t *const next = full_offsets + 1;
  memset(full_offsets, 0, sizeof(int32_t) * ((size_t)n + 2));
  for (int i = 0; i < n; i++) {
    full_offsets[i + 2] += offsets[i + 1] - offsets[i] + 1;
    for (int32_t e = offsets[i]; e < offsets[i + 1]; e++) full_offsets[columns[e] + 2]++;
  }
  for (int i = 0; i < n; i++) next[i + 1] += next[i];
  for (int i = 0; i < n; i++) {
    for (int32_t e = offsets[i]; e < offsets[i + 1]; e++) {
      full_columns[next[i]] = columns[e];
      entries[next[i]++] = e;
    }
    full_columns[next[i]] = i;
    entries[next[i]++] = size + i;
  }
  for (int i = 0; i < n; i++)
    for (int32_t e = offsets[i]; e < offsets[i + 1]; e++) {
      const int32_t at = next[columns[e]]++;
      full_columns[at] = i;
      entries[at] = e;
    }
}

// A term of a sum: the number of an entry of A, its weight, and the next term.
typedef struct {
  int32_t source, next;
  double weight;
} term;

// Sums, one after another: where their terms begin, and these.
typedef struct {
  int32_t *offsets, *sources;
  float *weights;
  int32_t count, filled;
} sums;

// Find the pattern of P' A P below its diagonal, found_offsets (count + 1) and found_columns, and the
// sums that its entries are: sources and weights of the terms, below the diagonal and on it. offsets
// and columns are A's below its diagonal (n rows), p_... the rows of P (n x count), t_... those of P'.
// Arrays of unknown size have room for all products of P_iI, A_ij and P_jJ. Returns the number of
// entries below the diagonal, or -1 without memory.
int64_t kryloset_galerkin(int n, int count, const int32_t *offsets, const int32_t *columns,
                          const int32_t *p_offsets, const int32_t *p_columns,
                          const double *p_weights, const int32_t *t_offsets,
                          const int32_t *t_columns, const double *t_weights,
                          int32_t *found_offsets, int32_t *found_columns, int32_t *below_offsets,
                          int32_t *below_sources, float *below_weights, int32_t *on_offsets,
                          int32_t *on_sources, float *on_weights)
{
  const int32_t size = offsets[n], whole = 2 * size + n;
  int32_t *const memory =
      malloc(sizeof(int32_t) * ((size_t)n + 2 + 2 * (size_t)whole + 2 * ((size_t)size + n) +
                                3 * (size_t)count));
  if (memory == NULL) return -1;
  int32_t *const full = memory, *const full_columns = full + n + 2,
          *const entries = full_columns + whole, *const place = entries + whole,
          *const stamp = place + size + n, *const head = stamp + size + n, *const tail = head + count,
          *const touched = tail + count;
  complete(n, offsets, columns, full, full_columns, entries);
  // The most products of a row of P' A P.
  int64_t most = 1;
  for (int row = 0; row < count; row++) {
    int64_t products = 0;
    for (int32_t t = t_offsets[row]; t < t_offsets[row + 1]; t++)
      for (int32_t f = full[t_columns[t]]; f < full[t_columns[t] + 1]; f++)
        products += p_offsets[full_columns[f] + 1] - p_offsets[full_columns[f]];
    most = products > most ? products : most;
  }
  term *const terms = malloc(sizeof(term) * (size_t)most);
  double *const total = malloc(sizeof(double) * (size_t)most);
  if (terms == NULL || total == NULL) {
    free(total);
    free(terms);
    free(memory);
    return -1;
  }
  for (int row = 0; row < count; row++) head[row] = -1;
  for (int32_t e = 0; e < size + n; e++) stamp[e] = -1;
  sums below = {below_offsets, below_sources, below_weights, 0, 0};
  sums on = {on_offsets, on_sources, on_weights, 0, 0};
  int32_t serial = 0;
  below_offsets[0] = on_offsets[0] = found_offsets[0] = 0;
  for (int row = 0; row < count; row++) {
    int32_t used = 0, touches = 0;
    for (int32_t t = t_offsets[row]; t < t_offsets[row + 1]; t++)
      for (int32_t f = full[t_columns[t]]; f < full[t_columns[t] + 1]; f++)
        for (int32_t q = p_offsets[full_columns[f]]; q < p_offsets[full_columns[f] + 1]; q++) {
          const int32_t column = p_columns[q];
          if (column > row) continue;
          terms[used] = (term){entries[f], -1, t_weights[t] * p_weights[q]};
          if (head[column] >= 0) {
            terms[tail[column]].next = used;
          } else {
            int32_t at = touches++;
            for (; at > 0 && touched[at - 1] > column; at--) touched[at] = touched[at - 1];
            touched[at] = column;
            head[column] = used;
          }
          tail[column] = used++;
        }
    for (int32_t k = 0; k < touches; k++, serial++) {
      const int32_t column = touched[k];
      sums *const to = column == row ? &on : &below;
      int32_t own = 0;
      for (int32_t at = head[column]; at >= 0; at = terms[at].next) {
        const int32_t source = terms[at].source;
        if (stamp[source] != serial) {
          stamp[source] = serial;
          place[source] = own;
          to->sources[to->filled + own] = source;
          total[own++] = 0.0;
        }
        total[place[source]] += terms[at].weight;
      }
      for (int32_t j = 0; j < own; j++) to->weights[to->filled++] = (float)total[j];
      if (to == &below) {
        found_columns[below.count] = column;
        below.offsets[++below.count] = below.filled;
      }
      head[column] = -1;
    }
    found_offsets[row + 1] = below.count;
    on.offsets[++on.count] = on.filled;
  }
  free(total);
  free(terms);
  free(memory);
  return below.count;
}
