//! Every command that the book and the README show is run as it stands, on small files of the names it mentions.

use super::*;

/// Words of a command line: quotes hold words together, a `#` behind a space begins a comment, what stands in square brackets may be left out and is.
fn words(line: &str) -> Vec<String> {
    let (mut out, mut word, mut quoted, mut optional) = (Vec::new(), String::new(), false, 0);
    let mut before = ' ';
    for c in line.chars() {
        match c {
            '#' if !quoted && before == ' ' => break,
            '"' => quoted = !quoted,
            '[' if !quoted => optional += 1,
            ']' if !quoted => optional -= 1,
            ' ' if !quoted => out.push(std::mem::take(&mut word)),
            _ if optional == 0 => word.push(c),
            _ => {}
        }
        before = c;
    }
    out.push(word);
    out.retain(|word| !word.is_empty());
    out
}

/// Commands that are not run here, and why.
const ELSEWHERE: &[(&str, &str)] = &[
    ("bench --suite", "minutes; tests of the suite are in `work.rs`"),
    ("encode sky.npy -o sky.npz --device cuda", "needs a GPU"),
    ("--emit ptx", "needs NVRTC; `work.rs` runs it where there is one"),
];

/// Bandlimits above this are lowered to it: builds for tests are slow.
const LARGEST_BANDLIMIT: usize = 64;

/// Files of the names that the book uses.
fn prepared(page: &str) -> Folder {
    let folder = Folder::new();
    let real = |shape: &[usize], seed: u64| NamedArray::F64 { shape: shape.to_vec(), data: noise(shape.iter().product(), seed) };
    for (k, name) in ["sky.npy", "other.npy", "flm.npy"].into_iter().enumerate() {
        folder.npy(name, &half_array(32, 3 + k as u64));
    }
    folder.npy("texture.npy", &real(&[64, 64], 6));
    folder.npy("sound.npy", &real(&[1024], 7));
    folder.npy("map.npy", &real(&[768], 8));
    folder.npy("reference.npy", &real(&[768], 9));
    folder.npy("weights.npy", &NamedArray::F64 { shape: vec![768], data: noise(768, 10).iter().map(|x| x * x).collect() });
    folder.text("prices.csv", &noise(256, 11).iter().map(|x| format!("{x}\n")).collect::<String>());
    std::fs::write(folder.0.join("map.fits"), readers::targets::fits_map(8, &noise(768, 12))).expect("a map");
    let mut picture = png::Encoder::new(std::fs::File::create(folder.0.join("texture.png")).expect("a file"), 64, 64);
    picture.set_color(png::ColorType::Grayscale);
    picture.set_depth(png::BitDepth::Eight);
    let samples: Vec<u8> = noise(64 * 64, 13).iter().map(|x| (127.0 + 120.0 * x) as u8).collect();
    picture.write_header().and_then(|mut writer| writer.write_image_data(&samples)).expect("a picture");
    succeed(&["encode", &folder.at("sky.npy"), "-o", &folder.at("s.npz")]);
    // Statistics that the page shows.
    for block in page.split("```").skip(1).step_by(2) {
        for line in block.lines() {
            if let Some(name) = line.strip_prefix("statistic ").and_then(|rest| rest.split('(').next()) {
                let text = block.split_once('\n').map_or("", |(_, text)| text);
                folder.text(&format!("{name}.scat"), text);
            }
        }
    }
    folder
}

fn run(folder: &Folder, words: &[String]) -> Output {
    let cache = std::env::temp_dir().join(format!("scatterc-cli-{}-cache", std::process::id()));
    let mut words = words.to_vec();
    if let Some(k) = words.iter().position(|w| w == "--bandlimit") {
        let given: usize = words[k + 1].parse().expect("a number");
        words[k + 1] = given.min(LARGEST_BANDLIMIT).to_string();
    }
    if words[0] == "synthesise" {
        words.retain(|w| w != "300");
        match words.iter().position(|w| w == "--steps") {
            Some(k) => words.insert(k + 1, "2".into()),
            None => words.extend(["--steps".into(), "2".into()]),
        }
    }
    Command::new(env!("CARGO_BIN_EXE_scatterc"))
        .args(&words)
        .current_dir(&folder.0)
        .env("SCATTERC_CACHE_DIR", cache)
        .output()
        .expect("the command starts")
}

#[test]
fn every_command_of_the_book_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages: Vec<PathBuf> = std::fs::read_dir(root.join("docs")).expect("docs").map(|entry| entry.expect("an entry").path()).collect();
    pages.retain(|path| path.extension().is_some_and(|e| e == "md"));
    pages.sort();
    pages.push(root.join("README.md"));
    let (mut ran, mut faults, mut left_out) = (0, Vec::new(), vec![0; ELSEWHERE.len()]);
    for path in pages {
        let page = std::fs::read_to_string(&path).expect("a page");
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut folder: Option<Folder> = None;
        let mut last: Vec<String> = vec![];
        for line in page.split("```").skip(1).step_by(2).flat_map(str::lines) {
            if line.starts_with("cp a.plan b.plan") {
                // The edit by hand: one multiplication of a kernel becomes an addition.
                let folder = folder.as_ref().expect("a plan was made");
                let text = std::fs::read_to_string(folder.0.join("a.plan")).expect("a plan");
                folder.text("b.plan", &text.replacen(" fmul ", " fadd ", 1));
            }
            let Some(rest) = line.strip_prefix("scatterc ") else { continue };
            if let Some(k) = ELSEWHERE.iter().position(|(part, _)| rest.contains(part)) {
                left_out[k] += 1;
                continue;
            }
            let mut own = words(rest);
            // `..` stands for the arguments of the command above.
            if let Some(k) = own.iter().position(|w| w == "..") {
                own.splice(k..=k, last[1..].iter().cloned());
            } else {
                last = own.iter().take_while(|w| *w != "--measure").cloned().collect();
            }
            let folder = folder.get_or_insert_with(|| prepared(&page));
            let output = run(folder, &own);
            // `diff` says with its status that plans differ.
            let expected = if own[0] == "diff" { 1 } else { 0 };
            ran += 1;
            if output.status.code() != Some(expected) {
                faults.push(format!("{name}: scatterc {}\n  {:?} {}", own.join(" "), output.status.code(), String::from_utf8_lossy(&output.stderr)));
            }
        }
    }
    assert!(faults.is_empty(), "{} of {ran} commands:\n{}", faults.len(), faults.join("\n"));
    assert!(ran > 35, "{ran} commands");
    for ((part, why), count) in ELSEWHERE.iter().zip(left_out) {
        assert!(count > 0, "`{part}` ({why}) is in no page");
    }
}
