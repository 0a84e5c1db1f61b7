// Frame operators: bilinear forms x . Q_g y of coefficients and their adjoint mixtures, by semiseparable scans (see `frame.rs` of this crate).
//
// A block does one scale and some orders m. Degrees come in chunks: the block makes the coefficients of the scans and gathers the fields; the fields and parts (real,
// imaginary) are scanned and leave their 2N - 1 channels in shared memory; all threads then contract them with the fields, two by two in registers and the rows
// shared out among groups of threads, or mix them into the targets. The chunks go up once and down once, as what lies below and above a degree adds up separately.
// Orders m < N - 1 go through rings (`legendre.cu`, `contract.cu`).
//
// Running sums are linear in what they start from: over some degrees they shrink by the product of the ratios and are shifted by the sum of the steps, for shifts of powers
// add up. So a chunk is scanned in segments side by side, a thread for each segment, field and part: first every thread finds the sums that its segment adds, from zero;
// then each puts together what the segments before its own leave, in order, and scans its segment once more, now with all channels.
//
// Cost (predicted, H200, 34 TFLOP/s, f64): per (l, m) and field about 21 (N = 3) multiply-adds twice for the scans, a third of that for finding the sums, and 2 (2N - 1) per
// pair of fields and part, twice. L = 512, N = 3, 6 fields at the largest scale: 0.15 GFLOP in all; latency decides. A chunk of 32 degrees has eight segments of four: about 100
// cycles for their sums, 200 for putting them together, 400 for the channels, against 3200 for one thread after another; with 1500 for coefficients and gathering and 500
// for the contraction 2700 cycles instead of 5200. 250 degrees up and down are 16 chunks: 25 us at 1.7 GHz (50 us before); L = 2048: 1000 degrees, three waves, 0.3 ms.
namespace frame {

constexpr int threads = 128;

__device__ constexpr int channels(int N) { return 2 * N - 1; }
__device__ constexpr int states(int N) { return N * (N - 1) / 2; }
__device__ constexpr int terms(int N) {
    int total = 0;
    for (int r = 1; r < N; r++) total += r * (N - r);
    return total;
}
// Numbers of one direction of `frame_kernels` of one order.
__device__ constexpr int kernel_half(int N) {
    int total = 0;
    for (int r = 1; r < N; r++) total += (N - r) * r * (r + 1) / 2;
    return total;
}

// What a scan of one scale reads.
struct Scale {
    const long long* fields;
    const int* bandlimits;
    // Fields, degrees first .. last of the filters, lowest order, degrees of a chunk, tables.
    int count, first, last, low, chunk, factors, kernels;
};

// Degrees of a segment, which are even in number so that parities agree, and segments of a chunk of T degrees. Many running sums would fill the shared memory.
template <int N>
__device__ __forceinline__ int segment(int T, int F) {
    const int most = N > 4 ? 1 : min(threads / (2 * F), T / 4), count = most > 1 ? most : 1;
    return ((T + count - 1) / count + 1) / 2 * 2;
}

// Shared memory of a chunk of T degrees and F fields: fields [2T][F], channels [2T][C][F], then rows of T numbers, then running sums at the ends of the segments and of two
// chunks, [segment][states][parity][2F], and what the ratios of a segment multiply to.
template <int N>
struct Room {
    double *x, *y, *ratio, *diagonal, *diagonals, *intake, *terms, *ends, *shrinks;
    __device__ __forceinline__ Room(int T, int F) {
        x = reinterpret_cast<double*>(dynamic_shared);
        y = x + 2 * T * F;
        ratio = y + 2 * T * channels(N) * F;
        diagonal = ratio + T + 1;
        diagonals = diagonal + T;
        intake = diagonals + (N - 1) * T;
        terms = intake + (N - 1) * T;
        ends = terms + frame::terms(N) * T;
        shrinks = ends + ((T + segment<N>(T, F) - 1) / segment<N>(T, F) + 2) * states(N) * 4 * F;
    }
};

// Fields and scan coefficients of degrees base .. base + length behind `start`, going up or down.
template <int N, bool UP>
__device__ __forceinline__ void prepare(const Room<N>& room, real* arena, Tables tables, const Scale& scale, int m, int start, int base, int length, double lowest) {
    const int T = scale.chunk, F = scale.count, width = scale.last - scale.first, shift = start - scale.first + base;
    const double* factors = static_cast<const double*>(tables[scale.factors]) + shift;
    const double* kernels = static_cast<const double*>(tables[scale.kernels]) + static_cast<long long>(m - scale.low) * 2 * kernel_half(N);
    __syncthreads();
    for (int i = threadIdx.x; i < 2 * length * F; i += threads) {
        const int row = i % (2 * length), f = i / (2 * length), l = start + base + row / 2, L = scale.bandlimits[f];
        double value = 0.0;
        if (l < L) value = arena[scale.fields[f] + 2 * (static_cast<long long>(m) * (2 * L - 1 - m) / 2 + l) + row % 2];
        // Only N = 1 has order 0 here: it is real, and counts half as often.
        room.x[row * F + f] = m > 0 ? value : row % 2 ? 0.0 : lowest * value;
    }
    for (int k = threadIdx.x; k <= length; k += threads) {
        const double l = start + base + k;
        room.ratio[k] = sqrt((l - m) / (l + m));
        if (m == 0) room.ratio[k] = 1.0;
        if (k == length) continue;
        const double* intake = factors + k;
        const double* outflow = intake + (N - 1) * width;
        room.diagonal[k] = outflow[(N - 1) * width];
        const double* polynomial = outflow + N * width;
        const double y = l * (l + 1.0) - static_cast<double>(m) * (m + 1.0);
        for (int i = 0; i < N - 1; i++) room.intake[i * T + k] = intake[i * width];
        int term = 0;
        const double* kernel = kernels + (UP ? 0 : kernel_half(N));
        for (int r = 1; r < N; r++) {
            double sum = UP ? polynomial[(r - 1) * width] : 0.0;
            for (int i = r; i < N; i++)
                for (int s = 0; s < r; s++) {
                    double value = kernel[r - s - 1];
                    for (int power = r - s - 2; power >= 0; power--) value = fma(value, y, kernel[power]);
                    value *= outflow[(i - r) * width];
                    if (UP && s == 0) sum = fma(value, intake[(i - 1) * width], sum);
                    room.terms[term * T + k] = value;
                    kernel += r - s;
                    term++;
                }
            room.diagonals[(r - 1) * T + k] = sum;
        }
    }
    __syncthreads();
}

template <int N>
using Sums = double[states(N) + 1][2];

// The channels of one degree of one field and part; P is the parity of its place, a literal where this is inlined.
template <int N, bool UP>
__device__ __forceinline__ void channels_of(const Room<N>& room, int T, int F, int k, int P, int f, int part, double x, const Sums<N>& sums) {
    constexpr int C = channels(N);
    double* own = room.y + static_cast<long long>(2 * k + part) * C * F + f;
    double* other = room.y + static_cast<long long>(2 * k + 1 - part) * C * F + f;
    own[0] = UP ? room.diagonal[k] * x : 0.0;
    int term = 0;
#pragma unroll
    for (int r = 1; r < N; r++) {
        double even = UP ? room.diagonals[(r - 1) * T + k] * x : 0.0, odd = 0.0;
#pragma unroll
        for (int i = r; i < N; i++)
#pragma unroll
            for (int s = 0; s < r; s++) {
                const double c = room.terms[term * T + k];
                even = fma(c, sums[i * (i - 1) / 2 + s][P], even);
                odd = fma(c, sums[i * (i - 1) / 2 + s][1 - P], odd);
                term++;
            }
        own[(2 * r - 1) * F] = even;
        // The antisymmetric channels turn by a quarter: up (odd im, -odd re), down the opposite.
        other[2 * r * F] = (part == 1) == UP ? odd : -odd;
    }
}

// Powers of the difference of eigenvalues grow by `step`, everything shrinks by the ratio of norms.
template <int N>
__device__ __forceinline__ void move(double step, double ratio, Sums<N>& sums) {
#pragma unroll
    for (int parity = 0; parity < 2; parity++)
#pragma unroll
        for (int i = 1; i < N; i++) {
            const int at = i * (i - 1) / 2;
#pragma unroll
            for (int pass = 1; pass < i; pass++)
#pragma unroll
                for (int s = i - 1; s >= pass; s--) sums[at + s][parity] = fma(step, sums[at + s - 1][parity], sums[at + s][parity]);
#pragma unroll
            for (int s = 0; s < i; s++) sums[at + s][parity] *= ratio;
        }
}

// The sums take in one degree l and move on to the next.
template <int N, bool UP>
__device__ __forceinline__ void advance(const Room<N>& room, int T, int k, int P, double l, double x, Sums<N>& sums) {
#pragma unroll
    for (int i = 1; i < N; i++) sums[i * (i - 1) / 2][P] = fma(room.intake[(i - 1) * T + k], x, sums[i * (i - 1) / 2][P]);
    move<N>(UP ? 2.0 * (l + 1.0) : 2.0 * l, room.ratio[UP ? k + 1 : k], sums);
}

// Places from .. to in their order, with their parities; `from` is even.
template <bool UP, class Visit>
__device__ __forceinline__ void walk(int from, int to, Visit visit) {
    if (UP) {
        for (int k = from; k < to; k += 2) {
            visit(k, 0);
            if (k + 1 < to) visit(k + 1, 1);
        }
    } else {
        for (int k = from + (to - from - 1) / 2 * 2; k >= from; k -= 2) {
            if (k + 1 < to) visit(k + 1, 1);
            visit(k, 0);
        }
    }
}

// Scans chunk `step`, `length` degrees from `l0` on, whose running sums begin where those of the chunk before ended, or at zero.
template <int N, bool UP>
__device__ __forceinline__ void scan_chunk(const Room<N>& room, int T, int F, int length, int l0, int step) {
    const int size = segment<N>(T, F), count = (length + size - 1) / size, own = threadIdx.x / (2 * F), lane = threadIdx.x % (2 * F);
    const int f = lane % F, part = lane / F, from = own * size, to = min(from + size, length);
    // Segments in the order of the scan.
    const int order = UP ? own : count - 1 - own, carried = (T + size - 1) / size;
    // One of two places for what the next chunk starts from.
    const int from_last = carried + (step + 1) % 2, for_next = carried + step % 2;
    const bool works = own < count;
    auto place = [&](int slot, int i, int parity) -> double& { return room.ends[((slot * states(N) + i) * 2 + parity) * 2 * F + lane]; };
    auto load = [&](int slot, Sums<N>& sums) {
#pragma unroll
        for (int i = 0; i < states(N); i++)
            for (int parity = 0; parity < 2; parity++) sums[i][parity] = place(slot, i, parity);
    };
    auto store = [&](int slot, const Sums<N>& sums) {
#pragma unroll
        for (int i = 0; i < states(N); i++)
            for (int parity = 0; parity < 2; parity++) place(slot, i, parity) = sums[i][parity];
    };
    auto clear = [&](Sums<N>& sums) {
#pragma unroll
        for (int i = 0; i < states(N) + 1; i++) sums[i][0] = sums[i][1] = 0.0;
    };
    Sums<N> sums;
    if (N > 1 && works && order < count - 1) {
        clear(sums);
        if (order == 0 && step > 0) load(from_last, sums);
        double shrink = 1.0;
        walk<UP>(from, to, [&](int k, int parity) {
            advance<N, UP>(room, T, k, parity, l0 + k, room.x[(2 * k + part) * F + f], sums);
            shrink *= room.ratio[UP ? k + 1 : k];
        });
        store(order, sums);
        if (lane == 0) room.shrinks[order] = shrink;
    }
    if (N > 1 && count > 1) __syncthreads();
    if (works) {
        clear(sums);
        if (N > 1 && order == 0 && step > 0) load(from_last, sums);
        if (N > 1 && order > 0) {
            load(0, sums);
            for (int before = 1; before < order; before++) {
                const int which = UP ? before : count - 1 - before;
                const double a = l0 + which * size, b = l0 + min((which + 1) * size, length);
                move<N>(UP ? b * (b + 1.0) - a * (a + 1.0) : b * (b - 1.0) - a * (a - 1.0), room.shrinks[before], sums);
#pragma unroll
                for (int i = 0; i < states(N); i++)
                    for (int parity = 0; parity < 2; parity++) sums[i][parity] += place(before, i, parity);
            }
        }
        walk<UP>(from, to, [&](int k, int parity) {
            const double x = room.x[(2 * k + part) * F + f];
            channels_of<N, UP>(room, T, F, k, parity, f, part, x, sums);
            advance<N, UP>(room, T, k, parity, l0 + k, x, sums);
        });
        if (N > 1 && order == count - 1) store(for_next, sums);
    }
    __syncthreads();
}

// All chunks of one order in one direction; `use(base, length)` reads fields and channels of a chunk.
template <int N, bool UP, class Use>
__device__ __forceinline__ void scan(real* arena, Tables tables, const Scale& scale, int m, double lowest, Use use) {
    const int T = scale.chunk, F = scale.count, start = m > scale.first ? m : scale.first, n = scale.last - start, chunks = (n + T - 1) / T;
    const Room<N> room(T, F);
    for (int step = 0; step < chunks; step++) {
        const int base = (UP ? step : chunks - 1 - step) * T, length = min(T, n - base);
        prepare<N, UP>(room, arena, tables, scale, m, start, base, length, lowest);
        scan_chunk<N, UP>(room, T, F, length, start + base, step);
        use(base, length);
    }
}

struct Gram {
    Scale scale;
    // Pairs of fields a and b of every tile; partial sums [part][tile][2][2][channels].
    const int* tiles;
    long long partial;
    int tile_count, parts;
};

template <int N>
__device__ __forceinline__ void gram(real* arena, Tables tables, const Gram& item, int part) {
    constexpr int C = channels(N);
    const Scale& scale = item.scale;
    const int F = scale.count, groups = threads / item.tile_count, tile = threadIdx.x % item.tile_count, group = threadIdx.x / item.tile_count;
    const int a = item.tiles[2 * tile], b = item.tiles[2 * tile + 1];
    const Room<N> room(scale.chunk, F);
    double sums[4][C];
#pragma unroll
    for (int k = 0; k < 4; k++)
#pragma unroll
        for (int c = 0; c < C; c++) sums[k][c] = 0.0;
    auto use = [&](int, int length) {
        if (group >= groups) return;
        for (int row = group; row < 2 * length; row += groups) {
            const double x0 = room.x[row * F + 2 * a], x1 = room.x[row * F + 2 * a + 1];
            const double* y = room.y + row * C * F + 2 * b;
#pragma unroll
            for (int c = 0; c < C; c++) {
                const double y0 = y[c * F], y1 = y[c * F + 1];
                sums[0][c] = fma(x0, y0, sums[0][c]);
                sums[1][c] = fma(x0, y1, sums[1][c]);
                sums[2][c] = fma(x1, y0, sums[2][c]);
                sums[3][c] = fma(x1, y1, sums[3][c]);
            }
        }
    };
    for (int m = scale.low + part; m < scale.last; m += item.parts) {
        scan<N, true>(arena, tables, scale, m, 0.70710678118654752440, use);
        if (N > 1) scan<N, false>(arena, tables, scale, m, 0.70710678118654752440, use);
    }
    // Groups of threads in order.
    double* room_of_sums = reinterpret_cast<double*>(dynamic_shared);
    const int size = item.tile_count * 4 * C;
    __syncthreads();
    if (group < groups)
        for (int k = 0; k < 4; k++)
            for (int c = 0; c < C; c++) room_of_sums[group * size + (tile * 4 + k) * C + c] = sums[k][c];
    __syncthreads();
    for (int i = threadIdx.x; i < size; i += threads) {
        double sum = room_of_sums[i];
        for (int g = 1; g < groups; g++) sum += room_of_sums[g * size + i];
        arena[item.partial + static_cast<long long>(part) * size + i] = static_cast<real>(sum);
    }
}

// One form: its channels are at partial + part stride, its products of rings of low orders at `low` (-1: none).
struct Form {
    long long partial, stride, low;
    int parts, direction;
};

struct Finish {
    const Form* forms;
    const int* places;
    const int* first;
    const long long* buffers;
    int count, buffers_count, N, directions, steering;
};

__device__ __forceinline__ void finish(real* arena, Tables tables, const Finish& item, int part) {
    const int k = part * threads + threadIdx.x;
    if (k >= item.count) return;
    const Form& form = item.forms[item.places[k]];
    const double* directions = static_cast<const double*>(tables[item.directions]) + form.direction * channels(item.N);
    const double* steering = static_cast<const double*>(tables[item.steering]) + form.direction * item.N;
    double total = 0.0;
    for (int c = 0; c < channels(item.N); c++) {
        double sum = 0.0;
        for (int p = 0; p < form.parts; p++) sum += arena[form.partial + p * form.stride + c];
        total = fma(directions[c], sum, total);
    }
    if (form.low >= 0)
        for (int c = 0; c < item.N; c++)
            for (int d = 0; d < item.N; d++) total = fma(steering[c] * steering[d], static_cast<double>(arena[form.low + c * item.N + d]), total);
    const int buffer = item_of(item.first, item.buffers_count, k);
    arena[item.buffers[buffer] + k - item.first[buffer]] = static_cast<real>(total);
}

struct Weights {
    // Coefficients of (source, target, direction) are first .. of the list; a place of -1 is the number one.
    const int* first;
    const long long* coefficients;
    // Results: [source][channel][target], and [source][ring channel][ring channel of the target][target].
    long long channels, low;
    int sources, targets, N, directions, steering;
};

__device__ __forceinline__ void weights(real* arena, Tables tables, const Weights& item, int part) {
    const int N = item.N, C = channels(N), each = C + N * N, k = part * threads + threadIdx.x;
    if (k >= item.sources * item.targets * each) return;
    const int j = k % each, t = k / each % item.targets, s = k / each / item.targets;
    const double* directions = static_cast<const double*>(tables[item.directions]);
    const double* steering = static_cast<const double*>(tables[item.steering]);
    double total = 0.0;
    for (int g = 0; g < C; g++) {
        const int at = (s * item.targets + t) * C + g;
        double sum = 0.0;
        for (int e = item.first[at]; e < item.first[at + 1]; e++) sum += item.coefficients[e] < 0 ? 1.0 : static_cast<double>(arena[item.coefficients[e]]);
        const double factor = j < C ? directions[g * C + j] : steering[g * N + (j - C) / N] * steering[g * N + (j - C) % N];
        total = fma(factor, sum, total);
    }
    if (j < C)
        arena[item.channels + (static_cast<long long>(s) * C + j) * item.targets + t] = static_cast<real>(total);
    else
        arena[item.low + (static_cast<long long>(s) * N * N + j - C) * item.targets + t] = static_cast<real>(total);
}

struct Rings {
    // Rings [source][N][row_len], of the targets [target][N][row_len], coefficients as in `Weights::low`.
    long long from, to, weights;
    int sources, targets, row_len, chunks, ring_weights;
};

// Low orders: rings of one target from those of all sources, a thread per number of a channel.
template <int N>
__device__ __forceinline__ void mix_rings(real* arena, Tables tables, const Rings& item, int part) {
    const int t = part / item.chunks, k = part % item.chunks * threads + threadIdx.x;
    if (k >= item.row_len) return;
    const real* x = arena + item.from + k;
    const real* z = arena + item.weights + t;
    double sums[N];
#pragma unroll
    for (int c = 0; c < N; c++) sums[c] = 0.0;
    for (int row = 0; row < item.sources * N; row++) {
        const double value = x[static_cast<long long>(row) * item.row_len];
#pragma unroll
        for (int c = 0; c < N; c++) sums[c] = fma(static_cast<double>(z[(static_cast<long long>(row) * N + c) * item.targets]), value, sums[c]);
    }
    const double weight = static_cast<const double*>(tables[item.ring_weights])[k];
#pragma unroll
    for (int c = 0; c < N; c++) arena[item.to + (static_cast<long long>(t) * N + c) * item.row_len + k] = static_cast<real>(weight * sums[c]);
}

struct Mix {
    Scale scale;
    const long long* targets;
    const int* target_bandlimits;
    long long weights;
    int target_count;
};

// Adds one order of one scale to the targets.
template <int N>
__device__ __forceinline__ void mix(real* arena, Tables tables, const Mix& item, int part) {
    constexpr int C = channels(N);
    const Scale& scale = item.scale;
    const int F = scale.count, T = item.target_count, m = scale.low + part, start = m > scale.first ? m : scale.first;
    const Room<N> room(scale.chunk, F);
    const real* z = arena + item.weights;
    auto use = [&](int base, int length) {
        // Two degrees with both parts and one target at a time.
        for (int i = threadIdx.x; i < (length + 1) / 2 * T; i += threads) {
            const int t = i % T, k = i / T * 2, rows = 2 * min(2, length - k);
            double sums[4] = {0.0, 0.0, 0.0, 0.0};
            // A row behind the chunk repeats the last one and is not stored.
            const double* y[4];
#pragma unroll
            for (int j = 0; j < 4; j++) y[j] = room.y + static_cast<long long>(2 * k + min(j, rows - 1)) * C * F;
            for (int s = 0; s < F; s++)
#pragma unroll
                for (int c = 0; c < C; c++) {
                    const double factor = z[(static_cast<long long>(s) * C + c) * T + t];
#pragma unroll
                    for (int j = 0; j < 4; j++) sums[j] = fma(factor, y[j][c * F + s], sums[j]);
                }
            const int L = item.target_bandlimits[t];
            real* out = arena + item.targets[t] + 2 * (static_cast<long long>(m) * (2 * L - 1 - m) / 2 + start + base + k);
#pragma unroll
            for (int j = 0; j < 4; j++)
                if (j < rows && start + base + k + j / 2 < L) out[j] += static_cast<real>(m > 0 ? sums[j] : j % 2 ? 0.0 : 0.5 * sums[j]);
        }
    };
    scan<N, true>(arena, tables, scale, m, 1.0, use);
    if (N > 1) scan<N, false>(arena, tables, scale, m, 1.0, use);
}

}  // namespace frame
