// SPDX-FileCopyrightText: Kryloset developers
// SPDX-License-Identifier: LGPL-3.0-or-later
//
// Loops over the entities of an integral, for all lanes at once. Before this file come lanes.h and
// `kernels`, the kernels of the form's integrals.

// Matrices that turn reference basis functions into those of the mesh.
struct turn {
  const double *matrices;  // (orientations, size, size)
  const int32_t *which;    // (entities), orientation of each
  int32_t first, size;     // numbers that are turned; size 0 if none are
  int32_t diagonal;        // whether all matrices are
};

struct integral {
  int64_t entities;
  int32_t kernel;          // its number in `kernels`
  int32_t rows, columns;   // of the element tensor
  int32_t nodes;           // of an entity's cells
  const int32_t *node;     // (entities, nodes)
  const double *points;    // (all nodes, 3)
  int32_t sides;           // cells of an entity
  const int32_t *facet;    // (entities, sides), local numbers
  const uint8_t *permutation;  // (entities, sides)
  int32_t slots;           // coefficients' numbers that the kernel is given
  int32_t numbers;         // those of them that it reads
  const int32_t *slot;     // (numbers), place of each among the slots
  const int32_t *number;   // (entities, numbers), place of each in its source
  const double **source;   // (numbers), where the values are: (any, LANES) or (any, 1)
  const int32_t *stride;   // (numbers), LANES or 1
  int32_t constants;
  const double *constant;  // (constants, LANES)
  int32_t turned;          // coefficients whose basis functions are turned
  const struct turn *turns;  // (turned + 2), then those of rows and of columns
};

static inline unaligned *at(double *place) { return (unaligned *)place; }

static inline lanes load(const double *place) { return *(const unaligned *)place; }

// Set x, (size) numbers `stride` apart, to the product of a turn's matrix or its transpose with it.
static void apply(const struct turn *turn, int64_t entity, bool transposed, lanes *x, int stride) {
  const int size = turn->size;
  const double *matrix = turn->matrices + (int64_t)turn->which[entity] * size * size;
  if (turn->diagonal) {
    for (int i = 0; i < size; ++i) x[i * stride] *= matrix[i * size + i];
    return;
  }
  lanes result[size];
  for (int i = 0; i < size; ++i) {
    result[i] = (lanes){0};
    for (int j = 0; j < size; ++j)
      result[i] += (transposed ? matrix[j * size + i] : matrix[i * size + j]) * x[j * stride];
  }
  for (int i = 0; i < size; ++i) x[i * stride] = result[i];
}

// Set c, (VECTORS, constants).
static void read_constants(const struct integral *of, lanes *c) {
  for (int vector = 0; vector < VECTORS; ++vector)
    for (int i = 0; i < of->constants; ++i)
      *c++ = load(of->constant + i * LANES + vector * WIDTH);
}

// Compute the element tensors of an entity, A (VECTORS, rows, columns).
static void tabulate(const struct integral *of, int64_t entity, const lanes *c, lanes *A) {
  const int size = of->rows * of->columns;
  lanes w[VECTORS * of->slots + 1];
  double x[3 * of->nodes];
  const int32_t *number = of->number + entity * of->numbers;
  for (int i = 0; i < of->numbers; ++i) {
    const double *from = of->source[i] + (int64_t)number[i] * of->stride[i];
    for (int vector = 0; vector < VECTORS; ++vector)
      w[vector * of->slots + of->slot[i]] =
          of->stride[i] == LANES ? load(from + vector * WIDTH) : EACH(*from);
  }
  for (int i = 0; i < of->turned; ++i) {
    const struct turn *turn = of->turns + i;
    for (int vector = 0; vector < VECTORS; ++vector)
      apply(turn, entity, true, w + vector * of->slots + turn->first, 1);
  }
  for (int i = 0; i < of->nodes; ++i) {
    const double *point = of->points + 3 * (int64_t)of->node[entity * of->nodes + i];
    memcpy(x + 3 * i, point, 3 * sizeof(double));
  }
  for (int i = 0; i < VECTORS * size; ++i) A[i] = (lanes){0};
  kernels[of->kernel](A, w, c, size, of->slots, of->constants, x, of->facet + entity * of->sides,
                      of->permutation + entity * of->sides);
  const struct turn *row = of->turns + of->turned, *column = row + 1;
  if (row->size)
    for (int vector = 0; vector < VECTORS; ++vector)
      for (int j = 0; j < of->columns; ++j)
        apply(row, entity, false, A + vector * size + j, of->columns);
  if (column->size)
    for (int i = 0; i < VECTORS * of->rows; ++i)
      apply(column, entity, false, A + i * of->columns, 1);
}

// Add element tensors to values, (any, LANES), at positions, (entities, rows columns). Entries at
// negative positions are left out.
void kryloset_add(const struct integral *of, const int32_t *positions, double *values) {
  const int size = of->rows * of->columns;
  lanes A[VECTORS * size], c[VECTORS * of->constants + 1];
  read_constants(of, c);
  for (int64_t entity = 0; entity < of->entities; ++entity, positions += size) {
    // Memory brings the next entries while the kernel computes.
    if (entity + 1 < of->entities)
      for (int i = size; i < 2 * size; ++i)
        for (int first = 0; first < LANES; first += 8)
          __builtin_prefetch(values + (int64_t)positions[i] * LANES + first, 1);
    tabulate(of, entity, c, A);
    for (int i = 0; i < size; ++i)
      if (positions[i] >= 0)
        for (int vector = 0; vector < VECTORS; ++vector)
          *at(values + (int64_t)positions[i] * LANES + vector * WIDTH) += A[vector * size + i];
  }
}

// Subtract products of element tensors with x from b, both (any, LANES), for the rows and columns
// of the entities, (entities, rows) and (entities, columns).
void kryloset_subtract(const struct integral *of, const int32_t *rows, const int32_t *columns,
                       const double *x, double *b) {
  const int size = of->rows * of->columns;
  lanes A[VECTORS * size], c[VECTORS * of->constants + 1];
  read_constants(of, c);
  for (int64_t entity = 0; entity < of->entities;
       ++entity, rows += of->rows, columns += of->columns) {
    tabulate(of, entity, c, A);
    for (int vector = 0; vector < VECTORS; ++vector)
      for (int i = 0; i < of->rows; ++i) {
        lanes sum = {0};
        for (int j = 0; j < of->columns; ++j)
          sum += A[vector * size + i * of->columns + j] *
                 load(x + (int64_t)columns[j] * LANES + vector * WIDTH);
        *at(b + (int64_t)rows[i] * LANES + vector * WIDTH) -= sum;
      }
  }
}

// Set positions, (entities, rows columns), to those of the entries of element tensors among a
// matrix's: those of its row i have the positions offsets[i], ..., offsets[i + 1] - 1, and ascending
// columns. Entries in prescribed rows and columns get -1.
void kryloset_find(const struct integral *of, const int32_t *rows, const int32_t *columns,
                   const int32_t *offsets, const int32_t *entry_columns, const uint8_t *prescribed,
                   int32_t *positions) {
  for (int64_t entity = 0; entity < of->entities;
       ++entity, rows += of->rows, columns += of->columns)
    for (int i = 0; i < of->rows; ++i) {
      int32_t found = offsets[rows[i]];
      const int32_t end = offsets[rows[i] + 1];
      for (int j = 0; j < of->columns; ++j, ++positions) {
        // Components of a vector stand side by side: often this column is next.
        const int32_t wanted = columns[j];
        int32_t low = offsets[rows[i]], high = end;
        if (found < end && entry_columns[found] <= wanted) low = found;
        if (low + 1 < end && entry_columns[low + 1] == wanted) ++low, high = low + 1;
        while (low + 1 < high) {
          const int32_t middle = low + (high - low) / 2;
          if (entry_columns[middle] <= wanted) low = middle;
          else high = middle;
        }
        found = low;
        *positions = prescribed[rows[i]] || prescribed[wanted] ? -1 : found;
      }
    }
}
