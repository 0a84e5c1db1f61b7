//! Eight lanes of f64 or f32 at the width the machine has.
//!
//! An algorithm is written once as an `#[inline(always)]` function over `Lanes` and instantiated by `dispatch!` inside
//! one `#[target_feature]` function per level, so that fused multiply-adds appear only where the hardware has them: a
//! `mul_add` in a baseline function is a library call, ten times slower than a multiplication and an addition.

use std::cell::Cell;
use std::fmt::Display;
use std::iter::Sum;
use std::ops::{AddAssign, MulAssign, SubAssign};
use std::sync::atomic::{AtomicU8, Ordering};

/// Rings (or elements) per vector of the lane-blocked layouts.
///
/// ```
/// assert_eq!(scatterc_kernels::simd::LANES, 8);
/// ```
pub const LANES: usize = 8;

/// Instruction sets the kernels are instantiated for.
///
/// ```
/// use scatterc_kernels::simd::Level;
///
/// assert!(Level::Portable < Level::Avx2 && Level::Avx2 < Level::Avx512);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Arrays of eight, multiplication and addition rounded separately.
    Portable = 1,
    /// Two 256-bit vectors, fused multiply-add.
    Avx2 = 2,
    /// One 512-bit vector, fused multiply-add.
    Avx512 = 3,
    /// Four 128-bit vectors of 64-bit ARM, fused multiply-add.
    Neon = 4,
}

static LEVEL: AtomicU8 = AtomicU8::new(0);

fn hardware() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        if cfg!(not(no_avx512))
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
        {
            return Level::Avx512;
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Level::Avx2;
        }
    }
    if cfg!(target_arch = "aarch64") { Level::Neon } else { Level::Portable }
}

/// The level in use: the highest the processor has, bounded by the environment variable `SCATTERC_SIMD`
/// (`neon`, `avx512`, `avx2` or `portable`) as read at the first call. Other values of the variable set no bound.
///
/// ```
/// use scatterc_kernels::simd::{Level, level};
///
/// assert!(level() >= Level::Portable);
/// ```
pub fn level() -> Level {
    match LEVEL.load(Ordering::Relaxed) {
        1 => Level::Portable,
        2 => Level::Avx2,
        3 => Level::Avx512,
        4 => Level::Neon,
        _ => {
            let bound = match std::env::var("SCATTERC_SIMD").as_deref() {
                Ok("portable") => Level::Portable,
                Ok("avx2") => Level::Avx2,
                Ok("avx512") => Level::Avx512,
                _ => Level::Neon,
            };
            limit_level(bound)
        }
    }
}

/// Sets the level to the highest the processor has that is not above `bound`, and returns it. For tests: kernels already
/// running keep their level.
///
/// ```
/// use scatterc_kernels::simd::{Level, limit_level, simd_level};
///
/// assert_eq!((limit_level(Level::Portable), simd_level()), (Level::Portable, "portable"));
/// ```
pub fn limit_level(bound: Level) -> Level {
    // A bound of the other family leaves the portable instance.
    let level = match hardware() {
        Level::Neon if bound < Level::Neon => Level::Portable,
        level => bound.min(level),
    };
    LEVEL.store(level as u8, Ordering::Relaxed);
    level
}

/// The level in use as a word for reports: `neon`, `avx512`, `avx2` or `portable`.
///
/// ```
/// assert!(["neon", "avx512", "avx2", "portable"].contains(&scatterc_kernels::simd::simd_level()));
/// ```
pub fn simd_level() -> &'static str {
    match level() {
        Level::Portable => "portable",
        Level::Avx2 => "avx2",
        Level::Avx512 => "avx512",
        Level::Neon => "neon",
    }
}

/// What kernels compute with: f32 or f64.
///
/// ```
/// use scatterc_kernels::simd::Real;
///
/// fn rounded<T: Real>(x: f64) -> f64 {
///     T::of(x).wide()
/// }
/// assert!(rounded::<f64>(0.1) == 0.1 && rounded::<f32>(0.1) != 0.1);
/// ```
#[allow(private_bounds)]
pub trait Real: Instances + Copy + Default + PartialOrd + Display + Sum + AddAssign + SubAssign + MulAssign + rustfft::FftNum {
    /// Rounded to nearest.
    ///
    /// ```
    /// use scatterc_kernels::simd::Real;
    ///
    /// assert_eq!(<f32 as Real>::of(0.1), 0.1f32);
    /// ```
    fn of(value: f64) -> Self;
    /// Exact.
    ///
    /// ```
    /// use scatterc_kernels::simd::Real;
    ///
    /// assert_eq!(0.5f32.wide(), 0.5);
    /// ```
    fn wide(self) -> f64;
    /// Rounded to nearest, many at a time; what is f64 already is not copied.
    ///
    /// ```
    /// use scatterc_kernels::simd::Real;
    ///
    /// assert_eq!(<f32 as Real>::all_of(vec![0.5, 0.25]), [0.5f32, 0.25]);
    /// ```
    fn all_of(values: Vec<f64>) -> Vec<Self>;
    /// The same numbers, where they are f64.
    ///
    /// ```
    /// use scatterc_kernels::simd::Real;
    ///
    /// assert!(<f64 as Real>::as_f64(&[0.5]).is_some() && <f32 as Real>::as_f64(&[0.5]).is_none());
    /// ```
    fn as_f64(values: &[Self]) -> Option<&[f64]>;
    /// The same numbers to be written, where they are f64.
    ///
    /// ```
    /// use scatterc_kernels::simd::Real;
    ///
    /// let mut values = [0.5];
    /// <f64 as Real>::as_f64_mut(&mut values).unwrap()[0] = 1.0;
    /// assert_eq!(values, [1.0]);
    /// ```
    fn as_f64_mut(values: &mut [Self]) -> Option<&mut [f64]>;
}

impl Real for f64 {
    fn all_of(values: Vec<f64>) -> Vec<Self> {
        values
    }
    fn as_f64(values: &[Self]) -> Option<&[f64]> {
        Some(values)
    }
    fn as_f64_mut(values: &mut [Self]) -> Option<&mut [f64]> {
        Some(values)
    }
    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }
}

impl Real for f32 {
    fn all_of(values: Vec<f64>) -> Vec<Self> {
        values.into_iter().map(|value| value as f32).collect()
    }
    fn as_f64(_: &[Self]) -> Option<&[f64]> {
        None
    }
    fn as_f64_mut(_: &mut [Self]) -> Option<&mut [f64]> {
        None
    }
    #[inline(always)]
    fn of(value: f64) -> Self {
        value as f32
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }
}

/// The lanes of an element at every level.
pub(crate) trait Instances: Sized {
    #[cfg(target_arch = "x86_64")]
    type Avx2: Lanes<Element = Self>;
    #[cfg(target_arch = "x86_64")]
    type Avx512: Lanes<Element = Self>;
    #[cfg(target_arch = "aarch64")]
    type Neon: Lanes<Element = Self>;
}

impl Instances for f64 {
    #[cfg(target_arch = "x86_64")]
    type Avx2 = Avx2;
    #[cfg(target_arch = "x86_64")]
    type Avx512 = Avx512;
    #[cfg(target_arch = "aarch64")]
    type Neon = Neon;
}

impl Instances for f32 {
    #[cfg(target_arch = "x86_64")]
    type Avx2 = Avx2Single;
    #[cfg(target_arch = "x86_64")]
    type Avx512 = Avx2Single;
    /// Compilers turn arrays of eight f32 into two vectors of this instruction set by themselves.
    #[cfg(target_arch = "aarch64")]
    type Neon = Portable<f32>;
}

/// Eight numbers. A value of an x86 type exists only inside a function that `dispatch!` entered after checking the features.
pub(crate) trait Lanes: Copy {
    /// f32 or f64.
    type Element: Real;
    unsafe fn load(from: *const Self::Element) -> Self;
    unsafe fn store(self, to: *mut Self::Element);
    /// [`Self::store`] for arrays larger than the caches, past which it writes; `to` is a multiple of a whole vector in bytes. Ends with [`Self::settle`].
    #[inline(always)]
    unsafe fn stream(self, to: *mut Self::Element) {
        // SAFETY: the caller's promise, passed on.
        unsafe { self.store(to) }
    }
    /// Makes streamed numbers visible to other threads.
    #[inline(always)]
    fn settle() {}
    fn splat(value: Self::Element) -> Self;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    /// `self * b + c`, rounded once where the hardware can.
    fn fma(self, b: Self, c: Self) -> Self;
    /// `self * b - c`.
    fn fms(self, b: Self, c: Self) -> Self;
    /// `c - self * b`.
    fn fnma(self, b: Self, c: Self) -> Self;
    /// The sum over the lanes, by halves.
    fn sum(self) -> Self::Element;
    /// Lane i of the result is the sum over the lanes of `v[i]`.
    fn sum8(v: [Self; 8]) -> Self;

    /// `to[0..2]` := w `from[0..2]`. Loops over short interleaved numbers are written with this and [`Self::add_scaled_two`], because
    /// compilers turn plain ones into gathers and scatters, several times slower than the copies they replace.
    unsafe fn scale_two(w: Self::Element, from: *const Self::Element, to: *mut Self::Element);
    /// `to[0..2]` += w `from[0..2]`.
    unsafe fn add_scaled_two(w: Self::Element, from: *const Self::Element, to: *mut Self::Element);

    /// Whether the magnitude of some lane exceeds that lane of `limit`.
    fn any_above(self, limit: Self) -> bool;
    /// Four lanes from either address.
    unsafe fn load_halves(low: *const Self::Element, high: *const Self::Element) -> Self;
    /// Four lanes to either address.
    unsafe fn store_halves(self, low: *mut Self::Element, high: *mut Self::Element);
    /// -i times each (re, im) pair of lanes: (x, y) to (y, -x).
    fn minus_i(self) -> Self;
    /// Lane j of the i-th result is lane i of `v[j]`.
    fn transpose8(v: [Self; 8]) -> [Self; 8];
    /// Eight complex numbers lying one after another: their real and their imaginary parts.
    #[inline(always)]
    unsafe fn load_complex(from: *const Self::Element) -> [Self; 2] {
        let (mut re, mut im) = ([Self::Element::default(); 8], [Self::Element::default(); 8]);
        for i in 0..8 {
            // SAFETY: the caller promises sixteen readable numbers; the arrays hold eight each.
            unsafe {
                re[i] = *from.add(2 * i);
                im[i] = *from.add(2 * i + 1);
            }
        }
        // SAFETY: the arrays hold eight numbers each.
        unsafe { [Self::load(re.as_ptr()), Self::load(im.as_ptr())] }
    }
    /// Writes eight complex numbers one after another.
    #[inline(always)]
    unsafe fn store_complex(z: [Self; 2], to: *mut Self::Element) {
        let (mut re, mut im) = ([Self::Element::default(); 8], [Self::Element::default(); 8]);
        // SAFETY: the arrays hold eight numbers each; the caller promises sixteen writable numbers.
        unsafe {
            z[0].store(re.as_mut_ptr());
            z[1].store(im.as_mut_ptr());
            for i in 0..8 {
                *to.add(2 * i) = re[i];
                *to.add(2 * i + 1) = im[i];
            }
        }
    }
    /// The lanes in reverse order.
    #[inline(always)]
    fn reversed(self) -> Self {
        let mut lanes = [Self::Element::default(); 8];
        // SAFETY: the array holds eight numbers.
        unsafe {
            self.store(lanes.as_mut_ptr());
            lanes.reverse();
            Self::load(lanes.as_ptr())
        }
    }
    /// Numbers that fit the registers as sums of a kernel, in units of eight, with room for its operands.
    const SUMS: usize;

    /// Asks for a cache line to be read.
    #[inline(always)]
    fn prefetch_read(_line: *const Self::Element) {}

    #[inline(always)]
    fn zero() -> Self {
        Self::splat(Self::Element::default())
    }

    /// A constant in all lanes, rounded to the element.
    #[inline(always)]
    fn constant(value: f64) -> Self {
        Self::splat(Self::Element::of(value))
    }

    /// `sums[i]` += lane i. Long sums of f32 go through f64 this way every few hundred additions.
    ///
    /// # Safety
    ///
    /// `sums` holds eight f64.
    unsafe fn add_to(self, sums: *mut f64);

    /// One number from memory in all lanes.
    #[inline(always)]
    unsafe fn broadcast(from: *const Self::Element) -> Self {
        // SAFETY: the caller promises a readable number.
        Self::splat(unsafe { *from })
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Portable<T>([T; 8]);

impl<T: Real> Lanes for Portable<T> {
    type Element = T;
    const SUMS: usize = 4;
    #[inline(always)]
    fn any_above(self, limit: Self) -> bool {
        let mut any = false;
        for i in 0..8 {
            any |= self.0[i] > limit.0[i] || -self.0[i] > limit.0[i];
        }
        any
    }
    #[inline(always)]
    unsafe fn load_halves(low: *const T, high: *const T) -> Self {
        let mut out = [T::default(); 8];
        for i in 0..4 {
            // SAFETY: the caller promises four readable numbers at either address.
            unsafe {
                out[i] = *low.add(i);
                out[4 + i] = *high.add(i);
            }
        }
        Self(out)
    }
    #[inline(always)]
    unsafe fn store_halves(self, low: *mut T, high: *mut T) {
        for i in 0..4 {
            // SAFETY: the caller promises four writable numbers at either address.
            unsafe {
                *low.add(i) = self.0[i];
                *high.add(i) = self.0[4 + i];
            }
        }
    }
    #[inline(always)]
    fn minus_i(self) -> Self {
        let v = self.0;
        Self([v[1], -v[0], v[3], -v[2], v[5], -v[4], v[7], -v[6]])
    }
    #[inline(always)]
    fn transpose8(v: [Self; 8]) -> [Self; 8] {
        std::array::from_fn(|i| Self(std::array::from_fn(|j| v[j].0[i])))
    }
    #[inline(always)]
    unsafe fn load(from: *const T) -> Self {
        // SAFETY: the caller promises eight readable numbers.
        Self(unsafe { std::ptr::read_unaligned(from.cast()) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut T) {
        // SAFETY: the caller promises eight writable numbers.
        unsafe { std::ptr::write_unaligned(to.cast(), self.0) }
    }
    #[inline(always)]
    fn splat(value: T) -> Self {
        Self([value; 8])
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        let mut out = self.0;
        for i in 0..8 {
            out[i] += other.0[i];
        }
        Self(out)
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        let mut out = self.0;
        for i in 0..8 {
            out[i] -= other.0[i];
        }
        Self(out)
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        let mut out = self.0;
        for i in 0..8 {
            out[i] *= other.0[i];
        }
        Self(out)
    }
    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        self.mul(b).add(c)
    }
    #[inline(always)]
    fn fms(self, b: Self, c: Self) -> Self {
        self.mul(b).sub(c)
    }
    #[inline(always)]
    fn fnma(self, b: Self, c: Self) -> Self {
        c.sub(self.mul(b))
    }
    #[inline(always)]
    unsafe fn add_to(self, sums: *mut f64) {
        for i in 0..8 {
            // SAFETY: the caller promises eight f64.
            unsafe { *sums.add(i) += self.0[i].wide() };
        }
    }
    #[inline(always)]
    fn sum(self) -> T {
        let v = self.0;
        ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
    }
    #[inline(always)]
    fn sum8(v: [Self; 8]) -> Self {
        let mut out = [T::default(); 8];
        for i in 0..8 {
            let x = v[i].0;
            out[i] = ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]));
        }
        Self(out)
    }
    #[inline(always)]
    unsafe fn scale_two(w: T, from: *const T, to: *mut T) {
        // SAFETY: the caller promises two numbers on either side.
        unsafe {
            *to = w * *from;
            *to.add(1) = w * *from.add(1);
        }
    }
    #[inline(always)]
    unsafe fn add_scaled_two(w: T, from: *const T, to: *mut T) {
        // SAFETY: the caller promises two numbers on either side.
        unsafe {
            *to += w * *from;
            *to.add(1) += w * *from.add(1);
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx2Single, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Lanes;
    use std::arch::x86_64::*;

    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(__m256d, __m256d);

    impl Lanes for Avx2 {
        type Element = f64;
        const SUMS: usize = 6;
        #[inline(always)]
        unsafe fn add_to(self, sums: *mut f64) {
            // SAFETY: the caller promises eight f64; AVX2 was checked by `dispatch!`.
            unsafe { Self::load(sums).add(self).store(sums) }
        }
        #[inline(always)]
        unsafe fn load_complex(from: *const f64) -> [Self; 2] {
            // SAFETY: the caller promises sixteen readable f64; AVX2 was checked by `dispatch!`.
            unsafe {
                let z = |k: usize| _mm256_loadu_pd(from.add(4 * k));
                let re = |a: __m256d, b: __m256d| _mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_unpacklo_pd(a, b));
                let im = |a: __m256d, b: __m256d| _mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_unpackhi_pd(a, b));
                [Self(re(z(0), z(1)), re(z(2), z(3))), Self(im(z(0), z(1)), im(z(2), z(3)))]
            }
        }
        #[inline(always)]
        unsafe fn store_complex(z: [Self; 2], to: *mut f64) {
            // SAFETY: the caller promises sixteen writable f64; AVX2 was checked by `dispatch!`.
            unsafe {
                for (half, (re, im)) in [(z[0].0, z[1].0), (z[0].1, z[1].1)].into_iter().enumerate() {
                    let (even, odd) = (_mm256_unpacklo_pd(re, im), _mm256_unpackhi_pd(re, im));
                    _mm256_storeu_pd(to.add(8 * half), _mm256_permute2f128_pd::<0x20>(even, odd));
                    _mm256_storeu_pd(to.add(8 * half + 4), _mm256_permute2f128_pd::<0x31>(even, odd));
                }
            }
        }
        #[inline(always)]
        fn reversed(self) -> Self {
            // SAFETY: AVX2 was checked by `dispatch!`.
            unsafe { Self(_mm256_permute4x64_pd::<0b00_01_10_11>(self.1), _mm256_permute4x64_pd::<0b00_01_10_11>(self.0)) }
        }
        #[inline(always)]
        fn prefetch_read(line: *const f64) {
            // SAFETY: prefetches never fault.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) }
        }
        #[inline(always)]
        fn any_above(self, limit: Self) -> bool {
            // SAFETY: AVX2 was checked by `dispatch!`.
            unsafe {
                let sign = _mm256_set1_pd(-0.0);
                let low = _mm256_cmp_pd::<_CMP_GT_OQ>(_mm256_andnot_pd(sign, self.0), limit.0);
                let high = _mm256_cmp_pd::<_CMP_GT_OQ>(_mm256_andnot_pd(sign, self.1), limit.1);
                _mm256_movemask_pd(_mm256_or_pd(low, high)) != 0
            }
        }
        #[inline(always)]
        unsafe fn load_halves(low: *const f64, high: *const f64) -> Self {
            // SAFETY: the caller promises four readable f64 at either address.
            unsafe { Self(_mm256_loadu_pd(low), _mm256_loadu_pd(high)) }
        }
        #[inline(always)]
        unsafe fn store_halves(self, low: *mut f64, high: *mut f64) {
            // SAFETY: the caller promises four writable f64 at either address.
            unsafe {
                _mm256_storeu_pd(low, self.0);
                _mm256_storeu_pd(high, self.1);
            }
        }
        #[inline(always)]
        fn minus_i(self) -> Self {
            // SAFETY: AVX2 was checked by `dispatch!`.
            unsafe {
                let sign = _mm256_set_pd(-0.0, 0.0, -0.0, 0.0);
                Self(_mm256_xor_pd(_mm256_permute_pd::<0b0101>(self.0), sign), _mm256_xor_pd(_mm256_permute_pd::<0b0101>(self.1), sign))
            }
        }
        #[inline(always)]
        fn transpose8(v: [Self; 8]) -> [Self; 8] {
            // SAFETY: AVX2 was checked by `dispatch!`.
            unsafe {
                let a = transpose4([v[0].0, v[1].0, v[2].0, v[3].0]);
                let b = transpose4([v[4].0, v[5].0, v[6].0, v[7].0]);
                let c = transpose4([v[0].1, v[1].1, v[2].1, v[3].1]);
                let d = transpose4([v[4].1, v[5].1, v[6].1, v[7].1]);
                [
                    Self(a[0], b[0]),
                    Self(a[1], b[1]),
                    Self(a[2], b[2]),
                    Self(a[3], b[3]),
                    Self(c[0], d[0]),
                    Self(c[1], d[1]),
                    Self(c[2], d[2]),
                    Self(c[3], d[3]),
                ]
            }
        }
        #[inline(always)]
        unsafe fn scale_two(w: f64, from: *const f64, to: *mut f64) {
            // SAFETY: the caller promises two f64 on either side.
            unsafe { _mm_storeu_pd(to, _mm_mul_pd(_mm_set1_pd(w), _mm_loadu_pd(from))) }
        }
        #[inline(always)]
        unsafe fn add_scaled_two(w: f64, from: *const f64, to: *mut f64) {
            // SAFETY: the caller promises two f64 on either side.
            unsafe { _mm_storeu_pd(to, _mm_fmadd_pd(_mm_set1_pd(w), _mm_loadu_pd(from), _mm_loadu_pd(to))) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f64) -> Self {
            // SAFETY: the caller promises eight readable f64; AVX2 was checked by `dispatch!`.
            unsafe { Self(_mm256_loadu_pd(from), _mm256_loadu_pd(from.add(4))) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f64) {
            // SAFETY: the caller promises eight writable f64; AVX2 was checked by `dispatch!`.
            unsafe {
                _mm256_storeu_pd(to, self.0);
                _mm256_storeu_pd(to.add(4), self.1);
            }
        }
        #[inline(always)]
        unsafe fn stream(self, to: *mut f64) {
            // SAFETY: the caller promises eight writable f64 at a multiple of 64 bytes; AVX2 was checked by `dispatch!`.
            unsafe {
                _mm256_stream_pd(to, self.0);
                _mm256_stream_pd(to.add(4), self.1);
            }
        }
        #[inline(always)]
        fn settle() {
            // SAFETY: every processor with AVX2 has the instruction.
            unsafe { _mm_sfence() }
        }
        #[inline(always)]
        fn splat(value: f64) -> Self {
            // SAFETY: AVX2 was checked by `dispatch!`.
            unsafe { Self(_mm256_set1_pd(value), _mm256_set1_pd(value)) }
        }
        #[inline(always)]
        fn add(self, other: Self) -> Self {
            // SAFETY: AVX2 was checked by `dispatch!`.
            unsafe { Self(_mm256_add_pd(self.0, other.0), _mm256_add_pd(self.1, other.1)) }
        }
        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            // SAFETY: AVX2 was checked by `dispatch!`.
            unsafe { Self(_mm256_sub_pd(self.0, other.0), _mm256_sub_pd(self.1, other.1)) }
        }
        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            // SAFETY: AVX2 was checked by `dispatch!`.
            unsafe { Self(_mm256_mul_pd(self.0, other.0), _mm256_mul_pd(self.1, other.1)) }
        }
        #[inline(always)]
        fn fma(self, b: Self, c: Self) -> Self {
            // SAFETY: FMA was checked by `dispatch!`.
            unsafe { Self(_mm256_fmadd_pd(self.0, b.0, c.0), _mm256_fmadd_pd(self.1, b.1, c.1)) }
        }
        #[inline(always)]
        fn fms(self, b: Self, c: Self) -> Self {
            // SAFETY: FMA was checked by `dispatch!`.
            unsafe { Self(_mm256_fmsub_pd(self.0, b.0, c.0), _mm256_fmsub_pd(self.1, b.1, c.1)) }
        }
        #[inline(always)]
        fn fnma(self, b: Self, c: Self) -> Self {
            // SAFETY: FMA was checked by `dispatch!`.
            unsafe { Self(_mm256_fnmadd_pd(self.0, b.0, c.0), _mm256_fnmadd_pd(self.1, b.1, c.1)) }
        }
        #[inline(always)]
        fn sum(self) -> f64 {
            // SAFETY: AVX2 was checked by `dispatch!`.
            unsafe {
                let four = _mm256_add_pd(self.0, self.1);
                let two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd::<1>(four));
                _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)))
            }
        }
        #[inline(always)]
        fn sum8(v: [Self; 8]) -> Self {
            // SAFETY: AVX2 was checked by `dispatch!`.
            unsafe {
                Self(
                    sum4([
                        _mm256_add_pd(v[0].0, v[0].1),
                        _mm256_add_pd(v[1].0, v[1].1),
                        _mm256_add_pd(v[2].0, v[2].1),
                        _mm256_add_pd(v[3].0, v[3].1),
                    ]),
                    sum4([
                        _mm256_add_pd(v[4].0, v[4].1),
                        _mm256_add_pd(v[5].0, v[5].1),
                        _mm256_add_pd(v[6].0, v[6].1),
                        _mm256_add_pd(v[7].0, v[7].1),
                    ]),
                )
            }
        }
    }

    /// Eight f32 in one 256-bit vector, which AVX-512 uses as well.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2Single(__m256);

    impl Lanes for Avx2Single {
        type Element = f32;
        const SUMS: usize = 12;
        #[inline(always)]
        fn prefetch_read(line: *const f32) {
            // SAFETY: prefetches never fault.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) }
        }
        #[inline(always)]
        unsafe fn add_to(self, sums: *mut f64) {
            // SAFETY: the caller promises eight f64; AVX2 was checked by `dispatch!`.
            unsafe {
                let low = _mm256_cvtps_pd(_mm256_castps256_ps128(self.0));
                let high = _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(self.0));
                _mm256_storeu_pd(sums, _mm256_add_pd(_mm256_loadu_pd(sums), low));
                _mm256_storeu_pd(sums.add(4), _mm256_add_pd(_mm256_loadu_pd(sums.add(4)), high));
            }
        }
        #[inline(always)]
        fn any_above(self, limit: Self) -> bool {
            // SAFETY: AVX2 was checked by `dispatch!`.
            unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(_mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0), limit.0)) != 0 }
        }
        #[inline(always)]
        unsafe fn load_halves(low: *const f32, high: *const f32) -> Self {
            // SAFETY: the caller promises four readable f32 at either address.
            unsafe { Self(_mm256_set_m128(_mm_loadu_ps(high), _mm_loadu_ps(low))) }
        }
        #[inline(always)]
        unsafe fn store_halves(self, low: *mut f32, high: *mut f32) {
            // SAFETY: the caller promises four writable f32 at either address.
            unsafe {
                _mm_storeu_ps(low, _mm256_castps256_ps128(self.0));
                _mm_storeu_ps(high, _mm256_extractf128_ps::<1>(self.0));
            }
        }
        #[inline(always)]
        fn minus_i(self) -> Self {
            // SAFETY: AVX2 was checked by `dispatch!`.
            unsafe {
                let sign = _mm256_set_ps(-0.0, 0.0, -0.0, 0.0, -0.0, 0.0, -0.0, 0.0);
                Self(_mm256_xor_ps(_mm256_permute_ps::<0b10_11_00_01>(self.0), sign))
            }
        }
        #[inline(always)]
        fn transpose8(v: [Self; 8]) -> [Self; 8] {
            // SAFETY: AVX2 was checked by `dispatch!`.
            unsafe {
                let pair = |i: usize| (_mm256_unpacklo_ps(v[i].0, v[i + 1].0), _mm256_unpackhi_ps(v[i].0, v[i + 1].0));
                // Four rows: lanes i and i + 4 of each, i = 0 .. 4.
                let four = |(a, b): (__m256, __m256), (c, d): (__m256, __m256)| {
                    [
                        _mm256_shuffle_ps::<0b01_00_01_00>(a, c),
                        _mm256_shuffle_ps::<0b11_10_11_10>(a, c),
                        _mm256_shuffle_ps::<0b01_00_01_00>(b, d),
                        _mm256_shuffle_ps::<0b11_10_11_10>(b, d),
                    ]
                };
                let (upper, lower) = (four(pair(0), pair(2)), four(pair(4), pair(6)));
                let low = |i: usize| Self(_mm256_permute2f128_ps::<0x20>(upper[i], lower[i]));
                let high = |i: usize| Self(_mm256_permute2f128_ps::<0x31>(upper[i], lower[i]));
                [low(0), low(1), low(2), low(3), high(0), high(1), high(2), high(3)]
            }
        }
        #[inline(always)]
        unsafe fn load_complex(from: *const f32) -> [Self; 2] {
            // SAFETY: the caller promises sixteen readable f32; AVX2 was checked by `dispatch!`.
            unsafe {
                let (a, b) = (_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8)));
                let ordered = |v: __m256| Self(_mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_castps_pd(v))));
                [ordered(_mm256_shuffle_ps::<0b10_00_10_00>(a, b)), ordered(_mm256_shuffle_ps::<0b11_01_11_01>(a, b))]
            }
        }
        #[inline(always)]
        unsafe fn store_complex(z: [Self; 2], to: *mut f32) {
            // SAFETY: the caller promises sixteen writable f32; AVX2 was checked by `dispatch!`.
            unsafe {
                let (low, high) = (_mm256_unpacklo_ps(z[0].0, z[1].0), _mm256_unpackhi_ps(z[0].0, z[1].0));
                _mm256_storeu_ps(to, _mm256_permute2f128_ps::<0x20>(low, high));
                _mm256_storeu_ps(to.add(8), _mm256_permute2f128_ps::<0x31>(low, high));
            }
        }
        #[inline(always)]
        fn reversed(self) -> Self {
            // SAFETY: AVX2 was checked by `dispatch!`.
            unsafe { Self(_mm256_permutevar8x32_ps(self.0, _mm256_set_epi32(0, 1, 2, 3, 4, 5, 6, 7))) }
        }
        #[inline(always)]
        unsafe fn scale_two(w: f32, from: *const f32, to: *mut f32) {
            // SAFETY: the caller promises two f32 on either side.
            unsafe {
                let x = _mm_castpd_ps(_mm_load_sd(from.cast()));
                _mm_store_sd(to.cast(), _mm_castps_pd(_mm_mul_ps(_mm_set1_ps(w), x)));
            }
        }
        #[inline(always)]
        unsafe fn add_scaled_two(w: f32, from: *const f32, to: *mut f32) {
            // SAFETY: the caller promises two f32 on either side.
            unsafe {
                let (x, y) = (_mm_castpd_ps(_mm_load_sd(from.cast())), _mm_castpd_ps(_mm_load_sd(to.cast_const().cast())));
                _mm_store_sd(to.cast(), _mm_castps_pd(_mm_fmadd_ps(_mm_set1_ps(w), x, y)));
            }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: the caller promises eight readable f32; AVX2 was checked by `dispatch!`.
            unsafe { Self(_mm256_loadu_ps(from)) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: the caller promises eight writable f32; AVX2 was checked by `dispatch!`.
            unsafe { _mm256_storeu_ps(to, self.0) }
        }
        #[inline(always)]
        unsafe fn stream(self, to: *mut f32) {
            // SAFETY: the caller promises eight writable f32 at a multiple of 32 bytes; AVX2 was checked by `dispatch!`.
            unsafe { _mm256_stream_ps(to, self.0) }
        }
        #[inline(always)]
        fn settle() {
            // SAFETY: every processor with AVX2 has the instruction.
            unsafe { _mm_sfence() }
        }
        #[inline(always)]
        fn splat(value: f32) -> Self {
            // SAFETY: AVX2 was checked by `dispatch!`.
            unsafe { Self(_mm256_set1_ps(value)) }
        }
        #[inline(always)]
        fn add(self, other: Self) -> Self {
            // SAFETY: AVX2 was checked by `dispatch!`.
            unsafe { Self(_mm256_add_ps(self.0, other.0)) }
        }
        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            // SAFETY: AVX2 was checked by `dispatch!`.
            unsafe { Self(_mm256_sub_ps(self.0, other.0)) }
        }
        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            // SAFETY: AVX2 was checked by `dispatch!`.
            unsafe { Self(_mm256_mul_ps(self.0, other.0)) }
        }
        #[inline(always)]
        fn fma(self, b: Self, c: Self) -> Self {
            // SAFETY: FMA was checked by `dispatch!`.
            unsafe { Self(_mm256_fmadd_ps(self.0, b.0, c.0)) }
        }
        #[inline(always)]
        fn fms(self, b: Self, c: Self) -> Self {
            // SAFETY: FMA was checked by `dispatch!`.
            unsafe { Self(_mm256_fmsub_ps(self.0, b.0, c.0)) }
        }
        #[inline(always)]
        fn fnma(self, b: Self, c: Self) -> Self {
            // SAFETY: FMA was checked by `dispatch!`.
            unsafe { Self(_mm256_fnmadd_ps(self.0, b.0, c.0)) }
        }
        #[inline(always)]
        fn sum(self) -> f32 {
            // SAFETY: AVX2 was checked by `dispatch!`.
            unsafe {
                let four = _mm_add_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
                let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
            }
        }
        #[inline(always)]
        fn sum8(v: [Self; 8]) -> Self {
            // SAFETY: AVX2 was checked by `dispatch!`.
            unsafe {
                let four = |i: usize| _mm256_hadd_ps(_mm256_hadd_ps(v[i].0, v[i + 1].0), _mm256_hadd_ps(v[i + 2].0, v[i + 3].0));
                let (a, b) = (four(0), four(4));
                Self(_mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b)))
            }
        }
    }

    #[inline(always)]
    unsafe fn transpose4(v: [__m256d; 4]) -> [__m256d; 4] {
        // SAFETY: the caller is an AVX2 instance.
        unsafe {
            let (a, b) = (_mm256_unpacklo_pd(v[0], v[1]), _mm256_unpackhi_pd(v[0], v[1]));
            let (c, d) = (_mm256_unpacklo_pd(v[2], v[3]), _mm256_unpackhi_pd(v[2], v[3]));
            [
                _mm256_permute2f128_pd::<0x20>(a, c),
                _mm256_permute2f128_pd::<0x20>(b, d),
                _mm256_permute2f128_pd::<0x31>(a, c),
                _mm256_permute2f128_pd::<0x31>(b, d),
            ]
        }
    }

    #[inline(always)]
    unsafe fn sum4(v: [__m256d; 4]) -> __m256d {
        // SAFETY: the caller is an AVX2 instance.
        unsafe {
            let ab = _mm256_hadd_pd(v[0], v[1]);
            let cd = _mm256_hadd_pd(v[2], v[3]);
            _mm256_add_pd(_mm256_permute2f128_pd::<0x20>(ab, cd), _mm256_permute2f128_pd::<0x31>(ab, cd))
        }
    }

    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(__m512d);

    impl Lanes for Avx512 {
        type Element = f64;
        const SUMS: usize = 24;
        #[inline(always)]
        unsafe fn add_to(self, sums: *mut f64) {
            // SAFETY: the caller promises eight f64; AVX-512 was checked by `dispatch!`.
            unsafe { Self::load(sums).add(self).store(sums) }
        }
        #[inline(always)]
        fn prefetch_read(line: *const f64) {
            // SAFETY: prefetches never fault.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) }
        }
        #[inline(always)]
        fn any_above(self, limit: Self) -> bool {
            // SAFETY: AVX-512 was checked by `dispatch!`.
            unsafe { _mm512_cmp_pd_mask::<_CMP_GT_OQ>(_mm512_abs_pd(self.0), limit.0) != 0 }
        }
        #[inline(always)]
        unsafe fn load_halves(low: *const f64, high: *const f64) -> Self {
            // SAFETY: the caller promises four readable f64 at either address.
            unsafe { Self(_mm512_insertf64x4::<1>(_mm512_castpd256_pd512(_mm256_loadu_pd(low)), _mm256_loadu_pd(high))) }
        }
        #[inline(always)]
        unsafe fn store_halves(self, low: *mut f64, high: *mut f64) {
            // SAFETY: the caller promises four writable f64 at either address.
            unsafe {
                _mm256_storeu_pd(low, _mm512_castpd512_pd256(self.0));
                _mm256_storeu_pd(high, _mm512_extractf64x4_pd::<1>(self.0));
            }
        }
        #[inline(always)]
        fn minus_i(self) -> Self {
            // SAFETY: AVX-512 was checked by `dispatch!`.
            unsafe {
                let sign = _mm512_set_pd(-0.0, 0.0, -0.0, 0.0, -0.0, 0.0, -0.0, 0.0);
                Self(_mm512_xor_pd(_mm512_permute_pd::<0b0101_0101>(self.0), sign))
            }
        }
        #[inline(always)]
        fn transpose8(v: [Self; 8]) -> [Self; 8] {
            // SAFETY: AVX-512 was checked by `dispatch!`.
            unsafe {
                let two = |i: usize| (_mm512_unpacklo_pd(v[i].0, v[i + 1].0), _mm512_unpackhi_pd(v[i].0, v[i + 1].0));
                let ((a0, a1), (b0, b1), (c0, c1), (d0, d1)) = (two(0), two(2), two(4), two(6));
                // Quarter q of a0 holds lanes 2q of v[0], v[1]; of a1 lanes 2q + 1.
                let four = |a: __m512d, b: __m512d, c: __m512d, d: __m512d| {
                    let (ab, ab_high) = (_mm512_shuffle_f64x2::<0b10_00_10_00>(a, b), _mm512_shuffle_f64x2::<0b11_01_11_01>(a, b));
                    let (cd, cd_high) = (_mm512_shuffle_f64x2::<0b10_00_10_00>(c, d), _mm512_shuffle_f64x2::<0b11_01_11_01>(c, d));
                    [
                        _mm512_shuffle_f64x2::<0b10_00_10_00>(ab, cd),
                        _mm512_shuffle_f64x2::<0b10_00_10_00>(ab_high, cd_high),
                        _mm512_shuffle_f64x2::<0b11_01_11_01>(ab, cd),
                        _mm512_shuffle_f64x2::<0b11_01_11_01>(ab_high, cd_high),
                    ]
                };
                let even = four(a0, b0, c0, d0);
                let odd = four(a1, b1, c1, d1);
                [Self(even[0]), Self(odd[0]), Self(even[1]), Self(odd[1]), Self(even[2]), Self(odd[2]), Self(even[3]), Self(odd[3])]
            }
        }
        #[inline(always)]
        unsafe fn load_complex(from: *const f64) -> [Self; 2] {
            // SAFETY: the caller promises sixteen readable f64; AVX-512 was checked by `dispatch!`.
            unsafe {
                let (a, b) = (_mm512_loadu_pd(from), _mm512_loadu_pd(from.add(8)));
                let (even, odd) = (_mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0), _mm512_set_epi64(15, 13, 11, 9, 7, 5, 3, 1));
                [Self(_mm512_permutex2var_pd(a, even, b)), Self(_mm512_permutex2var_pd(a, odd, b))]
            }
        }
        #[inline(always)]
        unsafe fn store_complex(z: [Self; 2], to: *mut f64) {
            // SAFETY: the caller promises sixteen writable f64; AVX-512 was checked by `dispatch!`.
            unsafe {
                let (low, high) = (_mm512_set_epi64(11, 3, 10, 2, 9, 1, 8, 0), _mm512_set_epi64(15, 7, 14, 6, 13, 5, 12, 4));
                _mm512_storeu_pd(to, _mm512_permutex2var_pd(z[0].0, low, z[1].0));
                _mm512_storeu_pd(to.add(8), _mm512_permutex2var_pd(z[0].0, high, z[1].0));
            }
        }
        #[inline(always)]
        fn reversed(self) -> Self {
            // SAFETY: AVX-512 was checked by `dispatch!`.
            unsafe { Self(_mm512_permutexvar_pd(_mm512_set_epi64(0, 1, 2, 3, 4, 5, 6, 7), self.0)) }
        }
        #[inline(always)]
        unsafe fn scale_two(w: f64, from: *const f64, to: *mut f64) {
            // SAFETY: the caller promises two f64 on either side.
            unsafe { _mm_storeu_pd(to, _mm_mul_pd(_mm_set1_pd(w), _mm_loadu_pd(from))) }
        }
        #[inline(always)]
        unsafe fn add_scaled_two(w: f64, from: *const f64, to: *mut f64) {
            // SAFETY: the caller promises two f64 on either side.
            unsafe { _mm_storeu_pd(to, _mm_fmadd_pd(_mm_set1_pd(w), _mm_loadu_pd(from), _mm_loadu_pd(to))) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f64) -> Self {
            // SAFETY: the caller promises eight readable f64; AVX-512 was checked by `dispatch!`.
            unsafe { Self(_mm512_loadu_pd(from)) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f64) {
            // SAFETY: the caller promises eight writable f64; AVX-512 was checked by `dispatch!`.
            unsafe { _mm512_storeu_pd(to, self.0) }
        }
        #[inline(always)]
        unsafe fn stream(self, to: *mut f64) {
            // SAFETY: the caller promises eight writable f64 at a multiple of 64 bytes; AVX-512 was checked by `dispatch!`.
            unsafe { _mm512_stream_pd(to, self.0) }
        }
        #[inline(always)]
        fn settle() {
            // SAFETY: every processor with AVX-512 has the instruction.
            unsafe { _mm_sfence() }
        }
        #[inline(always)]
        fn splat(value: f64) -> Self {
            // SAFETY: AVX-512 was checked by `dispatch!`.
            unsafe { Self(_mm512_set1_pd(value)) }
        }
        #[inline(always)]
        fn add(self, other: Self) -> Self {
            // SAFETY: AVX-512 was checked by `dispatch!`.
            unsafe { Self(_mm512_add_pd(self.0, other.0)) }
        }
        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            // SAFETY: AVX-512 was checked by `dispatch!`.
            unsafe { Self(_mm512_sub_pd(self.0, other.0)) }
        }
        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            // SAFETY: AVX-512 was checked by `dispatch!`.
            unsafe { Self(_mm512_mul_pd(self.0, other.0)) }
        }
        #[inline(always)]
        fn fma(self, b: Self, c: Self) -> Self {
            // SAFETY: AVX-512 was checked by `dispatch!`.
            unsafe { Self(_mm512_fmadd_pd(self.0, b.0, c.0)) }
        }
        #[inline(always)]
        fn fms(self, b: Self, c: Self) -> Self {
            // SAFETY: AVX-512 was checked by `dispatch!`.
            unsafe { Self(_mm512_fmsub_pd(self.0, b.0, c.0)) }
        }
        #[inline(always)]
        fn fnma(self, b: Self, c: Self) -> Self {
            // SAFETY: AVX-512 was checked by `dispatch!`.
            unsafe { Self(_mm512_fnmadd_pd(self.0, b.0, c.0)) }
        }
        #[inline(always)]
        fn sum(self) -> f64 {
            // SAFETY: AVX-512 was checked by `dispatch!`.
            unsafe { _mm512_reduce_add_pd(self.0) }
        }
        #[inline(always)]
        fn sum8(v: [Self; 8]) -> Self {
            // Three levels of transposing additions: pairs, fours, eights; 7 additions and 14 shuffles for 8 sums.
            // SAFETY: AVX-512 was checked by `dispatch!`.
            unsafe {
                let t0 = pair(v[0].0, v[1].0);
                let t1 = pair(v[2].0, v[3].0);
                let t2 = pair(v[4].0, v[5].0);
                let t3 = pair(v[6].0, v[7].0);
                let u0 = four(t0, t1);
                let u1 = four(t2, t3);
                let low = _mm512_shuffle_f64x2::<0b01_00_01_00>(u0, u1);
                let high = _mm512_shuffle_f64x2::<0b11_10_11_10>(u0, u1);
                Self(_mm512_add_pd(low, high))
            }
        }
    }

    #[inline(always)]
    unsafe fn pair(a: __m512d, b: __m512d) -> __m512d {
        // SAFETY: the caller is an AVX-512 instance.
        unsafe { _mm512_add_pd(_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b)) }
    }

    #[inline(always)]
    unsafe fn four(a: __m512d, b: __m512d) -> __m512d {
        // SAFETY: the caller is an AVX-512 instance.
        unsafe {
            let low = _mm512_permutex2var_pd(a, _mm512_set_epi64(13, 12, 5, 4, 9, 8, 1, 0), b);
            let high = _mm512_permutex2var_pd(a, _mm512_set_epi64(15, 14, 7, 6, 11, 10, 3, 2), b);
            _mm512_add_pd(low, high)
        }
    }
}

#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;

/// Four 128-bit vectors. NEON with fused multiply-add is part of every 64-bit ARM processor, so nothing is detected.
#[cfg(target_arch = "aarch64")]
mod neon {
    use super::Lanes;
    use std::arch::aarch64::*;

    #[derive(Clone, Copy)]
    pub(crate) struct Neon([float64x2_t; 4]);

    /// Applies one operation to the four vectors.
    macro_rules! each {
        ($i:ident => $value:expr) => {{
            // SAFETY: NEON is part of the architecture.
            let at = |$i: usize| unsafe { $value };
            Neon([at(0), at(1), at(2), at(3)])
        }};
    }

    impl Lanes for Neon {
        type Element = f64;
        const SUMS: usize = 6;
        #[inline(always)]
        unsafe fn add_to(self, sums: *mut f64) {
            // SAFETY: the caller promises eight f64.
            unsafe { Self::load(sums).add(self).store(sums) }
        }
        #[inline(always)]
        fn any_above(self, limit: Self) -> bool {
            let mut any = false;
            for i in 0..4 {
                // SAFETY: NEON is part of the architecture.
                any |= unsafe { vmaxvq_u32(vreinterpretq_u32_u64(vcagtq_f64(self.0[i], limit.0[i]))) } != 0;
            }
            any
        }
        #[inline(always)]
        unsafe fn load_halves(low: *const f64, high: *const f64) -> Self {
            // SAFETY: the caller promises four readable f64 at either address.
            unsafe { Self([vld1q_f64(low), vld1q_f64(low.add(2)), vld1q_f64(high), vld1q_f64(high.add(2))]) }
        }
        #[inline(always)]
        unsafe fn store_halves(self, low: *mut f64, high: *mut f64) {
            // SAFETY: the caller promises four writable f64 at either address.
            unsafe {
                vst1q_f64(low, self.0[0]);
                vst1q_f64(low.add(2), self.0[1]);
                vst1q_f64(high, self.0[2]);
                vst1q_f64(high.add(2), self.0[3]);
            }
        }
        #[inline(always)]
        fn minus_i(self) -> Self {
            const SIGN: [f64; 2] = [1.0, -1.0];
            each!(i => vmulq_f64(vextq_f64::<1>(self.0[i], self.0[i]), vld1q_f64(SIGN.as_ptr())))
        }
        #[inline(always)]
        fn transpose8(v: [Self; 8]) -> [Self; 8] {
            let mut out = v;
            for i in 0..4 {
                for j in 0..4 {
                    let (a, b) = (v[2 * j].0[i], v[2 * j + 1].0[i]);
                    // SAFETY: NEON is part of the architecture.
                    unsafe {
                        out[2 * i].0[j] = vtrn1q_f64(a, b);
                        out[2 * i + 1].0[j] = vtrn2q_f64(a, b);
                    }
                }
            }
            out
        }
        #[inline(always)]
        unsafe fn load(from: *const f64) -> Self {
            // The caller promises eight readable f64.
            each!(i => vld1q_f64(from.add(2 * i)))
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f64) {
            for i in 0..4 {
                // SAFETY: the caller promises eight writable f64.
                unsafe { vst1q_f64(to.add(2 * i), self.0[i]) }
            }
        }
        #[inline(always)]
        fn splat(value: f64) -> Self {
            // SAFETY: NEON is part of the architecture.
            Self([unsafe { vdupq_n_f64(value) }; 4])
        }
        #[inline(always)]
        fn add(self, other: Self) -> Self {
            each!(i => vaddq_f64(self.0[i], other.0[i]))
        }
        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            each!(i => vsubq_f64(self.0[i], other.0[i]))
        }
        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            each!(i => vmulq_f64(self.0[i], other.0[i]))
        }
        #[inline(always)]
        fn fma(self, b: Self, c: Self) -> Self {
            each!(i => vfmaq_f64(c.0[i], self.0[i], b.0[i]))
        }
        #[inline(always)]
        fn fms(self, b: Self, c: Self) -> Self {
            each!(i => vfmaq_f64(vnegq_f64(c.0[i]), self.0[i], b.0[i]))
        }
        #[inline(always)]
        fn fnma(self, b: Self, c: Self) -> Self {
            each!(i => vfmsq_f64(c.0[i], self.0[i], b.0[i]))
        }
        #[inline(always)]
        fn sum(self) -> f64 {
            // SAFETY: NEON is part of the architecture.
            unsafe { vaddvq_f64(vaddq_f64(vaddq_f64(self.0[0], self.0[2]), vaddq_f64(self.0[1], self.0[3]))) }
        }
        #[inline(always)]
        fn sum8(v: [Self; 8]) -> Self {
            let mut pairs = [Self::zero().0[0]; 8];
            for i in 0..8 {
                let x = v[i].0;
                // SAFETY: NEON is part of the architecture.
                pairs[i] = unsafe { vaddq_f64(vaddq_f64(x[0], x[1]), vaddq_f64(x[2], x[3])) };
            }
            each!(i => vpaddq_f64(pairs[2 * i], pairs[2 * i + 1]))
        }
        #[inline(always)]
        unsafe fn scale_two(w: f64, from: *const f64, to: *mut f64) {
            // SAFETY: the caller promises two f64 on either side.
            unsafe { vst1q_f64(to, vmulq_n_f64(vld1q_f64(from), w)) }
        }
        #[inline(always)]
        unsafe fn add_scaled_two(w: f64, from: *const f64, to: *mut f64) {
            // SAFETY: the caller promises two f64 on either side.
            unsafe { vst1q_f64(to, vfmaq_n_f64(vld1q_f64(to), vld1q_f64(from), w)) }
        }
    }
}

/// Defines `unsafe fn $name(args)` that runs the instance of `$generic::<V: Lanes>` for the level in use: on f64, or with `$name<T>` on either element.
macro_rules! dispatch {
    ($(#[$meta:meta])* fn $name:ident = $generic:ident($($arg:ident: $type:ty),* $(,)?)) => {
        $crate::simd::dispatch! { @ $(#[$meta])* fn $name[f64] = $generic($($arg: $type),*) }
    };
    // The instances of either element are functions without type parameters, so that they are compiled with this crate and not in each one that uses it.
    ($(#[$meta:meta])* fn $name:ident<$T:ident> = $generic:ident($($arg:ident: $type:ty),* $(,)?)) => {
        $(#[$meta])*
        #[inline]
        unsafe fn $name<$T: $crate::simd::Real>($($arg: $type),*) {
            if size_of::<$T>() == size_of::<f64>() {
                let own = {
                    type $T = f64;
                    $crate::simd::dispatch! { @ fn double[f64] = $generic($($arg: $type),*) }
                    double as unsafe fn($($type),*)
                };
                // SAFETY: `Real` is f32 and f64 alone, so this is the same type; the caller's promise is passed on.
                unsafe { std::mem::transmute_copy::<_, unsafe fn($($type),*)>(&own)($($arg),*) }
            } else {
                let own = {
                    type $T = f32;
                    $crate::simd::dispatch! { @ fn single[f32] = $generic($($arg: $type),*) }
                    single as unsafe fn($($type),*)
                };
                // SAFETY: as above.
                unsafe { std::mem::transmute_copy::<_, unsafe fn($($type),*)>(&own)($($arg),*) }
            }
        }
    };
    (@ $(#[$meta:meta])* fn $name:ident[$element:ty] = $generic:ident($($arg:ident: $type:ty),*)) => {
        $(#[$meta])*
        unsafe fn $name($($arg: $type),*) {
            #[cfg(all(target_arch = "x86_64", not(no_avx512)))]
            {
                #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
                unsafe fn avx512($($arg: $type),*) {
                    // SAFETY: the caller's promise, passed on; the features are enabled here.
                    unsafe { $generic::<<$element as $crate::simd::Instances>::Avx512>($($arg),*) }
                }
                if $crate::simd::level() == $crate::simd::Level::Avx512 {
                    // SAFETY: `level` reports only what the processor has.
                    return unsafe { avx512($($arg),*) };
                }
            }
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                unsafe fn avx2($($arg: $type),*) {
                    // SAFETY: the caller's promise, passed on; the features are enabled here.
                    unsafe { $generic::<<$element as $crate::simd::Instances>::Avx2>($($arg),*) }
                }
                if $crate::simd::level() == $crate::simd::Level::Avx2 {
                    // SAFETY: `level` reports only what the processor has.
                    return unsafe { avx2($($arg),*) };
                }
            }
            #[cfg(target_arch = "aarch64")]
            if $crate::simd::level() == $crate::simd::Level::Neon {
                // SAFETY: the caller's promise, passed on; NEON is part of the architecture.
                return unsafe { $generic::<<$element as $crate::simd::Instances>::Neon>($($arg),*) };
            }
            // SAFETY: the caller's promise, passed on.
            unsafe { $generic::<$crate::simd::Portable<$element>>($($arg),*) }
        }
    };
}
pub(crate) use dispatch;

/// One cache line.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub(crate) struct Line(pub [f64; 8]);

/// A vector of f64 that starts on a cache line.
#[derive(Clone, Default, Debug, PartialEq)]
pub(crate) struct Aligned(Vec<Line>);

impl Aligned {
    pub(crate) fn zeros(len: usize) -> Self {
        Self(vec![Line([0.0; 8]); len.div_ceil(8)])
    }
    pub(crate) fn reserve_to(&mut self, len: usize) {
        if self.0.len() * 8 < len {
            self.0.resize(len.div_ceil(8), Line([0.0; 8]));
        }
    }
    pub(crate) fn shrink(&mut self) {
        self.0.shrink_to_fit();
    }
    pub(crate) fn push(&mut self, line: [f64; 8]) {
        self.0.push(Line(line));
    }
    pub(crate) fn set(&mut self, index: usize, line: [f64; 8]) {
        self.0[index] = Line(line);
    }
    pub(crate) fn lines(&self) -> &[Line] {
        &self.0
    }
    pub(crate) fn as_ptr(&self) -> *const f64 {
        self.0.as_ptr().cast()
    }
    pub(crate) fn as_mut_ptr(&mut self) -> *mut f64 {
        self.0.as_mut_ptr().cast()
    }
}

thread_local! {
    /// Buffers that no call uses.
    static SCRATCH: Cell<Vec<Aligned>> = const { Cell::new(Vec::new()) };
}

/// A buffer of this thread with at least `len` f64: the smallest that is long enough, else the longest, which grows.
fn take_scratch(len: usize) -> Aligned {
    let mut kept = SCRATCH.take();
    let place = |k: &usize| {
        let room = kept[*k].lines().len() * LANES;
        if room < len { (true, usize::MAX - room) } else { (false, room) }
    };
    let mut scratch = (0..kept.len()).min_by_key(place).map(|k| kept.swap_remove(k)).unwrap_or_default();
    SCRATCH.set(kept);
    scratch.reserve_to(len);
    scratch
}

fn keep_scratch(scratch: Aligned) {
    let mut kept = SCRATCH.take();
    kept.push(scratch);
    SCRATCH.set(kept);
}

/// Zeros in this thread's scratch memory: a vector that costs no allocation after the first of its size, which takes longer than small kernels.
#[derive(Debug)]
pub(crate) struct Zeros {
    buffer: Aligned,
    len: usize,
}

impl Zeros {
    pub(crate) fn new(len: usize) -> Self {
        let mut zeros = Zeros { buffer: take_scratch(len), len };
        zeros.fill(0.0);
        zeros
    }
}

impl std::ops::Deref for Zeros {
    type Target = [f64];

    fn deref(&self) -> &[f64] {
        // SAFETY: the buffer holds at least `len` numbers in whole lines.
        unsafe { std::slice::from_raw_parts(self.buffer.as_ptr(), self.len) }
    }
}

impl std::ops::DerefMut for Zeros {
    fn deref_mut(&mut self) -> &mut [f64] {
        // SAFETY: as above, and the buffer is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.buffer.as_mut_ptr(), self.len) }
    }
}

impl Drop for Zeros {
    fn drop(&mut self) {
        keep_scratch(std::mem::take(&mut self.buffer));
    }
}

/// Runs `body` with `len` numbers of this thread's scratch memory, which start on a cache line. The contents are arbitrary, but valid. A nested call gets other
/// memory; the thread keeps that, too.
///
/// ```
/// use scatterc_kernels::simd::with_scratch;
///
/// // The start is a cache line.
/// assert_eq!(with_scratch(10, |scratch: *mut f64| scratch as usize % 64), 0);
/// ```
pub fn with_scratch<T: Real, R>(len: usize, body: impl FnOnce(*mut T) -> R) -> R {
    let mut scratch = take_scratch((len * size_of::<T>()).div_ceil(size_of::<f64>()));
    let result = body(scratch.as_mut_ptr().cast());
    keep_scratch(scratch);
    result
}
