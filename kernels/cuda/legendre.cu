// Legendre stage: coefficients to half spectra of rings for any set of direction orders, its adjoint, analyses and their adjoints.
//
// Functions: Q_k = d^{l0+k}_{m,+-n} / alpha_k, l0 = max(m, n), with Q_{k+1} = (constant_k + slope_k y) Q_k - Q_{k-1}, y = 2 sin^2(theta / 2), on northern rings only; the
// southern ones and -m follow from the parity of k (see `harmonic/direct.rs` of this crate). Starts are powers of half-angle functions in double-double with an exponent of
// their own, mantissa 2^(400 e); while e < 0 a ring adds nothing. Constants of 64 degrees are made by the block: alpha by a prefix product over the lanes of a warp.
//
// Synthesis: block = (item, m, order n, fields, tile of rings); a thread keeps the sums of its rings in registers. Analysis: block = (item, m, fields), tiles of 128 rings in
// order; the functions of 32 degrees go through shared memory, where lanes change from rings to degrees, and four warps sum a quarter of the rings each. For one field
// the threads add up one to four rings first, and only these sums go through shared memory.
//
// Cost (predicted, H200, 34 TFLOP/s, f64): per degree, order and pair of rings 4 + 4 F flop at n = 0 and 8 + 8 F at n > 0 for F fields, of which about 0.75 are executed
// beyond the polar cut; bytes: 16 per ring and order and field, the coefficients once per tile of rings. N = 3, one field, L = 512: 0.7 GFLOP, 12 MB: about 40 us at half
// of peak; L = 2048: 46 GFLOP, 200 MB: about 2.7 ms. Analysis of five fields, L = 512: 0.4 GFLOP below L / 2, about 35 us at a third of peak (shared memory limits it).
namespace legendre {

struct Item {
    // First field of coefficients and rings; numbers between fields and between channels.
    long long coefficients, coefficient_stride, rings, ring_stride, channel_stride;
    // Bandlimit of the grid, stored orders, bandlimit of the coefficients, degrees of the filter, first degree with a filter, azimuthal bandlimit, fields.
    int L, M, L_in, degrees, first, N, fields;
    // Fields per block, tiles of rings; the first order of directions and how many of them a synthesis has.
    int chunk, tiles, order, orders;
    // Tables; `weights` is -1 where rings are not weighted.
    int angles, filter, starts, weights;
    // Whether an analysis adds to the coefficients instead of writing all of them.
    int adds;
};

// Values of 8 numbers per ring.
struct Angle {
    double s, s_low, c, c_low, product, product_low, versine, sine;
};

struct Scaled {
    double high, low;
    int exponent;
};

__device__ __forceinline__ double power_of_two(int exponent) { return __longlong_as_double(static_cast<long long>(exponent + 1023) << 52); }

// a b for numbers with |high| between 2^-100 and 1, kept there.
__device__ __forceinline__ Scaled times(Scaled a, Scaled b) {
    const double p = __dmul_rn(a.high, b.high);
    const double rest = fma(a.high, b.high, -p) + fma(a.high, b.low, a.low * b.high);
    Scaled c;
    c.high = p + rest;
    c.low = rest - (c.high - p);
    c.exponent = a.exponent + b.exponent;
    if (fabs(c.high) < power_of_two(-100)) {
        c.high *= power_of_two(100);
        c.low *= power_of_two(100);
        c.exponent -= 100;
    }
    return c;
}

__device__ __forceinline__ Scaled power(Scaled base, int exponent) {
    Scaled value = {1.0, 0.0, 0};
    while (exponent > 0) {
        if (exponent & 1) value = times(value, base);
        exponent >>= 1;
        if (exponent > 0) base = times(base, base);
    }
    return value;
}

// d^{l0}_{m, sign n} = mantissa 2^(400 exponent).
__device__ __forceinline__ double start(const Angle& angle, const double* normalisation, int m, int n, int sign, int& exponent) {
    const int low = min(m, n);
    Scaled value = power({angle.product, angle.product_low, 0}, m > n ? m - n : n - m);
    const Scaled side = sign > 0 ? Scaled{angle.c, angle.c_low, 0} : Scaled{angle.s, angle.s_low, 0};
    if (low > 0) value = times(value, power(side, 2 * low));
    value = times(value, {normalisation[0], normalisation[1], static_cast<int>(normalisation[2])});
    exponent = value.exponent >= -200 ? 0 : (value.exponent - 199) / 400;
    const bool negative = (m >= n || sign < 0) && ((m + n) & 1);
    const double mantissa = value.high * power_of_two(value.exponent - 400 * exponent);
    return negative ? -mantissa : mantissa;
}

// Constants of T degrees in shared memory.
template <int T>
struct Steps {
    double slope[T], constant[2][T], alpha[T];
    // alpha of the two degrees before the tile.
    double before[2];
};

__device__ __forceinline__ double norm_of(double l, double m, double n) { return sqrt(((l - m) * (l + m)) * ((l - n) * (l + n))) / l; }

// Constants of degrees l0 + base .. l0 + base + T, base a multiple of T; all threads call it, tiles in order.
template <int T>
__device__ __forceinline__ void steps(Steps<T>& out, int m, int n, int base) {
    const int l0 = m > n ? m : n;
    __syncthreads();
    if (threadIdx.x < 32) {
        const int lane = threadIdx.x;
        const double before_even = base == 0 ? 1.0 : out.before[0], before_odd = base == 0 ? 1.0 : out.before[1];
        const bool inside = 2 * lane < T;
        const int k = base + 2 * lane;
        const double M = m, N = n, l = l0 + k;
        // alpha_k = alpha_{k-2} norm(l - 1) / norm(l), alpha_0 = alpha_1 = 1.
        const double own = k == 0 ? 0.0 : norm_of(l, M, N), next = norm_of(l + 1, M, N);
        const double last = k < 2 ? 0.0 : norm_of(l - 1, M, N);
        double even = k < 2 ? 1.0 : last / own, odd = k < 2 ? 1.0 : own / next;
        if (!inside) even = odd = 1.0;
        for (int shift = 1; shift < 32; shift *= 2) {
            const double e = __shfl_up_sync(0xffffffffu, even, shift), o = __shfl_up_sync(0xffffffffu, odd, shift);
            if (lane >= shift) {
                even *= e;
                odd *= o;
            }
        }
        even *= before_even;
        odd *= before_odd;
        double odd_before = __shfl_up_sync(0xffffffffu, odd, 1);
        if (lane == 0) odd_before = before_odd;
        if (inside) {
            // a_k = (2l + 1) alpha_k / (alpha_{k-1} norm(l)), and at k = 0 with alpha_1 = 1: (2l + 1) / norm(l + 1).
            const double a = k == 0 ? (2.0 * l + 1.0) / next : (2.0 * l + 1.0) * even / (odd_before * own);
            const double b = (2.0 * l + 3.0) * odd / (even * next);
            const double shift_a = m * n == 0 ? 0.0 : M * N / (l * (l + 1.0)), shift_b = M * N / ((l + 1.0) * (l + 2.0));
            out.alpha[2 * lane] = even;
            out.alpha[2 * lane + 1] = odd;
            out.slope[2 * lane] = -a;
            out.slope[2 * lane + 1] = -b;
            out.constant[0][2 * lane] = fma(-a, shift_a, a);
            out.constant[1][2 * lane] = fma(a, shift_a, a);
            out.constant[0][2 * lane + 1] = fma(-b, shift_b, b);
            out.constant[1][2 * lane + 1] = fma(b, shift_b, b);
        }
        if (2 * lane == T - 2) {
            out.before[0] = even;
            out.before[1] = odd;
        }
    }
    __syncthreads();
}

// Whether a ring has no part in order m of degrees below `degrees`: what libsharp leaves out (Reinecke & Seljebotn 2013), with its margin.
__device__ __forceinline__ bool beyond(double sine, int degrees, int m, int n) {
    const double margin = 0.01 * degrees > 100.0 ? 0.01 * degrees : 100.0;
    return m > degrees * sine + margin + n;
}

// The function of one ring and one sign of n at two neighbouring degrees.
struct Function {
    double now, before;
    int exponent;
    // Brings a function that has grown to the next exponent.
    __device__ __forceinline__ void scale() {
        if (exponent < 0 && (fabs(now) > power_of_two(200) || fabs(before) > power_of_two(200))) {
            now *= power_of_two(-400);
            before *= power_of_two(-400);
            exponent++;
        }
    }
    __device__ __forceinline__ void climb(double slope, double constant, double versine) {
        const double next = fma(fma(slope, versine, constant), now, -before);
        before = now;
        now = next;
    }
};

// Positions of coefficients of order m: degree l is entry `column_of + l`.
__device__ __forceinline__ long long column_of(int L_in, int m) { return static_cast<long long>(m) * (2 * L_in - 1 - m) / 2; }

constexpr int synthesis_threads = 128, synthesis_tile = 64, sub_tile = 8;

template <int F>
struct SynthesisRoom {
    Steps<synthesis_tile> steps;
    real u[synthesis_tile][2 * F];
};

// Sums of one sub-tile: MODE 0 climbs only, 1 adds where a function is large enough, 2 adds all.
template <int F, int SIGNS, int RINGS, int MODE>
__device__ __forceinline__ void sum_degrees(const SynthesisRoom<F>& room, int from, Function (&q)[RINGS][SIGNS], const double (&versine)[RINGS],
                                            real (&sums)[RINGS][SIGNS][2][2 * F]) {
#pragma unroll 2
    for (int k = from; k < from + sub_tile; k += 2) {
#pragma unroll
        for (int parity = 0; parity < 2; parity++) {
            const double slope = room.steps.slope[k + parity];
            double constant[SIGNS];
#pragma unroll
            for (int s = 0; s < SIGNS; s++) constant[s] = room.steps.constant[s][k + parity];
            real u[2 * F];
            if (MODE > 0)
#pragma unroll
                for (int v = 0; v < 2 * F; v++) u[v] = room.u[k + parity][v];
#pragma unroll
            for (int r = 0; r < RINGS; r++)
#pragma unroll
                for (int s = 0; s < SIGNS; s++) {
                    if (MODE > 0) {
                        const real value = static_cast<real>(MODE == 1 && q[r][s].exponent < 0 ? 0.0 : q[r][s].now);
#pragma unroll
                        for (int v = 0; v < 2 * F; v++) sums[r][s][parity][v] = mad(value, u[v], sums[r][s][parity][v]);
                    }
                    q[r][s].climb(slope, constant[s], versine[r]);
                }
        }
    }
}

template <int F, int SIGNS, int RINGS>
__device__ __forceinline__ void synthesise(real* arena, Tables tables, const Item& item, int m, int tile, int order, int field) {
    SynthesisRoom<F>& room = *reinterpret_cast<SynthesisRoom<F>*>(dynamic_shared);
    const int n = (item.N % 2 ? 0 : 1) + 2 * order, l0 = m > n ? m : n, pairs = (item.L + 1) / 2;
    const Angle* angles = static_cast<const Angle*>(tables[item.angles]);
    const double* filter = static_cast<const double*>(tables[item.filter]) + order * item.degrees;
    const double* starts = static_cast<const double*>(tables[item.starts]) + 4ll * (order * item.degrees + m);
    const real* coefficients = arena + item.coefficients + field * item.coefficient_stride + 2 * column_of(item.L_in, m);
    Function q[RINGS][SIGNS];
    double versine[RINGS];
    real sums[RINGS][SIGNS][2][2 * F];
    bool active = false;
    // Orders beyond the filter have rings of zeros.
    const bool any = m < item.degrees;
#pragma unroll
    for (int r = 0; r < RINGS; r++) {
        const int ring = (tile * RINGS + r) * synthesis_threads + threadIdx.x;
        versine[r] = 0.0;
        for (int s = 0; s < SIGNS; s++) {
            q[r][s] = {0.0, 0.0, 0};
            for (int v = 0; v < 2 * F; v++) sums[r][s][0][v] = sums[r][s][1][v] = 0;
        }
        if (!any || ring >= pairs || beyond(angles[ring].sine, item.degrees, m, n)) continue;
        active = true;
        versine[r] = angles[ring].versine;
        for (int s = 0; s < SIGNS; s++) q[r][s].now = start(angles[ring], starts, m, n, s == 0 ? 1 : -1, q[r][s].exponent);
    }
    active = __any_sync(0xffffffffu, active);
    for (int base = 0; any && l0 + base < item.degrees; base += synthesis_tile) {
        steps(room.steps, m, n, base);
        for (int i = threadIdx.x; i < synthesis_tile * 2 * F; i += blockDim.x) {
            const int k = i / (2 * F), v = i % (2 * F), l = l0 + base + k;
            room.u[k][v] = l < item.degrees ? static_cast<real>(room.steps.alpha[k] * filter[l] * coefficients[v / 2 * item.coefficient_stride + 2 * l + v % 2]) : 0;
        }
        __syncthreads();
        if (!active) continue;
        for (int from = 0; from < synthesis_tile && l0 + base + from < item.degrees; from += sub_tile) {
            bool all = true, one = false;
#pragma unroll
            for (int r = 0; r < RINGS; r++)
#pragma unroll
                for (int s = 0; s < SIGNS; s++) {
                    q[r][s].scale();
                    all = all && q[r][s].exponent == 0;
                    one = one || q[r][s].exponent == 0;
                }
            all = __all_sync(0xffffffffu, all);
            one = __any_sync(0xffffffffu, one);
            if (l0 + base + from + sub_tile <= item.first || !one)
                sum_degrees<F, SIGNS, RINGS, 0>(room, from, q, versine, sums);
            else if (all)
                sum_degrees<F, SIGNS, RINGS, 2>(room, from, q, versine, sums);
            else
                sum_degrees<F, SIGNS, RINGS, 1>(room, from, q, versine, sums);
        }
    }
    const bool odd = item.N % 2;
    const real direction = n % 2 ? -1 : 1, turn = (l0 + m) % 2 ? -1 : 1, half = static_cast<real>(0.5);
    const int channel = odd ? (order == 0 ? 0 : 2 * order - 1) : 2 * order;
    const double* weights = item.weights < 0 ? nullptr : static_cast<const double*>(tables[item.weights]);
#pragma unroll
    for (int r = 0; r < RINGS; r++) {
        const int ring = (tile * RINGS + r) * synthesis_threads + threadIdx.x;
        if (ring >= pairs) continue;
        const real weight = weights ? static_cast<real>(weights[ring]) : 1;
        for (int side = 0; side < 2; side++) {
            const int t = side == 0 ? ring : item.L - 1 - ring;
            if (side == 1 && t == ring) continue;
#pragma unroll
            for (int f = 0; f < F; f++) {
                real* out = arena + item.rings + (field + f) * item.ring_stride + channel * item.channel_stride + 2 * (static_cast<long long>(t) * item.M + m);
                real p[2], other[2];
#pragma unroll
                for (int part = 0; part < 2; part++) {
                    const real even = sums[r][0][0][2 * f + part], uneven = sums[r][0][1][2 * f + part];
                    if (SIGNS == 1) {
                        p[part] = side == 0 ? even + uneven : even - uneven;
                        continue;
                    }
                    const real even_minus = sums[r][SIGNS - 1][0][2 * f + part], uneven_minus = sums[r][SIGNS - 1][1][2 * f + part];
                    p[part] = side == 0 ? even + uneven : turn * (even_minus - uneven_minus);
                    other[part] = direction * (side == 0 ? even_minus + uneven_minus : turn * (even - uneven));
                }
                if (SIGNS == 1) {
                    out[0] = weight * p[0];
                    out[1] = m == 0 ? 0 : weight * p[1];
                    continue;
                }
                real* second = out + item.channel_stride;
                if (m == 0) {
                    out[0] = odd ? p[0] : p[1];
                    second[0] = odd ? p[1] : -p[0];
                    out[1] = second[1] = 0;
                } else {
                    // X = (P + Q) / 2, Y = -i (P - Q) / 2; N odd: B = X, C = Y; N even: B = Y, C = -X.
                    const real x[2] = {half * (p[0] + other[0]), half * (p[1] + other[1])}, y[2] = {half * (p[1] - other[1]), half * (other[0] - p[0])};
                    for (int part = 0; part < 2; part++) {
                        out[part] = odd ? x[part] : y[part];
                        second[part] = odd ? y[part] : -x[part];
                    }
                }
            }
        }
    }
}

// One block of a synthesis: orders m slowest, so that long columns come first.
template <int F, int SIGNS, int RINGS>
__device__ __forceinline__ void synthesis(real* arena, Tables tables, const Item& item, int part) {
    const int chunks = item.fields / item.chunk;
    const int chunk = part % chunks, order = part / chunks % item.orders, tile = part / chunks / item.orders % item.tiles, m = part / chunks / item.orders / item.tiles;
    synthesise<F, SIGNS, RINGS>(arena, tables, item, m, tile, item.order + order, chunk * item.chunk);
}

constexpr int analysis_threads = 128, analysis_tile = 32, analysis_steps = 64;

template <int F>
struct AnalysisRoom {
    Steps<analysis_steps> steps;
    // Functions by degree and ring; one more column keeps the banks apart.
    double q[analysis_tile][analysis_threads + 1];
    real g[analysis_threads][2][2 * F];
    real partial[analysis_threads / 32][2 * F][analysis_tile];
};

// What a ring pair gives to even and odd degrees of one sign of n: the adjoint of the end of `synthesise`.
template <int F>
__device__ __forceinline__ void gather(real* arena, const Item& item, int m, int n, int channel, int field, int ring, bool minus, real weight, real (&g)[2][2 * F]) {
    const bool odd = item.N % 2;
    const int l0 = m > n ? m : n;
    const real direction = n % 2 ? -1 : 1, turn = (l0 + m) % 2 ? -1 : 1, half = static_cast<real>(0.5);
    for (int f = 0; f < F; f++) {
        // Cotangents of P and Q on the northern and the southern ring.
        real p[2][2], other[2][2];
        for (int side = 0; side < 2; side++) {
            const int t = side == 0 ? ring : item.L - 1 - ring;
            real b[2] = {0, 0}, c[2] = {0, 0};
            if (side == 0 || t != ring) {
                const real* at = arena + item.rings + (field + f) * item.ring_stride + channel * item.channel_stride + 2 * (static_cast<long long>(t) * item.M + m);
                b[0] = weight * at[0];
                b[1] = weight * at[1];
                if (n > 0) {
                    c[0] = weight * at[item.channel_stride];
                    c[1] = weight * at[item.channel_stride + 1];
                }
            }
            if (n == 0) {
                p[side][0] = b[0];
                p[side][1] = m == 0 ? 0 : b[1];
                other[side][0] = other[side][1] = 0;
            } else if (m == 0) {
                p[side][0] = odd ? b[0] : -c[0];
                p[side][1] = odd ? c[0] : b[0];
                other[side][0] = other[side][1] = 0;
            } else {
                // gX and gY; gP = gX / 2 + i gY / 2, gQ = gX / 2 - i gY / 2.
                const real x[2] = {odd ? b[0] : -c[0], odd ? b[1] : -c[1]}, y[2] = {odd ? c[0] : b[0], odd ? c[1] : b[1]};
                p[side][0] = half * (x[0] - y[1]);
                p[side][1] = half * (x[1] + y[0]);
                other[side][0] = half * (x[0] + y[1]);
                other[side][1] = half * (x[1] - y[0]);
            }
        }
        for (int part = 0; part < 2; part++) {
            // The plain functions meet P in the north and Q in the south, those of -n the other way round; n = 0 has P on both sides.
            const real north = minus ? direction * other[0][part] : p[0][part];
            const real south = n == 0 ? p[1][part] : turn * (minus ? p[1][part] : direction * other[1][part]);
            g[0][2 * f + part] = north + south;
            g[1][2 * f + part] = north - south;
        }
    }
}

// One block of an analysis.
template <int F>
__device__ __forceinline__ void analysis(real* arena, Tables tables, const Item& item, int part) {
    AnalysisRoom<F>& room = *reinterpret_cast<AnalysisRoom<F>*>(dynamic_shared);
    const int chunks = item.fields / item.chunk, field = part % chunks * item.chunk, m = part / chunks, pairs = (item.L + 1) / 2;
    const Angle* angles = static_cast<const Angle*>(tables[item.angles]);
    const double* weights = item.weights < 0 ? nullptr : static_cast<const double*>(tables[item.weights]);
    real* coefficients = arena + item.coefficients + field * item.coefficient_stride + 2 * column_of(item.L_in, m);
    for (int f = 0; f < F && !item.adds; f++)
        for (int i = 2 * m + threadIdx.x; i < 2 * item.L_in; i += blockDim.x) coefficients[f * item.coefficient_stride + i] = 0;
    if (m >= item.degrees || m >= item.M) return;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    for (int order = 0, channel = 0; order < (item.N + 1) / 2; order++) {
        const int n = (item.N % 2 ? 0 : 1) + 2 * order, l0 = m > n ? m : n, signs = n == 0 ? 1 : 2;
        const double* filter = static_cast<const double*>(tables[item.filter]) + order * item.degrees;
        const double* starts = static_cast<const double*>(tables[item.starts]) + 4ll * (order * item.degrees + m);
        for (int tile = 0; tile < item.tiles; tile++)
            for (int s = 0; s < signs; s++) {
                const int ring = tile * analysis_threads + threadIdx.x;
                Function q = {0.0, 0.0, 0};
                double versine = 0.0;
                real g[2][2 * F] = {};
                const bool active = ring < pairs && !beyond(angles[ring].sine, item.degrees, m, n);
                if (active) {
                    versine = angles[ring].versine;
                    q.now = start(angles[ring], starts, m, n, s == 0 ? 1 : -1, q.exponent);
                    gather<F>(arena, item, m, n, channel, field, ring, s == 1, weights ? static_cast<real>(weights[ring]) : 1, g);
                }
                __syncthreads();
                for (int v = 0; v < 2 * F; v++) {
                    room.g[threadIdx.x][0][v] = g[0][v];
                    room.g[threadIdx.x][1][v] = g[1][v];
                }
                // A warp whose rings are all beyond has nothing to climb or to sum; barriers are for all.
                const bool busy = __any_sync(0xffffffffu, active);
                for (int base = 0; l0 + base < item.degrees; base += analysis_tile) {
                    // Constants of two tiles at a time; each barrier also ends the reading of the tile before.
                    const int at = base % analysis_steps;
                    if (at == 0)
                        steps(room.steps, m, n, base);
                    else
                        __syncthreads();
                    const bool wanted = l0 + base + analysis_tile > item.first;
                    if (busy)
                        for (int from = 0; from < analysis_tile; from += sub_tile) {
                            q.scale();
#pragma unroll
                            for (int k = from; k < from + sub_tile; k++) {
                                if (wanted) room.q[k][threadIdx.x] = q.exponent < 0 ? 0.0 : q.now;
                                q.climb(room.steps.slope[at + k], room.steps.constant[s][at + k], versine);
                            }
                        }
                    if (!wanted) continue;
                    // Lanes are degrees from here on; each warp sums the rings that it has just made.
                    __syncwarp();
                    real sums[2 * F];
#pragma unroll
                    for (int v = 0; v < 2 * F; v++) sums[v] = 0;
                    if (busy)
#pragma unroll 4
                        for (int r = 32 * warp; r < 32 * warp + 32; r++) {
                            const real value = static_cast<real>(room.q[lane][r]);
#pragma unroll
                            for (int v = 0; v < 2 * F; v++) sums[v] = mad(value, room.g[r][lane % 2][v], sums[v]);
                        }
#pragma unroll
                    for (int v = 0; v < 2 * F; v++) room.partial[warp][v][lane] = sums[v];
                    __syncthreads();
                    for (int i = threadIdx.x; i < 2 * F * analysis_tile; i += blockDim.x) {
                        const int k = i / 2 % analysis_tile, v = i / (2 * analysis_tile) * 2 + i % 2, l = l0 + base + k;
                        // Degrees without a filter are not touched: other scales may add to them in the same launch.
                        if (l >= item.degrees || filter[l] == 0.0) continue;
                        real sum = room.partial[0][v][k];
                        for (int w = 1; w < analysis_threads / 32; w++) sum += room.partial[w][v][k];
                        real* out = coefficients + v / 2 * item.coefficient_stride + 2 * l + v % 2;
                        *out += static_cast<real>(room.steps.alpha[at + k] * filter[l]) * sum;
                    }
                }
            }
        channel += signs;
    }
}

constexpr int single_tile = 16;

struct SingleRoom {
    Steps<analysis_steps> steps;
    // What every thread's rings give to a degree and part; one more column keeps the banks apart.
    real p[2 * single_tile][analysis_threads + 1];
    real partial[analysis_threads / 32][2 * single_tile];
};

// One block of an analysis of one field. Threads add up their rings before they go through shared memory: with few sums it would limit otherwise.
template <int RINGS>
__device__ __forceinline__ void analysis_of_one(real* arena, Tables tables, const Item& item, int part) {
    SingleRoom& room = *reinterpret_cast<SingleRoom*>(dynamic_shared);
    const int field = part % item.fields, m = part / item.fields, pairs = (item.L + 1) / 2;
    const Angle* angles = static_cast<const Angle*>(tables[item.angles]);
    const double* weights = item.weights < 0 ? nullptr : static_cast<const double*>(tables[item.weights]);
    real* coefficients = arena + item.coefficients + field * item.coefficient_stride + 2 * column_of(item.L_in, m);
    if (!item.adds)
        for (int i = 2 * m + threadIdx.x; i < 2 * item.L_in; i += blockDim.x) coefficients[i] = 0;
    if (m >= item.degrees || m >= item.M) return;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    for (int order = 0, channel = 0; order < (item.N + 1) / 2; order++) {
        const int n = (item.N % 2 ? 0 : 1) + 2 * order, l0 = m > n ? m : n, signs = n == 0 ? 1 : 2;
        const double* filter = static_cast<const double*>(tables[item.filter]) + order * item.degrees;
        const double* starts = static_cast<const double*>(tables[item.starts]) + 4ll * (order * item.degrees + m);
        for (int tile = 0; tile < item.tiles; tile++)
            for (int s = 0; s < signs; s++) {
                Function q[RINGS];
                double versine[RINGS];
                real g[RINGS][2][2];
                bool active = false;
#pragma unroll
                for (int r = 0; r < RINGS; r++) {
                    const int ring = (tile * RINGS + r) * analysis_threads + threadIdx.x;
                    q[r] = {0.0, 0.0, 0};
                    versine[r] = 0.0;
                    g[r][0][0] = g[r][0][1] = g[r][1][0] = g[r][1][1] = 0;
                    if (ring >= pairs || beyond(angles[ring].sine, item.degrees, m, n)) continue;
                    active = true;
                    versine[r] = angles[ring].versine;
                    q[r].now = start(angles[ring], starts, m, n, s == 0 ? 1 : -1, q[r].exponent);
                    gather<1>(arena, item, m, n, channel, field, ring, s == 1, weights ? static_cast<real>(weights[ring]) : 1, g[r]);
                }
                const bool busy = __any_sync(0xffffffffu, active);
                for (int base = 0; l0 + base < item.degrees; base += single_tile) {
                    const int at = base % analysis_steps;
                    if (at == 0)
                        steps(room.steps, m, n, base);
                    else
                        __syncthreads();
                    const bool wanted = l0 + base + single_tile > item.first;
                    if (busy)
                        for (int from = 0; from < single_tile; from += sub_tile) {
#pragma unroll
                            for (int r = 0; r < RINGS; r++) q[r].scale();
#pragma unroll
                            for (int k = 0; k < sub_tile; k++) {
                                const double slope = room.steps.slope[at + from + k], constant = room.steps.constant[s][at + from + k];
                                real re = 0, im = 0;
#pragma unroll
                                for (int r = 0; r < RINGS; r++) {
                                    const real value = static_cast<real>(q[r].exponent < 0 ? 0.0 : q[r].now);
                                    re = mad(value, g[r][k % 2][0], re);
                                    im = mad(value, g[r][k % 2][1], im);
                                    q[r].climb(slope, constant, versine[r]);
                                }
                                if (wanted) {
                                    room.p[2 * (from + k)][threadIdx.x] = re;
                                    room.p[2 * (from + k) + 1][threadIdx.x] = im;
                                }
                            }
                        }
                    if (!wanted) continue;
                    // Lanes are degrees and parts from here on; each warp sums what it has just made.
                    __syncwarp();
                    real sum = 0;
                    if (busy)
#pragma unroll 8
                        for (int r = 32 * warp; r < 32 * warp + 32; r++) sum += room.p[lane][r];
                    room.partial[warp][lane] = sum;
                    __syncthreads();
                    const int k = lane / 2, l = l0 + base + k;
                    if (warp == 0 && l < item.degrees && filter[l] != 0.0) {
                        for (int w = 1; w < analysis_threads / 32; w++) sum += room.partial[w][lane];
                        coefficients[2 * l + lane % 2] += static_cast<real>(room.steps.alpha[at + k] * filter[l]) * sum;
                    }
                }
            }
        channel += signs;
    }
}

}  // namespace legendre
