//! The end of every help text.

/// What help ends with: an example, and what the exit status means.
macro_rules! after_help {
    ($example:literal) => {
        concat!(
            "Example:\n  ",
            $example,
            "\n\nExit status: 0 success, 1 something failed while running, ",
            "2 bad usage or configuration."
        )
    };
}
pub(super) use after_help;
