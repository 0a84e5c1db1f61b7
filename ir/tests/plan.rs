//! Plans: text and the rules of the plan verifier.

mod common;

use common::Random;
use scatterc_ir::ops::Attribute;
use scatterc_ir::plan::{Element, Kernel, Place, Plan, Port, Slot, SparsePart, Stage, Step, Stream, Table, Target, TileStream, parse, verify};
use scatterc_ir::{Linear, Space, Type};

fn slot(offset: usize, len: usize) -> Slot {
    Slot { offset, len }
}

/// A plan with every kind of line.
fn example() -> Plan {
    Plan {
        name: "example".into(),
        target: Target::Cpu,
        element: Element::F64,
        prelude: String::new(),
        notes: vec![("domain".into(), "sphere L=8".into()), ("statistic".into(), "a \"quoted\"\n\ttext\\ with \u{e9} and \u{1}".into())],
        arena: 1000,
        inputs: vec![Port { name: "x".into(), slot: slot(0, 72), ty: Type::new([], Space::Coefficients { L: 8 }) }],
        outputs: vec![Port { name: "S.re".into(), slot: slot(900, 6), ty: Type::new([2, 3], Space::Point) }],
        tables: vec![Table::Weights(Linear::RingMean { L: 4, M: 3 }), Table::Weights(Linear::Mean { L: 4 })],
        kernels: vec![Kernel {
            name: "k0".into(),
            summary: "loop over map(4) for abs".into(),
            text: "function %k0(i64) {\nblock0(v0: i64):\n\n    return\n}\n".into(),
        }],
        steps: vec![
            Step::Linear {
                map: Linear::WignerInverse { L_in: 8, L: 8, N: 3, j: 2 },
                adjoint: true,
                pairs: vec![(slot(100, 10), slot(110, 10)), (slot(120, 10), slot(130, 10))],
                bandlimits: vec![8, 4],
            },
            Step::Linear { map: Linear::Scale { by: -0.1 }, adjoint: false, pairs: vec![], bandlimits: vec![] },
            Step::Loop {
                kernel: 0,
                trip: 10,
                outer: 2,
                grain: 8,
                streams: vec![
                    Stream { slot: slot(200, 40), stride: 20, extent: 20, written: false },
                    Stream { slot: slot(300, 20), stride: 10, extent: 10, written: true },
                ],
                tables: vec![1],
                sums: slot(400, 4),
            },
            Step::Gram {
                table: 0,
                row_len: 10,
                rows: vec![slot(500, 20), slot(520, 10)],
                pairs: vec![0, 1, 1, 2],
                places: vec![0, 1, 1],
                outputs: vec![slot(600, 2), slot(610, 1)],
            },
            Step::Mix {
                table: 0,
                row_len: 10,
                rows: vec![slot(500, 20)],
                coefficients: vec![slot(600, 2)],
                counts: vec![2, 1],
                terms: vec![0, 0, 1, 1, 1, 0],
                outputs: vec![slot(700, 20)],
            },
            Step::Concat { rows: 2, inputs: vec![slot(800, 4), slot(810, 2)], output: slot(820, 6) },
            Step::Fill { value: -0.5, output: slot(900, 6) },
            Step::Tile {
                L: 4,
                outer: 2,
                scratch: 64,
                sums: slot(960, 4),
                stages: vec![
                    Stage::Rings {
                        map: Linear::RingForward { L: 4, M: 3 },
                        adjoint: true,
                        first: 1,
                        rows: 1,
                        from: Place::Arena(slot(200, 40)),
                        to: Place::Local(slot(0, 32)),
                    },
                    Stage::Loop {
                        kernel: 0,
                        trip: 10,
                        sums: vec![1, 0],
                        tables: vec![1],
                        streams: vec![
                            TileStream { place: Place::Local(slot(0, 32)), stride: 0, extent: 32, written: false },
                            TileStream { place: Place::Arena(slot(300, 20)), stride: 10, extent: 10, written: false },
                            TileStream { place: Place::Local(slot(0, 16)), stride: 0, extent: 16, written: true },
                        ],
                    },
                    Stage::Rings {
                        map: Linear::RingForward { L: 4, M: 3 },
                        adjoint: false,
                        first: 0,
                        rows: 1,
                        from: Place::Local(slot(0, 16)),
                        to: Place::Arena(slot(910, 40)),
                    },
                ],
            },
        ],
    }
}

#[test]
fn text_round_trips() {
    let plan = example();
    assert_eq!(verify(&plan), Ok(()));
    let text = plan.to_string();
    assert_eq!(parse(&text), Ok(plan.clone()), "{text}");
    assert_eq!(parse(&text).map(|p| p.to_string()), Ok(text));
    assert_eq!(plan.note("domain"), Some("sphere L=8"));
    assert_eq!(plan.note("nothing"), None);
    let empty = Plan { name: "empty".into(), ..Plan::default() };
    assert_eq!(parse(&empty.to_string()), Ok(empty));
}

#[test]
fn every_linear_row_can_be_a_step() {
    for map in Linear::samples() {
        for adjoint in [false, true] {
            let steps = vec![Step::Linear { map: map.clone(), adjoint, pairs: vec![(slot(0, 8), slot(8, 8))], bandlimits: vec![] }];
            let plan = Plan { name: "row".into(), arena: 16, steps, ..Plan::default() };
            assert_eq!(parse(&plan.to_string()), Ok(plan.clone()), "{plan}");
        }
    }
}

#[test]
fn every_fault_of_a_text_names_its_line() {
    for (line, message) in [
        ("nonsense", "expected note, target, arena, input, output, table, prelude, kernel or step"),
        ("arena many", "expected a number"),
        ("arena -5", "expected a number"),
        ("note a = b", "expected `\"`"),
        ("note a = \"b", "does not end"),
        ("note a = \"\\u{110000}\"", "is no character"),
        ("input x = 0 : [] point", "expected `+`"),
        ("input x = 0+1 [] point", "expected `:`"),
        ("input x = 0+1 : [] nowhere", "expected a space"),
        ("output x = 0+1 : [] point more", "unexpected `more`"),
        ("table weights frobnicate {}", "`frobnicate` is no linear op"),
        ("table weights mean {}", "`mean` needs the attribute `L`"),
        ("table weights mean {L=0}", "bandlimit must be at least 1"),
        ("| iconst", "kernel text without a kernel"),
        ("step jump 3", "`jump` is no step"),
        ("step linear mean {L=4} (0+1 -> 1+1)", "expected `bandlimits`"),
        ("step linear mean {L=4} bandlimits=[] (0+1, 1+1)", "expected `->`"),
        ("step linear mean {L=4} bandlimits=[-1] (0+1 -> 1+1)", "expected a list of whole numbers"),
        ("step loop 0 trip=1 outer=1 grain=1 sums=0+0 tables=[] (look 0+1/0/1)", "expected `read` or `write`, found `look`"),
        ("step loop 0 trip=1 outer=1 grain=1 sums=0+0 tables=[] (read 0+1/0)", "expected `/`"),
        ("step loop zero trip=1", "expected a number, found `zero`"),
        ("step gram table=0 row_len=1 pairs=[] places=[] (0+1)", "expected `->`"),
        ("step loop 0 trip=1 outer=1 grain=1 sums=0+0 tables=[] (read local 0+1/0/1)", "outside a tile"),
        ("step tile L=4 outer=1 scratch=8 sums=0+0 [spin 3]", "`spin` is no stage of a tile"),
        ("step tile L=4 outer=1 scratch=8 sums=0+0 [rings ring_inverse {L=4, M=4} first=0 rows=1 (local 0+1 1+1)]", "expected `->`"),
        ("step tile L=4 outer=1 scratch=8 sums=0+0 [loop 0 trip=2 sums=2 tables=[] ()]", "expected a list of whole numbers"),
        ("step tile L=4 outer=1 scratch=8 sums=0+0 rings", "expected `[`"),
        ("step concat rows=1 (0+1 -> 1+1, 2+1)", "`concat` has one output"),
        ("step fill value=x -> 0+1", "expected a number"),
        ("step fill value=1 0+1", "expected `->`"),
    ] {
        let text = format!("plan p {{\n  arena 10\n  {line}\n}}\n");
        let error = parse(&text).expect_err(line);
        assert!(error.line == 3 && error.message.contains(message), "`{line}`: {error}");
    }
    assert!(parse("plan p {\n").is_err_and(|e| e.message.contains("does not end")));
    assert!(parse("graph p {\n}\n").is_err_and(|e| e.line == 1));
    assert!(parse("plan p {\n}\narena 3\n").is_err_and(|e| e.line == 3));
}

/// Rules broken after one change of the example.
fn broken(change: impl FnOnce(&mut Plan)) -> Vec<String> {
    let mut plan = example();
    change(&mut plan);
    verify(&plan).expect_err("the change breaks a rule")
}

fn assert_breaks(rule: &str, change: impl FnOnce(&mut Plan)) {
    let faults = broken(change);
    assert!(faults.iter().any(|fault| fault.starts_with(rule)), "{faults:?}");
}

#[test]
fn p1_slots_lie_in_the_arena() {
    assert_breaks("P1", |p| p.arena = 905);
    assert_breaks("P1", |p| p.arena = 1 << 41);
    assert_breaks("P1", |p| p.inputs[0].slot = slot(usize::MAX, 2));
    assert_breaks("P1", |p| p.outputs[0].slot = slot(995, 6));
    assert_breaks("P1", |p| p.steps[6] = Step::Fill { value: 0.0, output: slot(usize::MAX - 1, 6) });
    let far = broken(|p| {
        p.steps.iter_mut().for_each(|step| {
            if let Step::Loop { sums, .. } = step {
                *sums = slot(1 << 33, 0)
            }
        })
    });
    assert!(far.iter().any(|fault| fault.starts_with("P1") && fault.contains("8589934592+0")), "{far:?}");
}

#[test]
fn p2_everything_a_step_names_exists() {
    let edit = |k: usize, change: fn(&mut Step)| move |p: &mut Plan| change(&mut p.steps[k]);
    assert_breaks("P2", |p| p.kernels.clear());
    assert_breaks("P2", |p| p.tables.truncate(1));
    assert_breaks("P2", |p| p.tables.clear());
    assert_breaks(
        "P2",
        edit(0, |s| {
            if let Step::Linear { bandlimits, .. } = s {
                bandlimits.truncate(1)
            }
        }),
    );
    assert_breaks(
        "P2",
        edit(3, |s| {
            if let Step::Gram { pairs, .. } = s {
                pairs[0] = 3
            }
        }),
    );
    assert_breaks(
        "P2",
        edit(3, |s| {
            if let Step::Gram { pairs, .. } = s {
                pairs.push(0)
            }
        }),
    );
    assert_breaks(
        "P2",
        edit(3, |s| {
            if let Step::Gram { places, .. } = s {
                places[0] = 2
            }
        }),
    );
    assert_breaks(
        "P2",
        edit(3, |s| {
            if let Step::Gram { places, .. } = s {
                places.truncate(2)
            }
        }),
    );
    assert_breaks(
        "P2",
        edit(3, |s| {
            if let Step::Gram { row_len, .. } = s {
                *row_len = 0
            }
        }),
    );
    assert_breaks(
        "P2",
        edit(4, |s| {
            if let Step::Mix { terms, .. } = s {
                terms[0] = 2
            }
        }),
    );
    assert_breaks(
        "P2",
        edit(4, |s| {
            if let Step::Mix { terms, .. } = s {
                terms[1] = 2
            }
        }),
    );
    assert_breaks(
        "P2",
        edit(4, |s| {
            if let Step::Mix { terms, .. } = s {
                terms.truncate(5)
            }
        }),
    );
    assert_breaks(
        "P2",
        edit(4, |s| {
            if let Step::Mix { counts, .. } = s {
                counts[0] = 1
            }
        }),
    );
    assert_breaks(
        "P2",
        edit(4, |s| {
            if let Step::Mix { counts, .. } = s {
                counts[0] = usize::MAX
            }
        }),
    );
    assert_breaks(
        "P2",
        edit(4, |s| {
            if let Step::Mix { counts, .. } = s {
                counts.truncate(1)
            }
        }),
    );
}

#[test]
fn p3_outputs_overlap_nothing_else_of_their_step() {
    assert_breaks("P3", |p| {
        if let Step::Linear { pairs, .. } = &mut p.steps[0] {
            pairs[0].1 = slot(105, 10)
        }
    });
    assert_breaks("P3", |p| {
        if let Step::Linear { pairs, .. } = &mut p.steps[0] {
            pairs[0].1 = slot(139, 10)
        }
    });
    assert_breaks("P3", |p| {
        if let Step::Loop { sums, .. } = &mut p.steps[2] {
            *sums = slot(319, 4)
        }
    });
    assert_breaks("P3", |p| {
        if let Step::Concat { output, .. } = &mut p.steps[5] {
            *output = slot(806, 6)
        }
    });
    // Neighbours do not overlap, and nothing overlaps an empty slot.
    let mut plan = example();
    if let Step::Concat { inputs, output, .. } = &mut plan.steps[5] {
        *output = slot(804, 6);
        inputs.push(slot(806, 0));
    }
    assert_eq!(verify(&plan), Ok(()));
}

#[test]
fn p4_streams_stay_inside_their_slots() {
    let edit = |k: usize, change: fn(&mut Step)| move |p: &mut Plan| change(&mut p.steps[k]);
    assert_breaks(
        "P4",
        edit(2, |s| {
            if let Step::Loop { streams, .. } = s {
                streams[0].extent = 21
            }
        }),
    );
    assert_breaks(
        "P4",
        edit(2, |s| {
            if let Step::Loop { streams, .. } = s {
                streams[1].stride = 11
            }
        }),
    );
    assert_breaks(
        "P4",
        edit(2, |s| {
            if let Step::Loop { streams, .. } = s {
                streams[1].stride = usize::MAX
            }
        }),
    );
    assert_breaks(
        "P4",
        edit(2, |s| {
            if let Step::Loop { outer, .. } = s {
                *outer = 3
            }
        }),
    );
    assert_breaks(
        "P4",
        edit(2, |s| {
            if let Step::Loop { grain, .. } = s {
                *grain = 0
            }
        }),
    );
    assert_breaks(
        "P4",
        edit(2, |s| {
            if let Step::Loop { trip, .. } = s {
                *trip = 0
            }
        }),
    );
    assert_breaks(
        "P4",
        edit(2, |s| {
            if let Step::Loop { outer, .. } = s {
                *outer = 0
            }
        }),
    );
    assert_breaks(
        "P4",
        edit(5, |s| {
            if let Step::Concat { rows, .. } = s {
                *rows = 0
            }
        }),
    );
    assert_breaks(
        "P4",
        edit(5, |s| {
            if let Step::Concat { rows, .. } = s {
                *rows = 4
            }
        }),
    );
    assert_breaks(
        "P4",
        edit(5, |s| {
            if let Step::Concat { inputs, .. } = s {
                inputs.truncate(1)
            }
        }),
    );
}

#[test]
fn all_faults_are_collected() {
    let faults = broken(|p| {
        p.arena = 905;
        p.kernels.clear();
        if let Step::Concat { rows, .. } = &mut p.steps[5] {
            *rows = 0;
        }
    });
    for rule in ["P1", "P2", "P4"] {
        assert!(faults.iter().any(|fault| fault.starts_with(rule)), "{rule}: {faults:?}");
    }
}

#[test]
fn mutated_texts_never_panic() {
    let mut random = Random(6);
    let text = example().to_string();
    let mut accepted = 0;
    for _ in 0..20_000 {
        if let Ok(plan) = parse(&random.mutated(&text)) {
            accepted += 1;
            // The verifier must say what is wrong, never overflow; a text read is a text written.
            if verify(&plan).is_ok() {
                let printed = plan.to_string();
                assert_eq!(parse(&printed).map(|p| p.to_string()), Ok(printed));
            }
        }
    }
    assert!(accepted > 100, "only {accepted} mutated texts are plans; the mutations are too coarse");
}

/// Changes the tile of the example and one of its stages.
fn tile(change: impl Fn(&mut usize, &mut usize, &mut Slot, &mut Vec<Stage>)) -> impl FnOnce(&mut Plan) {
    move |p: &mut Plan| {
        if let Step::Tile { outer, scratch, sums, stages, .. } = &mut p.steps[7] {
            change(outer, scratch, sums, stages);
        }
    }
}

fn rings(stage: &mut Stage, change: impl Fn(&mut Linear, &mut usize, &mut Place, &mut Place)) {
    if let Stage::Rings { map, rows, from, to, .. } = stage {
        change(map, rows, from, to);
    }
}

fn loops(stage: &mut Stage, change: impl Fn(&mut usize, &mut Vec<usize>, &mut Vec<usize>, &mut Vec<TileStream>)) {
    if let Stage::Loop { kernel, sums, tables, streams, .. } = stage {
        change(kernel, sums, tables, streams);
    }
}

#[test]
fn tiles_obey_the_rules_stage_by_stage() {
    assert_breaks("P1", tile(|_, _, _, stages| rings(&mut stages[0], |_, _, from, _| *from = Place::Arena(slot(999, 40)))));
    assert_breaks("P1", tile(|_, _, sums, _| *sums = slot(998, 4)));
    assert_breaks("P2", tile(|_, _, _, stages| loops(&mut stages[1], |kernel, _, _, _| *kernel = 1)));
    assert_breaks("P2", tile(|_, _, _, stages| loops(&mut stages[1], |_, _, tables, _| tables[0] = 2)));
    assert_breaks("P2", tile(|_, _, _, stages| loops(&mut stages[1], |_, sums, _, _| *sums = vec![0, 2])));
    assert_breaks("P2", tile(|_, _, _, stages| loops(&mut stages[1], |_, sums, _, _| *sums = vec![1, 1])));
    // Results over operands of the step, over sums, and over rows that a loop reads elsewhere.
    assert_breaks("P3", tile(|_, _, _, stages| rings(&mut stages[2], |_, _, _, to| *to = Place::Arena(slot(310, 40)))));
    assert_breaks("P3", tile(|_, _, sums, _| *sums = slot(949, 4)));
    assert_breaks("P3", tile(|_, _, _, stages| loops(&mut stages[1], |_, _, _, streams| streams[2].place = Place::Local(slot(8, 16)))));
    assert_breaks("P3", tile(|_, _, _, stages| rings(&mut stages[2], |_, _, _, to| *to = Place::Local(slot(8, 16)))));
    assert_breaks("P4", tile(|outer, _, _, _| *outer = 0));
    assert_breaks("P4", tile(|outer, _, _, _| *outer = 3));
    assert_breaks("P4", tile(|_, scratch, _, _| *scratch = 31));
    assert_breaks("P4", tile(|_, _, sums, _| sums.len = 3));
    assert_breaks("P4", tile(|_, _, _, stages| stages.clear()));
    assert_breaks("P4", tile(|_, _, _, stages| rings(&mut stages[0], |map, _, _, _| *map = Linear::RingInverse { L: 5, M: 3 })));
    assert_breaks("P4", tile(|_, _, _, stages| rings(&mut stages[0], |map, _, _, _| *map = Linear::Mean { L: 4 })));
    assert_breaks("P4", tile(|_, _, _, stages| rings(&mut stages[0], |_, rows, _, _| *rows = 0)));
    // What an earlier stage left is known by its range; the loop has overwritten the rest.
    assert_breaks("P4", tile(|_, _, _, stages| rings(&mut stages[2], |_, _, from, _| *from = Place::Local(slot(0, 32)))));
    assert_breaks("P4", tile(|_, _, _, stages| drop(stages.remove(0))));
    assert_breaks("P4", tile(|_, _, _, stages| loops(&mut stages[1], |_, _, _, streams| streams[0].stride = 1)));
    assert_breaks("P4", tile(|_, _, _, stages| loops(&mut stages[1], |_, _, _, streams| streams[1].extent = 11)));
    assert_breaks("P4", tile(|_, _, _, stages| loops(&mut stages[1], |_, _, _, streams| streams[2].extent = 17)));
}

/// A plan of launches: a prelude, a kernel, every kind of table.
fn launches() -> Plan {
    let sparse = |part| Table::Sparse { map: Linear::HermitianPack { L: 4 }, adjoint: true, part };
    Plan {
        name: "launches".into(),
        target: Target::Cuda,
        element: Element::F32,
        arena: 64,
        inputs: vec![Port { name: "x".into(), slot: slot(0, 8), ty: Type::new([8], Space::Point) }],
        tables: vec![
            Table::Weights(Linear::Mean { L: 4 }),
            sparse(SparsePart::Rows),
            sparse(SparsePart::Columns),
            sparse(SparsePart::Values),
            Table::Library { name: "roots".into(), attributes: vec![("n".into(), Attribute::Integer(7))] },
        ],
        prelude: "typedef float real;\n\n// of all kernels\n".into(),
        kernels: vec![Kernel { name: "k0".into(), summary: "a \"copy\"".into(), text: "extern \"C\" __global__ void k0();\n".into() }],
        steps: vec![Step::Launch { kernel: 0, grid: 3, block: 128, shared: 1024, reads: vec![slot(0, 8)], writes: vec![slot(8, 8), slot(16, 8)] }],
        ..Plan::default()
    }
}

#[test]
fn plans_of_launches_round_trip_and_are_verified() {
    let plan = launches();
    assert_eq!(verify(&plan), Ok(()));
    assert_eq!(parse(&plan.to_string()), Ok(plan.clone()));
    let breaks = |rule: &str, change: &dyn Fn(&mut Plan)| {
        let mut plan = launches();
        change(&mut plan);
        let faults = verify(&plan).expect_err("a rule is broken");
        assert!(faults.iter().any(|fault| fault.starts_with(rule)), "{faults:?} do not name {rule}");
    };
    breaks("P1", &|p| p.arena = 20);
    breaks("P2", &|p| p.kernels.clear());
    breaks("P5", &|p| p.target = Target::Cpu);
    breaks("P5", &|p| p.steps.push(Step::Fill { value: 1.0, output: slot(32, 8) }));
    for (found, block) in [(0, 128), (1 << 31, 128), (3, 0), (3, 1025)] {
        let launch = Step::Launch { kernel: 0, grid: found, block, shared: 0, reads: vec![], writes: vec![] };
        breaks("P4", &|p| p.steps[0] = launch.clone());
    }
    for (text, part) in [
        ("plan p {\n  target gpu f64\n}", "`gpu` is no target; expected cpu or cuda"),
        ("plan p {\n  target cuda f16\n}", "is no element"),
        ("plan p {\n  table sparse diagonal mean {L=4}\n}", "is no part"),
        ("plan p {\n  table curtain x {}\n}", "is no table"),
        ("plan p {\n  | text\n}", "without a kernel"),
    ] {
        let error = parse(text).expect_err("it is refused").to_string();
        assert!(error.contains(part), "{error} does not say {part}");
    }
}

#[test]
fn differences_name_section_item_field_and_both_values() {
    use scatterc_ir::difference::plans;
    let plan = example();
    assert_eq!(plans(&plan, &plan), vec![]);
    let edited = |change: &dyn Fn(&mut Plan)| {
        let mut other = plan.clone();
        change(&mut other);
        plans(&plan, &other).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(edited(&|p| p.arena = 1001), "header: arena: 1000 | 1001");
    assert_eq!(edited(&|p| p.inputs[0].slot.len = 71), "inputs: input x: slot: 0+72 | 0+71");
    assert_eq!(edited(&|p| p.outputs.clear()), "outputs: output S.re: of 1 | 0: present | absent");
    assert_eq!(
        edited(&|p| p.kernels[0].text = "function %k1(i64) {\n".into()),
        "kernels: kernel k0: line 1: function %k0(i64) { | function %k1(i64) {"
    );
    assert_eq!(edited(&|p| p.notes[0].1 = "plane".into()), "notes: note domain: value: sphere L=8 | plane");
    let step = edited(&|p| {
        if let Step::Gram { places, .. } = &mut p.steps[3] {
            places[2] = 0;
        }
    });
    assert_eq!(step, "steps: step 3 gram: places[2]: 1 | 0");
    let step = edited(&|p| p.steps[1] = Step::Fill { value: 0.5, output: slot(0, 1) });
    assert_eq!(step, "steps: step 1 linear: kind: linear | fill");
    assert_eq!(edited(&|p| p.outputs.push(p.outputs[0].clone())), "outputs: output S.re: of 1 | 2: absent | present");
    let step = edited(&|p| {
        if let Step::Linear { map: Linear::WignerInverse { N, .. }, .. } = &mut p.steps[0] {
            *N = 2;
        }
    });
    assert_eq!(step, "steps: step 0 linear: N: 3 | 2");
    let step = edited(&|p| {
        if let Step::Linear { adjoint, .. } = &mut p.steps[0] {
            *adjoint = false;
        }
    });
    assert_eq!(step, "steps: step 0 linear: map: wigner_inverse^H | wigner_inverse");
    let step = edited(&|p| {
        if let Step::Loop { streams, .. } = &mut p.steps[2] {
            streams[1].written = false;
        }
    });
    assert_eq!(step, "steps: step 2 loop: streams[1]: write 300+20 stride 10 extent 10 | read 300+20 stride 10 extent 10");
    let stage = |change: &dyn Fn(&mut Stage)| {
        edited(&|p| {
            if let Some(Step::Tile { stages, .. }) = p.steps.last_mut() {
                change(&mut stages[1]);
            }
        })
    };
    let found = stage(&|stage| {
        if let Stage::Loop { streams, .. } = stage {
            streams[2].stride = 1;
        }
    });
    assert_eq!(found, "steps: step 7 tile: stages[1].streams[2]: write local 0+16 stride 0 extent 16 | write local 0+16 stride 1 extent 16");
    let found = stage(&|stage| {
        if let Stage::Loop { trip, .. } = stage {
            *trip = 11;
        }
    });
    assert_eq!(found, "steps: step 7 tile: stages[1].trip: 10 | 11");
}

#[test]
fn differences_of_filters_and_of_graphs_are_named() {
    use scatterc_ir::difference::{graphs, plans};
    let weighed = |by: f64| {
        let filters = vec![Linear::Scale { by }];
        Plan { steps: vec![Step::FilterGram { filters, forms: vec![], places: vec![], rows: vec![], outputs: vec![] }], ..example() }
    };
    let found: Vec<String> = plans(&weighed(2.0), &weighed(3.0)).iter().map(ToString::to_string).collect();
    assert_eq!(found, ["steps: step 0 filter_gram: filters[0]: map=scale by=2.0 | map=scale by=3.0"]);

    let graph = |body: &str| scatterc_ir::text::parse(&format!("graph g {{\n%0 = input x : [4] point\n{body}}}\n")).expect("parses");
    let first = graph("%1 = scale(%0) {by=2.0} : [4] point\nreturn y = %1\n");
    assert_eq!(graphs(&first, &first), vec![]);
    for (body, expected) in [
        ("%1 = scale(%0) {by=3.0} : [4] point\nreturn y = %1\n", "nodes: %1 scale: by: 2.0 | 3.0"),
        ("%1 = abs(%0) : [4] point\nreturn y = %1\n", "nodes: %1 scale: op: scale | abs"),
        ("%1 = scale(%0) {by=2.0} : [4] point\nreturn z = %1\n", "outputs: output 0: name: y | z"),
        ("%1 = scale(%0) {by=2.0} : [4] point\nreturn y = %1\nreturn z = %0\n", "outputs: output 1: of 1 | 2: absent | present"),
    ] {
        let found: Vec<String> = graphs(&first, &graph(body)).iter().map(ToString::to_string).collect();
        assert_eq!(found, [expected], "{body}");
    }
}

/// A short text of long lists: refused before the lists are made.
#[test]
fn short_texts_cannot_ask_for_long_lists() {
    let text = example().to_string();
    let step = "  step gram table=0 row_len=1 pairs=[0*16000000] places=[] (0+1 -> 1+0)\n";
    let one = text.replacen("  step ", &format!("{step}  step "), 1);
    assert!(parse(&one).is_ok(), "one long list is allowed");
    for lists in [
        step.repeat(4),
        step.replace("[0*16000000]", &format!("[{}]", vec!["0*9000000"; 30].join(", "))),
        step.replace("0*16000000", "0..16000000").repeat(4),
    ] {
        let many = text.replacen("  step ", &format!("{lists}  step "), 1);
        let error = parse(&many).expect_err("too many numbers").to_string();
        assert!(error.contains("too many numbers") || error.contains("too long"), "{error}");
    }
}

/// Sizes near the largest whole number are faults, never an overflow.
#[test]
fn sizes_near_the_largest_number_do_not_overflow() {
    let huge = usize::MAX;
    for step in [
        Step::Concat { rows: 1, inputs: vec![slot(0, huge), slot(0, huge)], output: slot(0, huge) },
        Step::Gram {
            table: 0,
            row_len: 1,
            rows: vec![slot(0, huge), slot(0, huge)],
            pairs: vec![0, 0],
            places: vec![0],
            outputs: vec![slot(0, huge), slot(1, huge)],
        },
        Step::FrameGram {
            L: huge,
            N: huge,
            scales: vec![0],
            bandlimits: vec![1, 1],
            forms: vec![0, 0, 0, huge - 1],
            places: vec![0],
            rows: vec![slot(0, huge - 1), slot(0, huge - 1)],
            outputs: vec![slot(0, 1)],
        },
        Step::Mix {
            table: 0,
            row_len: 1,
            rows: vec![slot(huge, huge)],
            coefficients: vec![slot(0, huge), slot(0, huge)],
            counts: vec![huge, huge],
            terms: vec![0, 0],
            outputs: vec![slot(0, huge)],
        },
    ] {
        let faults = broken(|plan| plan.steps.push(step.clone()));
        assert!(faults.iter().any(|f| f.starts_with("P1")), "{faults:?}");
    }
}
