//! Kernel text (CLIF) to machine code of the host: parse, check, compile. Nothing else may hold a pointer to generated code.
//!
//! Kernel text may come from an edited file, so it is checked before it is compiled: one function of the loop signature, only the instructions of [`ALLOWED`],
//! no stack slots, no globals, and calls only to the six functions of [`IMPORTS`], written `u0:0` .. `u0:5`. Every load and store is proven to stay inside the arrays of every step
//! that runs the kernel, and its loop to end (`bounds.rs`). Cranelift's own verifier runs on top.
//!
//! A kernel with a reduction and a written stream, two elements at a time, `sums[0] = sum_e x[e] w[e]`, `y[e] = |x[e]|`:
//!
//! ```text
//! function u0:0(i64, i64, i64, i64, i64) system_v {
//! block0(v0: i64, v1: i64, v2: i64, v3: i64, v4: i64):  ; streams, tables, sums, begin, end
//!     v10 = load.i64 notrap aligned v0                  ; x
//!     v11 = load.i64 notrap aligned v0+8                ; y
//!     v12 = load.i64 notrap aligned v1                  ; w
//!     v13 = f64const 0.0
//!     v14 = splat.f64x2 v13
//!     v15 = iconst.i64 3
//!     v16 = iconst.i64 2
//!     jump block1(v3, v14)
//!
//! block1(v20: i64, v21: f64x2):
//!     v22 = icmp ult v20, v4
//!     brif v22, block2, block3
//!
//! block2:
//!     v30 = ishl v20, v15
//!     v31 = iadd v10, v30
//!     v32 = iadd v11, v30
//!     v33 = iadd v12, v30
//!     v34 = load.f64x2 notrap v31
//!     v35 = load.f64x2 notrap v33
//!     v36 = fabs v34
//!     v37 = fma v34, v35, v21
//!     store notrap v36, v32
//!     v38 = iadd v20, v16
//!     jump block1(v38, v37)
//!
//! block3:
//!     v40 = extractlane v21, 0
//!     v41 = extractlane v21, 1
//!     v42 = fadd v40, v41
//!     store notrap aligned v42, v2
//!     return
//! }
//! ```

use crate::LoadError;
use crate::bounds::{Footprint, footprint};
use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{ArgumentPurpose, ExternalName, FuncRef, Function, InstructionData, Signature, types};
use cranelift_codegen::isa::{CallConv, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{Linkage, Module, default_libcall_names};
use scatterc_ir::plan::Kernel;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A compiled kernel: (streams, tables, sums, begin, end).
///
/// # Safety
///
/// The caller passes pointers to as many streams, tables and sums as the kernel text uses, each long enough for elements `begin..end`.
pub(crate) type Entry<T = f64> = unsafe extern "C" fn(*const *mut T, *const *const T, *mut T, i64, i64);

/// Names and arities of the functions a kernel may call, in the order of their numbers `u0:K`.
pub const IMPORTS: [(&str, usize); 6] = [("exp", 1), ("log", 1), ("sin", 1), ("cos", 1), ("pow", 2), ("atan2", 2)];

/// Instructions a kernel may use.
pub const ALLOWED: &[&str] = &[
    "jump",
    "brif",
    "return",
    "call",
    "load",
    "store",
    "iconst",
    "f64const",
    "f32const",
    "fpromote",
    "fdemote",
    "vconst",
    "iadd",
    "isub",
    "imul",
    "ineg",
    "ishl",
    "ushr",
    "sshr",
    "band",
    "bor",
    "bxor",
    "bnot",
    "band_not",
    "umin",
    "umax",
    "smin",
    "smax",
    "icmp",
    "select",
    "bitselect",
    "bitcast",
    "fadd",
    "fsub",
    "fmul",
    "fdiv",
    "fma",
    "fneg",
    "fabs",
    "sqrt",
    "fmin",
    "fmax",
    "fcmp",
    "fcopysign",
    "ceil",
    "floor",
    "trunc",
    "nearest",
    "splat",
    "extractlane",
    "insertlane",
    "scalar_to_vector",
    "shuffle",
    "swizzle",
    "x86_blendv",
    "fcvt_from_sint",
    "fcvt_from_uint",
    "fcvt_to_sint_sat",
    "fcvt_to_uint_sat",
    "uextend",
    "sextend",
    "ireduce",
    "nop",
];

/// Most characters of one kernel's text; far above what the compiler writes (5 000 instructions are about 200 000).
const LONGEST_TEXT: usize = 1 << 24;

extern "C" fn exp(x: f64) -> f64 {
    x.exp()
}
extern "C" fn log(x: f64) -> f64 {
    x.ln()
}
extern "C" fn sin(x: f64) -> f64 {
    x.sin()
}
extern "C" fn cos(x: f64) -> f64 {
    x.cos()
}
extern "C" fn pow(x: f64, y: f64) -> f64 {
    x.powf(y)
}
extern "C" fn atan2(y: f64, x: f64) -> f64 {
    y.atan2(x)
}
extern "C" fn fma(a: f64, b: f64, c: f64) -> f64 {
    a.mul_add(b, c)
}
extern "C" fn fmaf(a: f32, b: f32, c: f32) -> f32 {
    a.mul_add(b, c)
}
extern "C" fn ceil(x: f64) -> f64 {
    x.ceil()
}
extern "C" fn floor(x: f64) -> f64 {
    x.floor()
}
extern "C" fn trunc(x: f64) -> f64 {
    x.trunc()
}
extern "C" fn nearbyint(x: f64) -> f64 {
    x.round_ties_even()
}

/// Machine code of a plan's kernels; freed when dropped.
pub(crate) struct Code<T = f64> {
    module: Option<JITModule>,
    entries: Vec<Entry<T>>,
}

impl<T> Code<T> {
    /// Parses, checks and compiles every kernel; equal texts are compiled once. Nothing is compiled before `fits` has seen what each kernel touches.
    pub(crate) fn compile(kernels: &[Kernel], fits: &dyn Fn(&[Arc<Footprint>]) -> Result<(), LoadError>) -> Result<Code<T>, LoadError> {
        if kernels.is_empty() {
            return Ok(Code { module: None, entries: vec![] });
        }
        let mut module = module()?;
        let call_conv = module.isa().default_call_conv();
        for (name, arity) in IMPORTS {
            let signature = import_signature(arity, call_conv);
            module.declare_function(name, Linkage::Import, &signature).map_err(|e| failed(e.to_string()))?;
        }
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut functions: Vec<(&Kernel, Function)> = vec![];
        let mut footprints: Vec<Arc<Footprint>> = vec![];
        let mut which: Vec<usize> = Vec::with_capacity(kernels.len());
        for kernel in kernels {
            let k = *places.entry(kernel.text.as_str()).or_insert(functions.len());
            if k == functions.len() {
                guarded(kernel, &mut || {
                    let function = check(kernel, call_conv)?;
                    footprints.push(Arc::new(footprint(&function).map_err(|message| fault(kernel, 0, message))?));
                    functions.push((kernel, function));
                    Ok(())
                })?;
            }
            which.push(k);
        }
        fits(&which.iter().map(|k| footprints[*k].clone()).collect::<Vec<_>>())?;
        let mut ids = Vec::with_capacity(functions.len());
        for (k, (kernel, function)) in functions.into_iter().enumerate() {
            let mut context = Context::for_function(function);
            guarded(kernel, &mut || {
                let id = module
                    .declare_function(&format!("kernel{k}"), Linkage::Local, &context.func.signature)
                    .map_err(|e| fault(kernel, 0, e.to_string()))?;
                module.define_function(id, &mut context).map_err(|e| fault(kernel, 0, describe(e)))?;
                ids.push(id);
                Ok(())
            })?;
        }
        let ids: Vec<_> = which.iter().map(|k| ids[*k]).collect();
        module.finalize_definitions().map_err(|e| failed(e.to_string()))?;
        let entries = ids
            .iter()
            .map(|id| {
                let code = module.get_finalized_function(*id);
                // SAFETY: `check` made the signature of the generated function the one of `Entry`, in the host's default calling convention, which is that of
                // `extern "C"`; the code lives as long as the module, which `Code` owns.
                unsafe { std::mem::transmute::<*const u8, Entry<T>>(code) }
            })
            .collect();
        Ok(Code { module: Some(module), entries })
    }

    /// Entry point of kernel `k`.
    pub(crate) fn entry(&self, k: usize) -> Entry<T> {
        self.entries[k]
    }
}

impl<T> Drop for Code<T> {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: entries are only called through the executable that owns this value, and it is being dropped.
            unsafe { module.free_memory() };
        }
    }
}

/// The code of kernels for this processor as assembler text of the code generator, a heading for each; the kernels are checked as they are when a plan is loaded.
///
/// Errors: text that is no kernel, and processors that the code generator does not know.
///
/// ```
/// let kernel = scatterc_ir::plan::Kernel {
///     name: "k0".into(),
///     summary: "nothing".into(),
///     text: "function u0:0(i64, i64, i64, i64, i64) system_v {
///     block0(v0: i64, v1: i64, v2: i64, v3: i64, v4: i64):
///         return
///     }"
///     .into(),
/// };
/// let text = scatterc_runtime::assembly(&[kernel])?;
/// assert!(text.starts_with("; k0: nothing") && text.contains("ret"));
/// # Ok::<(), scatterc_runtime::LoadError>(())
/// ```
pub fn assembly(kernels: &[Kernel]) -> Result<String, LoadError> {
    let isa = host()?;
    let mut texts = Vec::with_capacity(kernels.len());
    for kernel in kernels {
        guarded(kernel, &mut || {
            let mut context = Context::for_function(check(kernel, isa.default_call_conv())?);
            context.set_disasm(true);
            let code = context.compile(isa.as_ref(), &mut ControlPlane::default()).map_err(|e| fault(kernel, 0, e.inner.to_string()))?;
            let text = code.vcode.as_deref().unwrap_or_default();
            texts.push(format!("; {}: {}\n{}\n", kernel.name, kernel.summary, text.trim_end()));
            Ok(())
        })?;
    }
    Ok(texts.join("\n"))
}

fn fault(kernel: &Kernel, line: usize, message: String) -> LoadError {
    LoadError::Kernel { kernel: kernel.name.clone(), line, message }
}

/// The text is untrusted: a panic inside the reader or the code generator becomes an error of this kernel.
fn guarded(kernel: &Kernel, body: &mut dyn FnMut() -> Result<(), LoadError>) -> Result<(), LoadError> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| Err(fault(kernel, 0, "the code generator failed on this text".into())))
}

fn failed(message: String) -> LoadError {
    LoadError::Code { message }
}

/// The code generator for the host.
fn host() -> Result<OwnedTargetIsa, LoadError> {
    let mut flags = settings::builder();
    for (name, value) in [
        ("opt_level", "speed"),
        ("enable_verifier", "true"),
        ("is_pic", "false"),
        ("use_colocated_libcalls", "false"),
        // Kernels are leaves with small frames; inline probes need no library routine.
        ("enable_probestack", "true"),
        ("probestack_strategy", "inline"),
    ] {
        flags.set(name, value).map_err(|e| failed(e.to_string()))?;
    }
    cranelift_native::builder()
        .map_err(|e| failed(format!("this machine is not supported: {e}")))?
        .finish(settings::Flags::new(flags))
        .map_err(|e| failed(e.to_string()))
}

/// An empty module for the host with the imports' addresses registered.
fn module() -> Result<JITModule, LoadError> {
    let mut builder = JITBuilder::with_isa(host()?, default_libcall_names());
    let symbols: [(&str, *const u8); 12] = [
        ("exp", exp as *const u8),
        ("log", log as *const u8),
        ("sin", sin as *const u8),
        ("cos", cos as *const u8),
        ("pow", pow as *const u8),
        ("atan2", atan2 as *const u8),
        // Library calls of the code generator on machines without these instructions.
        ("fma", fma as *const u8),
        ("fmaf", fmaf as *const u8),
        ("ceil", ceil as *const u8),
        ("floor", floor as *const u8),
        ("trunc", trunc as *const u8),
        ("nearbyint", nearbyint as *const u8),
    ];
    builder.symbols(symbols);
    Ok(JITModule::new(builder))
}

/// Signature of an import of that many arguments.
fn import_signature(arity: usize, call_conv: CallConv) -> Signature {
    let mut signature = Signature::new(call_conv);
    signature.params.extend((0..arity).map(|_| cranelift_codegen::ir::AbiParam::new(types::F64)));
    signature.returns.push(cranelift_codegen::ir::AbiParam::new(types::F64));
    signature
}

/// The first name such as `v999999999` whose number is larger than any that the text has room to count up to, with its line. The reader makes everything below a number that it meets.
fn far_name(text: &str) -> Option<(usize, &str)> {
    let far = |name: &&str| {
        let digits = name.trim_start_matches(|c: char| c.is_ascii_alphabetic());
        let number = !digits.is_empty() && digits.len() < name.len() && digits.bytes().all(|b| b.is_ascii_digit());
        number && digits.parse::<usize>().map_or(true, |n| n >= text.len())
    };
    text.lines().enumerate().find_map(|(k, line)| {
        let code = line.split(';').next().unwrap_or_default();
        // Numbers start with a digit and may hold points and letters; names end at a point.
        let words = code.split(|c: char| !c.is_ascii_alphanumeric() && c != '.');
        words.filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic())).flat_map(|word| word.split('.')).find(far).map(|name| (k + 1, name))
    })
}

/// Parses one kernel and refuses what a fused loop does not need.
fn check(kernel: &Kernel, call_conv: CallConv) -> Result<Function, LoadError> {
    let fault = |line: usize, message: String| fault(kernel, line, message);
    if kernel.text.len() > LONGEST_TEXT {
        return Err(fault(0, format!("the text has {} characters, expected at most {LONGEST_TEXT}", kernel.text.len())));
    }
    // Only functions: the reader would also take test commands, targets and features.
    let first = kernel.text.lines().map(str::trim).enumerate().find(|(_, line)| !line.is_empty() && !line.starts_with(';'));
    match first {
        Some((_, line)) if line.starts_with("function") => {}
        Some((k, line)) => return Err(fault(k + 1, format!("expected `function`, found `{}`", line.chars().take(40).collect::<String>()))),
        None => return Err(fault(0, "the kernel has no text".into())),
    }
    if let Some((line, name)) = far_name(&kernel.text) {
        return Err(fault(
            line,
            format!(
                "expected numbers of values, blocks, signatures and functions below {}, the length of the text, found `{name}`",
                kernel.text.len()
            ),
        ));
    }
    let mut functions = cranelift_reader::parse_functions(&kernel.text).map_err(|e| fault(e.location.line_number, e.message))?;
    let (Some(mut function), true) = (functions.pop(), functions.is_empty()) else {
        return Err(fault(0, "expected exactly one function".into()));
    };
    let plain = |params: &[cranelift_codegen::ir::AbiParam], ty| params.iter().all(|p| p.value_type == ty && p.purpose == ArgumentPurpose::Normal);
    let signature = &function.signature;
    if signature.params.len() != 5 || !plain(&signature.params, types::I64) || !signature.returns.is_empty() {
        return Err(fault(0, format!("expected the signature (i64, i64, i64, i64, i64), found {signature}")));
    }
    if !function.sized_stack_slots.is_empty() || !function.dynamic_stack_slots.is_empty() || !function.global_values.is_empty() {
        return Err(fault(0, "stack slots and globals are not allowed".into()));
    }
    let names = function.params.user_named_funcs();
    let callee = |reference: FuncRef| {
        let data = &function.dfg.ext_funcs[reference];
        let known = match &data.name {
            ExternalName::User(name) => names.get(*name).filter(|name| name.namespace == 0).and_then(|name| IMPORTS.get(name.index as usize)),
            _ => None,
        };
        let Some((name, arity)) = known else {
            return Err(fault(0, format!("{reference} is no function a kernel may call; expected u0:0 to u0:5")));
        };
        let given = &function.dfg.signatures[data.signature];
        if given.params.len() != *arity || !plain(&given.params, types::F64) || given.returns.len() != 1 || !plain(&given.returns, types::F64) {
            return Err(fault(0, format!("`{name}` takes {arity} f64 and returns one, found {given}")));
        }
        Ok(())
    };
    for (reference, data) in &function.dfg.ext_funcs {
        // The reader fills the numbers that a text skips with nameless placeholders; calls to those are refused below.
        if data.name != ExternalName::testcase([]) {
            callee(reference)?;
        }
    }
    for block in function.layout.blocks() {
        for inst in function.layout.block_insts(block) {
            let data = &function.dfg.insts[inst];
            let opcode = data.opcode().to_string();
            if !ALLOWED.contains(&opcode.as_str()) {
                return Err(fault(0, format!("the instruction `{opcode}` is not allowed in a kernel")));
            }
            if let InstructionData::Call { func_ref, .. } = data {
                callee(*func_ref)?;
            }
        }
    }
    // The text says `system_v`; the host may call its C functions in another way.
    function.signature.call_conv = call_conv;
    for signature in function.dfg.signatures.values_mut() {
        signature.call_conv = call_conv;
    }
    Ok(function)
}

/// The code generator's message, with the verifier's list where there is one.
fn describe(error: cranelift_module::ModuleError) -> String {
    match error {
        cranelift_module::ModuleError::Compilation(cranelift_codegen::CodegenError::Verifier(errors)) => {
            let list: Vec<String> = errors.0.iter().map(|e| format!("{}: {}", e.location, e.message)).collect();
            list.join("; ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const EXAMPLE: &str = include_str!("../tests/kernels/example.clif");

    fn kernel(clif: &str) -> Kernel {
        Kernel { name: "k".into(), summary: String::new(), text: clif.into() }
    }

    fn refused(clif: &str, part: &str) {
        match Code::<f64>::compile(&[kernel(clif)], &|_| Ok(())) {
            Ok(_) => panic!("accepted:\n{clif}"),
            Err(error) => assert!(error.to_string().contains(part), "{error} does not contain {part}"),
        }
    }

    #[test]
    fn example_computes_sums_and_streams() {
        let code = Code::<f64>::compile(&[kernel(EXAMPLE), kernel(EXAMPLE)], &|_| Ok(())).expect("the example compiles");
        let n = 10;
        let mut x: Vec<f64> = (0..n).map(|k| (k as f64 * 0.7).sin() * 3.0).collect();
        x[3] = 0.0;
        let w: Vec<f64> = (0..n).map(|k| 1.0 + k as f64).collect();
        let (mut y, mut z, mut sums) = (vec![9.0; n], vec![9.0; n], [7.0; 2]);
        let input = x.clone();
        let streams = [x.as_mut_ptr(), y.as_mut_ptr(), z.as_mut_ptr()];
        let tables = [w.as_ptr()];
        // SAFETY: the example uses three streams and one table of n elements and two sums.
        unsafe { code.entry(1)(streams.as_ptr(), tables.as_ptr(), sums.as_mut_ptr(), 0, n as i64) };
        let (mut s0, mut s1) = (0.0, 0.0);
        for k in 0..n {
            let sign = if input[k] > 0.0 {
                1.0
            } else if input[k] < 0.0 {
                -1.0
            } else {
                0.0
            };
            assert_eq!(y[k], input[k].abs() * 1.5);
            assert!((z[k] - (sign * input[k].exp() + input[k].abs().sqrt())).abs() < 1e-14);
            s0 += input[k] * w[k];
            s1 += input[k].powf(2.0);
        }
        assert!((sums[0] - s0).abs() < 1e-12 && (sums[1] - s1).abs() < 1e-12, "{sums:?} {s0} {s1}");
    }

    #[test]
    fn unsafe_text_is_refused() {
        refused("", "no text");
        refused("test run\nfunction u0:0() {\nblock0:\n return\n}", "expected `function`");
        refused("function u0:0() system_v {\nblock0:\n return\n}", "signature");
        let body = |head: &str, code: &str| {
            format!(
                "function u0:0(i64, i64, i64, i64, i64) system_v {{\n{head}\nblock0(v0: i64, v1: i64, v2: i64, v3: i64, v4: i64):\n{code}\n    return\n}}\n"
            )
        };
        refused(&body("    ss0 = explicit_slot 8", ""), "stack slots");
        refused(&body("    sig0 = (f64) -> f64 system_v\n    fn0 = u0:6 sig0", ""), "may call");
        refused(&body("    sig0 = (f64) -> f64 system_v\n    fn0 = %system sig0", ""), "may call");
        refused(&body("    sig0 = (f64) -> f64 system_v\n    fn0 = u0:4 sig0", ""), "takes 2");
        refused(&body("    sig0 = (i64) -> i64 system_v\n    fn0 = u0:0 sig0", ""), "takes 1");
        refused(&body("    sig0 = () system_v", "    call_indirect sig0, v0()"), "call_indirect");
        refused(&body("", "    v5 = atomic_load.i64 v0"), "atomic_load");
        refused(&body("", "    v5 = iadd v0, v9"), "line 4");
        refused(&body("", "    v5 = load.f64x2 notrap v0\n    v6 = iadd v0, v5"), "whole ones");
        refused(&body("", "    v5 = f64const 0.0\n    v6 = iadd v0, v5"), "type");
        for far in ["v999999999", "v999999999.f64x2", "v18446744073709551616"] {
            refused(&body("", &format!("    {far} = iadd v0, v1")), "the length of the text");
        }
        refused(&body("", "    jump block4294967294"), "the length of the text");
        refused(&body("    sig4000000000 = (f64) -> f64 system_v", ""), "the length of the text");
        refused(&body("    sig0 = (f64) -> f64 system_v\n    fn4000000000 = u0:0 sig0", ""), "the length of the text");
        let two = body("", "");
        refused(&format!("{two}\n{two}"), "exactly one");
    }
}
