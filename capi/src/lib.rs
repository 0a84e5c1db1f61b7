//! The shared library of an exported statistic: the plan at the end of its own file behind six C functions.
//!
//! ```text
//! libNAME.so = this library | plan        NAME.h = declarations, sizes, and NAME_open, NAME_run, .. in terms of the functions below
//! ```
//!
//! `scatterc export` makes both files. Every function catches panics; a program is locked while it runs, so that it may be shared between threads, and calls of several
//! threads on one program wait for each other. Programs of their own run side by side.
#![allow(non_snake_case)]

use scatterc_ir::plan::Port;
use scatterc_runtime::{Cache, Executable, Options, bundle};
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// Nothing is wrong.
///
/// ```
/// assert_eq!(scatterc_capi::OK, 0);
/// ```
pub const OK: c_int = 0;
/// An argument is null, out of range or of the wrong length.
///
/// ```
/// # use scatterc_capi::*;
/// # use std::ffi::CStr;
/// # use std::ptr::{null, null_mut};
/// let mut program = null_mut();
/// // SAFETY: `program` may be written.
/// assert_eq!(unsafe { scatterc_open(null(), -1, &mut program) }, ARGUMENT, "a negative number of threads");
/// ```
pub const ARGUMENT: c_int = 1;
/// The library holds no plan, a damaged one, or not the one of the header.
///
/// ```
/// # use scatterc_capi::*;
/// # use std::ffi::CStr;
/// # use std::ptr::{null, null_mut};
/// let mut program = null_mut();
/// // SAFETY: `program` may be written.
/// assert_eq!(unsafe { scatterc_open(null(), 1, &mut program) }, LIBRARY, "this example carries no plan");
/// ```
pub const LIBRARY: c_int = 2;
/// The plan cannot be loaded.
///
/// ```
/// assert_eq!(scatterc_capi::LOAD, 3);
/// ```
pub const LOAD: c_int = 3;
/// The run failed.
///
/// ```
/// assert_eq!(scatterc_capi::RUN, 4);
/// ```
pub const RUN: c_int = 4;
/// A fault of the library itself.
///
/// ```
/// assert_eq!(scatterc_capi::INTERNAL, 5);
/// ```
pub const INTERNAL: c_int = 5;

/// A loaded plan.
///
/// ```
/// # use scatterc_capi::*;
/// # use std::ffi::CStr;
/// # use std::ptr::{null, null_mut};
/// // C sees a pointer only, null until a library was opened.
/// let mut program: *mut Program = null_mut();
/// // SAFETY: `program` may be written.
/// assert!(unsafe { scatterc_open(null(), 1, &mut program) } != OK && program.is_null());
/// ```
pub struct Program {
    executable: Mutex<Executable>,
    inputs: Vec<(CString, usize)>,
    outputs: Vec<(CString, usize)>,
}

thread_local! {
    static MESSAGE: RefCell<CString> = RefCell::default();
}

/// Error code and message.
type Fault = (c_int, String);

fn fault<T>(code: c_int, message: impl ToString) -> Result<T, Fault> {
    Err((code, message.to_string()))
}

/// Keeps the message for [`scatterc_message`] and returns the code; nothing unwinds into C.
fn guarded(work: impl FnOnce() -> Result<(), Fault>) -> c_int {
    let (code, message) = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => (OK, String::new()),
        Ok(Err(fault)) => fault,
        Err(_) => (INTERNAL, "a fault of the library itself; the program may no longer be used".to_string()),
    };
    let message = CString::new(message.replace('\0', " ")).unwrap_or_default();
    MESSAGE.with(|own| *own.borrow_mut() = message);
    code
}

/// The file this library was loaded from.
#[cfg(unix)]
fn own_path() -> Result<PathBuf, Fault> {
    use std::os::unix::ffi::OsStrExt;
    let mut info =
        libc::Dl_info { dli_fname: std::ptr::null(), dli_fbase: std::ptr::null_mut(), dli_sname: std::ptr::null(), dli_saddr: std::ptr::null_mut() };
    let address = own_path as fn() -> Result<PathBuf, Fault> as *const c_void;
    // SAFETY: `dladdr` reads the address and fills the structure, which outlives the call.
    let found = unsafe { libc::dladdr(address, &mut info) };
    if found == 0 || info.dli_fname.is_null() {
        return fault(LIBRARY, "the library cannot find its own file");
    }
    // SAFETY: `dladdr` succeeded, so the name is a text that lives as long as the library is loaded.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    Ok(PathBuf::from(std::ffi::OsStr::from_bytes(name.to_bytes())))
}

/// Elsewhere the file is not known.
#[cfg(not(unix))]
fn own_path() -> Result<PathBuf, Fault> {
    fault(LIBRARY, "exported libraries exist on Unix only")
}

fn open(checksum: Option<&CStr>, threads: c_int) -> Result<Program, Fault> {
    let Ok(threads) = usize::try_from(threads) else {
        return fault(ARGUMENT, format!("threads: expected 0 (all cores) or more, found {threads}"));
    };
    let path = own_path()?;
    let (plan, text) = bundle::read(&path).map_err(|e| (LIBRARY, e.to_string()))?;
    let own = bundle::checksum(&text);
    if let Some(expected) = checksum.map(CStr::to_bytes)
        && expected != own.as_bytes()
    {
        return fault(
            LIBRARY,
            format!(
                "{}: expected the plan {}, found {own}: the header belongs to another export, or two exported libraries are linked into one program; open all but one with dlopen(.., RTLD_LOCAL)",
                path.display(),
                String::from_utf8_lossy(expected)
            ),
        );
    }
    // Nothing is left on disk by a library that somebody else installed.
    let options = Options { threads, cache: Some(Arc::new(Cache::in_memory())), ..Options::default() };
    let executable = Executable::load(&plan, &options).map_err(|e| (LOAD, e.to_string()))?;
    let ports = |ports: &[Port]| ports.iter().map(|p| (CString::new(p.name.as_str()).unwrap_or_default(), p.ty.len())).collect();
    Ok(Program { inputs: ports(executable.inputs()), outputs: ports(executable.outputs()), executable: Mutex::new(executable) })
}

/// Loads the plan of this library.
///
/// - `checksum`: the plan that the header was written for; null for any
/// - `threads`: 0 for all cores
///
/// # Safety
///
/// `checksum` is null or ends with a zero; `out` is null or may be written.
///
/// ```
/// # use scatterc_capi::*;
/// # use std::ffi::CStr;
/// # use std::ptr::{null, null_mut};
/// let mut program = null_mut();
/// // SAFETY: `program` may be written, the message is a text.
/// let (code, message) = unsafe { (scatterc_open(null(), 1, &mut program), CStr::from_ptr(scatterc_message())) };
/// assert!(code == LIBRARY && message.to_string_lossy().contains("expected a plan at the end"));
/// ```
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scatterc_open(checksum: *const c_char, threads: c_int, out: *mut *mut Program) -> c_int {
    guarded(|| {
        if out.is_null() {
            return fault(ARGUMENT, "the place of the program is null");
        }
        // SAFETY: the caller gives a text or null, and `out` is not null.
        let checksum = unsafe {
            *out = std::ptr::null_mut();
            (!checksum.is_null()).then(|| CStr::from_ptr(checksum))
        };
        let program = Box::into_raw(Box::new(open(checksum, threads)?));
        // SAFETY: as above.
        unsafe { *out = program };
        Ok(())
    })
}

/// Frees a program; null is allowed.
///
/// # Safety
///
/// `program` came from [`scatterc_open`], is closed once and not used afterwards.
///
/// ```
/// # use scatterc_capi::*;
/// # use std::ffi::CStr;
/// # use std::ptr::{null, null_mut};
/// // SAFETY: null is allowed.
/// unsafe { scatterc_close(null_mut()) };
/// ```
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scatterc_close(program: *mut Program) {
    guarded(|| {
        if !program.is_null() {
            // SAFETY: the program came from `Box::into_raw` and is closed once, as the caller promises.
            drop(unsafe { Box::from_raw(program) });
        }
        Ok(())
    });
}

/// What went wrong in the last call of this thread; empty after success. Valid until the next call of this thread.
///
/// ```
/// # use scatterc_capi::*;
/// # use std::ffi::CStr;
/// # use std::ptr::{null, null_mut};
/// // SAFETY: the message is a text.
/// assert!(unsafe { CStr::from_ptr(scatterc_message()) }.is_empty(), "nothing went wrong yet");
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn scatterc_message() -> *const c_char {
    MESSAGE.with(|own| own.borrow().as_ptr())
}

/// Number of inputs, or of outputs where `outputs` is not 0; -1 for a null program.
///
/// # Safety
///
/// `program` is null or open.
///
/// ```
/// # use scatterc_capi::*;
/// # use std::ffi::CStr;
/// # use std::ptr::{null, null_mut};
/// // SAFETY: null is allowed.
/// assert_eq!(unsafe { scatterc_count(null(), 0) }, -1);
/// ```
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scatterc_count(program: *const Program, outputs: c_int) -> c_int {
    // SAFETY: the caller gives null or an open program, whose lists never change.
    let Some(program) = (unsafe { program.as_ref() }) else { return -1 };
    let ports = if outputs != 0 { &program.outputs } else { &program.inputs };
    c_int::try_from(ports.len()).unwrap_or(c_int::MAX)
}

/// Name of an input or output and its number of doubles; null and 0 where there is none. The name lives as long as the program.
///
/// # Safety
///
/// `program` is null or open; `length` is null or may be written.
///
/// ```
/// # use scatterc_capi::*;
/// # use std::ffi::CStr;
/// # use std::ptr::{null, null_mut};
/// let mut length = 7;
/// // SAFETY: null is allowed, `length` may be written.
/// assert!(unsafe { scatterc_port(null(), 0, 0, &mut length) }.is_null() && length == 0);
/// ```
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scatterc_port(program: *const Program, outputs: c_int, index: c_int, length: *mut usize) -> *const c_char {
    // SAFETY: the caller gives null or an open program, whose lists never change.
    let program = unsafe { program.as_ref() };
    let port = program.and_then(|p| if outputs != 0 { &p.outputs } else { &p.inputs }.get(usize::try_from(index).ok()?));
    if !length.is_null() {
        // SAFETY: not null, and the caller lets it be written.
        unsafe { *length = port.map_or(0, |p| p.1) };
    }
    port.map_or(std::ptr::null(), |p| p.0.as_ptr())
}

fn check(
    what: &str,
    ports: &[(CString, usize)],
    count: c_int,
    arrays_null: bool,
    length: impl Fn(usize) -> usize,
    null: impl Fn(usize) -> bool,
) -> Result<(), Fault> {
    if usize::try_from(count) != Ok(ports.len()) {
        return fault(ARGUMENT, format!("expected {} {what}s, found {count}", ports.len()));
    }
    if arrays_null && !ports.is_empty() {
        return fault(ARGUMENT, format!("the list of {what}s or of their lengths is null"));
    }
    for (k, (name, expected)) in ports.iter().enumerate() {
        let name = name.to_string_lossy();
        if length(k) != *expected {
            return fault(ARGUMENT, format!("{what} `{name}`: expected {expected} doubles, found {}", length(k)));
        }
        if null(k) {
            return fault(ARGUMENT, format!("{what} `{name}` is null"));
        }
    }
    Ok(())
}

/// Runs the plan. Arrays are in the order of [`scatterc_port`], complex numbers as (re, im) pairs; outputs are written only when the run succeeds, and may not overlap each other.
///
/// # Safety
///
/// `program` is null or open; every list has as many entries as its count says, every array as many doubles as its length says; outputs overlap nothing.
///
/// ```
/// # use scatterc_capi::*;
/// # use std::ffi::CStr;
/// # use std::ptr::{null, null_mut};
/// // SAFETY: null is allowed.
/// assert_eq!(unsafe { scatterc_run(null(), null(), null(), 0, null(), null(), 0) }, ARGUMENT);
/// ```
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scatterc_run(
    program: *const Program,
    inputs: *const *const f64,
    input_lengths: *const usize,
    input_count: c_int,
    outputs: *const *mut f64,
    output_lengths: *const usize,
    output_count: c_int,
) -> c_int {
    guarded(|| {
        // SAFETY: the caller gives null or an open program.
        let Some(program) = (unsafe { program.as_ref() }) else { return fault(ARGUMENT, "the program is null") };
        // SAFETY: `check` asks only for entries below the count, which it compares with the list first.
        let (given, wanted) = unsafe {
            let (i, il) = (input_lengths, inputs);
            check("input", &program.inputs, input_count, i.is_null() || il.is_null(), |k| *i.add(k), |k| (*il.add(k)).is_null())?;
            let (o, ol) = (output_lengths, outputs);
            check("output", &program.outputs, output_count, o.is_null() || ol.is_null(), |k| *o.add(k), |k| (*ol.add(k)).is_null())?;
            let given: Vec<&[f64]> = program.inputs.iter().enumerate().map(|(k, p)| std::slice::from_raw_parts(*inputs.add(k), p.1)).collect();
            let wanted: Vec<&mut [f64]> =
                program.outputs.iter().enumerate().map(|(k, p)| std::slice::from_raw_parts_mut(*outputs.add(k), p.1)).collect();
            (given, wanted)
        };
        let Ok(mut executable) = program.executable.lock() else {
            return fault(INTERNAL, "an earlier call failed inside the library; the program may no longer be used");
        };
        let name = |ports: &[(CString, usize)]| ports.iter().map(|p| p.0.to_string_lossy().into_owned()).collect::<Vec<_>>();
        let (input_names, output_names) = (name(&program.inputs), name(&program.outputs));
        let given: Vec<(&str, &[f64])> = input_names.iter().map(String::as_str).zip(given).collect();
        let mut wanted: Vec<(&str, &mut [f64])> = output_names.iter().map(String::as_str).zip(wanted).collect();
        executable.run_into(&given, &mut wanted).map_err(|e| (RUN, e.to_string()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_unwinds_and_null_is_refused() {
        let mut program = std::ptr::null_mut();
        // SAFETY: null pointers are what is tested; `program` may be written.
        unsafe {
            // The test itself is no exported library.
            assert_eq!(scatterc_open(std::ptr::null(), 1, &mut program), LIBRARY);
            assert!(program.is_null() && CStr::from_ptr(scatterc_message()).to_string_lossy().contains("expected a plan at the end"));
            assert_eq!(scatterc_open(std::ptr::null(), -1, &mut program), ARGUMENT);
            assert_eq!(scatterc_open(std::ptr::null(), 1, std::ptr::null_mut()), ARGUMENT);
            assert_eq!(scatterc_run(std::ptr::null(), std::ptr::null(), std::ptr::null(), 0, std::ptr::null(), std::ptr::null(), 0), ARGUMENT);
            assert_eq!(scatterc_count(std::ptr::null(), 0), -1);
            assert!(scatterc_port(std::ptr::null(), 0, 0, std::ptr::null_mut()).is_null());
            scatterc_close(std::ptr::null_mut());
        }
        assert_eq!(guarded(|| panic!("inside")), INTERNAL);
    }
}
