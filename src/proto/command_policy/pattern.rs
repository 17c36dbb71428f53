//! The patterns for names and paths: `*` stands for any text, and `?` for any character. Case does
//! not matter, because some servers ignore it.

use serde::Deserialize;
use wildmatch::WildMatch;

/// The longest pattern, in bytes.
pub const PATTERN_MAX: usize = 256;

/// A pattern for names or paths.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern {
    matcher: WildMatch,
    has_directory: bool,
}

impl Eq for Pattern {}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(written: String) -> Result<Self, String> {
        let is_bounded = (1..=PATTERN_MAX).contains(&written.len());
        let pattern = is_bounded.then(|| Self::new(&written));
        pattern.ok_or_else(|| format!("a pattern has 1 to {PATTERN_MAX} bytes"))
    }
}

impl Pattern {
    /// The pattern `text`, of at most [`PATTERN_MAX`] bytes.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self {
            matcher: WildMatch::new_case_insensitive(text),
            has_directory: text.contains('/'),
        }
    }

    /// Whether it has a directory, and not only the name of a file.
    #[must_use]
    pub fn has_directory(&self) -> bool {
        self.has_directory
    }

    /// Whether it matches `text`. Each byte that is not UTF-8 is one character.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        self.matcher.matches(&String::from_utf8_lossy(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_stand_for_text_and_case_does_not_matter() {
        for (pattern, text, is_match) in [
            ("*.exe", "Setup.EXE", true),
            ("*.exe", "setup.exe.txt", false),
            ("/private/*", "/private/a/b", true),
            ("/private/*", "/private", false),
            ("ftp?", "ftp1", true),
            ("ftp?", "ftp", false),
            ("anonymous", "Anonymous", true),
            ("[a]", "a", false),
        ] {
            assert_eq!(
                Pattern::new(pattern).matches(text.as_bytes()),
                is_match,
                "{pattern} {text}"
            );
        }
        assert!(Pattern::new("a?b").matches(b"a\xffb"));
    }

    #[test]
    fn a_long_text_full_of_beginnings_takes_no_exponential_time() {
        let pattern = Pattern::new(&"*a".repeat(PATTERN_MAX / 2));
        let text = "a".repeat(crate::proto::stream::LINE_MAX / 4) + "b";
        assert!(!pattern.matches(text.as_bytes()));
    }
}
