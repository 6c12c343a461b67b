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

// Set x, (size) numbers `stride` apart, to the product of a matrix or its transpose with it.
static void apply(const double *matrix, bool transposed, int size, lanes *x, int stride) {
  lanes result[size];
  for (int i = 0; i < size; ++i) {
    lanes sum = {0};
    for (int j = 0; j < size; ++j) {
      const double entry = transposed ? matrix[j * size + i] : matrix[i * size + j];
      if (entry != 0) sum += entry * x[j * stride];
    }
    result[i] = sum;
  }
  for (int i = 0; i < size; ++i) x[i * stride] = result[i];
}

static const double *matrix_of(const struct turn *turn, int64_t entity) {
  return turn->matrices + (int64_t)turn->which[entity] * turn->size * turn->size;
}

// Set c, (LANES / WIDTH, constants), to the constants of each WIDTH lanes.
static void read_constants(const struct integral *of, lanes *c) {
  for (int first = 0; first < LANES; first += WIDTH)
    for (int i = 0; i < of->constants; ++i) *c++ = load(of->constant + i * LANES + first);
}

// Set x, (nodes, 3), to the coordinates of an entity's nodes.
static void read_points(const struct integral *of, int64_t entity, double *x) {
  for (int i = 0; i < of->nodes; ++i) {
    const double *point = of->points + 3 * (int64_t)of->node[entity * of->nodes + i];
    memcpy(x + 3 * i, point, 3 * sizeof(double));
  }
}

// Compute the element tensor of an entity, (rows, columns), for WIDTH lanes from the first on.
static void tabulate(const struct integral *of, int64_t entity, int first, const double *x,
                     const lanes *c, lanes *A) {
  lanes w[of->slots + 1];
  const int32_t *number = of->number + entity * of->numbers;
  for (int i = 0; i < of->numbers; ++i) {
    const double *from = of->source[i] + (int64_t)number[i] * of->stride[i];
    w[of->slot[i]] = of->stride[i] == LANES ? load(from + first) : EACH(*from);
  }
  for (int i = 0; i < of->turned; ++i) {
    const struct turn *turn = of->turns + i;
    apply(matrix_of(turn, entity), true, turn->size, w + turn->first, 1);
  }
  for (int i = 0; i < of->rows * of->columns; ++i) A[i] = (lanes){0};
  kernels[of->kernel](A, w, c + first / WIDTH * of->constants, x, of->facet + entity * of->sides,
                      of->permutation + entity * of->sides);
  const struct turn *row = of->turns + of->turned, *column = row + 1;
  if (row->size)
    for (int j = 0; j < of->columns; ++j)
      apply(matrix_of(row, entity), false, row->size, A + j, of->columns);
  if (column->size)
    for (int i = 0; i < of->rows; ++i)
      apply(matrix_of(column, entity), false, column->size, A + i * of->columns, 1);
}

// Add element tensors to values, (any, LANES), at positions, (entities, rows columns). Entries at
// negative positions are left out.
void kryloset_add(const struct integral *of, const int32_t *positions, double *values) {
  const int size = of->rows * of->columns;
  lanes A[size], c[LANES / WIDTH * of->constants + 1];
  double x[3 * of->nodes];
  read_constants(of, c);
  for (int64_t entity = 0; entity < of->entities; ++entity, positions += size) {
    read_points(of, entity, x);
    for (int first = 0; first < LANES; first += WIDTH) {
      tabulate(of, entity, first, x, c, A);
      for (int i = 0; i < size; ++i)
        if (positions[i] >= 0) *at(values + (int64_t)positions[i] * LANES + first) += A[i];
    }
  }
}

// Subtract products of element tensors with x from b, both (any, LANES), for the rows and columns
// of the entities, (entities, rows) and (entities, columns).
void kryloset_subtract(const struct integral *of, const int32_t *rows, const int32_t *columns,
                       const double *x, double *b) {
  lanes A[of->rows * of->columns], c[LANES / WIDTH * of->constants + 1];
  double points[3 * of->nodes];
  read_constants(of, c);
  for (int64_t entity = 0; entity < of->entities;
       ++entity, rows += of->rows, columns += of->columns) {
    read_points(of, entity, points);
    for (int first = 0; first < LANES; first += WIDTH) {
      tabulate(of, entity, first, points, c, A);
      for (int i = 0; i < of->rows; ++i) {
        lanes sum = {0};
        for (int j = 0; j < of->columns; ++j)
          sum += A[i * of->columns + j] * load(x + (int64_t)columns[j] * LANES + first);
        *at(b + (int64_t)rows[i] * LANES + first) -= sum;
      }
    }
  }
}
