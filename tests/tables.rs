//! Tables of coefficients: every format gives back the bits, wrong files are refused, selections and aggregates are those of the index.

#![allow(non_snake_case)]

use scatterc::table::{Aggregate, Format, Output, Table, TableError};
use scatterc::{Compiler, Index, InputKind, Source, Sphere};
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
