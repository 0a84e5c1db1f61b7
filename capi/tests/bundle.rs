//! Plans at the end of libraries: read back, replaced, and refused where they are damaged.

use scatterc_runtime::bundle::{append, read};

const TEXT: &str = "plan p {\n  arena 2\n  output y = 0+2 : [2] point\n  step fill value=1.0 -> 0+2\n}\n";

#[test]
fn a_plan_is_read_back_replaced_and_checked() {
    let path = std::env::temp_dir().join(format!("scatterc-bundle-{}", std::process::id()));
    let write = |bytes: &[u8]| std::fs::write(&path, bytes).expect("written");
    let library = b"a library of some length, without a plan at its end, so that there is room for a trailer".as_slice();
    let whole = append(library, TEXT);
    write(&whole);
    assert_eq!(read(&path).expect("a plan").1, TEXT);
    // Exporting from an exported library replaces the plan.
    assert_eq!(append(&append(library, "plan other {\n}\n"), TEXT), whole);
    write(library);
    assert!(read(&path).expect_err("no plan").to_string().contains("without one"));
    let mut bad = whole.clone();
    bad[library.len() + 6] ^= 1;
    write(&bad);
    assert!(read(&path).expect_err("damaged").to_string().contains("another checksum"));
    let mut bad = whole.clone();
    let place = whole.len() - 24;
    bad[place..place + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    write(&bad);
    assert!(read(&path).expect_err("damaged").to_string().contains("length"));
    write(&append(library, "plan p {\n  arena 1\n  step fill value=1.0 -> 0+2\n}\n"));
    assert!(read(&path).expect_err("refused").to_string().contains("P1"));
    write(b"short");
    assert!(read(&path).is_err());
    std::fs::remove_file(&path).expect("removed");
}
