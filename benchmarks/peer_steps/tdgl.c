/* The TDGL Euler loop in float32, as fast as a core allows: the benchmark's yardstick.

   One shape is compiled at a time: NX and NY sites, OPEN (1 or 0, a torus), DRAG (1
   if nu is not 0), LANES floats to a vector (it divides NY), FUSE steps to a pass.

   - A row is cut into LANES runs of J = NY / LANES sites and lane l holds run l, so
     that a neighbour along y is the next vector: no unaligned load, and one rotation
     of lanes at each end of a row.
   - The state stays in cache, and a pass over it takes FUSE steps: row x of step s is
     made as soon as rows x-1 .. x+1 of step s-1 are there (a ring of rows per step).
     A torus starts and ends each pass FUSE rows further out, on copies.
   - Real and imaginary part apart; every operation is written as the fused
     multiply-add it should become. Increments are added as r + (a r + ...), whose
     rounding does not drift as that of (1 + a) r does.
*/
#include <stdlib.h>
#include <string.h>

#ifndef FUSE
#define FUSE 2
#endif
#define J (NY / LANES)
#define KINDS (OPEN ? 2 : 1) /* of rows: inside, and first or last of an open sample */

typedef float V __attribute__((vector_size(4 * LANES)));
typedef int I __attribute__((vector_size(4 * LANES)));
typedef V Row[4][J]; /* re 1, im 1, re 2, im 2 */

typedef struct {
  float stiffness[2], drag, beta[2];  /* times dt, the first two over dx^2 */
  float link[NX + 2 * FUSE][2];       /* U_y of each row: cosine, sine */
  V seam[2][J];                       /* U_x across the seam */
  V local[KINDS][2][J];               /* -alpha - K degree, by kind of row and band */
  V couple[KINDS][J];                 /* eta - nu degree */
} Sample;

/* Lane l of the result is lane l - 1 (l + 1) of `a`; at the end of the row the torus
   goes round and the open sample has nothing. */
static inline V from_left(V a) {
#ifdef __clang__
  V b;
  for (int l = 0; l < LANES; l++) b[l] = l ? a[l - 1] : OPEN ? 0 : a[LANES - 1];
  return b;
#else
  I lane;
  for (int l = 0; l < LANES; l++) lane[l] = l ? l - 1 : 2 * LANES - 1;
  return __builtin_shuffle(a, OPEN ? (V){0} : a, lane);
#endif
}
static inline V from_right(V a) {
#ifdef __clang__
  V b;
  for (int l = 0; l < LANES; l++) b[l] = l < LANES - 1 ? a[l + 1] : OPEN ? 0 : a[0];
  return b;
#else
  I lane;
  for (int l = 0; l < LANES; l++) lane[l] = l + 1;
  return __builtin_shuffle(a, OPEN ? (V){0} : a, lane);
#endif
}

/* One step of one row. */
static inline void step_row(const Sample *p, int x, const V (*restrict up)[J],
                            const V (*restrict mid)[J], const V (*restrict down)[J],
                            V (*restrict out)[J]) {
  const int edge = OPEN && (x == 0 || x == NX - 1);
  const float c = p->link[x + FUSE][0], s = p->link[x + FUSE][1];
  V first[4], last[4];
  for (int q = 0; q < 4; q++) {
    first[q] = from_left(mid[q][J - 1]);
    last[q] = from_right(mid[q][0]);
  }
#pragma GCC unroll 16
  for (int j = 0; j < J; j++) {
    V at[4], sum[4];
    for (int b = 0; b < 2; b++) {
      const int r = 2 * b, m = r + 1;
      const V rb = j ? mid[r][j - 1] : first[r], mb = j ? mid[m][j - 1] : first[m];
      const V rf = j < J - 1 ? mid[r][j + 1] : last[r];
      const V mf = j < J - 1 ? mid[m][j + 1] : last[m];
      at[r] = mid[r][j];
      at[m] = mid[m][j];
      if (DRAG) {
        sum[r] = up[r][j] + down[r][j] + c * (rf + rb) - s * (mf - mb);
        sum[m] = up[m][j] + down[m][j] + c * (mf + mb) + s * (rf - rb);
      } else {
        const float k = p->stiffness[b], kc = k * c, ks = k * s;
        sum[r] = k * (up[r][j] + down[r][j]) + kc * (rf + rb) - ks * (mf - mb);
        sum[m] = k * (up[m][j] + down[m][j]) + kc * (mf + mb) + ks * (rf - rb);
      }
    }
    for (int b = 0; b < 2; b++) {
      const int r = 2 * b, m = r + 1, other = 2 - r;
      const V a = p->local[edge][b][OPEN ? j : 0] - p->beta[b] * (at[r] * at[r] + at[m] * at[m]);
      const V e = p->couple[edge][OPEN ? j : 0];
      V dr = a * at[r] + e * at[other], dm = a * at[m] + e * at[other + 1];
      if (DRAG) {
        dr += p->stiffness[b] * sum[r] + p->drag * sum[other];
        dm += p->stiffness[b] * sum[m] + p->drag * sum[other + 1];
      } else {
        dr += sum[r];
        dm += sum[m];
      }
      out[r][j] = at[r] + dr;
      out[m][j] = at[m] + dm;
    }
  }
}

/* A row as seen from across the seam: times U_x (sign 1) or its conjugate (-1). */
static void across(const Sample *p, float sign, const V (*from)[J], V (*to)[J]) {
  for (int r = 0; r < 4; r += 2)
    for (int j = 0; j < J; j++) {
      const V u = p->seam[0][j], v = sign * p->seam[1][j];
      to[r][j] = u * from[r][j] - v * from[r + 1][j];
      to[r + 1][j] = u * from[r + 1][j] + v * from[r][j];
    }
}

/* `depth` steps of the state, in place. `work` has FUSE rings of 4 rows, 2 FUSE copies
   and a row of zeros. */
static void pass(const Sample *p, Row *state, Row *work, int depth) {
  Row *ring = work, *low = work + 4 * FUSE, *high = low + FUSE, *zero = high + FUSE;
  if (!OPEN)
    for (int x = 0; x < depth; x++) {
      across(p, -1.f, state[NX - depth + x], low[x]);
      across(p, 1.f, state[x], high[x]);
    }
#define AT(s, x)                                                                  \
  ((const V(*)[J])(OPEN && ((x) < 0 || (x) >= NX) ? *zero                         \
                   : (s)                          ? ring[4 * ((s) - 1) + ((x) & 3)] \
                   : (x) < 0                      ? low[(x) + depth]              \
                   : (x) >= NX                    ? high[(x) - NX]                \
                                                  : state[x]))
  for (int t = OPEN ? 0 : 1 - depth; t < NX + depth - 1; t++)
    for (int s = 0; s < depth; s++) {
      const int x = t - s, extra = OPEN ? 0 : depth - 1 - s;
      if (x < -extra || x >= NX + extra) continue;
      const int in_ring = s < depth - 1 || depth == 1;
      V(*out)[J] = in_ring ? ring[4 * s + (x & 3)] : state[x];
      step_row(p, x, AT(s, x - 1), AT(s, x), AT(s, x + 1), out);
      if (depth == 1 && x > 0) memcpy(state[x - 1], ring[(x - 1) & 3], sizeof(Row));
    }
  if (depth == 1) memcpy(state[NX - 1], ring[(NX - 1) & 3], sizeof(Row));
}

static void lay_out(V *to, const float *from) {
  for (int j = 0; j < J; j++)
    for (int l = 0; l < LANES; l++) to[j][l] = from[l * J + j];
}

static void *room(size_t bytes) {
  void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
  return p ? memset(p, 0, bytes) : NULL;
}

static Sample *lay_sample(const double *c, const float *link, const float *seam) {
  Sample *p = room(sizeof(Sample));
  float row[NY];
  if (!p) return NULL;
  p->drag = c[2];
  memcpy(p->link, link, sizeof p->link);
  for (int q = 0; q < 2; q++) lay_out(p->seam[q], seam + q * NY);
  for (int b = 0; b < 2; b++) {
    p->stiffness[b] = c[b];
    p->beta[b] = c[5 + b];
  }
  for (int kind = 0; kind < KINDS; kind++)
    for (int what = 0; what < 3; what++) { /* local of band 1 and 2, couple */
      for (int y = 0; y < NY; y++) {
        const int degree = 4 - kind - (OPEN && y == 0) - (OPEN && y == NY - 1);
        row[y] = what < 2 ? -c[3 + what] - c[what] * degree : c[7] - c[2] * degree;
      }
      lay_out(what < 2 ? p->local[kind][what] : p->couple[kind], row);
    }
  return p;
}

/* Advance `count` simulations by `steps` steps each.

   psi: [count][4][NX][NY], re 1, im 1, re 2, im 2, changed in place.
   coupling: D1, D2, nu, alpha 1, 2, beta 1, 2, eta; times dt, the first three over dx^2.
   link: [NX + 2 FUSE][2], cosine and sine of U_y of rows -FUSE .. NX + FUSE - 1.
   seam: [2][NY], cosine and sine of U_x from the last row to the first.
   Returns 0, or 1 for want of memory. */
int tdgl_run(float *psi, const double *coupling, const float *link, const float *seam,
             long count, long steps) {
  Sample *p = lay_sample(coupling, link, seam);
  Row *state = room(NX * sizeof(Row));
  Row *work = room((6 * FUSE + 1) * sizeof(Row));
  const int ready = p && state && work;
  for (long i = 0; ready && i < count; i++) {
    float *one = psi + i * 4 * NX * NY;
    for (int q = 0; q < 4; q++)
      for (int x = 0; x < NX; x++) lay_out(state[x][q], one + (q * NX + x) * NY);
    for (long left = steps; left > 0; left -= FUSE)
      pass(p, state, work, left < FUSE ? left : FUSE);
    for (int q = 0; q < 4; q++)
      for (int x = 0; x < NX; x++)
        for (int j = 0; j < J; j++)
          for (int l = 0; l < LANES; l++)
            one[(q * NX + x) * NY + l * J + j] = state[x][q][j][l];
  }
  free(p);
  free(state);
  free(work);
  return !ready;
}
