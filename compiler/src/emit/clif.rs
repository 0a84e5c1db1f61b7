//! Loop body -> CLIF text: two f64 or four f32 at a time (128-bit lanes, Cranelift's width) where the trip is a multiple of that, one at a time otherwise.

use crate::loops::{Body, Id, Instruction};
use scatterc_ir::plan::Element;
use scatterc_ir::scalar::{Binary, Unary};
use std::fmt::Write;

/// Imported functions, in the order the runtime declares them.
const IMPORTS: [&str; 6] = ["exp", "log", "sin", "cos", "pow", "atan2"];

/// A CLIF literal: hexadecimal floats are exact, of f32 once it is rounded.
fn literal(x: f64, element: Element) -> String {
    // Bits of sign, exponent and mantissa; hexadecimal digits take whole fours of the mantissa.
    let (bits, exponent_bits, mantissa_bits) = match element {
        Element::F64 => (x.to_bits(), 11u32, 52u32),
        Element::F32 => (u64::from((x as f32).to_bits()), 8, 23),
    };
    let sign = if bits >> (exponent_bits + mantissa_bits) == 1 { "-" } else { "" };
    let largest = (1u64 << exponent_bits) - 1;
    let bias = (largest >> 1) as i64;
    let (exponent, mantissa) = ((bits >> mantissa_bits) & largest, bits & ((1 << mantissa_bits) - 1));
    let digits = mantissa_bits.div_ceil(4);
    let shifted = mantissa << (4 * digits - mantissa_bits);
    match (exponent, mantissa) {
        (0, 0) => format!("{sign}0.0"),
        (0, _) => format!("{sign}0x0.{shifted:0digits$x}p{}", 1 - bias, digits = digits as usize),
        (e, 0) if e == largest => format!("{}Inf", if sign.is_empty() { "+" } else { "-" }),
        (e, _) if e == largest => "+NaN".into(),
        _ => format!("{sign}0x1.{shifted:0digits$x}p{}", exponent as i64 - bias, digits = digits as usize),
    }
}

struct Writer {
    text: String,
    next: usize,
    element: Element,
    wide: bool,
}

impl Writer {
    fn define(&mut self, right: &str) -> String {
        let name = format!("v{}", self.next);
        self.next += 1;
        let _ = writeln!(self.text, "    {name} = {right}");
        name
    }

    /// Elements at a time.
    fn lanes(&self) -> usize {
        if self.wide { 16 / self.element.bytes() } else { 1 }
    }

    fn scalar(&self) -> &'static str {
        match self.element {
            Element::F64 => "f64",
            Element::F32 => "f32",
        }
    }

    fn vector(&self) -> &'static str {
        match self.element {
            Element::F64 => "f64x2",
            Element::F32 => "f32x4",
        }
    }

    fn ty(&self) -> &'static str {
        if self.wide { self.vector() } else { self.scalar() }
    }

    fn splat(&mut self, x: String) -> String {
        if self.wide { self.define(&format!("splat.{} {x}", self.vector())) } else { x }
    }

    fn constant(&mut self, x: f64) -> String {
        let scalar = self.define(&format!("{}const {}", self.scalar(), literal(x, self.element)));
        self.splat(scalar)
    }

    /// A mask of all ones where the comparison holds, as floats.
    fn mask(&mut self, condition: &str, a: &str, b: &str) -> String {
        let compared = self.define(&format!("fcmp {condition} {a}, {b}"));
        if self.wide { self.define(&format!("bitcast.{} {compared}", self.vector())) } else { compared }
    }

    /// `yes` where the mask holds, else `no`.
    fn choose(&mut self, mask: &str, yes: &str, no: &str) -> String {
        if self.wide { self.define(&format!("bitselect {mask}, {yes}, {no}")) } else { self.define(&format!("select {mask}, {yes}, {no}")) }
    }

    fn call(&mut self, import: usize, arguments: &[&str]) -> String {
        let mut lanes = Vec::new();
        for lane in 0..self.lanes() {
            let mut parts: Vec<String> = arguments.iter().map(|a| a.to_string()).collect();
            for part in &mut parts {
                if self.wide {
                    *part = self.define(&format!("extractlane {part}, {lane}"));
                }
                // The functions are those of f64.
                if self.element == Element::F32 {
                    *part = self.define(&format!("fpromote.f64 {part}"));
                }
            }
            let mut value = self.define(&format!("call fn{import}({})", parts.join(", ")));
            if self.element == Element::F32 {
                value = self.define(&format!("fdemote.f32 {value}"));
            }
            lanes.push(value);
        }
        let mut all = lanes[0].clone();
        if self.wide {
            all = self.define(&format!("splat.{} {all}", self.vector()));
        }
        for (lane, value) in lanes.iter().enumerate().skip(1) {
            all = self.define(&format!("insertlane {all}, {value}, {lane}"));
        }
        all
    }

    fn unary(&mut self, op: Unary, a: &str) -> String {
        match op {
            Unary::Negate => self.define(&format!("fneg {a}")),
            Unary::Absolute => self.define(&format!("fabs {a}")),
            Unary::SquareRoot => self.define(&format!("sqrt {a}")),
            Unary::Sign => {
                let (zero, one, minus) = (self.constant(0.0), self.constant(1.0), self.constant(-1.0));
                // NaN stays NaN: the fallback is a * 0.
                let rest = self.define(&format!("fmul {a}, {zero}"));
                let positive = self.mask("gt", a, &zero);
                let upper = self.choose(&positive, &one, &rest);
                let negative = self.mask("lt", a, &zero);
                self.choose(&negative, &minus, &upper)
            }
            Unary::Exponential => self.call(0, &[a]),
            Unary::Logarithm => self.call(1, &[a]),
            Unary::Sine => self.call(2, &[a]),
            Unary::Cosine => self.call(3, &[a]),
        }
    }

    fn binary(&mut self, op: Binary, a: &str, b: &str) -> String {
        match op {
            Binary::Add => self.define(&format!("fadd {a}, {b}")),
            Binary::Subtract => self.define(&format!("fsub {a}, {b}")),
            Binary::Multiply => self.define(&format!("fmul {a}, {b}")),
            Binary::Divide => self.define(&format!("fdiv {a}, {b}")),
            Binary::SafeDivide => {
                let zero = self.constant(0.0);
                let quotient = self.define(&format!("fdiv {a}, {b}"));
                let mask = self.mask("eq", b, &zero);
                self.choose(&mask, &zero, &quotient)
            }
            Binary::Power => self.call(4, &[a, b]),
            Binary::ArcTangent => self.call(5, &[a, b]),
            Binary::Minimum => {
                let mask = self.mask("lt", a, b);
                self.choose(&mask, a, b)
            }
            Binary::Maximum => {
                let mask = self.mask("gt", a, b);
                self.choose(&mask, a, b)
            }
            Binary::Greater => {
                let (one, zero) = (self.constant(1.0), self.constant(0.0));
                let mask = self.mask("gt", a, b);
                self.choose(&mask, &one, &zero)
            }
        }
    }
}

/// Static offsets of loads are 32-bit; farther channels get their own base.
const FARTHEST: usize = 1 << 27;

/// Emits one kernel; `trip` decides the width.
pub fn emit(body: &Body, trip: usize, element: Element) -> String {
    let bytes_each = element.bytes();
    let wide = trip.is_multiple_of(16 / bytes_each);
    let mut w = Writer { text: String::new(), next: 10, element, wide };
    w.text.push_str("function u0:0(i64, i64, i64, i64, i64) system_v {\n");
    let uses = |import: usize| {
        body.instructions.iter().any(|i| match i {
            Instruction::Unary(op, _) => {
                matches!((op, import), (Unary::Exponential, 0) | (Unary::Logarithm, 1) | (Unary::Sine, 2) | (Unary::Cosine, 3))
            }
            Instruction::Binary(op, ..) => matches!((op, import), (Binary::Power, 4) | (Binary::ArcTangent, 5)),
            _ => false,
        })
    };
    if (0..4).any(uses) {
        w.text.push_str("    sig0 = (f64) -> f64 system_v\n");
    }
    if (4..IMPORTS.len()).any(uses) {
        w.text.push_str("    sig1 = (f64, f64) -> f64 system_v\n");
    }
    for import in (0..IMPORTS.len()).filter(|k| uses(*k)) {
        let _ = writeln!(w.text, "    fn{import} = u0:{import} sig{}", usize::from(import >= 4));
    }
    w.text.push_str("\nblock0(v0: i64, v1: i64, v2: i64, v3: i64, v4: i64):\n");
    let streams: Vec<String> = (0..body.streams).map(|k| w.define(&format!("load.i64 notrap aligned readonly v0+{}", 8 * k))).collect();
    let tables: Vec<String> = (0..body.tables).map(|k| w.define(&format!("load.i64 notrap aligned readonly v1+{}", 8 * k))).collect();
    // Literals and numbers that do not depend on the loop index come before the loop.
    let keeps_numbers = body.keeps_numbers();
    let mut names: Vec<String> = vec![String::new(); body.instructions.len()];
    for (k, instruction) in body.instructions.iter().enumerate() {
        match instruction {
            Instruction::Constant(x) => names[k] = w.constant(*x),
            Instruction::Uniform { stream, offset } if keeps_numbers => names[k] = number(&mut w, &streams[*stream], *offset),
            _ => {}
        }
    }
    let shift = w.define(&format!("iconst.i64 {}", bytes_each.trailing_zeros()));
    let step = w.define(&format!("iconst.i64 {}", w.lanes()));
    let zeros: Vec<String> = body.sums.iter().map(|_| w.constant(0.0)).collect();
    let _ = writeln!(w.text, "    jump block1({})", std::iter::once("v3".to_string()).chain(zeros).collect::<Vec<_>>().join(", "));
    let index = format!("v{}", w.next);
    w.next += 1;
    let mut parameters = vec![format!("{index}: i64")];
    let mut sums = Vec::new();
    for _ in &body.sums {
        let name = format!("v{}", w.next);
        w.next += 1;
        parameters.push(format!("{name}: {}", w.ty()));
        sums.push(name);
    }
    let _ = writeln!(w.text, "\nblock1({}):", parameters.join(", "));
    let inside = w.define(&format!("icmp ult {index}, v4"));
    let _ = writeln!(w.text, "    brif {inside}, block2, block3\n\nblock2:");
    let bytes = w.define(&format!("ishl {index}, {shift}"));
    let mut bases: Vec<Option<String>> = vec![None; streams.len()];
    let base = |w: &mut Writer, bases: &mut Vec<Option<String>>, stream: usize| -> String {
        if let Some(name) = &bases[stream] {
            return name.clone();
        }
        let name = w.define(&format!("iadd {}, {bytes}", streams[stream]));
        bases[stream] = Some(name.clone());
        name
    };
    let ty = w.ty();
    let mut adds = body.sums_by_instruction();
    let mut next_sums = vec![String::new(); sums.len()];
    for (k, instruction) in body.instructions.iter().enumerate() {
        let name = |id: &Id, names: &[String]| names[id.0 as usize].clone();
        names[k] = match instruction {
            Instruction::Uniform { stream, offset } if !keeps_numbers => number(&mut w, &streams[*stream], *offset),
            Instruction::Constant(_) | Instruction::Uniform { .. } => std::mem::take(&mut names[k]),
            Instruction::Load { stream, offset } => {
                let base = base(&mut w, &mut bases, *stream);
                let address = address(&mut w, &base, *offset);
                w.define(&format!("load.{ty} notrap {address}"))
            }
            Instruction::Weight { table } => {
                let at = w.define(&format!("iadd {}, {bytes}", tables[*table]));
                w.define(&format!("load.{ty} notrap {at}"))
            }
            Instruction::Unary(op, a) => {
                let a = name(a, &names);
                w.unary(*op, &a)
            }
            Instruction::Binary(op, a, b) => {
                let (a, b) = (name(a, &names), name(b, &names));
                w.binary(*op, &a, &b)
            }
            Instruction::MultiplyAdd(a, b, c) => {
                let (a, b, c) = (name(a, &names), name(b, &names), name(c, &names));
                w.define(&format!("fma {a}, {b}, {c}"))
            }
        };
        for sum in adds.remove(&Id(k as u32)).into_iter().flatten() {
            let ((weight, id), before) = (&body.sums[sum], &sums[sum]);
            let value = &names[id.0 as usize];
            next_sums[sum] = match weight {
                Some(weight) => w.define(&format!("fma {}, {value}, {before}", names[weight.0 as usize])),
                None => w.define(&format!("fadd {value}, {before}")),
            };
        }
    }
    for (stream, offset, id) in &body.stores {
        let base = base(&mut w, &mut bases, *stream);
        let address = address(&mut w, &base, *offset);
        let _ = writeln!(w.text, "    store notrap {}, {address}", names[id.0 as usize]);
    }
    let next = w.define(&format!("iadd {index}, {step}"));
    let _ = writeln!(w.text, "    jump block1({})", std::iter::once(next).chain(next_sums).collect::<Vec<_>>().join(", "));
    w.text.push_str("\nblock3:\n");
    for (k, sum) in sums.iter().enumerate() {
        let mut totals = vec![sum.clone()];
        if wide {
            totals = (0..w.lanes()).map(|lane| w.define(&format!("extractlane {sum}, {lane}"))).collect();
        }
        while totals.len() > 1 {
            totals = totals.chunks_exact(2).map(|pair| w.define(&format!("fadd {}, {}", pair[0], pair[1]))).collect();
        }
        let _ = writeln!(w.text, "    store notrap aligned {}, v2+{}", totals[0], bytes_each * k);
    }
    w.text.push_str("    return\n}\n");
    w.text
}

/// A number that is the same for all elements, in every lane.
fn number(w: &mut Writer, stream: &str, offset: usize) -> String {
    let address = address(w, stream, offset);
    let scalar = w.define(&format!("load.{} notrap {address}", w.scalar()));
    w.splat(scalar)
}

fn address(w: &mut Writer, base: &str, offset: usize) -> String {
    if offset == 0 {
        base.to_string()
    } else if offset < FARTHEST {
        format!("{base}+{}", w.element.bytes() * offset)
    } else {
        let far = w.define(&format!("iconst.i64 {}", w.element.bytes() * offset));
        w.define(&format!("iadd {base}, {far}"))
    }
}
