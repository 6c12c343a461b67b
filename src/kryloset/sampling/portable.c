// SPDX-FileCopyrightText: Kryloset developers
// SPDX-License-Identifier: LGPL-3.0-or-later
//
// Products and exponentials whose bits do not depend on the processor: each result is a fixed
// sequence of IEEE operations, compiled without contraction to fused ones, and vectors hold results
// beside one another, never parts of a sum. portable.py has the same operations in NumPy.

#include <stdint.h>
#include <string.h>

typedef double lanes __attribute__((vector_size(64), aligned(8), may_alias));
enum { WIDTH = 8, ROWS = 4, VECTORS = 2, COLUMNS = WIDTH * VECTORS };

// ROWS rows and COLUMNS columns of c = a b, whose sums stay in registers.
static void multiply_tile(int64_t inner, int64_t columns, const double *a, const double *b,
                          double *c)
{
    lanes sums[ROWS][VECTORS] = {0};
    for (int64_t k = 0; k < inner; k++) {
        const lanes *values = (const lanes *)(b + k * columns);
#pragma GCC unroll 4
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++)
                sums[r][v] += a[r * inner + k] * values[v];
    }
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < VECTORS; v++)
            ((lanes *)(c + r * columns))[v] = sums[r][v];
}

// c = a b for row-major a (rows, inner), b (inner, columns): sums begin at zero and go upwards.
void kryloset_multiply(int64_t rows, int64_t inner, int64_t columns, const double *a,
                       const double *b, double *c)
{
    if (rows < ROWS || columns < COLUMNS) {
        memset(c, 0, rows * columns * sizeof *c);
        for (int64_t row = 0; row < rows; row++)
            for (int64_t k = 0; k < inner; k++)
                for (int64_t column = 0; column < columns; column++)
                    c[row * columns + column] += a[row * inner + k] * b[k * columns + column];
        return;
    }
    // The last tiles overlap those before, where they find the same sums.
    for (int64_t begin = 0; begin < rows; begin += ROWS) {
        int64_t row = begin + ROWS < rows ? begin : rows - ROWS;
        for (int64_t left = 0; left < columns; left += COLUMNS) {
            int64_t column = left + COLUMNS < columns ? left : columns - COLUMNS;
            multiply_tile(inner, columns, a + row * inner, b + column, c + row * columns + column);
        }
    }
}

// y = exp(x), as described in portable.py.
void kryloset_exponential(int64_t count, const double *x, double *y)
{
    static const double taylor[] = {
        1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880,
        1.0 / 40320, 1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1.0, 1.0,
    };
    const double shift = 0x1.8p52;
    for (int64_t i = 0; i < count; i++) {
        double value = x[i] < -708.0 ? -708.0 : x[i];
        value = value > 710.0 ? 710.0 : value;
        double shifted = value * 0x1.71547652b82fep0 + shift;
        double power = shifted - shift;
        double rest = (value - power * 0x1.62e42feep-1) - power * 0x1.a39ef35793c76p-33;
        double sum = taylor[0];
        for (int n = 1; n < 14; n++)
            sum = sum * rest + taylor[n];
        int64_t bits;
        memcpy(&bits, &shifted, sizeof bits);
        // The low bits of `shifted` are the integer `power`.
        bits = (int64_t)((uint64_t)(bits + 1022) << 52);
        double half;
        memcpy(&half, &bits, sizeof half);
        y[i] = sum * half * 2.0;
    }
}
