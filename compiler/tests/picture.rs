//! Lives of buffers as the plan's text gives them.

use scatterc_compiler::picture::{live_bytes, lives};
use scatterc_ir::plan::Slot;
use scatterc_ir::plan::{Port, parse};
use scatterc_ir::{Space, Type};

const TEXT: &str = "plan p {\n  arena 20\n  input x = 0+4 : [4] point\n  output y = 4+4 : [4] point\n  step concat rows=1 (0+4 -> 8+4)\n  step concat rows=1 (8+4 -> 4+4)\n  step fill value=0.0 -> 8+2\n}\n";

#[test]
fn lives_end_with_the_last_reader_or_the_next_writer() {
    let plan = parse(TEXT).expect("a plan");
    assert_eq!(plan.inputs[0], Port { name: "x".into(), slot: Slot { offset: 0, len: 4 }, ty: Type::new([4], Space::Point) });
    let found: Vec<(String, Option<usize>, usize)> = lives(&plan).iter().map(|l| (l.slot.to_string(), l.writer, l.last)).collect();
    let expected = [("0+4", None, 0), ("8+4", Some(0), 1), ("4+4", Some(1), 3), ("8+2", Some(2), 2)];
    assert_eq!(found, expected.map(|(slot, writer, last)| (slot.to_string(), writer, last)));
    assert_eq!(live_bytes(&plan), [64, 64, 48]);
}
