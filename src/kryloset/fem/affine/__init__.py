# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Assembly by one sparse matrix product, for forms that are affine in their coefficients.

Let a form be affine in the degrees of freedom k of its coefficients. On a cell c, with
the local degrees of freedom k_j, its element tensor is

    T^c(k) = T^c(0) + sum_j k_j (T^c(e_j) - T^c(0)),    e_j the j-th unit vector,

and every entry of the assembled matrix or vector is a sum of such tensors, that is, a row
of a sparse matrix times (k, 1). The tensors come once from the kernels that FFCx compiles
for the form, with unit vectors for coefficients. This is the tensor representation of
Kirby and Logg (ACM Trans. Math. Softw. 32, 2006), with the geometry of the mesh put in too.

A form that is quadratic in coefficients is affine in k and the products k_i k_j of two numbers of
one cell. With D_j = T^c(e_j) - T^c(0) and so on, k_i k_j has the tensor

    T_ij = T^c(e_i + e_j) - T^c(0) - D_i - D_j  (i < j),    T_jj = (T^c(2 e_j) - T^c(0)) / 2 - D_j,

and k_j has D_j - T_jj. They are computed with s e_j, where s makes T(0) and s^2 T_jj about equally
large. Otherwise the smaller one would lose digits.
"""

from kryloset.fem.affine.matrix import AffineMatrix
from kryloset.fem.affine.step import AffineStep
from kryloset.fem.affine.vector import AffineVector

__all__ = ["AffineMatrix", "AffineStep", "AffineVector"]
