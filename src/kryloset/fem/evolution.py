# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The discretisation of a family with time steps."""

from collections.abc import Iterator, Sequence
from functools import cached_property

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np
import scipy
from dolfinx import default_scalar_type, fem

from kryloset.config import GridPoints
from kryloset.errors import ConfigError, KrylosetError
from kryloset.fem.blow_up import Growth
from kryloset.fem.differentiation import PullBack
from kryloset.fem.domain import make_domain
from kryloset.fem.finite_elements import FiniteElements
from kryloset.fem.form_checks import read_weak_form
from kryloset.fem.group import GroupValues
from kryloset.fem.group.recurrence import Stepping
from kryloset.fem.group.system import GroupSystem
from kryloset.fem.lattices import declare_interpolations
from kryloset.fem.linear_system import LinearSystem, reads
from kryloset.fem.shared_mesh import SharedMeshDiscretisation
from kryloset.fem.stored_lanes import StoredLanes
from kryloset.krylov.ensemble.vectors import norms_of
from kryloset.krylov.scaling import norm_of
from kryloset.problems.base import Array, Instance, Solve
from kryloset.problems.checks.mistakes import blamed, describe_class
from kryloset.problems.finite_element import EvolutionFamily, Step, WeakForm


class EvolutionDiscretisation(SharedMeshDiscretisation):
    """Solves one linear system for each time step, with one matrix for each instance.

    Attributes:
        family: The family.
        system: The linear system A x = b of a step.
    """

    def __init__(self, family: EvolutionFamily, comm: MPI.Comm) -> None:
        """Build what the instances and their steps share.

        Raises:
            ConfigError: The matrix is not the same for all steps of an instance.
        """
        self.family = family
        elements = FiniteElements(family, make_domain(family, comm))
        space = elements.space
        self._previous = tuple(fem.Function(space) for _ in range(family.levels))
        self._time = fem.Constant(space.mesh, default_scalar_type(0))
        # A Constant, so that another step length does not need another compiled form.
        size = fem.Constant(space.mesh, default_scalar_type(family.times[1] - family.times[0]))
        step = Step(self._previous, size, self._time)
        weak = read_weak_form(family, WeakForm, space, elements.parameters, step)
        self._stepping = Stepping(self._previous, self._time)
        self._changing = [*elements.changing, *self._stepping]
        if reads(weak.a, self._stepping):
            raise ConfigError(
                "the matrix of a time step depends on the previous state or the time. It must be "
                "the same for all steps of an instance: move such terms to the right-hand side"
            )
        with blamed(family, "weak_form"):
            self.system = LinearSystem(space, weak, family.operator, self._changing)
        declare_interpolations(self.system.matrix, elements, self.system.boundary)
        super().__init__(elements, weak, self.system.boundary, family.initial_state)
        self._groups: dict[int, GroupSystem] = {}

    def solve(self, instances: Sequence[Instance], solve: Solve) -> list[dict[str, Array]]:
        """Step through time, all instances in step, check each state and gather all of them.

        Raises:
            DataError: A state cannot be a solution.
            KrylosetError: The system of a step could not be solved, or the trajectory blows up;
                the message names the step.
        """
        if self.with_kernels:
            return self._solve_group(instances, solve)
        (instance,) = instances
        steps = self._steps(instance)
        states = [self._checked_state(0.0)]
        growth = Growth(self._norm())
        for number, (matrix, rhs) in enumerate(steps, start=1):
            self.check_nullspace(matrix)
            try:
                solution = solve(matrix, rhs)
            except KrylosetError as error:
                raise KrylosetError(f"{self._where(number)}: {error}") from error
            self._advance(solution.array_r)
            states.append(self._checked_state(self._now()))
            growth.add(self._norm())
            if growth.blown:
                raise KrylosetError(f"{self._where(number)}: {growth.describe()}")
        return [{name: np.stack([state[name] for state in states]) for name in states[0]}]

    def _solve_group(self, instances: Sequence[Instance], solve: Solve) -> list[dict[str, Array]]:
        """Step through time as `solve` does, with an ensemble for each step."""
        count, times = len(instances), self.family.times
        group = self._prepare(instances)
        values, previous = group.values, [group.values[state] for state in self._previous]
        present, states = previous[0], self.elements.store_lanes(count, len(times))
        states.write(0, present)
        self._check_states(0, 0.0, states, count)
        group.guess_next(present, present)
        growths = [Growth(norm) for norm in norms_of(present)[:count].tolist()]
        for number, time in enumerate(times[1:], start=1):
            values[self._time][:] = time
            operator, rhs = group.update(count, parameters=number == 1)
            self.check_nullspace(operator)
            try:
                solution = group.solution(solve(operator, rhs))
            except KrylosetError as error:
                raise KrylosetError(f"{self._where(number)}: {error}") from error
            group.guess_next(solution, present)
            for older, newer in zip(previous[:0:-1], previous[-2::-1], strict=True):
                older[:] = newer
            present[:] = solution
            states.write(number, present)
            self._check_states(number, time, states, count)
            for growth, norm in zip(growths, norms_of(present)[:count].tolist(), strict=True):
                growth.add(norm)
                if growth.blown:
                    raise KrylosetError(f"{self._where(number)}: {growth.describe()}")
        return states.trajectories()

    def _declare(self, matrix: PETSc.Mat) -> None:
        self.system.declare(matrix)
        declare_interpolations(matrix, self.elements, self.system.boundary)

    def _prepare(self, instances: Sequence[Instance]) -> GroupSystem:
        """Return the systems of a group, at the initial states of its instances."""
        lanes, count = self.width(len(instances)), len(instances)
        if lanes not in self._groups:
            self.elements.set_parameters(instances[0])
            self.system.update()
            values = GroupValues(self._changing, lanes)
            self._groups[lanes] = GroupSystem(self.system, values, self._declare, self._stepping)
        group = self._groups[lanes]
        self.elements.set_lanes(instances, group.values)
        present, *older = (group.values[state] for state in self._previous)
        for lane, instance in enumerate(instances):
            self.elements.read(self._initial(instance), present[:, lane])
        present[:, count:] = present[:, :1]
        for state in older:
            state[:] = present
        return group

    def residual(self, instance: Instance, solution: Instance) -> float:
        """Return the largest ||b - A x|| / ||b|| of all steps, from the stored previous states.

        The initial state counts as a system with the identity for A. All steps share the matrix,
        which DOLFINx assembles once, and one product.
        """
        steps = self._steps(instance)
        initial = self._previous[0].x.array
        x = np.empty((len(self.family.times), len(initial)), initial.dtype)
        for number, state in enumerate(x):
            self.elements.read(_state_at(solution, number), state)
        largest = norm_of(x[0] - initial) / (norm_of(initial) or 1.0)
        products = x
        for number, (matrix, _) in enumerate(steps, start=1):
            if number == 1:
                rows, columns, entries = matrix.getValuesCSR()
                operator = scipy.sparse.csr_array((entries, columns, rows), shape=matrix.size)
                products = (operator @ x.T).T
            # Not `max`, which would lose a NaN.
            largest = float(np.maximum(largest, self.system.residual_of(products[number])))
            self._advance(x[number])
        return largest

    def assemble(self, instance: Instance) -> PETSc.Mat:
        """Assemble the matrix of all steps of an instance, into storage that instances share."""
        self.elements.set_parameters(instance)
        return self.system.update()[0]

    def right_hand_side(self, instance: Instance, number: int, *before: Array) -> Array:
        """Return b of the step to a state from any states before it. Serial.

        Args:
            instance: The parameters.
            number: The number of the state, at least 1.
            before: Unknowns of the states before it, the latest first: (n,) each.
        """
        self._begin_step(instance, number, before)
        rhs: Array = self.system.update(parameters=False)[1].array_r.copy()
        return rhs

    def pull_back(
        self, instance: Instance, number: int, weights: Array, *before: Array
    ) -> list[Array]:
        """Return (db/du)^T w for each state u before a step. Serial.

        Args:
            instance: As of `right_hand_side`.
            number: As of `right_hand_side`.
            weights: w, (n,).
            before: As of `right_hand_side`.
        """
        self._begin_step(instance, number, before)
        w = self.system.rhs.duplicate()
        w.setArray(weights)
        function, derivatives = self._derivatives
        function.x.array[:] = self.system.remove_nullspace(w).array_r
        function.x.array[self.system.boundary.prescribed] = 0
        return [derivative() for derivative in derivatives]

    @cached_property
    def _derivatives(self) -> tuple[fem.Function, list[PullBack]]:
        """The weights, and the derivatives of b by the states before."""
        weights = fem.Function(self.elements.space)
        form = self.system.weak.L
        return weights, [PullBack(form, state, weights) for state in self._previous]

    def _begin_step(self, instance: Instance, number: int, before: Sequence[Array]) -> None:
        self.elements.set_parameters(instance)
        self._time.value = self.family.times[number]
        for state, values in zip(self._previous, before, strict=True):
            state.x.array[:] = values

    def resample(
        self, points: GridPoints, instance: Instance, solution: Instance
    ) -> dict[str, Array]:
        """Evaluate parameters, and fields at all times, on another grid."""
        states = [
            self.elements.resample(points, instance, _state_at(solution, number))
            for number in range(len(self.family.times))
        ]
        fields = {field.name for field in self.family.fields}
        return {
            name: np.stack([state[name] for state in states]) if name in fields else values
            for name, values in states[0].items()
        }

    def evaluate(self, instance: Instance, solution: Instance) -> dict[str, Array]:
        """Evaluate again the fields whose nodes are not the points of the grid, at all times."""
        numbers = range(len(self.family.times))
        states = [self.elements.evaluate(_state_at(solution, number)) for number in numbers]
        return {name: np.stack([state[name] for state in states]) for name in states[0]}

    def _steps(self, instance: Instance) -> Iterator[tuple[PETSc.Mat, PETSc.Vec]]:
        """Return to the initial state, then yield A and b of each step.

        The caller passes the solution of each step to `_advance` before the next.
        """
        self.elements.set_parameters(instance)
        initial = self._initial(instance)
        for previous in self._previous:
            self.elements.read(initial, previous.x.array)
        return self._yield_systems()

    def _initial(self, instance: Instance) -> dict[str, Array]:
        """Return the initial state of an instance, complete."""
        with blamed(self.family, "initial_state"):
            state = self.family.initial_state(instance)
        return self.elements.complete(f"{describe_class(self.family)}, initial_state", state)

    def _where(self, number: int) -> str:
        """Return which step it is, for messages."""
        times = self.family.times
        return f"step {number} of {len(times) - 1}, to time {times[number]:.4g}"

    def _yield_systems(self) -> Iterator[tuple[PETSc.Mat, PETSc.Vec]]:
        for number, time in enumerate(self.family.times[1:]):
            self._time.value = time
            yield self.system.update(parameters=number == 0)

    def _norm(self) -> float:
        """Return the norm of the present state, or NaN. Collective."""
        owned = self._previous[0].x.array[: self.system.rhs.getLocalSize()]
        return norm_of(np.array(self.elements.domain.comm.allgather(norm_of(owned))))

    def _now(self) -> float:
        return float(self._time.value.real)

    def _checked_state(self, time: float) -> dict[str, Array]:
        """Return the present state. An error found on rank 0 is raised on all processes."""
        state = self.elements.write(self._previous[0].x.array)
        fault: KrylosetError | None = None
        if state:
            try:
                self._check_state(time, state)
            except KrylosetError as error:
                fault = error
        fault = self.elements.domain.comm.bcast(fault)
        if fault is not None:
            raise fault
        return state

    def _check_states(self, number: int, time: float, states: StoredLanes, count: int) -> None:
        """Check the states of a group at a time, unless the family checks none."""
        if type(self.family).check_state is EvolutionFamily.check_state:
            return
        # Entering such a context takes as long as a check.
        with blamed(self.family, "check_state", doing=f"time {time:.4g}"):
            for lane in range(count):
                self.family.check_state(time, states.state(lane, number))

    def _check_state(self, time: float, state: dict[str, Array]) -> None:
        with blamed(self.family, "check_state", doing=f"time {time:.4g}"):
            self.family.check_state(time, state)

    def _advance(self, x: Array) -> None:
        """Make x the state before the next step."""
        for older, newer in zip(self._previous[:0:-1], self._previous[-2::-1], strict=True):
            older.x.array[:] = newer.x.array
        state = self._previous[0].x
        owned = self.system.rhs.getLocalSize()
        state.array[:owned] = x[:owned]
        state.scatter_forward()


def _state_at(solution: Instance, number: int) -> dict[str, Array]:
    """Return one of the stored states."""
    return {name: states[number] for name, states in solution.items()}
