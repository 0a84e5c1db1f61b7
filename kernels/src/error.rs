//! The one error type of the crate.

/// What a constructor of this crate can refuse.
///
/// ```
/// use scatterc_kernels::layout::RingLayout;
///
/// assert!(RingLayout::new(0).unwrap_err().to_string().starts_with("`L` must be"));
/// ```
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A parameter is outside its domain.
    #[error("`{name}` must be {expected}, found {found}")]
    Parameter {
        /// The parameter as the caller wrote it.
        name: &'static str,
        /// Its domain.
        expected: String,
        /// The value received.
        found: String,
    },
}

impl KernelError {
    /// A parameter outside its domain, for callers that check what this crate cannot.
    ///
    /// ```
    /// use scatterc_kernels::KernelError;
    ///
    /// let fault = KernelError::from_expectation("L", "at least 1", "0");
    /// assert_eq!(fault.to_string(), "`L` must be at least 1, found 0");
    /// ```
    pub fn from_expectation(name: &'static str, expected: &str, found: &str) -> Self {
        Self::parameter(name, expected, found)
    }

    pub(crate) fn parameter(name: &'static str, expected: impl ToString, found: impl ToString) -> Self {
        Self::Parameter { name, expected: expected.to_string(), found: found.to_string() }
    }
}
