# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What one system leaves for the next: preconditioners and initial guesses."""
