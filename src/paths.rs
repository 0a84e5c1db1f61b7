//! Stochastic path sampling: unbiased gradients of a loss from a random part of the scattering paths.
//!
//! The loss is a sum over groups of paths, sum_g L_g. A sample draws groups without replacement, each with the probability q_g of its own, and gives sum over the drawn of
//! L_g / q_g and of its gradient: the expectation over all samples is the full loss and the full gradient, whatever the q_g. Every group has a plan of its own, so that what is not drawn
//! costs nothing. Descents that take noisy gradients (Adam) then run where the whole set of paths does not fit the time of a step.

use crate::compile::{Compiler, Statistics};
use crate::sensitivity::{LossGradient, SensitivityError};
use crate::{Error, Source};

/// Groups of outputs with their plans and probabilities.
///
/// ```
/// use scatterc::paths::Paths;
/// use scatterc::{Compiler, InputKind, Source, Sphere, random};
///
/// let (source, sphere) = (Source::find("s2scat")?, Sphere::new(8, 2, 0, InputKind::Half)?);
/// let compiler = Compiler::new(&source, &sphere);
/// let target = compiler.encoder()?.encode(&random::white(8, 1, 0))?;
/// // First order always, covariances of the second layer every fourth time.
/// let groups: &[(&[&str], f64)] = &[(&["S1", "S2"], 1.0), (&["S3"], 0.5), (&["S4"], 0.25)];
/// let mut paths = Paths::new(&source, None, &sphere, "l2", groups)?;
/// paths.set_target(&target)?;
/// let sample = paths.sample(7);
/// let (value, gradient) = paths.value_and_gradient(&random::white(8, 2, 0), &sample)?;
/// assert!(value > 0.0 && gradient.len() == 128 && sample[0]);
/// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
/// ```
pub struct Paths {
    groups: Vec<Group>,
}

struct Group {
    outputs: Vec<String>,
    probability: f64,
    loss: LossGradient,
}

impl Paths {
    /// Compiles value and gradient of the loss for every group.
    ///
    /// - `variant`: the `return` whose outputs are meant; `None` for the unnamed one
    /// - `groups`: names of outputs with the probability that they are drawn, 0 < q <= 1
    ///
    /// Error: an output that does not exist or stands in two groups, a probability outside its range, what compiling refuses.
    ///
    /// ```
    /// # use scatterc::paths::Paths;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let (source, sphere) = (Source::find("s2scat")?, Sphere::new(8, 1, 0, InputKind::Half)?);
    /// # let target = Compiler::new(&source, &sphere).encoder()?.encode(&random::white(8, 1, 0))?;
    /// # let groups: &[(&[&str], f64)] = &[(&["S1"], 1.0), (&["S2"], 0.25)];
    /// assert!(Paths::new(&source, None, &sphere, "l2", groups).is_ok());
    /// // Every output has one group.
    /// let twice: &[(&[&str], f64)] = &[(&["S1"], 1.0), (&["S2", "S1"], 0.5)];
    /// assert!(Paths::new(&source, None, &sphere, "l2", twice).is_err());
    /// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
    /// ```
    pub fn new(
        source: &Source,
        variant: Option<&str>,
        domain: &dyn crate::Domain,
        loss: &str,
        groups: &[(&[&str], f64)],
    ) -> Result<Paths, SensitivityError> {
        let mut made = Vec::with_capacity(groups.len());
        for (k, (outputs, probability)) in groups.iter().enumerate() {
            if !(*probability > 0.0 && *probability <= 1.0) {
                return Err(Error::Option {
                    name: format!("probability of group {k}"),
                    expected: "0 < q <= 1".into(),
                    found: probability.to_string(),
                }
                .into());
            }
            if let Some(twice) = outputs.iter().find(|o| groups[..k].iter().any(|(others, _)| others.contains(o))) {
                return Err(Error::Option {
                    name: format!("group {k}"),
                    expected: "outputs of its own".into(),
                    found: format!("`{twice}` of an earlier group"),
                }
                .into());
            }
            let own = source.with_outputs(variant, outputs)?;
            let loss = LossGradient::new(&Compiler::new(&own, domain).variant(variant), loss)?;
            made.push(Group { outputs: outputs.iter().map(ToString::to_string).collect(), probability: *probability, loss });
        }
        Ok(Paths { groups: made })
    }

    /// Number of groups.
    ///
    /// ```
    /// # use scatterc::paths::Paths;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let (source, sphere) = (Source::find("s2scat")?, Sphere::new(8, 1, 0, InputKind::Half)?);
    /// # let target = Compiler::new(&source, &sphere).encoder()?.encode(&random::white(8, 1, 0))?;
    /// # let groups: &[(&[&str], f64)] = &[(&["S1"], 1.0), (&["S2"], 0.25)];
    /// assert_eq!(Paths::new(&source, None, &sphere, "l2", groups)?.len(), 2);
    /// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
    /// ```
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// True without groups.
    ///
    /// ```
    /// # use scatterc::paths::Paths;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let (source, sphere) = (Source::find("s2scat")?, Sphere::new(8, 1, 0, InputKind::Half)?);
    /// # let target = Compiler::new(&source, &sphere).encoder()?.encode(&random::white(8, 1, 0))?;
    /// # let groups: &[(&[&str], f64)] = &[(&["S1"], 1.0), (&["S2"], 0.25)];
    /// assert!(Paths::new(&source, None, &sphere, "l2", &[])?.is_empty());
    /// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Sets the target of every group; outputs of no group are ignored.
    ///
    /// ```
    /// # use scatterc::paths::Paths;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let (source, sphere) = (Source::find("s2scat")?, Sphere::new(8, 1, 0, InputKind::Half)?);
    /// # let target = Compiler::new(&source, &sphere).encoder()?.encode(&random::white(8, 1, 0))?;
    /// # let groups: &[(&[&str], f64)] = &[(&["S1"], 1.0), (&["S2"], 0.25)];
    /// let mut paths = Paths::new(&source, None, &sphere, "l2", groups)?;
    /// paths.set_target(&target)?;
    /// // The target's own field has no loss.
    /// assert!(paths.full(&random::white(8, 1, 0))?.0 < 1e-25);
    /// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
    /// ```
    pub fn set_target(&mut self, target: &Statistics) -> Result<(), SensitivityError> {
        for group in &mut self.groups {
            let arrays = target.arrays.iter().filter(|a| group.outputs.contains(&a.name)).cloned().collect();
            group.loss.set_target(&Statistics { batch: target.batch, arrays })?;
        }
        Ok(())
    }

    /// Sets an array of one group: norms `P`, a weight `w.S1`.
    ///
    /// ```
    /// # use scatterc::paths::Paths;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let (source, sphere) = (Source::find("s2scat")?, Sphere::new(8, 1, 0, InputKind::Half)?);
    /// # let target = Compiler::new(&source, &sphere).encoder()?.encode(&random::white(8, 1, 0))?;
    /// # let groups: &[(&[&str], f64)] = &[(&["S1"], 1.0), (&["S2"], 0.25)];
    /// let mut paths = Paths::new(&source, None, &sphere, "weighted", groups)?;
    /// paths.set_target(&target)?;
    /// paths.set(0, "w.S1", &[1.0; 4])?;
    /// paths.set(1, "w.S2", &[0.0; 4])?;
    /// assert!(paths.full(&random::white(8, 2, 0))?.0 > 0.0 && paths.set(2, "w.S2", &[1.0; 4]).is_err());
    /// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
    /// ```
    pub fn set(&mut self, group: usize, name: &str, values: &[f64]) -> Result<(), SensitivityError> {
        match self.groups.get_mut(group) {
            Some(group) => Ok(group.loss.set(name, values)?),
            None => Err(SensitivityError::Length { name: "groups".into(), expected: group + 1, found: self.groups.len() }),
        }
    }

    /// Which groups the sample of that number has: the same for the same number.
    ///
    /// ```
    /// # use scatterc::paths::Paths;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let (source, sphere) = (Source::find("s2scat")?, Sphere::new(8, 1, 0, InputKind::Half)?);
    /// # let target = Compiler::new(&source, &sphere).encoder()?.encode(&random::white(8, 1, 0))?;
    /// # let groups: &[(&[&str], f64)] = &[(&["S1"], 1.0), (&["S2"], 0.25)];
    /// let paths = Paths::new(&source, None, &sphere, "l2", groups)?;
    /// let drawn = (0..1000).filter(|k| paths.sample(*k)[1]).count();
    /// assert!((200..300).contains(&drawn) && (0..1000).all(|k| paths.sample(k)[0]));
    /// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
    /// ```
    pub fn sample(&self, number: u64) -> Vec<bool> {
        // One hash per group and sample, so that samples do not depend on how many there were before.
        let uniform = |k: usize| {
            let mut z = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add((k as u64 + 1).wrapping_mul(0xD1B5_4A32_D192_ED03));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
        };
        self.groups.iter().enumerate().map(|(k, g)| uniform(k) < g.probability).collect()
    }

    /// Probability of a sample.
    ///
    /// ```
    /// # use scatterc::paths::Paths;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let (source, sphere) = (Source::find("s2scat")?, Sphere::new(8, 1, 0, InputKind::Half)?);
    /// # let target = Compiler::new(&source, &sphere).encoder()?.encode(&random::white(8, 1, 0))?;
    /// # let groups: &[(&[&str], f64)] = &[(&["S1"], 1.0), (&["S2"], 0.25)];
    /// let paths = Paths::new(&source, None, &sphere, "l2", groups)?;
    /// assert_eq!((paths.probability(&[true, true]), paths.probability(&[true, false])), (0.25, 0.75));
    /// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
    /// ```
    pub fn probability(&self, sample: &[bool]) -> f64 {
        self.groups.iter().zip(sample).map(|(g, drawn)| if *drawn { g.probability } else { 1.0 - g.probability }).product()
    }

    /// Loss and gradient of the groups of a sample, each divided by its probability.
    ///
    /// Error: a sample of another length, a field that does not fit.
    ///
    /// ```
    /// # use scatterc::paths::Paths;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let (source, sphere) = (Source::find("s2scat")?, Sphere::new(8, 1, 0, InputKind::Half)?);
    /// # let target = Compiler::new(&source, &sphere).encoder()?.encode(&random::white(8, 1, 0))?;
    /// # let groups: &[(&[&str], f64)] = &[(&["S1"], 1.0), (&["S2"], 0.25)];
    /// let mut paths = Paths::new(&source, None, &sphere, "l2", groups)?;
    /// paths.set_target(&target)?;
    /// // The mean over all samples is the whole loss.
    /// let x = random::white(8, 2, 0);
    /// let mut mean = 0.0;
    /// for sample in [[true, true], [true, false]] {
    ///     mean += paths.probability(&sample) * paths.value_and_gradient(&x, &sample)?.0;
    /// }
    /// assert!((mean - paths.full(&x)?.0).abs() < 1e-12 * mean);
    /// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
    /// ```
    pub fn value_and_gradient(&mut self, field: &[f64], sample: &[bool]) -> Result<(f64, Vec<f64>), SensitivityError> {
        if sample.len() != self.groups.len() {
            return Err(SensitivityError::Length { name: "sample".into(), expected: self.groups.len(), found: sample.len() });
        }
        let (mut value, mut gradient) = (0.0, vec![0.0; field.len()]);
        for (group, _) in self.groups.iter_mut().zip(sample).filter(|(_, drawn)| **drawn) {
            let (own, slope) = group.loss.value_and_gradient(field)?;
            value += own.iter().sum::<f64>() / group.probability;
            gradient.iter_mut().zip(&slope).for_each(|(g, s)| *g += s / group.probability);
        }
        Ok((value, gradient))
    }

    /// Loss and gradient of all groups.
    ///
    /// ```
    /// # use scatterc::paths::Paths;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let (source, sphere) = (Source::find("s2scat")?, Sphere::new(8, 1, 0, InputKind::Half)?);
    /// # let target = Compiler::new(&source, &sphere).encoder()?.encode(&random::white(8, 1, 0))?;
    /// # let groups: &[(&[&str], f64)] = &[(&["S1"], 1.0), (&["S2"], 0.25)];
    /// let mut paths = Paths::new(&source, None, &sphere, "l2", groups)?;
    /// paths.set_target(&target)?;
    /// let (value, gradient) = paths.full(&random::white(8, 2, 0))?;
    /// assert!(value > 0.0 && gradient.len() == 2 * 8 * 8);
    /// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
    /// ```
    pub fn full(&mut self, field: &[f64]) -> Result<(f64, Vec<f64>), SensitivityError> {
        let (mut value, mut gradient) = (0.0, vec![0.0; field.len()]);
        for group in &mut self.groups {
            let (own, slope) = group.loss.value_and_gradient(field)?;
            value += own.iter().sum::<f64>();
            gradient.iter_mut().zip(&slope).for_each(|(g, s)| *g += s);
        }
        Ok((value, gradient))
    }
}
