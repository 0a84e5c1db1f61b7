//! Double-double arithmetic for plan-time starting values: about 104 bits, scalar, no fused operations.
//!
//! sin(theta)^m multiplies the rounding error of sin(theta) by m, so starting values need more than 53 bits.

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Double {
    pub hi: f64,
    pub lo: f64,
}

fn quick_two_sum(a: f64, b: f64) -> Double {
    let hi = a + b;
    Double { hi, lo: b - (hi - a) }
}

fn two_sum(a: f64, b: f64) -> Double {
    let hi = a + b;
    let t = hi - a;
    Double { hi, lo: (a - (hi - t)) + (b - t) }
}

/// Dekker's product: exact without fused multiply-add for |a|, |b| < 2^990.
fn two_product(a: f64, b: f64) -> Double {
    const SPLIT: f64 = 134_217_729.0;
    let halves = |x: f64| {
        let t = SPLIT * x;
        let high = t - (t - x);
        (high, x - high)
    };
    let hi = a * b;
    let ((ah, al), (bh, bl)) = (halves(a), halves(b));
    Double { hi, lo: ((ah * bh - hi) + ah * bl + al * bh) + al * bl }
}

impl Double {
    pub(crate) const ONE: Self = Self { hi: 1.0, lo: 0.0 };

    pub(crate) fn new(hi: f64) -> Self {
        Self { hi, lo: 0.0 }
    }

    pub(crate) fn add(self, other: Self) -> Self {
        let s = two_sum(self.hi, other.hi);
        quick_two_sum(s.hi, s.lo + (self.lo + other.lo))
    }

    pub(crate) fn neg(self) -> Self {
        Self { hi: -self.hi, lo: -self.lo }
    }

    pub(crate) fn mul(self, other: Self) -> Self {
        let p = two_product(self.hi, other.hi);
        quick_two_sum(p.hi, p.lo + (self.hi * other.lo + self.lo * other.hi))
    }

    pub(crate) fn scale(self, factor: f64) -> Self {
        self.mul(Self::new(factor))
    }

    pub(crate) fn div(self, other: Self) -> Self {
        let q = self.hi / other.hi;
        let r = self.add(other.scale(q).neg());
        quick_two_sum(q, (r.hi + r.lo) / other.hi)
    }

    pub(crate) fn sqrt(self) -> Self {
        if self.hi <= 0.0 {
            return Self::new(0.0);
        }
        let root = self.hi.sqrt();
        let square = two_product(root, root);
        let rest = self.add(square.neg());
        quick_two_sum(root, (rest.hi + rest.lo) / (2.0 * root))
    }

    /// Multiplication by a power of two, exact while nothing underflows.
    pub(crate) fn times_power_of_two(self, factor: f64) -> Self {
        Self { hi: self.hi * factor, lo: self.lo * factor }
    }
}

/// (sin x, cos x) of a double in 0..=pi, by Taylor series at x / 64 and six doublings; relative error of the sine 1e-30.
pub(crate) fn sin_cos(x: f64) -> (Double, Double) {
    let small = Double::new(x / 64.0);
    let square = small.mul(small);
    // sin t = t (1 - t^2/6 (1 - t^2/20 ..)), cos t - 1 = -t^2/2 (1 - t^2/12 (..)), from the innermost term outwards.
    let mut sine = Double::ONE;
    let mut cosine = Double::ONE;
    for k in (1..=10).rev() {
        let k = k as f64;
        let divide = |value: Double, by: f64| value.div(Double::new(by)).neg();
        sine = Double::ONE.add(divide(square.mul(sine), (2.0 * k) * (2.0 * k + 1.0)));
        cosine = Double::ONE.add(divide(square.mul(cosine), (2.0 * k + 1.0) * (2.0 * k + 2.0)));
    }
    let mut s = small.mul(sine);
    let mut c1 = square.mul(cosine).scale(-0.5);
    for _ in 0..6 {
        let c = Double::ONE.add(c1);
        let doubled = s.mul(c).scale(2.0);
        c1 = s.mul(s).scale(-2.0);
        s = doubled;
    }
    (s, Double::ONE.add(c1))
}
