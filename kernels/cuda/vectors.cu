// Vectors of an optimiser: combinations, inner products, measures of a gradient, steps of Adam, and the way from variables to an input of the plan and back.
//
// Vectors are double whatever `real` is. What changes from call to call (vectors by number, coefficients) lies as doubles in a control block of the arena. Sums run over
// chunks: the threads of a block in a tree, then the chunks of a vector in a second launch, strided over the threads of a block and again in a tree.
//
// Cost (predicted, H200, 4.8 TB/s, vectors of 131 072 numbers, 1 MB each, which stay in the second-level cache of 50 MB): a combination of k vectors moves k + 1 MB,
// the direction of L-BFGS with m = 10 thus 22 MB, about 5 us; products of 3 with 23 vectors 26 MB and 18 MFLOP, about 8 us; measures 2 MB, Adam 7 MB, expansion and its
// adjoint 3 MB and 4 MB, 2 to 4 us each, of which most is the start of a launch. A step of L-BFGS beside its evaluations: about 30 us.
namespace vectors {

constexpr int threads = 256;
// Numbers of a thread in a chunk, numbers of a chunk.
constexpr int each = 4, span = threads * each;

struct Space {
    // First number of the vectors, as an index of the arena; numbers of a vector, and from one to the next.
    long long place, n, stride;
    // Vectors of a member, chunks of a vector.
    int vectors, chunks;
};

__device__ __forceinline__ double* doubles(real* arena, long long place) { return reinterpret_cast<double*>(arena + place); }

__device__ __forceinline__ double* vector(real* arena, const Space& space, int member, int number) {
    return doubles(arena, space.place) + (static_cast<long long>(member) * space.vectors + number) * space.stride;
}

struct Combine {
    Space space;
    // Control block, and its numbers per member: count of statements; per statement the vector written, the count of terms, and per term vector and coefficient.
    long long control, words;
};

// Statements one after another, an element at a time.
__device__ __forceinline__ void combine(real* arena, Tables, const Combine& item, int part) {
    const int member = part / item.space.chunks, chunk = part % item.space.chunks;
    const double* control = doubles(arena, item.control) + member * item.words;
    const int statements = static_cast<int>(control[0]);
    double* first = vector(arena, item.space, member, 0);
    const long long from = static_cast<long long>(chunk) * span, to = from + span < item.space.n ? from + span : item.space.n;
    for (long long e = from + threadIdx.x; e < to; e += threads) {
        const double* at = control + 1;
        for (int s = 0; s < statements; s++) {
            const long long out = static_cast<long long>(at[0]);
            const int terms = static_cast<int>(at[1]);
            at += 2;
            double sum = at[1] * first[static_cast<long long>(at[0]) * item.space.stride + e];
#pragma unroll 4
            for (int t = 1; t < terms; t++) sum += at[2 * t + 1] * first[static_cast<long long>(at[2 * t]) * item.space.stride + e];
            at += 2 * terms;
            first[out * item.space.stride + e] = sum;
        }
    }
}

struct Products {
    Space space;
    // Control block and its numbers per member: count of left vectors, three of them, count of right vectors, those. Partial sums as [member][chunk][right][3].
    long long control, words, partial;
    // Where sums go, [member][right][3]; right vectors that fit.
    long long results;
    int most;
};

__device__ __forceinline__ void products(real* arena, Tables, const Products& item, int part) {
    const int member = part / item.space.chunks, chunk = part % item.space.chunks;
    const double* control = doubles(arena, item.control) + member * item.words;
    const int lefts = static_cast<int>(control[0]), rights = static_cast<int>(control[4]);
    if (lefts == 0) return;
    const long long from = static_cast<long long>(chunk) * span + threadIdx.x;
    double left[3][each];
#pragma unroll
    for (int j = 0; j < 3; j++) {
        const double* a = vector(arena, item.space, member, static_cast<int>(control[1 + (j < lefts ? j : 0)]));
#pragma unroll
        for (int i = 0; i < each; i++) left[j][i] = from + i * threads < item.space.n ? a[from + i * threads] : 0.0;
    }
    double* partial = doubles(arena, item.partial) + 3ll * item.most * part;
    for (int r = 0; r < rights; r++) {
        const double* b = vector(arena, item.space, member, static_cast<int>(control[5 + r]));
        double sums[3] = {0.0, 0.0, 0.0};
#pragma unroll
        for (int i = 0; i < each; i++) {
            const double x = from + i * threads < item.space.n ? b[from + i * threads] : 0.0;
#pragma unroll
            for (int j = 0; j < 3; j++) sums[j] = mad(left[j][i], x, sums[j]);
        }
        block_sums(sums, reinterpret_cast<double*>(dynamic_shared));
        if (threadIdx.x == 0)
            for (int j = 0; j < 3; j++) partial[3 * r + j] = sums[j];
    }
}

// A block per member and right vector adds the chunks.
__device__ __forceinline__ void add_products(real* arena, Tables, const Products& item, int part) {
    const int member = part / item.most, r = part % item.most;
    const double* control = doubles(arena, item.control) + member * item.words;
    if (control[0] == 0.0 || r >= static_cast<int>(control[4])) return;
    const double* partial = doubles(arena, item.partial) + 3ll * (static_cast<long long>(member) * item.space.chunks * item.most + r);
    double sums[3] = {0.0, 0.0, 0.0};
    for (int chunk = threadIdx.x; chunk < item.space.chunks; chunk += threads)
        for (int j = 0; j < 3; j++) sums[j] += partial[3ll * item.most * chunk + j];
    block_sums(sums, reinterpret_cast<double*>(dynamic_shared));
    double* results = doubles(arena, item.results) + 3ll * part;
    if (threadIdx.x == 0)
        for (int j = 0; j < 3; j++) results[j] = sums[j];
}

// The largest number of a block, not NaN; all threads receive it. `room` holds a number per warp.
__device__ __forceinline__ double block_largest(double value, double* room) {
#pragma unroll
    for (int bits = 16; bits > 0; bits /= 2) {
        const double other = __shfl_xor_sync(0xffffffffu, value, bits);
        value = other > value ? other : value;
    }
    __syncthreads();
    if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = value;
    __syncthreads();
    for (int warp = 0; warp < (blockDim.x + 31) / 32; warp++) value = room[warp] > value ? room[warp] : value;
    __syncthreads();
    return value;
}

struct Measure {
    Space space;
    // Partial results as [member][chunk][3] and results as [member][3]: largest modulus of finite numbers, count of others, inner product with the direction.
    long long partial, results;
    // Values of the plan, those of a member, and where they go as doubles.
    long long values, each_values, copies;
    int gradient, direction;
};

__device__ __forceinline__ void measure(real* arena, Tables, const Measure& item, int part) {
    const int member = part / item.space.chunks, chunk = part % item.space.chunks;
    const double* g = vector(arena, item.space, member, item.gradient);
    const double* d = vector(arena, item.space, member, item.direction);
    const long long from = static_cast<long long>(chunk) * span, to = from + span < item.space.n ? from + span : item.space.n;
    double largest = 0.0, sums[2] = {0.0, 0.0};
    for (long long e = from + threadIdx.x; e < to; e += threads) {
        const double x = g[e];
        // The difference is NaN where x is infinite or NaN.
        const bool finite = x - x == 0.0;
        if (!finite) sums[0] += 1.0;
        if (finite && fabs(x) > largest) largest = fabs(x);
        sums[1] = mad(x, d[e], sums[1]);
    }
    double* room = reinterpret_cast<double*>(dynamic_shared);
    largest = block_largest(largest, room);
    block_sums(sums, room);
    double* partial = doubles(arena, item.partial) + 3ll * part;
    if (threadIdx.x == 0) {
        partial[0] = largest;
        partial[1] = sums[0];
        partial[2] = sums[1];
    }
}

// A block per member.
__device__ __forceinline__ void add_measures(real* arena, Tables, const Measure& item, int member) {
    const double* partial = doubles(arena, item.partial) + 3ll * member * item.space.chunks;
    double largest = 0.0, sums[2] = {0.0, 0.0};
    for (int chunk = threadIdx.x; chunk < item.space.chunks; chunk += threads) {
        largest = partial[3 * chunk] > largest ? partial[3 * chunk] : largest;
        sums[0] += partial[3 * chunk + 1];
        sums[1] += partial[3 * chunk + 2];
    }
    double* room = reinterpret_cast<double*>(dynamic_shared);
    largest = block_largest(largest, room);
    block_sums(sums, room);
    double* results = doubles(arena, item.results) + 3ll * member;
    if (threadIdx.x == 0) {
        results[0] = largest;
        results[1] = sums[0];
        results[2] = sums[1];
    }
    const real* values = arena + item.values + member * item.each_values;
    double* copies = doubles(arena, item.copies) + member * item.each_values;
    for (long long k = threadIdx.x; k < item.each_values; k += threads) copies[k] = values[k];
}

struct Adam {
    Space space;
    // Control block; its eight numbers per member: 1 to propose, 2 to absorb, 3 for both, 0 for neither; 1 where entries are pairs; rate, beta1, beta2, eps,
    // 1 - beta1^t, 1 - beta2^t.
    long long control;
    int point, trial, gradient, mean, square;
    // Results of `measure`, and where the values are: nothing is absorbed where the evaluation was not finite, and nothing proposed then.
    long long results, values;
    int each_values;
};

// Whether the last evaluation of a member gave numbers.
__device__ __forceinline__ bool is_finite(real* arena, const Adam& item, int member) {
    double sum = 0.0;
    for (int k = 0; k < item.each_values; k++) sum += doubles(arena, item.values)[member * item.each_values + k];
    return sum - sum == 0.0 && doubles(arena, item.results)[3 * member + 1] == 0.0;
}

__device__ __forceinline__ void adam(real* arena, Tables, const Adam& item, int part) {
    const int member = part / item.space.chunks, chunk = part % item.space.chunks;
    const double* control = doubles(arena, item.control) + 8ll * member;
    const int mode = static_cast<int>(control[0]);
    if (mode == 0 || ((mode & 2) && !is_finite(arena, item, member))) return;
    const int width = control[1] != 0.0 ? 2 : 1;
    const double rate = control[2], beta1 = control[3], beta2 = control[4], eps = control[5], bias1 = control[6], bias2 = control[7];
    double* x = vector(arena, item.space, member, item.point);
    double* trial = vector(arena, item.space, member, item.trial);
    const double* g = vector(arena, item.space, member, item.gradient);
    double* mean = vector(arena, item.space, member, item.mean);
    double* square = vector(arena, item.space, member, item.square);
    const long long entries = item.space.n / width, from = static_cast<long long>(chunk) * span, to = from + span < entries ? from + span : entries;
    for (long long k = from + threadIdx.x; k < to; k += threads) {
        double nu = square[k];
        if (mode & 2) {
            double sum = 0.0;
            for (long long e = k * width; e < (k + 1) * width; e++) {
                x[e] = trial[e];
                mean[e] = (1.0 - beta1) * g[e] + beta1 * mean[e];
                sum += g[e] * g[e];
            }
            nu = (1.0 - beta2) * sum + beta2 * nu;
            square[k] = nu;
        }
        if (mode & 1) {
            const double scale = sqrt(nu / bias2) + eps;
            for (long long e = k * width; e < (k + 1) * width; e++) trial[e] = x[e] - rate * (mean[e] / bias1 / scale);
        }
    }
}

struct Variables {
    Space space;
    // The plan's numbers of the first member, and of every one.
    long long numbers, width;
    // The point; the vector that receives the gradient.
    int point, gradient;
    // Tables: first entry of every group and the end, variables of the groups, place of every variable, its scale, what is added to it.
    int starts, members, places, scales, shifts;
    int groups, held;
};

// number = scale * variable, divided by the length of the variables of its group where that is held, plus a shift.
__device__ __forceinline__ void expand(real* arena, Tables tables, const Variables& item, int part) {
    const int member = part / item.groups, group = part % item.groups;
    const int* starts = static_cast<const int*>(tables[item.starts]);
    const int* members = static_cast<const int*>(tables[item.members]);
    const int* places = static_cast<const int*>(tables[item.places]);
    const double* scales = static_cast<const double*>(tables[item.scales]);
    const double* shifts = static_cast<const double*>(tables[item.shifts]);
    const double* z = vector(arena, item.space, member, item.point);
    real* numbers = arena + item.numbers + member * item.width;
    double length = 1.0;
    if (item.held) {
        double sums[1] = {0.0};
        for (int k = starts[group] + threadIdx.x; k < starts[group + 1]; k += threads) {
            const int i = members[k];
            if (scales[i] != 0.0) sums[0] = mad(z[i], z[i], sums[0]);
        }
        block_sums(sums, reinterpret_cast<double*>(dynamic_shared));
        length = sqrt(sums[0]);
    }
    for (int k = starts[group] + threadIdx.x; k < starts[group + 1]; k += threads) {
        const int i = members[k];
        const double x = z[i] * scales[i];
        numbers[places[i]] = static_cast<real>((length > 0.0 ? x / length : 0.0) + shifts[i]);
    }
}

// The gradient in the variables. A held group changes only across its variables, so the part of the gradient along them goes.
__device__ __forceinline__ void pull_back(real* arena, Tables tables, const Variables& item, int part) {
    const int member = part / item.groups, group = part % item.groups;
    const int* starts = static_cast<const int*>(tables[item.starts]);
    const int* members = static_cast<const int*>(tables[item.members]);
    const int* places = static_cast<const int*>(tables[item.places]);
    const double* scales = static_cast<const double*>(tables[item.scales]);
    const double* z = vector(arena, item.space, member, item.point);
    double* out = vector(arena, item.space, member, item.gradient);
    const real* numbers = arena + item.numbers + member * item.width;
    double sums[2] = {0.0, 0.0};
    for (int k = starts[group] + threadIdx.x; k < starts[group + 1]; k += threads) {
        const int i = members[k];
        const double g = static_cast<double>(numbers[places[i]]) * scales[i];
        out[i] = g;
        if (scales[i] != 0.0) sums[0] = mad(z[i], z[i], sums[0]);
        sums[1] = mad(g, z[i], sums[1]);
    }
    if (!item.held) return;
    block_sums(sums, reinterpret_cast<double*>(dynamic_shared));
    const double length = sqrt(sums[0]);
    for (int k = starts[group] + threadIdx.x; k < starts[group + 1]; k += threads) {
        const int i = members[k];
        out[i] = length > 0.0 ? (out[i] - z[i] * sums[1] / (length * length)) / length : 0.0;
    }
}

}  // namespace vectors
