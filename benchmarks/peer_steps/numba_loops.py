"""Numba: explicit loops over padded float32 arrays, real and imaginary part apart."""

from typing import Any

import numpy as np

from peer_steps.problem import Missing, Peer, Problem


class NumbaLoops(Peer):
    name = "Numba, padded loops"

    def __init__(self, problem: Problem):
        try:
            import numba
        except ImportError as error:
            raise Missing(f"numba is not installed ({error})") from error
        p, f = problem, np.float32
        (nx, ny), per_cell = p.shape, p.per_cell
        is_open, has_drag = p.is_open, bool(p.drag)
        k1, k2 = (f(d * per_cell) for d in p.diffusion)
        kn, b1, b2 = f(p.drag * per_cell), f(p.beta[0] * p.dt), f(p.beta[1] * p.dt)
        angle = p.flux * np.arange(nx)
        cosine, sine = np.cos(angle).astype(f), -np.sin(angle).astype(f)
        seam_re = p.links[0][-1].real.astype(f)
        seam_im = p.links[0][-1].imag.astype(f)
        a1, a2 = (
            (-a * p.dt - d * per_cell * p.degree).astype(f)
            for a, d in zip(p.alpha, p.diffusion, strict=True)
        )
        couple = (p.josephson * p.dt - p.drag * per_cell * p.degree).astype(f)

        @numba.njit(fastmath=True)
        def ghosts(s):
            if is_open:
                return  # they hold zeros from the start
            for q in range(4):
                for x in range(1, nx + 1):
                    s[q, x, 0] = s[q, x, ny]
                    s[q, x, ny + 1] = s[q, x, 1]
            for q in range(0, 4, 2):
                for y in range(ny):
                    u, v = seam_re[y], seam_im[y]
                    r, m = s[q, 1, y + 1], s[q + 1, 1, y + 1]
                    s[q, nx + 1, y + 1] = u * r - v * m
                    s[q + 1, nx + 1, y + 1] = u * m + v * r
                    r, m = s[q, nx, y + 1], s[q + 1, nx, y + 1]
                    s[q, 0, y + 1] = u * r + v * m
                    s[q + 1, 0, y + 1] = u * m - v * r

        # One nest over two whole arrays, indices never negative: LLVM vectorises it.
        @numba.njit(fastmath=True, nogil=True, error_model="numpy")
        def step(s, out):
            for x in range(nx):
                u, v = cosine[x], sine[x]
                for y in range(ny):
                    i, j = x + 1, y + 1
                    r1, m1, r2, m2 = s[0, i, j], s[1, i, j], s[2, i, j], s[3, i, j]
                    sr1 = (
                        s[0, x, j] + s[0, x + 2, j] + u * (s[0, i, y + 2] + s[0, i, y])
                    )
                    sm1 = (
                        s[1, x, j] + s[1, x + 2, j] + u * (s[1, i, y + 2] + s[1, i, y])
                    )
                    sr2 = (
                        s[2, x, j] + s[2, x + 2, j] + u * (s[2, i, y + 2] + s[2, i, y])
                    )
                    sm2 = (
                        s[3, x, j] + s[3, x + 2, j] + u * (s[3, i, y + 2] + s[3, i, y])
                    )
                    sr1 -= v * (s[1, i, y + 2] - s[1, i, y])
                    sm1 += v * (s[0, i, y + 2] - s[0, i, y])
                    sr2 -= v * (s[3, i, y + 2] - s[3, i, y])
                    sm2 += v * (s[2, i, y + 2] - s[2, i, y])
                    l1 = a1[x, y] - b1 * (r1 * r1 + m1 * m1)
                    l2 = a2[x, y] - b2 * (r2 * r2 + m2 * m2)
                    e = couple[x, y]
                    dr1 = l1 * r1 + e * r2 + k1 * sr1
                    dm1 = l1 * m1 + e * m2 + k1 * sm1
                    dr2 = l2 * r2 + e * r1 + k2 * sr2
                    dm2 = l2 * m2 + e * m1 + k2 * sm2
                    if has_drag:
                        dr1 += kn * sr2
                        dm1 += kn * sm2
                        dr2 += kn * sr1
                        dm2 += kn * sm1
                    out[0, i, j] = r1 + dr1
                    out[1, i, j] = m1 + dm1
                    out[2, i, j] = r2 + dr2
                    out[3, i, j] = m2 + dm2

        @numba.njit(nogil=True)
        def loop(state, other, steps):
            for _ in range(steps):
                ghosts(state)
                step(state, other)
                state, other = other, state
            return state, other

        self.loop: Any = loop

    def start(self, psi):
        parts = [part for band in psi[0] for part in (band.real, band.imag)]
        padded = np.pad(np.stack(parts), ((0, 0), (1, 1), (1, 1))).astype(np.float32)
        return padded, np.zeros_like(padded)

    def advance(self, state, steps):
        return self.loop(*state, steps)

    def finish(self, state):
        r1, m1, r2, m2 = state[0][:, 1:-1, 1:-1].astype(float)
        return np.stack([r1 + 1j * m1, r2 + 1j * m2])[None]


def peers(problem: Problem) -> list[Peer]:
    return [NumbaLoops(problem)]
