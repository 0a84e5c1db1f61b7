//! Loop nest -> text; leaves. A backend adds one file here and one in the runtime.

pub mod clif;
pub mod cuda;
