//! Tables of coefficients: every format gives back the bits, wrong files are refused, selections and aggregates are those of the index.

#![allow(non_snake_case)]

use scatterc::table::{Aggregate, Format, Output, Selection, Step, Table, TableError};
use scatterc::{Boundary, Compiler, Domain, Index, InputKind, Plane, Source, Sphere, random};
use serde_json::json;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    let path = std::env::temp_dir().join(format!("scatterc-tables-{}", std::process::id()));
    std::fs::create_dir_all(&path).expect("a directory");
    path
}

/// Real and complex outputs, with and without indices, with a batch, and numbers that are hard to print.
fn example() -> Table {
    let index = |columns: &[&str], rows: &[&[i64]]| Index {
        columns: columns.iter().map(ToString::to_string).collect(),
        rows: rows.iter().map(|r| r.to_vec()).collect(),
    };
    let hard = vec![0.1 + 0.2, -0.0, 5e-324, f64::MAX, 1.0 / 3.0, -2.5e-17, 1e22, 9007199254740993.0];
    let outputs = vec![
        Output::new("mean", vec![2], vec![1.5, -2.0], None, Index::default()),
        Output::new("S1", vec![2, 4], hard.clone(), None, index(&["j", "g"], &[&[0, 0], &[0, 1], &[1, 0], &[1, -1]])),
        Output::new("H", vec![2, 2], hard[..4].to_vec(), Some(hard[4..].to_vec()), index(&["k"], &[&[3], &[7]])),
        Output::new("number", vec![], vec![42.0], None, Index::default()),
    ];
    Table {
        metadata: json!({ "statistic": "statistic a(x) { .. }", "delta": 0.1 }),
        outputs: outputs.into_iter().map(|o| o.expect("fits")).collect(),
    }
}

#[test]
fn every_format_gives_back_the_bits() {
    let table = example();
    for format in Format::ALL {
        let path = folder().join(format!("round.{format}"));
        table.write(&path, format).expect("written");
        let back = Table::read(&path).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(back.metadata, table.metadata, "{format}");
        for (a, b) in table.outputs.iter().zip(&back.outputs) {
            let bits = |values: &[f64]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!((bits(&a.re), a.im.as_deref().map(bits)), (bits(&b.re), b.im.as_deref().map(bits)), "{format} {}", a.name);
            assert_eq!((&a.name, &a.shape, &a.index), (&b.name, &b.shape, &b.index), "{format}");
        }
        assert_eq!(back.outputs.len(), 4, "{format}");
        assert_eq!(table.bytes(&path, format).expect("bytes"), std::fs::read(&path).expect("bytes"), "{format}: the same bytes every time");
        // Formats are known by their first bytes, or else by the ending.
        assert_eq!(Format::of(&path), Some(format));
    }
}

#[test]
fn statistics_of_a_run_become_a_table() {
    let source = Source::find("s2scat").expect("built in");
    let sphere = Sphere::new(8, 2, 0, InputKind::Half).expect("a sphere");
    let mut encoder = Compiler::new(&source, &sphere).threads(1).encoder().expect("compiles");
    let field: Vec<f64> = (0..128).map(|k| if k % 16 == 1 { 0.0 } else { f64::from(k).sin() }).collect();
    let statistics = encoder.encode(&field).expect("runs");
    let table = Table::of(&statistics, json!(null)).expect("fits");
    let s1 = table.get("S1").expect("an output");
    assert_eq!((s1.shape.as_slice(), s1.index.columns.join(",")), (&[12][..], "j,g".to_string()));
    assert!(matches!(table.get("S9"), Err(TableError::Output { .. })));
    let s3 = table.get("S3").expect("an output").select(|e| e.get("j") == Some(0) && e.get("i") == Some(2));
    assert!(s3.re.len() == 9 && s3.index.rows.iter().all(|r| r[..2] == [0, 2] || r[..2] == [2, 0]), "{:?}", s3.index);
}

#[test]
fn selections_and_aggregates_follow_the_index() {
    let table = example();
    let s1 = table.get("S1").expect("an output");
    let fine = s1.at(&[("j", 1)]).expect("a column");
    assert_eq!((fine.shape.as_slice(), fine.re[0]), (&[2, 2][..], s1.re[2]));
    assert_eq!(fine.re[2..], s1.re[6..]);
    let sums = s1.aggregate(&["g"], Aggregate::Sum).expect("a column");
    assert_eq!((sums.shape.clone(), sums.re[0], sums.re[3]), (vec![2, 2], s1.re[0] + s1.re[1], s1.re[6] + s1.re[7]));
    let all = s1.aggregate(&["g", "j"], Aggregate::Max).expect("columns");
    assert_eq!((all.shape.clone(), all.re.clone(), all.index), (vec![2], vec![f64::MAX, 1e22], Index::default()));
    assert!(matches!(s1.at(&[("i", 1)]), Err(TableError::Column { .. })));
    assert!(matches!(s1.aggregate(&["i"], Aggregate::Mean), Err(TableError::Column { .. })));
    assert!(matches!(table.get("H").expect("an output").aggregate(&["k"], Aggregate::Min), Err(TableError::Complex { .. })));
    assert_eq!(s1.select(|_| false).re.len(), 0);
}

/// An output whose indices run over all tuples of the given sizes, with values 0, 1, 4, 9, ..
fn squares(columns: &[&str], sizes: &[i64]) -> Output {
    let mut rows: Vec<Vec<i64>> = vec![vec![]];
    for size in sizes {
        rows = rows.into_iter().flat_map(|row| (0..*size).map(move |k| row.iter().copied().chain([k]).collect())).collect();
    }
    let values = (0..rows.len()).map(|k| (k * k) as f64).collect();
    Output::new("S", vec![rows.len()], values, None, Index { columns: columns.iter().map(ToString::to_string).collect(), rows }).expect("fits")
}

fn near(a: &[f64], b: &[f64], what: &str) {
    let largest = b.iter().fold(1e-300f64, |m, x| m.max(x.abs()));
    assert!(a.len() == b.len() && a.iter().zip(b).all(|(x, y)| (x - y).abs() <= 1e-14 * largest), "{what}: {a:?}, expected {b:?}");
}

#[test]
fn transforms_have_the_values_of_a_hand_computation() {
    // (1, 4, 9, 16) shifted: 0, 1, 4, 9 over four orientations. rfft: (14, -4 + 8i, -6) / 2.
    let line = squares(&["g"], &[4]).fourier("g").expect("a transform");
    near(&line.re, &[7.0, -2.0, -3.0], "real parts");
    near(line.im.as_deref().expect("complex"), &[0.0, 4.0, 0.0], "imaginary parts");
    assert_eq!((line.shape.clone(), line.index.rows.clone()), (vec![3], vec![vec![0], vec![1], vec![2]]));
    // All frequencies of a complex output; the transform keeps the sum of squares.
    let twice = Output::new("S", vec![3], line.re.clone(), line.im.clone(), line.index.clone()).expect("fits").fourier("g").expect("a transform");
    let energy = |o: &Output| o.re.iter().chain(o.im.iter().flatten()).map(|x| x * x).sum::<f64>();
    assert!(twice.shape == [3] && (energy(&twice) - energy(&line)).abs() < 1e-12 * energy(&line));
    // scipy.fft.dct([0, 1, 4], type=2, norm="ortho") = (5 / sqrt 3, -4 / sqrt 2, sqrt(2 / 3) (0 - 2 * 1 + 4) / 2).
    let scales = squares(&["j"], &[3]);
    near(&scales.cosine("j").expect("a transform").re, &[5.0 / 3f64.sqrt(), -4.0 / 2f64.sqrt(), (2.0f64 / 3.0).sqrt()], "cosines");
    // Fixed differences d = h - g mod 2 of [[0, 1], [4, 9]] (h, g): (0 + 9) / 2, (1 + 4) / 2; one index alone: its mean.
    let pair = squares(&["h", "g"], &[2, 2]);
    let isotropic = pair.isotropic(&["h", "g"]).expect("an average");
    assert_eq!((isotropic.re, isotropic.index.columns, isotropic.index.rows), (vec![4.5, 2.5], vec!["h".to_string()], vec![vec![0], vec![1]]));
    assert_eq!(pair.isotropic(&["g"]).expect("an average").re, [0.5, 6.5]);
    // Three orientations (h, l, g), values k^2 with k = 9 h + 3 l + g: differences (1, 2) stand at (1, 2, 0), (2, 0, 1), (0, 1, 2).
    let triple = squares(&["h", "l", "g"], &[3, 3, 3]).isotropic(&["h", "l", "g"]).expect("an average");
    assert_eq!(triple.index.rows[5], [1, 2]);
    near(&triple.re[5..6], &[(15.0f64.powi(2) + 19.0f64.powi(2) + 5.0f64.powi(2)) / 3.0], "three orientations");
    // Scales i < j at fixed differences: two pairs at distance -1, one at -2; a transform of each.
    let all = squares(&["i", "j"], &[3, 3]).select(|e| e.get("i") < e.get("j")).difference("i", "j").expect("columns");
    assert_eq!(all.index.rows, [[-1, 1], [-2, 2], [-1, 2]]);
    let cosines = all.cosine("j").expect("a transform");
    assert_eq!(cosines.index.rows, [[-1, 0], [-2, 0], [-1, 1]]);
    near(&cosines.re, &[26.0 / 2f64.sqrt(), 4.0, -24.0 / 2f64.sqrt()], "cosines at fixed differences");
}

#[test]
fn steps_change_the_outputs_that_have_their_indices_and_are_listed() {
    let table =
        Table { metadata: json!({ "sky": 1 }), outputs: vec![squares(&["j", "g"], &[3, 2]), Output { name: "T".into(), ..squares(&["j"], &[3]) }] };
    let select = |text: &str| Selection::parse(text).map(Step::Select);
    let fine = table.step(&select("j>0, 2*g <= j").expect("conditions")).expect("a table");
    assert_eq!((fine.outputs[0].re.clone(), fine.outputs[1].re.len()), (vec![4.0, 16.0, 25.0], 3));
    let summed = table.step(&Step::Aggregate(vec!["j".into()], Aggregate::Sum)).and_then(|t| t.step(&Step::Fourier("g".into()))).expect("a table");
    assert_eq!((summed.outputs[0].shape.clone(), summed.outputs[1].shape.clone()), (vec![2], vec![]));
    assert_eq!(summed.metadata, json!({ "sky": 1, "steps": ["sum j", "fourier g"] }));
    let refused = |step: Step| table.step(&step).expect_err("refused").to_string();
    assert_eq!(refused(select("k == j").expect("conditions")), "no output has the indices [k, j]; S has [j, g], T has [j]");
    let half = table.step(&select("j != 1").expect("conditions")).expect("a table");
    let missing = half.step(&Step::Cosine("j".into())).expect_err("refused").to_string();
    assert_eq!(missing, "`S`: index `j`: expected consecutive values, each once, where the other indices agree, found [0, 2]");
    let coarse = table.step(&select("j > 0").expect("conditions")).expect("a table");
    assert!(coarse.step(&Step::Cosine("j".into())).is_ok());
    assert!(coarse.step(&Step::Fourier("j".into())).expect_err("refused").to_string().contains("consecutive values from 0, each once"));
    assert!(coarse.step(&Step::Isotropic(vec!["j".into(), "g".into()])).expect_err("refused").to_string().contains("all tuples of 3 orientations"));
    assert!(table.step(&Step::Isotropic(vec!["g".into(), "g".into()])).expect_err("refused").to_string().contains("`g` twice"));
    for (text, part) in [
        ("j <", "expected an expression, found the end of the text"),
        ("octave(j) < 2", "expected indices and whole numbers, found `octave`"),
        ("j < i < 2", "a condition has one comparison; write `i < j, j < k` for a chain"),
        ("j < 1.5", "whole numbers"),
        ("j; return", "expected a comparison"),
    ] {
        let error = Selection::parse(text).expect_err("refused").to_string();
        assert!(error.starts_with(&format!("selection `{text}`: ")) && error.contains(part), "{error}");
    }
}

#[test]
fn reductions_of_tables_are_those_of_the_notation() -> Result<(), Box<dyn std::error::Error>> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tables.md"))?;
    let text = page.split("```scat domains\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a statistic");
    let source = Source::from_text(text, "docs/tables.md")?;
    let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    let plane = Plane::new(16, 18, 3, 4, &Source::find("cheng")?.filter("morlet")?, Boundary::Periodic, false)?;
    let domains: [(&dyn Domain, Vec<f64>); 2] = [(&sphere, random::white(8, 1, 0)), (&plane, random::samples(16 * 18, 1, 0))];
    for (domain, field) in domains {
        let (G, J) = (domain.directions() as f64, domain.scales().count() as f64);
        let compiler = Compiler::new(&source, domain).threads(1).number("G", G).number("J", J);
        let table = Table::of(&compiler.encoder()?.encode(&field)?, json!(null))?;
        let (s, c) = (table.get("S")?, table.get("C")?);
        let compare = |reduced: &Output, name: &str| -> Result<(), TableError> {
            let nodes = table.get(name)?;
            let lookup: std::collections::BTreeMap<&Vec<i64>, usize> = nodes.index.rows.iter().zip(0..).collect();
            let places: Vec<usize> = reduced.index.rows.iter().map(|row| lookup[row]).collect();
            let pick = |values: &[f64]| places.iter().map(|k| values[*k]).collect::<Vec<f64>>();
            // Both forms divide by the norm of the whole output: frequencies may be small.
            let largest = nodes.re.iter().fold(0.0f64, |m, x| m.max(x.abs()));
            let pairs =
                reduced.re.iter().zip(pick(&nodes.re)).chain(reduced.im.iter().flatten().zip(nodes.im.as_deref().map(pick).unwrap_or_default()));
            for (a, b) in pairs {
                assert!((a - b).abs() <= 1e-13 * largest, "{name} on {}: {a} and {b}", domain.describe());
            }
            assert!(reduced.re.len() > 2, "{name}");
            Ok(())
        };
        let isotropic = c.isotropic(&["h", "g"])?;
        assert_eq!(isotropic.index.rows, table.get("I")?.index.rows);
        compare(&isotropic, "I")?;
        compare(&s.fourier("g")?, "F")?;
        compare(&s.cosine("j")?, "D")?;
    }
    Ok(())
}

#[test]
fn wrong_files_are_refused_with_what_was_expected() {
    let table = example();
    let mut refused = Vec::new();
    for format in Format::ALL {
        let path = Path::new("x").with_extension(format.ending());
        let bytes = table.bytes(&path, format).expect("bytes");
        for cut in [0, 1, bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
            if let Err(e) = Table::parse(&path, &bytes[..cut], format) {
                refused.push(e.to_string());
            }
        }
        // Any single wrong byte is refused or read; nothing panics.
        for k in (0..bytes.len()).step_by(7) {
            let mut bad = bytes.clone();
            bad[k] ^= 0x55;
            let _ = Table::parse(&path, &bad, format);
        }
    }
    assert!(refused.len() > 15 && refused.iter().all(|text| text.contains("expected") && text.contains("found")), "{refused:#?}");
    let wrong = |text: &str, format: Format| Table::parse(Path::new("x"), text.as_bytes(), format).expect_err("refused").to_string();
    assert!(wrong("{\"kind\": 3}", Format::Json).contains("scatterc table 1"));
    let csv = String::from_utf8(table.bytes(Path::new("x"), Format::Csv).expect("bytes")).expect("text");
    assert!(wrong(&csv.replacen("S1,0,0,0", "S1,0,zero,0", 1), Format::Csv).contains("a whole number for `j`, found `zero`"));
    assert!(wrong(&format!("{csv}S1,0,0,0,,1,\n"), Format::Csv).contains("the end of the file"));
    let bad = Output::new("S", vec![3], vec![1.0], None, Index::default()).expect_err("refused").to_string();
    assert_eq!(bad, "`S`: real parts: expected 3 for the shape [3], found 1");
    let mut infinite = example();
    infinite.outputs[0].re[0] = f64::NAN;
    assert!(infinite.bytes(Path::new("x"), Format::Json).expect_err("refused").to_string().contains("finite"));
    for format in [Format::Npz, Format::Csv, Format::Safetensors] {
        let bytes = infinite.bytes(Path::new("x"), format).expect("bytes");
        assert!(Table::parse(Path::new("x"), &bytes, format).expect("a table").outputs[0].re[0].is_nan());
    }
    let missing = Table::read(&folder().join("none.csv")).expect_err("refused");
    assert!(matches!(missing, TableError::File { .. }));
}
