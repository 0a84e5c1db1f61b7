//! Built-in statistics and losses: texts in the project's own notation, and how texts are found.

use crate::Error;
use scatterc_ir::notation::{Checked, CheckedLoss, CheckedStatistic, Filter, Item, Program, check, check_source};
use std::path::Path;

/// Name, file and text of every built-in program.
///
/// ```
/// let (name, text) = scatterc::statistics::BUILT_IN[0];
/// assert!(name == "s2scat" && text.contains("statistic s2scat(x; delta = inf, P[j, g] = 1)"));
/// ```
pub const BUILT_IN: &[(&str, &str)] = &[
    ("s2scat", include_str!("../statistics/s2scat.scat")),
    ("cheng", include_str!("../statistics/cheng.scat")),
    ("cheng_coefficients", include_str!("../statistics/cheng_coefficients.scat")),
    ("cheng_cross", include_str!("../statistics/cheng_cross.scat")),
    ("cheng_harmonic", include_str!("../statistics/cheng_harmonic.scat")),
    ("foscat", include_str!("../statistics/foscat.scat")),
    ("foscat_covariance", include_str!("../statistics/foscat_covariance.scat")),
    ("foscat_covariance_cross", include_str!("../statistics/foscat_covariance_cross.scat")),
    ("foscat_cross", include_str!("../statistics/foscat_cross.scat")),
    ("foscat_median", include_str!("../statistics/foscat_median.scat")),
    ("foscat_oriented", include_str!("../statistics/foscat_oriented.scat")),
    ("foscat_plane", include_str!("../statistics/foscat_plane.scat")),
    ("foscat_plane_cross", include_str!("../statistics/foscat_plane_cross.scat")),
    ("kymatio1d", include_str!("../statistics/kymatio1d.scat")),
    ("kymatio2d", include_str!("../statistics/kymatio2d.scat")),
    ("variances", include_str!("../statistics/variances.scat")),
    ("spectra", include_str!("../statistics/spectra.scat")),
    ("wph", include_str!("../statistics/wph.scat")),
];

/// Text of the built-in filter banks.
///
/// ```
/// assert!(scatterc::statistics::FILTERS.contains("filter morlet {"));
/// ```
pub const FILTERS: &str = include_str!("../statistics/filters.scat");

/// Text of the built-in losses.
///
/// ```
/// assert!(scatterc::statistics::LOSSES.contains("loss l2(S, T) = mean(abs(S - T)^2);"));
/// ```
pub const LOSSES: &str = include_str!("../statistics/losses.scat");

/// Where faults of built-in losses are said to be.
const LOSSES_ORIGIN: &str = "losses";

/// Largest `.scat` file read, in bytes.
const LARGEST_FILE: u64 = 1 << 20;

/// A checked program and its text.
///
/// ```
/// use scatterc::Source;
///
/// let s2scat = Source::find("s2scat")?;
/// assert_eq!(s2scat.statistic(None)?.statistic.fields[0].name, "x");
/// let own = Source::from_text("statistic own(x) { S[j] = mean(abs(wavelet(x, j, 0))); return S; }", "own.scat")?;
/// assert_eq!(own.checked.statistics.len(), 1);
/// // Faults show the line, the token and what would be right.
/// let fault = Source::from_text("statistic own(x) { S[j] = mean(abs(wavlet(x, j, 0))); return S; }", "own.scat").unwrap_err().to_string();
/// assert!(fault.starts_with("error: `wavlet` is not a function") && fault.contains("^^^^^^ did you mean `wavelet`?"));
/// # Ok::<(), scatterc::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Name or path it came from.
    pub origin: String,
    /// Its text.
    pub text: String,
    /// What the checker found.
    pub checked: Checked,
}

impl Source {
    /// A built-in statistic by name, or a file by path. Names win.
    ///
    /// ```
    /// use scatterc::Source;
    ///
    /// assert_eq!(Source::find("cheng")?.origin, "cheng");
    /// let unknown = Source::find("s3scat").unwrap_err().to_string();
    /// assert!(unknown.starts_with("there is no statistic `s3scat`; known: s2scat, cheng"));
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn find(name_or_path: &str) -> Result<Source, Error> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| *name == name_or_path) {
            return Source::from_text(text, name);
        }
        let path = Path::new(name_or_path);
        if path.extension().is_none_or(|e| e != "scat") && !path.exists() {
            let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            return Err(Error::UnknownStatistic { found: name_or_path.into(), known: names.join(", ") });
        }
        let fail = |message: String| Error::Read { path: name_or_path.into(), message };
        let length = std::fs::metadata(path).map_err(|e| fail(e.to_string()))?.len();
        if length > LARGEST_FILE {
            return Err(fail(format!("the file has {length} bytes, a statistic has at most {LARGEST_FILE}")));
        }
        let text = std::fs::read_to_string(path).map_err(|e| fail(e.to_string()))?;
        Source::from_text(&text, name_or_path)
    }

    /// Parses and checks a text.
    ///
    /// ```
    /// use scatterc::Source;
    ///
    /// let source = Source::from_text("statistic own(x) { m = mean(x); return m; }", "own.scat")?;
    /// assert_eq!((source.origin.as_str(), source.checked.statistics.len()), ("own.scat", 1));
    /// assert!(Source::from_text("statistic own(x) { return m; }", "own.scat").unwrap_err().to_string().contains("own.scat:1:"));
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn from_text(text: &str, origin: &str) -> Result<Source, Error> {
        let checked = check_source(text, origin, &scatterc_compiler::vocabulary())
            .map_err(|errors| Error::Notation { rendered: errors.render(text, origin), errors: Box::new(errors) })?;
        Ok(Source { origin: origin.into(), text: text.into(), checked })
    }

    /// A program built by the `scattering!` macro.
    ///
    /// ```
    /// use scatterc::{Source, scattering};
    ///
    /// let source = Source::from_program(&scattering! { statistic level(x) { m = mean(x); return m; } })?;
    /// assert_eq!(source.statistic(None)?.statistic.name.name, "level");
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn from_program(program: &Program) -> Result<Source, Error> {
        let text = program.to_string();
        match check(program, &scatterc_compiler::vocabulary()) {
            Ok(checked) => Ok(Source { origin: "scattering!".into(), text, checked }),
            Err(_) => Source::from_text(&text, "scattering!"),
        }
    }

    /// The statistic of that name, or the only one.
    ///
    /// ```
    /// use scatterc::Source;
    ///
    /// let two = Source::from_text("statistic a(x) { A = mean(x); return A; } statistic b(x) { B = var(x); return B; }", "two.scat")?;
    /// assert_eq!(two.statistic(Some("b"))?.statistic.name.name, "b");
    /// assert!(two.statistic(None).is_err());
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn statistic(&self, name: Option<&str>) -> Result<&CheckedStatistic, Error> {
        let known = || self.checked.statistics.iter().map(|s| s.statistic.name.name.as_str()).collect::<Vec<_>>().join(", ");
        let found = match name {
            Some(name) => self.checked.statistics.iter().find(|s| s.statistic.name.name == name),
            None if self.checked.statistics.len() == 1 => self.checked.statistics.first(),
            // A built-in text may hold relatives of the statistic it is named after.
            None if self.checked.statistics.iter().any(|s| s.statistic.name.name == self.origin) => {
                self.checked.statistics.iter().find(|s| s.statistic.name.name == self.origin)
            }
            None => return Err(Error::UnknownStatistic { found: format!("(one of several in {})", self.origin), known: known() }),
        };
        found.ok_or_else(|| Error::UnknownStatistic { found: name.unwrap_or_default().into(), known: known() })
    }

    /// The same program with fewer outputs: only what they need is computed.
    ///
    /// - `variant`: the `return` whose outputs are chosen from; `None` for the unnamed one
    ///
    /// Error: no such variant, an output that it does not have.
    ///
    /// ```
    /// use scatterc::{Compiler, InputKind, Source, Sphere};
    ///
    /// let first = Source::find("s2scat")?.with_outputs(None, &["S1", "S2"])?;
    /// let bound = Compiler::new(&first, &Sphere::new(8, 1, 0, InputKind::Half)?).bind()?;
    /// assert_eq!(bound.outputs.iter().map(|output| output.name.as_str()).collect::<Vec<_>>(), ["S1", "S2"]);
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn with_outputs(&self, variant: Option<&str>, names: &[&str]) -> Result<Source, Error> {
        let own = self.statistic(None)?.statistic.name.name.clone();
        let mut program = scatterc_ir::notation::parse(&self.text, &self.origin).map_err(|error| Error::Option {
            name: format!("the text of {}", self.origin),
            expected: "a program".into(),
            found: error.to_string(),
        })?;
        for item in &mut program.items {
            let Item::Statistic(statistic) = item else { continue };
            if statistic.name.name != own {
                continue;
            }
            let known = statistic.returns.iter().filter_map(|r| r.variant.as_ref()).map(|v| v.name.clone()).collect::<Vec<_>>().join(", ");
            let choice = statistic.returns.iter_mut().find(|r| r.variant.as_ref().map(|v| v.name.as_str()) == variant);
            let Some(choice) = choice else {
                let found = variant.unwrap_or("none").to_string();
                return Err(Error::Option { name: format!("variant of `{own}`"), expected: format!("one of [{known}]"), found });
            };
            let known = choice.outputs.iter().map(|o| o.name.name.clone()).collect::<Vec<_>>().join(", ");
            if let Some(found) = names.iter().find(|name| !choice.outputs.iter().any(|o| o.name.name == **name)) {
                return Err(Error::Option { name: format!("output of `{own}`"), expected: format!("one of [{known}]"), found: found.to_string() });
            }
            if names.is_empty() {
                return Err(Error::Option { name: format!("outputs of `{own}`"), expected: format!("some of [{known}]"), found: "none".into() });
            }
            choice.outputs.retain(|o| names.contains(&o.name.name.as_str()));
        }
        Source::from_text(&program.to_string(), &self.origin)
    }

    /// A filter bank of this program or a built-in one.
    ///
    /// ```
    /// use scatterc::Source;
    ///
    /// assert_eq!(Source::find("cheng")?.filter("morlet")?.name.name, "morlet");
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn filter(&self, name: &str) -> Result<Filter, Error> {
        let built_in = Source::from_text(FILTERS, "filters")?.checked.filters;
        let mut all = self.checked.filters.iter().chain(&built_in);
        let known = all.clone().map(|f| f.name.name.as_str()).collect::<Vec<_>>().join(", ");
        all.find(|f| f.name.name == name).cloned().ok_or(Error::UnknownFilter { found: name.into(), known })
    }

    /// A loss of this program or a built-in one.
    ///
    /// ```
    /// use scatterc::Source;
    ///
    /// let source = Source::from_text("statistic s(x) { m = mean(x); return m; } loss l1(S, T) = mean(abs(S - T));", "own.scat")?;
    /// assert_eq!(source.loss("l1")?.loss.to_string(), "loss l1(S, T) = mean(abs(S - T));\n");
    /// // Built-in losses are found from every text.
    /// assert_eq!(source.loss("chi2")?.loss.name.name, "chi2");
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn loss(&self, name: &str) -> Result<CheckedLoss, Error> {
        let built_in = Source::from_text(LOSSES, LOSSES_ORIGIN)?.checked.losses;
        let mut all = self.checked.losses.iter().chain(&built_in);
        let known = all.clone().map(|l| l.loss.name.name.as_str()).collect::<Vec<_>>().join(", ");
        all.find(|l| l.loss.name.name == name).cloned().ok_or(Error::UnknownLoss { found: name.into(), known })
    }

    /// The text that declares a loss, and where that comes from.
    pub(crate) fn loss_text(&self, name: &str) -> (&str, &str) {
        if self.checked.losses.iter().any(|l| l.loss.name.name == name) { (&self.text, &self.origin) } else { (LOSSES, LOSSES_ORIGIN) }
    }
}
