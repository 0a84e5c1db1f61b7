//! C headers of exported statistics. The library itself is the crate `scatterc-capi` with a plan at its end: [`runtime::bundle`](scatterc_runtime::bundle).

use crate::Compiled;
use scatterc_ir::plan::Port;
use scatterc_ir::types::Space;
use scatterc_runtime::bundle;
use std::fmt::Write;

/// Most numbers of an index table that a header holds.
const LARGEST_TABLE: usize = 1 << 16;

/// Declarations that all exported headers share.
const SHARED: &str = include_str!("export/shared.h");

/// A word that C accepts: letters, digits and underscores, no digit in front.
///
/// ```
/// use scatterc::export::word;
///
/// assert_eq!((word("s2scat"), word("2-point"), word("")), ("s2scat".into(), "_2_point".into(), "_".into()));
/// ```
pub fn word(name: &str) -> String {
    let mut out: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if out.chars().next().is_none_or(|c| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
}

/// One word per port, made different where two are alike.
fn words(prefix: &str, ports: &[Port], taken: &mut Vec<String>) -> Vec<String> {
    ports
        .iter()
        .map(|port| {
            let mut own = word(&port.name);
            if taken.contains(&own) {
                own = format!("{prefix}_{own}");
            }
            while taken.contains(&own) {
                own.push('_');
            }
            taken.push(own.clone());
            own
        })
        .collect()
}

fn layout(port: &Port) -> String {
    let axes: Vec<String> = port.ty.axes.iter().map(usize::to_string).collect();
    let complex = "complex, (re, im) pairs";
    let inner = match port.ty.space {
        Space::Point => String::new(),
        Space::Half { L } => format!("harmonic coefficients [{L}, {L}] of a real field, m >= 0, {complex}"),
        Space::Full { L } => format!("harmonic coefficients [{L}, {}] of a complex field, all m, {complex}", 2 * L - 1),
        Space::Grid { L } => format!("samples [{L}, {}] on the Gauss-Legendre grid", 2 * L - 1),
        other => format!("{other}"),
    };
    let outer = if axes.is_empty() { String::new() } else { format!("[{}]", axes.join(", ")) };
    match (outer.is_empty(), inner.is_empty()) {
        (true, true) => "one number".into(),
        (false, true) => outer,
        (true, false) => inner,
        (false, false) => format!("{outer} of {inner}"),
    }
}

/// The header of an exported plan: sizes, index tables, `NAME_open`, `NAME_run`, `NAME_close`.
///
/// - `name`: a word that C accepts; see [`word`]
/// - `text`: text of the plan, as appended to the library
///
/// ```
/// use scatterc::export::header;
/// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
/// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
/// # let compiler = Compiler::new(&source, &sphere);
///
/// let compiled = compiler.compile()?;
/// let header = header("power", &compiled, &compiled.plan().to_string());
/// assert!(header.contains("#define POWER_x_LENGTH 128") && header.contains("#define POWER_S2_LENGTH 4"));
/// # Ok::<(), scatterc::Error>(())
/// ```
pub fn header(name: &str, compiled: &Compiled, text: &str) -> String {
    let plan = compiled.plan();
    let capital = name.to_uppercase();
    let mut taken = vec!["program".to_string(), name.to_string()];
    let (inputs, outputs) = (words("in", &plan.inputs, &mut taken), words("out", &plan.outputs, &mut taken));
    let comment = |text: &str| text.replace("*/", "* /");
    let mut out = format!(
        "/* {name}.h: the statistic `{}` as a function of C, written by scatterc {}.\n *\n * Domain: {}. Arithmetic: {}.\n *\n * Link with lib{name}, or load it with dlopen. A program may be shared between threads: calls on one program wait for each other,\n * calls on programs of their own run side by side. The file must not be stripped: its plan stands at its end.\n */\n#ifndef SCATTERC_EXPORT_{capital}_H\n#define SCATTERC_EXPORT_{capital}_H\n\n{SHARED}\n",
        comment(&plan.name),
        env!("CARGO_PKG_VERSION"),
        comment(plan.note("domain").unwrap_or("not stated")),
        plan.element
    );
    let _ = writeln!(out, "/* The plan this header was written for. */\n#define {capital}_PLAN \"{}\"\n", bundle::checksum(text));
    for (kind, ports, names) in [("input", &plan.inputs, &inputs), ("output", &plan.outputs, &outputs)] {
        let _ = writeln!(out, "#define {capital}_{}S {}", kind.to_uppercase(), ports.len());
        for (port, own) in ports.iter().zip(names) {
            let _ =
                writeln!(out, "/* {kind} `{}`: {}; doubles: */\n#define {capital}_{own}_LENGTH {}", comment(&port.name), layout(port), port.ty.len());
        }
        out.push('\n');
    }
    for info in &compiled.bound.outputs {
        let (rows, columns) = (&info.index.rows, &info.index.columns);
        if rows.is_empty() || columns.is_empty() || rows.len() * columns.len() > LARGEST_TABLE || compiled.bound.batch.is_some() {
            continue;
        }
        let _ = writeln!(out, "/* What the entries of `{}` are: {}. */", comment(&info.name), columns.join(", "));
        let rows: Vec<String> = rows.iter().map(|row| format!("{{{}}}", row.iter().map(i64::to_string).collect::<Vec<_>>().join(","))).collect();
        let _ = writeln!(out, "static const int {name}_{}_index[{}][{}] = {{{}}};\n", word(&info.name), rows.len(), columns.len(), rows.join(","));
    }
    let _ = writeln!(out, "typedef scatterc_program {name};\n");
    let _ = writeln!(out, "/* Loads the plan; `threads` 0 means all cores. On error `*program` is NULL. */");
    let _ =
        writeln!(out, "static inline int {name}_open({name} **program, int threads) {{ return scatterc_open({capital}_PLAN, threads, program); }}\n");
    let _ =
        writeln!(out, "/* Frees the program; NULL is allowed. */\nstatic inline void {name}_close({name} *program) {{ scatterc_close(program); }}\n");
    let _ = writeln!(
        out,
        "/* What went wrong in the last call of this thread. */\nstatic inline const char *{name}_message(void) {{ return scatterc_message(); }}\n"
    );
    let _ = writeln!(out, "/* Runs the statistic. All arrays belong to the caller; outputs overlap nothing and are written only on success.");
    for (kind, ports, names) in [("in", &plan.inputs, &inputs), ("out", &plan.outputs, &outputs)] {
        for (port, own) in ports.iter().zip(names) {
            let _ = writeln!(out, " * {kind} {own}: {} doubles, {}", port.ty.len(), layout(port));
        }
    }
    let arguments: Vec<String> = inputs.iter().map(|n| format!("const double *{n}")).chain(outputs.iter().map(|n| format!("double *{n}"))).collect();
    let lengths = |names: &[String]| names.iter().map(|n| format!("{capital}_{n}_LENGTH")).collect::<Vec<_>>().join(", ");
    let _ = writeln!(out, " */\nstatic inline int {name}_run({name} *program, {}) {{", arguments.join(", "));
    let list = |of: String| if of.is_empty() { "0".to_string() } else { of };
    let _ = writeln!(
        out,
        "    const double *scatterc_in[] = {{{}}};\n    const size_t scatterc_in_lengths[] = {{{}}};",
        list(inputs.join(", ")),
        list(lengths(&inputs))
    );
    let _ = writeln!(
        out,
        "    double *scatterc_out[] = {{{}}};\n    const size_t scatterc_out_lengths[] = {{{}}};",
        list(outputs.join(", ")),
        list(lengths(&outputs))
    );
    let _ = writeln!(
        out,
        "    return scatterc_run(program, scatterc_in, scatterc_in_lengths, {}, scatterc_out, scatterc_out_lengths, {});\n}}\n",
        inputs.len(),
        outputs.len()
    );
    let _ = writeln!(out, "#endif");
    out
}
