// SPDX-FileCopyrightText: Kryloset developers
// SPDX-License-Identifier: LGPL-3.0-or-later
//
// The distances of distances.py.

#include <stdint.h>
#include <string.h>

typedef double lanes __attribute__((vector_size(64)));
enum { LANES = 8, VECTORS = 2, WIDTH = LANES * VECTORS };

static inline void add_squares(const double *a, const double *b, lanes *sums)
{
    for (int v = 0; v < VECTORS; v++) {
        lanes x, y;
        memcpy(&x, a + LANES * v, sizeof x);
        memcpy(&y, b + LANES * v, sizeof y);
        sums[v] += (x - y) * (x - y);
    }
}

void kryloset_squared_distances(int64_t count, int64_t length, const double *point,
                                const double *points, double *squares)
{
    int64_t whole = length - length % WIDTH;
    size_t rest = (length - whole) * sizeof(double);
    double tail[WIDTH] = {0}, other_tail[WIDTH] = {0};
    memcpy(tail, point + whole, rest);
    for (int64_t i = 0; i < count; i++) {
        const double *other = points + i * length;
        lanes sums[VECTORS] = {0};
        for (int64_t k = 0; k < whole; k += WIDTH)
            add_squares(point + k, other + k, sums);
        memcpy(other_tail, other + whole, rest);
        add_squares(tail, other_tail, sums);
        double sum = 0;
        for (int lane = 0; lane < WIDTH; lane++)
            sum += sums[lane / LANES][lane % LANES];
        squares[i] = sum;
    }
}
