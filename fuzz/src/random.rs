//! Reproducible choices, and damage done to bytes and texts.

/// A linear congruential generator; its upper bits are good enough to choose mutations.
pub struct Random(pub u64);

impl Random {
    /// Choices that belong to a byte string.
    pub fn of(bytes: &[u8]) -> Random {
        Random(bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)))
    }

    /// The next 31 bits.
    pub fn bits(&mut self) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize
    }

    /// A whole number below `n`; 0 for n = 0.
    pub fn below(&mut self, n: usize) -> usize {
        self.bits() % n.max(1)
    }

    /// A number in -1..1.
    pub fn number(&mut self) -> f64 {
        self.below(1 << 30) as f64 / (1 << 29) as f64 - 1.0
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        if all.is_empty() { None } else { Some(&all[self.below(all.len())]) }
    }

    /// One to four small damages: bytes removed, repeated, exchanged, replaced by interesting ones; pieces copied elsewhere; numbers made large; the end cut off.
    pub fn damage(&mut self, bytes: &mut Vec<u8>) {
        const WORDS: [&[u8]; 24] = [
            b"18446744073709551615",
            b"-1",
            b"0",
            b"1e309",
            b"NaN",
            b"..",
            b"4294967296",
            b"9223372036854775807",
            b"[[",
            b"((((((((",
            b"^H",
            b"\\u{110000}",
            b"0*65536",
            b"[0..4096]",
            b"%0",
            b"\"",
            b"}",
            b"\xff\xff\xff\xff",
            b"\xff\xff\xff\xff\xff\xff\xff\x7f",
            b"\x00\x00\x00\x80",
            b"\xf0\x9f\x98\x80",
            b"999999999",
            b"2147483648",
            b" : ",
        ];
        for _ in 0..1 + self.below(4) {
            if bytes.is_empty() {
                bytes.extend_from_slice(WORDS[self.below(WORDS.len())]);
                continue;
            }
            let n = bytes.len();
            let k = self.below(n);
            match self.below(10) {
                0 => drop(bytes.remove(k)),
                1 => bytes.insert(k, bytes[self.below(n)]),
                2 => {
                    let other = self.below(n);
                    bytes.swap(k, other);
                }
                3 => bytes[k] = self.bits() as u8,
                4 => bytes[k] ^= 1 << self.below(8),
                5 => {
                    let word = WORDS[self.below(WORDS.len())];
                    bytes.splice(k..k, word.iter().copied());
                }
                6 => {
                    // A number, or the word at this place, is replaced.
                    let end = (k + 1 + self.below(12)).min(n);
                    let word = WORDS[self.below(WORDS.len())];
                    bytes.splice(k..end, word.iter().copied());
                }
                7 => drop(bytes.drain(k..(k + 1 + self.below(12)).min(n))),
                8 => {
                    let piece = bytes[k..(k + 1 + self.below(60)).min(n)].to_vec();
                    let at = self.below(n);
                    bytes.splice(at..at, piece);
                }
                _ if self.below(8) == 0 => bytes.truncate(k),
                _ => bytes[k] = bytes[k].wrapping_add(1),
            }
            bytes.truncate(1 << 14);
        }
    }

    /// Damage that leaves Unicode: what is no text any more is replaced.
    pub fn damaged_text(&mut self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        self.damage(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
