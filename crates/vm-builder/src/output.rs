//! What an installer writes, kept and told within bounds: it runs strangers' code.

use std::collections::VecDeque;

/// The last lines that an installer wrote.
#[derive(Debug, Default)]
pub(crate) struct Output {
    whole: VecDeque<String>,
    /// Bytes in `whole`.
    bytes: usize,
    /// What came after the last line feed.
    rest: Vec<u8>,
    told: usize,
}

/// Bytes of lines that are kept: the last ones, which say why it failed.
const MOST_BYTES: usize = 256 << 10;
const LONGEST_LINE: usize = 4 << 10;
/// Lines that are told as they come.
const MOST_TOLD: usize = 10_000;

impl Output {
    /// Takes what was written, and tells the lines that it ends.
    pub(crate) fn push(&mut self, bytes: &[u8], tell: &mut dyn FnMut(&str)) {
        for &byte in bytes {
            match byte {
                b'\n' => self.end_line(tell),
                _ if self.rest.len() < LONGEST_LINE => self.rest.push(byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self, tell: &mut dyn FnMut(&str)) {
        let line = shown(&self.rest).trim_end().to_owned();
        self.rest.clear();
        self.told = self.told.saturating_add(1);
        match self.told.cmp(&MOST_TOLD) {
            std::cmp::Ordering::Less => tell(&line),
            std::cmp::Ordering::Equal => tell("… and more, which is not shown"),
            std::cmp::Ordering::Greater => {}
        }
        self.bytes += line.len() + 1;
        self.whole.push_back(line);
        while self.bytes > MOST_BYTES {
            let Some(first) = self.whole.pop_front() else {
                return;
            };
            self.bytes -= first.len() + 1;
        }
    }

    /// What is kept.
    pub(crate) fn text(&self) -> String {
        let rest = shown(&self.rest);
        let whole = self.whole.iter().flat_map(|line| [line.as_str(), "\n"]);
        whole.chain([rest.as_ref()]).collect()
    }
}

/// A line as text, without what a terminal would obey.
fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.chars()
        .filter(|&c| c == '\t' || !c.is_control())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_as_they_end_without_what_a_terminal_would_obey() {
        let mut told = Vec::new();
        let mut output = Output::default();
        for bytes in [&b"\x1b[2Jone\r\ntw"[..], b"o\nthree"] {
            output.push(bytes, &mut |line| {
                told.push(line.to_owned());
            });
        }
        assert_eq!(told, ["[2Jone", "two"]);
        assert_eq!(output.text(), "[2Jone\ntwo\nthree");
    }

    #[test]
    fn of_a_flood_the_last_is_kept_and_the_first_lines_are_told() {
        let mut output = Output::default();
        let mut told = 0;
        output.push(&vec![b'x'; 8 << 20], &mut |_| {
            told += 1;
        });
        for n in 0..3 * MOST_TOLD {
            let line = format!("{n} {}\n", "y".repeat(90));
            output.push(line.as_bytes(), &mut |_| told += 1);
        }
        assert_eq!(told, MOST_TOLD);
        let kept = output.text();
        assert!(kept.len() <= MOST_BYTES, "{}", kept.len());
        assert!(kept.contains("29999 y"));
        for _ in 0..2 * MOST_BYTES {
            output.push(b"\n", &mut |_| {});
        }
        assert_eq!(output.whole.len(), MOST_BYTES);
    }
}
