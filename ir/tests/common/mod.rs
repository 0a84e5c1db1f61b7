//! Reproducible numbers and mutated texts for the tests of texts.

#![allow(dead_code)]

/// A linear congruential generator; its upper bits are good enough to choose mutations.
pub struct Random(pub u64);

impl Random {
    /// A whole number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n.max(1)
    }

    /// A number in -1..1.
    pub fn number(&mut self) -> f64 {
        self.below(1 << 30) as f64 / (1 << 29) as f64 - 1.0
    }

    /// The text with one to four small damages: characters removed, repeated, exchanged, replaced; lines moved; numbers made large.
    pub fn mutated(&mut self, text: &str) -> String {
        let mut chars: Vec<char> = text.chars().collect();
        for _ in 0..1 + self.below(4) {
            if chars.is_empty() {
                break;
            }
            let k = self.below(chars.len());
            match self.below(8) {
                0 => {
                    chars.remove(k);
                }
                1 => chars.insert(k, chars[self.below(chars.len())]),
                2 => {
                    let other = self.below(chars.len());
                    chars.swap(k, other);
                }
                3 => {
                    let pool: Vec<char> = "0123456789-+.*,=()[]{}%:;^HNaLeE\"\\| \n/é\u{0}".chars().collect();
                    chars[k] = pool[self.below(pool.len())];
                }
                4 => {
                    let words = [
                        "18446744073709551615",
                        "-1",
                        "1e309",
                        "NaN",
                        "..",
                        "4294967296",
                        "9223372036854775807",
                        "[[",
                        "^H",
                        "\\u{110000}",
                        "0*99999999",
                    ];
                    let word: Vec<char> = words[self.below(words.len())].chars().collect();
                    chars.splice(k..k, word);
                }
                5 => {
                    let end = (k + 1 + self.below(12)).min(chars.len());
                    chars.drain(k..end);
                }
                6 => {
                    let end = (k + 1 + self.below(40)).min(chars.len());
                    let piece = chars[k..end].to_vec();
                    let at = self.below(chars.len());
                    chars.splice(at..at, piece);
                }
                _ => chars.truncate(k),
            }
        }
        chars.into_iter().collect()
    }
}
