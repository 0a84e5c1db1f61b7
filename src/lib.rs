//! scatterc
